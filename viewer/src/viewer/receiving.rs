//! The socket's thread: what the engine gives out goes to the decoder, and what all of it comes to goes to the tally.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::logline::Limited;
use fanlight_daemon::{Notify, WatchdogFeeder, clock};
use fanlight_proto::clock::Time;

use super::handover::HandOver;
use super::outbox::Outbox;
use super::verdicts::Verdicts;
use crate::engine::{Engine, Output, Signal};
use crate::stats::Tally;
use crate::udp::Sink;

/// How often the tally learns where the engine stands.
const SUMMARY_INTERVAL: Duration = Duration::from_millis(100);

/// Hands frames and signals on.
pub(super) struct Receiver {
    pub(super) handover: Arc<HandOver>,
    pub(super) tally: Arc<Tally>,
    pub(super) notify: Notify,
    outbox: Option<Arc<Outbox>>,
    verdicts: Verdicts,
    ready: bool,
    summary_due: Time,
    watchdog: WatchdogFeeder,
    changes: Limited,
}

impl Receiver {
    /// What trackers find comes by `outbox`, if there are any.
    pub(super) fn new(
        handover: Arc<HandOver>,
        tally: Arc<Tally>,
        notify: Notify,
        outbox: Option<Arc<Outbox>>,
        verdicts: Verdicts,
    ) -> Self {
        let (watchdog, changes, summary_due) = (
            WatchdogFeeder::new(notify.clone()),
            Limited::new(),
            Time::default(),
        );
        Self {
            handover,
            tally,
            notify,
            outbox,
            verdicts,
            ready: false,
            summary_due,
            watchdog,
            changes,
        }
    }

    /// Leaves the tally exact.
    pub(super) fn finish(&self, engine: &Engine) {
        self.tally.on_summary(engine.summary(clock::now()));
    }

    fn on_signal(&mut self, now: Time, signal: Signal) {
        if let Some(changes) = self.changes.note(now) {
            self.tell(changes, &signal);
        }
        self.tally.on_signal(now, &signal);
        self.summary_due = now;
        // The next frame says it itself.
        if signal != Signal::Live {
            self.handover.put_signal(signal);
        }
    }

    /// Tells the operator the signal in force, which may be all that is told of several changes.
    fn tell(&self, changes: u64, signal: &Signal) {
        tracing::info!(signal = signal.word(), changes, "{signal}");
        self.notify.status(&signal.to_string());
    }
}

impl Sink for Receiver {
    fn take(&mut self, now: Time, output: Output) -> ControlFlow<()> {
        match output {
            Output::Frame(arrived) => {
                if self.handover.put_frame(arrived) {
                    self.tally.on_superseded();
                }
            }
            Output::Signal(signal) => self.on_signal(now, signal),
            Output::Send(..) | Output::List(..) | Output::JoinGroup(..) | Output::LeaveGroup(_) => {
            }
        }
        ControlFlow::Continue(())
    }

    fn turn(&mut self, now: Time, engine: &mut Engine) -> Option<Time> {
        if !std::mem::replace(&mut self.ready, true) {
            self.notify.ready();
        }
        while let Some(body) = self.handover.spare() {
            engine.recycle(body);
        }
        if let Some(changes) = self.changes.flush(now) {
            self.tell(changes, &self.tally.signal());
        }
        if self.summary_due <= now {
            self.summary_due = now + SUMMARY_INTERVAL;
            engine.on_presentation(self.tally.presentation());
            let summary = engine.summary(now);
            self.verdicts.note(
                now,
                summary.stream.as_ref(),
                summary.verdict.map(Into::into),
            );
            self.tally.on_summary(summary);
        }
        // Nobody wakes this thread for a detection: it looks for them as often as they are sent.
        let detections_due = self.outbox.as_ref().map(|outbox| {
            outbox.hand_to(engine);
            self.summary_due
        });
        [self.watchdog.turn(now), detections_due]
            .into_iter()
            .flatten()
            .min()
    }
}
