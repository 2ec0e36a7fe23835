//! The running source: three threads in a row, and a loop that watches them.
//!
//! The capture thread waits for the driver and hands each picture over without waiting for anyone. The preparing thread
//! makes a JPEG of the newest one and publishes it. The event loop, on the caller's thread, asks the supervisor what to
//! do, sends heartbeats while no frame flows, and talks to the service manager: it never calls the driver, so that a
//! driver that hangs stops nothing else.

mod capture;
mod outlet;
mod prepare;
mod reports;
mod slot;
#[cfg(test)]
mod tests;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fanlight_daemon::logline::Limited;
use fanlight_daemon::{Context, Feeder, clock};
use fanlight_proto::clock::Time;
use fanlight_proto::limits::HEARTBEAT_INTERVAL;
use fanlight_proto::message::{State, StreamName};

use crate::camera::Input;
use crate::config::Config;
use crate::picture::Pipeline;
use crate::publisher::{Endpoint, Publisher};
use crate::supervisor::{Action, Condition, Supervisor};
use capture::Capturing;
use outlet::Outlet;
use prepare::Preparing;
use reports::{News, Reports};
use slot::Slot;

/// The loop turns at least so often.
const TICK: Duration = Duration::from_millis(50);

/// How often the service manager gets a new status line.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// How long a camera may take to close when the program ends. The whole exit has 500 ms (P25).
const CLOSING_PATIENCE: Duration = Duration::from_millis(250);

/// A source that is bound and has captured nothing yet.
#[derive(Debug)]
pub struct Source {
    outlet: Arc<Outlet>,
    slot: Arc<Slot>,
    reports: Arc<Reports>,
    capturing: Capturing,
    preparing: JoinHandle<()>,
    supervisor: Supervisor,
    input: String,
    open_at: Option<Time>,
    status: StatusLine,
}

/// What goes into the status line.
#[derive(Debug, Default)]
struct StatusLine {
    since: Time,
    published: u64,
}

/// What a source is made of, apart from its input.
#[derive(Debug)]
pub struct Parts {
    /// The stream's name.
    pub stream: StreamName,
    /// Where it is published.
    pub publisher: Publisher,
    /// What is done to each picture.
    pub pipeline: Pipeline,
    /// Decides about the input.
    pub supervisor: Supervisor,
}

impl Source {
    /// Binds and prepares what `config` says. The input is not opened before [`run`](Self::run).
    ///
    /// # Errors
    /// A setting that cannot be used, an endpoint that is taken, or a system short of threads.
    pub fn load(config: &Config) -> anyhow::Result<Self> {
        let parts = Parts {
            stream: config.stream.0.clone(),
            pipeline: Pipeline::new(&config.picture_options())?,
            supervisor: config.supervisor()?,
            publisher: Publisher::bind(&config.endpoints()?, config.sealer()?)?,
        };
        Ok(Self::start(parts, config.make_input()?)?)
    }

    /// A source of these parts and this input.
    ///
    /// # Errors
    /// When the system is short of threads.
    pub fn start(parts: Parts, input: Box<dyn Input>) -> io::Result<Self> {
        let Parts { stream, publisher, pipeline, supervisor } = parts;
        let name = input.describe();
        let slot = Arc::new(Slot::default());
        let reports = Arc::new(Reports::default());
        let outlet = Arc::new(Outlet::new(publisher, stream));
        let capturing = Capturing::start(input, Arc::clone(&slot), Arc::clone(&reports), outlet.newest())?;
        let preparing = Preparing {
            slot: Arc::clone(&slot),
            reports: Arc::clone(&reports),
            outlet: Arc::clone(&outlet),
            pipeline,
            refused: Limited::new(),
        };
        let preparing = std::thread::Builder::new().name("prepare".into()).spawn(move || preparing.run())?;
        let status = StatusLine::default();
        Ok(Self { outlet, slot, reports, capturing, preparing, supervisor, input: name, open_at: None, status })
    }

