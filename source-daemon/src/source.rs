//! The running source: for each stream two threads in a row, and a loop that watches them all.
//!
//! The capture thread waits for the driver and hands each picture over without waiting for anyone; a JPEG to which nothing
//! is to be done it publishes itself. The preparing thread makes a JPEG of the newest one and publishes it. The event loop, on the caller's thread, asks the supervisor what to
//! do, sends heartbeats while no frame flows, and talks to the service manager: it never calls the driver, so that a
//! driver that hangs stops nothing else.

mod capture;
mod capture_slot;
mod events;
mod pipeline;
mod preparation;
mod stream_publisher;
#[cfg(test)]
mod tests;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::{Context, WatchdogFeeder, block_on_until, clock};
use fanlight_proto::clock::Time;
use tokio::sync::Notify;

use crate::config::Config;
use crate::publisher::{Endpoint, Publisher};
use crate::verification::state::Kind;
use crate::verification::{Verifier, screen_log};
pub use pipeline::StreamParts;
use pipeline::StreamPipeline;
use stream_publisher::StreamContext;

/// How often the service manager gets a new status line.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// How often every screen is judged.
const JUDGE_INTERVAL: Duration = Duration::from_millis(250);

/// How often it is looked whether there is a screen.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a camera may take to close when the program ends. The whole exit has 500 ms (P25).
const CLOSING_PATIENCE: Duration = Duration::from_millis(250);

/// A source that is bound and has captured nothing yet.
#[derive(Debug)]
pub struct Source {
    publisher: Arc<Publisher>,
    verifier: Arc<Verifier>,
    main: StreamPipeline,
    canary: Option<StreamPipeline>,
    wake: Arc<Notify>,
    judge_at: Time,
}

/// Where a source publishes and who holds what is found against it.
#[derive(Debug)]
pub struct PublisherParts {
    /// Where it is published.
    pub publisher: Publisher,
    /// What the publisher tells what it hears.
    pub verifier: Arc<Verifier>,
    /// What the proof notifies when who watches has changed.
    pub wake: Arc<Notify>,
}

impl Source {
    /// Binds and prepares what `config` says. The input is not opened before [`run`](Self::run).
    ///
    /// # Errors
    /// A setting that cannot be used, an endpoint that is taken, or a system short of threads.
    pub fn load(config: &Config) -> anyhow::Result<Self> {
        let wake = Arc::<Notify>::default();
        let verifier = Arc::new(Verifier::new(
            clock::now(),
            config.limits()?,
            config.history()?,
            Arc::clone(&wake),
        ));
        let (main, canary) = (config.main_parts()?, config.canary_parts()?);
        let ear = Arc::clone(&verifier);
        let publisher = Publisher::bind(&config.endpoints()?, config.security()?, ear)?;
        Ok(Self::start(
            PublisherParts {
                publisher,
                verifier,
                wake,
            },
            main,
            canary,
        )?)
    }

    /// A source of these parts, with a canary beside it or without.
    ///
    /// # Errors
    /// When the system is short of threads.
    pub fn start(
        base: PublisherParts,
        main: StreamParts,
        canary: Option<StreamParts>,
    ) -> io::Result<Self> {
        let PublisherParts {
            publisher,
            verifier,
            wake,
        } = base;
        let publisher = Arc::new(publisher);
        let station = |parts: &StreamParts, kind, canary| StreamContext {
            publisher: Arc::clone(&publisher),
            verifier: Arc::clone(&verifier),
            stream: parts.stream.clone(),
            canary,
            kind,
            input: parts.input.describe(),
        };
        let name = canary.as_ref().map(|parts| parts.stream.clone());
        let main_station = station(&main, Kind::Main, name);
        let main = StreamPipeline::start(main, main_station, &wake)?;
        let canary = canary.map(|parts| {
            let station = station(&parts, Kind::Canary, None);
            StreamPipeline::start(parts, station, &wake)
        });
        Ok(Self {
            canary: canary.transpose()?,
            publisher,
            verifier,
            main,
            wake,
            judge_at: Time::default(),
        })
    }

    /// Where it is bound, with the ports that the system chose.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        self.publisher.endpoints()
    }

    /// Captures and publishes until the shutdown is requested. Returns within 500 ms of it, even if the driver hangs;
    /// its thread is left behind then.
    ///
    /// # Errors
    /// When the driver hangs for good, or one of the threads died: a new process is needed.
    pub fn run(mut self, context: &Context) -> anyhow::Result<ExitCode> {
        let ended = self.turn_until_shutdown(context);
        let patience = if ended.is_ok() {
            CLOSING_PATIENCE
        } else {
            Duration::ZERO
        };
        let input = self.main.input.clone();
        if !self.main.end(patience) && ended.is_ok() {
            tracing::warn!(input, "the input did not close in time and is left behind");
        }
        // It draws its own pictures and waits for no driver.
        self.canary.map(|canary| canary.end(patience));
        ended.map(|()| ExitCode::SUCCESS)
    }

    fn turn_until_shutdown(&mut self, context: &Context) -> anyhow::Result<()> {
        let endpoints: Vec<_> = self.endpoints().iter().map(ToString::to_string).collect();
        let (input, epoch) = (&self.main.input, self.main.publisher.epoch());
        tracing::info!(input, endpoints = endpoints.join(" "), epoch, "publishing");
        let mut watchdog = WatchdogFeeder::new(context.notify.clone());
        let (mut ready, mut next) = (false, clock::now());
        loop {
            let event = async {
                tokio::select! {
                    biased;
                    () = context.shutdown.wait() => true,
                    () = self.wake.notified() => false,
                }
            };
            if block_on_until::until(next, event) == Some(true) {
                return Ok(());
            }
            let now = clock::now();
            self.turn(now)?;
            let feed = watchdog.turn(now);
            if !ready {
                context.notify.ready();
                ready = true;
            }
            if let Some(line) = self.main.status_line(now, STATUS_INTERVAL) {
                context.notify.status(&line);
            }
            next = feed.map_or(self.next_turn(now), |feed| feed.min(self.next_turn(now)));
        }
    }

    /// When the next [`turn`](Self::turn) is due, if nothing happens before.
    fn next_turn(&self, now: Time) -> Time {
        let lines = [Some(&self.main), self.canary.as_ref()]
            .into_iter()
            .flatten();
        lines
            .map(|line| line.next_turn(now))
            .fold(self.judge_at, Time::min)
    }

    fn turn(&mut self, now: Time) -> anyhow::Result<()> {
        self.main.turn(now)?;
        self.canary
            .as_mut()
            .map_or(Ok(()), |canary| canary.turn(now))?;
        let next = now.next_multiple_of(if self.verifier.has_rows() {
            JUDGE_INTERVAL
        } else {
            LOOK_INTERVAL
        });
        if now >= self.judge_at {
            self.judge_at = next;
            self.verifier.on_tick(now).iter().for_each(screen_log::log);
        }
        // A screen may have come since that was set.
        self.judge_at = self.judge_at.min(next);
        Ok(())
    }
}
