//! One stream of a source: its input, the two threads behind it, and what the loop does for it.

use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_daemon::logline::Limited;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::HEARTBEAT_INTERVAL;
use fanlight_proto::message::{State, StreamName};
use tokio::sync::Notify;

use super::capture::{CaptureSinks, CaptureThread};
use super::capture_slot::CaptureSlot;
use super::events::{EventMailbox, PipelineEvents};
use super::preparation::{self, FrameThinner, Preparer};
use super::stream_publisher::{StreamContext, StreamPublisher};
use crate::camera::Input;
use crate::picture::Pipeline;
use crate::supervisor::{Action, InputStatus, Supervisor};

/// Between turns while a stream is not live.
const TICK: Duration = Duration::from_millis(50);

/// Between two turns without news, whatever is due: what a thread is about to do is not waited for in a spin.
const LEAST_TICK: Duration = Duration::from_millis(5);

/// What a stream is made of, apart from where it is published.
pub struct StreamParts {
    /// Its name.
    pub stream: StreamName,
    /// Where its pictures come from.
    pub input: Box<dyn Input>,
    /// What is done to each picture.
    pub pipeline: Pipeline,
    /// Decides about the input.
    pub supervisor: Supervisor,
    /// Between two frames while it is slow because nobody watches.
    pub slow_interval: Duration,
}

/// A stream that runs.
#[derive(Debug)]
pub(super) struct StreamPipeline {
    pub(super) publisher: Arc<StreamPublisher>,
    slot: Arc<CaptureSlot>,
    reports: Arc<EventMailbox>,
    capturing: CaptureThread,
    preparing: JoinHandle<()>,
    supervisor: Supervisor,
    pub(super) input: String,
    open_at: Option<Time>,
    status: StatusLine,
}

/// What goes into the status line.
#[derive(Debug, Default)]
struct StatusLine {
    since: Time,
    published: u64,
}

impl StreamPipeline {
    /// Starts the threads; the input is not opened before the first [`turn`](Self::turn). News of the threads `wake` the
    /// loop.
    pub(super) fn start(
        parts: StreamParts,
        station: StreamContext,
        wake: &Arc<Notify>,
    ) -> io::Result<Self> {
        let StreamParts {
            input,
            pipeline,
            supervisor,
            slow_interval,
            ..
        } = parts;
        let name = input.describe();
        let slot = Arc::new(CaptureSlot::default());
        let reports = Arc::new(EventMailbox::new(wake));
        let publisher = Arc::new(StreamPublisher::new(station));
        let preparing = Preparer {
            reports: Arc::clone(&reports),
            publisher: Arc::clone(&publisher),
            pipeline,
            refused: Limited::new(),
            thinning: FrameThinner::new(slow_interval),
        };
        let direct = preparing.passes_jpeg();
        let preparing = Arc::new(Mutex::new(preparing));
        let direct = if direct {
            Arc::downgrade(&preparing)
        } else {
            Weak::new()
        };
        let ways = CaptureSinks {
            slot: Arc::clone(&slot),
            direct,
        };
        let capturing =
            CaptureThread::start(input, ways, Arc::clone(&reports), publisher.newest())?;
        let queue = Arc::clone(&slot);
        let run = move || preparation::run(&preparing, &queue);
        let preparing = std::thread::Builder::new()
            .name("prepare".into())
            .spawn(run)?;
        let (open_at, status) = (Some(Time::default()), StatusLine::default());
        Ok(Self {
            publisher,
            slot,
            reports,
            capturing,
            preparing,
            supervisor,
            input: name,
            open_at,
            status,
        })
    }

    /// Does what is due. To be called whenever there are news and when [`next_turn`](Self::next_turn) says: that a stream
    /// which is live goes on being so is heard then.
    pub(super) fn turn(&mut self, now: Time) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.preparing.is_finished(),
            "the preparing thread has ended; a new process is needed"
        );
        let mut actions = self.hear(self.reports.take(), now);
        actions.extend(
            self.supervisor
                .on_demand(now, self.publisher.handle().demand().is_watched()),
        );
        actions.extend(self.supervisor.on_tick(now));
        for action in actions {
            self.act(action)?;
        }
        if self.open_at.is_some_and(|at| now >= at) {
            self.open_at = None;
            if self.supervisor.may_open() {
                self.supervisor.on_opening(now);
                self.capturing.open();
            }
        }
        self.reports
            .await_frames(self.supervisor.status().state != State::Live);
        if now.saturating_since(self.publisher.last_published()) >= HEARTBEAT_INTERVAL {
            self.publisher.heartbeat(self.supervisor.status());
        }
        Ok(())
    }

    /// When the next [`turn`](Self::turn) is due, if there are no news before.
    pub(super) fn next_turn(&self, now: Time) -> Time {
        if self.supervisor.status().state != State::Live {
            return now + TICK;
        }
        let heartbeat = self.publisher.last_published() + HEARTBEAT_INTERVAL;
        self.open_at
            .map_or(heartbeat, |open_at| open_at.min(heartbeat))
            .max(now + LEAST_TICK)
    }

    /// Passes the threads' news to the supervisor.
    fn hear(&mut self, news: PipelineEvents, now: Time) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(rate) = news.opened {
            self.supervisor.on_opened(now, rate);
        }
        if let Some(at) = news.captured {
            self.supervisor.on_capture(at);
        }
        if let Some(reason) = news.unusable {
            self.supervisor.on_unusable(reason);
        }
        if news.published > 0 {
            self.status.published += news.published;
            actions.extend(self.supervisor.on_frame(news.published_at));
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
            Action::Announce(status) => {
                log(&self.input, &status);
                self.publisher.heartbeat(&status);
            }
            Action::Close => {
                self.open_at = None;
                self.capturing.close();
            }
            Action::Slow(slow) => self.publisher.set_slow(slow),
            Action::Replace(reason) => {
                anyhow::bail!("{}: {reason}; a new process is needed", self.input)
            }
        }
        Ok(())
    }

    /// Ends the threads. A driver that does not return within `patience` is left behind with its thread; tells whether it
    /// did return.
    pub(super) fn end(self, patience: Duration) -> bool {
        let closed = self.capturing.end(patience);
        self.slot.close();
        if self.preparing.join().is_err() {
            tracing::error!("the preparing thread panicked");
        }
        closed
    }

    /// The status line of the time since the last one, if that is at least `interval`.
    pub(super) fn status_line(&mut self, now: Time, interval: Duration) -> Option<String> {
        let length = now.saturating_since(self.status.since);
        if length < interval {
            return None;
        }
        let frames = std::mem::replace(
            &mut self.status,
            StatusLine {
                since: now,
                published: 0,
            },
        )
        .published;
        let InputStatus { state, reason } = self.supervisor.status();
        let stats = self.publisher.publisher().stats();
        let reason = if reason.is_empty() {
            String::new()
        } else {
            format!(" ({reason})")
        };
        Some(format!(
            "{}: {}{reason}, {:.1} frames/s to {} subscribers; {} overtaken before encoding, {} before sending",
            self.input,
            state.label(),
            frames as f64 / length.as_secs_f64(),
            stats.subscribers,
            self.slot.replaced(),
            stats.dropped,
        ))
    }
}

fn log(input: &str, status: &InputStatus) {
    let state = status.state.label();
    match status.state {
        State::Live | State::Ended | State::Idle | State::Opening => {
            tracing::info!(input, state, reason = status.reason, "input");
        }
        _ => tracing::warn!(input, state, reason = status.reason, "input"),
    }
}