    /// Where it is bound, with the ports that the system chose.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        self.outlet.publisher().endpoints()
    }

    /// Captures and publishes until the shutdown is requested. Returns within 500 ms of it, even if the driver hangs;
    /// its thread is left behind then.
    ///
    /// # Errors
    /// When the driver hangs for good, or one of the threads died: a new process is needed.
    pub fn run(mut self, context: &Context) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let ended = runtime.block_on(self.turn_until_shutdown(context));
        let patience = if ended.is_ok() { CLOSING_PATIENCE } else { Duration::ZERO };
        if !self.capturing.end(patience) && ended.is_ok() {
            tracing::warn!(input = self.input, "the input did not close in time and is left behind");
        }
        self.slot.close();
        if self.preparing.join().is_err() {
            tracing::error!("the preparing thread panicked");
        }
        ended.map(|()| ExitCode::SUCCESS)
    }

    async fn turn_until_shutdown(&mut self, context: &Context) -> anyhow::Result<()> {
        let endpoints: Vec<_> = self.endpoints().iter().map(ToString::to_string).collect();
        tracing::info!(input = self.input, endpoints = endpoints.join(" "), epoch = self.outlet.epoch(), "publishing");
        let mut ticks = tokio::time::interval(TICK);
        let mut feeder = Feeder::new(context.notify.clone());
        let mut ready = false;
        self.open_at = Some(clock::now());
        loop {
            tokio::select! {
                biased;
                () = context.shutdown.wait() => return Ok(()),
                () = self.reports.come() => {}
                _ = ticks.tick() => {}
            }
            let now = clock::now();
            self.turn(now)?;
            feeder.turn(now);
            if !ready {
                context.notify.ready();
                ready = true;
            }
            if let Some(line) = self.status_line(now) {
                context.notify.status(&line);
            }
        }
    }

    fn turn(&mut self, now: Time) -> anyhow::Result<()> {
        anyhow::ensure!(!self.preparing.is_finished(), "the preparing thread has ended; a new process is needed");
        for action in self.hear(self.reports.take(), now) {
            self.act(action)?;
        }
        if let Some(action) = self.supervisor.on_tick(now) {
            self.act(action)?;
        }
        if self.open_at.is_some_and(|at| now >= at) {
            self.open_at = None;
            self.supervisor.on_opening(now);
            self.capturing.open();
        }
        if now.saturating_since(self.outlet.last_published()) >= HEARTBEAT_INTERVAL {
            self.outlet.heartbeat(self.supervisor.condition());
        }
        Ok(())
    }

    /// Passes the threads' news to the supervisor.
    fn hear(&mut self, news: News, now: Time) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(rate) = news.opened {
            self.supervisor.on_opened(now, rate);
        }
        if news.captured {
            self.supervisor.on_capture(now);
        }
        if let Some(reason) = news.unusable {
            self.supervisor.on_unusable(reason);
        }
        if news.published > 0 {
            self.status.published += news.published;
            actions.extend(self.supervisor.on_frame(now));
        }
        if let Some(error) = news.error {
            let jitter = clock::random_bytes::<1>()[0];
            actions.extend(self.supervisor.on_error(now, &error, jitter));
        }
        actions
    }

    fn act(&mut self, action: Action) -> anyhow::Result<()> {
        match action {
            Action::Open { at } => self.open_at = Some(at),
            Action::Announce(condition) => {
                log(&self.input, &condition);
                self.outlet.heartbeat(&condition);
            }
            Action::Replace(reason) => anyhow::bail!("{}: {reason}; a new process is needed", self.input),
        }
        Ok(())
    }

    /// The status line, once every [`STATUS_INTERVAL`].
    fn status_line(&mut self, now: Time) -> Option<String> {
        let length = now.saturating_since(self.status.since);
        if length < STATUS_INTERVAL {
            return None;
        }
        let frames = std::mem::replace(&mut self.status, StatusLine { since: now, published: 0 }).published;
        let Condition { state, reason } = self.supervisor.condition();
        let stats = self.outlet.publisher().stats();
        let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        Some(format!(
            "{}: {}{reason}, {:.1} frames/s to {} subscribers; {} overtaken before encoding, {} before sending",
            self.input,
            state.word(),
            frames as f64 / length.as_secs_f64(),
            stats.subscribers,
            self.slot.overtaken(),
            stats.dropped,
        ))
    }
}

fn log(input: &str, condition: &Condition) {
    let state = condition.state.word();
    match condition.state {
        State::Live | State::Ended => tracing::info!(input, state, reason = condition.reason, "input"),
        _ => tracing::warn!(input, state, reason = condition.reason, "input"),
    }
}
