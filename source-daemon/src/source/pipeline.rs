//! One stream of a source: its input, its two threads, and what the event loop does for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::HEARTBEAT_INTERVAL;
use fanlight_proto::message::State;
use tokio::sync::Notify;

use super::capture::{CaptureSinks, CaptureThread};
use super::capture_slot::CaptureSlot;
use super::damage::DamageWatch;
use super::events::{EventMailbox, PipelineEvents};
use super::preparation::Preparer;
use super::stream_publisher::{StreamContext, StreamPublisher};
use super::worker::Worker;
use crate::camera::Input;
use crate::picture::{PictureOptions, PictureProcessor};
use crate::stream_parts::StreamParts;
use crate::supervisor::{Action, InputStatus, Supervisor};

/// Time between two turns of a stream that is not live.
const TICK: Duration = Duration::from_millis(50);

/// Least time between two turns without an event. It keeps the loop from spinning when a heartbeat is overdue that another
/// thread is about to make unnecessary.
const MIN_TICK: Duration = Duration::from_millis(5);

/// A stream that runs.
#[derive(Debug)]
pub(super) struct StreamPipeline {
    pub(super) publisher: Arc<StreamPublisher>,
    slot: Arc<CaptureSlot>,
    events: Arc<EventMailbox>,
    capture: CaptureThread,
    preparing: Worker,
    next_preparer: Arc<Mutex<Option<Preparer>>>,
    supervisor: Supervisor,
    pub(super) input: String,
    open_at: Option<Time>,
    status_line: StatusLine,
}

/// What the next status line counts from.
#[derive(Debug, Default)]
struct StatusLine {
    since: Time,
    published: u64,
}

impl StreamPipeline {
    /// Starts the threads. Their events notify `wake`. The input stays closed until the first [`turn`](Self::turn).
    ///
    /// # Errors
    /// A picture option out of range, or a system without a thread left.
    pub(super) fn start(
        parts: StreamParts,
        context: StreamContext,
        wake: &Arc<Notify>,
    ) -> anyhow::Result<Self> {
        let StreamParts {
            input,
            picture,
            supervisor,
            slow_interval,
            ..
        } = parts;

        let name = input.describe();
        let slot = Arc::new(CaptureSlot::default());
        let events = Arc::new(EventMailbox::new(wake));
        let publisher = Arc::new(StreamPublisher::new(context));

        let (preparer, direct) = preparers(&picture, slow_interval, &events, &publisher, &name)?;
        let sinks = CaptureSinks {
            slot: Arc::clone(&slot),
            direct,
        };

        let capture = CaptureThread::start(input, sinks, Arc::clone(&events), publisher.newest())?;
        let next_preparer = Arc::<Mutex<Option<Preparer>>>::default();
        let (handover, next) = (Arc::clone(&slot), Arc::clone(&next_preparer));
        let preparing = Worker::start("prepare", move || preparer.run(&handover, &next))?;
        Ok(Self {
            publisher,
            slot,
            events,
            capture,
            preparing,
            next_preparer,
            supervisor,
            input: name,
            open_at: Some(Time::default()),
            status_line: StatusLine::default(),
        })
    }

    /// Processes pictures by other options from the next frame on.
    ///
    /// # Errors
    /// A picture option out of range.
    pub(super) fn set_picture(
        &mut self,
        picture: &PictureOptions,
        slow_interval: Duration,
    ) -> anyhow::Result<()> {
        let (preparer, direct) = preparers(
            picture,
            slow_interval,
            &self.events,
            &self.publisher,
            &self.input,
        )?;
        *self
            .next_preparer
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(preparer);
        self.capture.replace_direct(direct);
        Ok(())
    }

    /// Closes the input and opens another. The run of the stream, with its epoch and frame numbers, goes on.
    pub(super) fn set_input(&mut self, now: Time, input: Box<dyn Input>, supervisor: Supervisor) {
        self.input = input.describe();
        self.publisher.handle().set_input(&self.input);
        self.publisher.set_slow(false);
        self.supervisor = supervisor;
        self.supervisor.on_opening(now);
        self.open_at = None;
        self.capture.replace_input(input);
    }

