//! The running source: for each stream two threads in a row, and one event loop for all.
//!
//! - The capture thread waits for the driver and hands each frame on without waiting for anyone. JPEGs that are published as
//!   they are it publishes itself.
//! - The preparing thread processes the newest frame and publishes it. It decodes samples of what the capture thread has
//!   published, to find damaged pictures.
//! - The event loop runs on the caller's thread. It asks the supervisor what to do, sends heartbeats while no frame flows,
//!   evaluates the screens, and talks to the service manager. It never calls the driver, so that a driver that hangs stops
//!   nothing else.

mod capture;
mod capture_slot;
mod damage;
mod events;
mod pipeline;
mod preparation;
mod reload;
mod stream_publisher;
#[cfg(test)]
mod tests;
mod worker;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::discovery::{self, Announcer, Service};
use fanlight_daemon::file_watch::FileWatch;
use fanlight_daemon::{Context, WatchdogFeeder, block_on_until, clock};
use fanlight_proto::clock::Time;
use tokio::sync::Notify;

use crate::config::Config;
use crate::publisher::{Endpoint, Publisher};
use crate::remote_controls::RemoteControls;
use crate::stream_parts::StreamParts;
use crate::verification::state::Kind;
use crate::verification::{Verifier, screen_log};
use pipeline::StreamPipeline;
pub(crate) use reload::LIVE;
use stream_publisher::StreamContext;

/// Time between two status lines for the service manager.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two evaluations of the screens: with it a screen that has gone is blind well within 1.5 s (P32).
const EVALUATION_INTERVAL: Duration = Duration::from_millis(100);

/// Time between two looks for a screen while there is none.
const IDLE_EVALUATION_INTERVAL: Duration = Duration::from_secs(1);

/// How long a camera may take to close, and a picture to be done, when the program ends. The whole exit has 500 ms (P25).
const CLOSING_PATIENCE: Duration = Duration::from_millis(250);

/// A source that is bound and has captured nothing yet.
#[derive(Debug)]
pub struct Source {
    publisher: Arc<Publisher>,
    verifier: Arc<Verifier>,
    main: StreamPipeline,
    canary: Option<StreamPipeline>,
    wake: Arc<Notify>,
    evaluate_at: Time,
    /// The settings in effect, with the kind of input decided; none for a source that was made of parts.
    config: Option<Config>,
    keys: Option<KeyWatch>,
    announcer: Option<Announcer>,
    controls: Option<Arc<RemoteControls>>,
}

/// The files that say which relays may subscribe, and the settings that they are read with.
#[derive(Debug)]
struct KeyWatch {
    files: FileWatch,
    config: Config,
}

/// Where a source publishes, and who verifies what comes back.
#[derive(Debug)]
pub struct PublisherParts {
    /// Publishes the frames.
    pub publisher: Publisher,
    /// Gets the feedback that the publisher receives.
    pub verifier: Arc<Verifier>,
    /// Notified by the verifier when a stream gains its first viewer or loses its last.
    pub wake: Arc<Notify>,
}

impl Source {
    /// Binds and prepares what `config` says. The input is not opened before [`run`](Self::run).
    ///
    /// # Errors
    /// A setting that cannot be used, an endpoint that is taken, or a system without a thread left.
    pub fn load(config: &Config) -> anyhow::Result<Self> {
        let wake = Arc::<Notify>::default();
        let verifier = Arc::new(Verifier::new(
            clock::now(),
            config.limits()?,
            config.history()?,
            Arc::clone(&wake),
        ));

        let main = config.main_parts()?;
        let canary = config.canary_parts()?;
        let sink = Arc::clone(&verifier);
        let publisher = Publisher::bind(&config.endpoints()?, config.accepted_security()?, sink)?;
        let parts = PublisherParts {
            publisher,
            verifier,
            wake,
        };

        let mut source = Self::start(parts, main, canary)?;
        source.announcer = Announcer::start(&source.announced(config));
        let decided = reload::decided(config.clone());
        let controls = RemoteControls::new(decided.control_target());
        let handler = Arc::clone(&controls);
        source.publisher.serve_controls(handler);
        source.controls = Some(controls);
        source.config = Some(decided);
        source.keys = Some(KeyWatch {
            files: FileWatch::new(
                "feed_key, feed_identity or relay_keys",
                config.feed_key_files(),
            ),
            config: config.clone(),
        });

        Ok(source)
    }

    /// A source of these parts, with or without a canary.
    ///
    /// # Errors
    /// A picture option out of range, or a system without a thread left.
    pub fn start(
        parts: PublisherParts,
        main: StreamParts,
        canary: Option<StreamParts>,
    ) -> anyhow::Result<Self> {
        let PublisherParts {
            publisher,
            verifier,
            wake,
        } = parts;

        let publisher = Arc::new(publisher);
        let context = |parts: &StreamParts, kind, canary| StreamContext {
            publisher: Arc::clone(&publisher),
            verifier: Arc::clone(&verifier),
            stream: parts.stream.clone(),
            canary,
            kind,
            input: parts.input.describe(),
        };

        let canary_name = canary.as_ref().map(|parts| parts.stream.clone());
        let main_context = context(&main, Kind::Main, canary_name);
        let main = StreamPipeline::start(main, main_context, &wake)?;
        let canary = canary.map(|parts| {
            let context = context(&parts, Kind::Canary, None);
            StreamPipeline::start(parts, context, &wake)
        });

        Ok(Self {
            canary: canary.transpose()?,
            publisher,
            verifier,
            main,
            wake,
            evaluate_at: Time::default(),
            config: None,
            keys: None,
            announcer: None,
            controls: None,
        })
    }

    /// What the network may know of this source.
    fn announced(&self, config: &Config) -> Vec<Service> {
        let tcp = |endpoint: &Endpoint| match endpoint {
            Endpoint::Tcp(host, port) => host.resolve_to_listen(*port).ok()?.first().copied(),
            Endpoint::Ipc(_) => None,
        };

        let endpoints = self.endpoints().iter().filter(|_| config.discovery);
        let service = |listen| Service {
            kind: discovery::Kind::Source,
            listen,
            properties: vec![("stream", config.stream.to_string())],
        };
        endpoints.filter_map(tcp).map(service).collect()
    }

    /// The endpoints that it is bound to, with the ports that the system chose.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        self.publisher.endpoints()
    }

    /// Captures and publishes until the shutdown is requested. Returns within 500 ms of it, even if the driver hangs or a
    /// picture takes longer to decode; the thread is left behind then.
    ///
    /// # Errors
    /// When the driver hangs for good, or one of the threads died: a new process is needed.
    pub fn run(mut self, context: &Context) -> anyhow::Result<ExitCode> {
        let ended = self.run_until_shutdown(context);
        let patience = if ended.is_ok() {
            CLOSING_PATIENCE
        } else {
            Duration::ZERO
        };

        let deadline = clock::now() + patience;
        let input = self.main.input.clone();
        if !self.main.end(deadline) && ended.is_ok() {
            tracing::warn!(
                input,
                "the input did not close in time, or a picture took too long: it is left behind"
            );
        }

        // The canary draws its own pictures and waits for no driver.
        self.canary.map(|canary| canary.end(deadline));
        ended.map(|()| ExitCode::SUCCESS)
    }

    fn run_until_shutdown(&mut self, context: &Context) -> anyhow::Result<()> {
        let endpoints: Vec<_> = self.endpoints().iter().map(ToString::to_string).collect();
        let input = &self.main.input;
        let epoch = self.main.publisher.epoch();
        tracing::info!(input, endpoints = endpoints.join(" "), epoch, "publishing");

        let mut watchdog = WatchdogFeeder::new(context.notify.clone());
        let mut ready = false;
        let mut next = clock::now();

        loop {
            let event = async {
                tokio::select! {
                    biased;
                    () = context.shutdown.wait() => true,
                    () = self.wake.notified() => false,
                    () = context.reload.requested() => false,
                }
            };

            if block_on_until::until(next, event) == Some(true) {
                return Ok(());
            }

            let now = clock::now();
            self.reload(now, context);
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

    /// When the next [`turn`](Self::turn) is due if no event comes before.
    fn next_turn(&self, now: Time) -> Time {
        let streams = [Some(&self.main), self.canary.as_ref()];
        streams
            .into_iter()
            .flatten()
            .map(|stream| stream.next_turn(now))
            .chain(self.keys.as_ref().and_then(|keys| keys.files.next()))
            .fold(self.evaluate_at, Time::min)
    }

    fn turn(&mut self, now: Time) -> anyhow::Result<()> {
        self.main.turn(now)?;
        if let Some(canary) = &mut self.canary {
            canary.turn(now)?;
        }

        if let Some(KeyWatch { files, config }) = &mut self.keys
            && let Some(security) = files.due(now, || config.accepted_security())
        {
            self.publisher.set_security(security);
        }

        let next = now.next_multiple_of(if self.verifier.has_rows() {
            EVALUATION_INTERVAL
        } else {
            IDLE_EVALUATION_INTERVAL
        });

        if now >= self.evaluate_at {
            self.evaluate_at = next;
            self.verifier.on_tick(now).iter().for_each(screen_log::log);
        }

        // A screen may have come since the longer interval was set.
        self.evaluate_at = self.evaluate_at.min(next);
        Ok(())
    }
}