    /// Does what is due. To be called after each event and at the time that [`next_turn`](Self::next_turn) gives.
    ///
    /// # Errors
    /// When only a new process can help: the driver hangs for good, or the preparing thread died.
    pub(super) fn turn(&mut self, now: Time) -> anyhow::Result<()> {
        anyhow::ensure!(
            !self.preparing.is_finished(),
            "the preparing thread has ended; a new process is needed"
        );

        let mut actions = self.handle_events(self.events.take(), now);
        let watched = self.publisher.handle().demand().is_watched();
        actions.extend(self.supervisor.on_demand(now, watched));
        actions.extend(self.supervisor.on_tick(now));

        for action in actions {
            self.act(action)?;
        }

        if self.open_at.is_some_and(|at| now >= at) {
            self.open_at = None;
            if self.supervisor.may_open() {
                self.supervisor.on_opening(now);
                self.capture.open();
            }
        }

        let live = self.supervisor.status().state == State::Live;
        self.events.set_wakes_on_frame(!live);
        if now.saturating_since(self.publisher.last_published()) >= HEARTBEAT_INTERVAL {
            self.publisher.heartbeat(self.supervisor.status());
        }

        Ok(())
    }

    /// When the next [`turn`](Self::turn) is due if no event comes before.
    pub(super) fn next_turn(&self, now: Time) -> Time {
        if self.supervisor.status().state != State::Live {
            return now + TICK;
        }
        let heartbeat = self.publisher.last_published() + HEARTBEAT_INTERVAL;
        self.open_at
            .map_or(heartbeat, |open_at| open_at.min(heartbeat))
            .max(now + MIN_TICK)
    }

    /// Passes the threads' events to the supervisor.
    fn handle_events(&mut self, events: PipelineEvents, now: Time) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(rate) = events.opened {
            self.supervisor.on_opened(now, rate);
        }

        if let Some(at) = events.captured {
            self.supervisor.on_capture(at);
        }

        if let Some(status) = events.unusable {
            self.supervisor.on_unusable(status);
        }

        if events.published > 0 {
            self.status_line.published += events.published;
            actions.extend(self.supervisor.on_frame(events.published_at));
        }

        if let Some(error) = events.error {
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
                self.capture.close();
            }
            Action::Slow(slow) => self.publisher.set_slow(slow),
            Action::Replace(reason) => {
                anyhow::bail!("{}: {reason}; a new process is needed", self.input)
            }
        }

        Ok(())
    }

    /// Ends the threads. One that is not done by `deadline`, in its driver or in a picture, is left behind; returns whether
    /// both are done.
    pub(super) fn end(self, deadline: Time) -> bool {
        self.slot.close();
        let patience = || deadline.saturating_since(clock::now());
        let closed = self.capture.end(patience());
        let prepared = self.preparing.end(patience());
        closed && prepared
    }

    /// The status line since the last one, if that was at least `interval` ago.
    pub(super) fn status_line(&mut self, now: Time, interval: Duration) -> Option<String> {
        let length = now.saturating_since(self.status_line.since);
        if length < interval {
            return None;
        }

        let next = StatusLine {
            since: now,
            published: 0,
        };

        let frames = std::mem::replace(&mut self.status_line, next).published;

        let InputStatus { state, reason } = self.supervisor.status();
        let reason = if reason.is_empty() {
            String::new()
        } else {
            format!(" ({reason})")
        };

        let refused = self.publisher.handle().refused_by(now);
        let refused: String = refused
            .iter()
            .map(|by| format!("; not taken by the relay {}: {}", by.relay, by.reason))
            .collect();

        let stats = self.publisher.publisher().stats();
        Some(format!(
            "{}: {}{reason}, {:.1} frames/s to {} subscribers; {} skipped before encoding, {} before sending{refused}",
            self.input,
            state.label(),
            frames as f64 / length.as_secs_f64(),
            stats.subscribers,
            self.slot.replaced(),
            stats.dropped,
        ))
    }
}

/// What processes and publishes on the preparing thread, and on the capture thread where JPEGs pass as they are.
fn preparers(
    picture: &PictureOptions,
    slow_interval: Duration,
    events: &Arc<EventMailbox>,
    publisher: &Arc<StreamPublisher>,
    input: &str,
) -> anyhow::Result<(Preparer, Option<Preparer>)> {
    let damage = Arc::<DamageWatch>::default();
    let preparer = || -> anyhow::Result<(bool, Preparer)> {
        let processor = PictureProcessor::new(picture)?;
        let passes_jpeg = processor.passes_jpeg();
        let preparer = Preparer::new(events, publisher, processor, &damage, slow_interval, input);
        Ok((passes_jpeg, preparer))
    };

    let (passes_jpeg, preparing) = preparer()?;
    let direct = passes_jpeg.then(preparer).transpose()?;
    Ok((preparing, direct.map(|(_, direct)| direct)))
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
