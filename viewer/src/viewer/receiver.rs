//! The sink of the socket thread: hands frames and link states to the decoder and keeps the counters up to date.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_daemon::rate_limit::LogLimiter;
use fanlight_proto::clock::Time;
use fanlight_proto::message::StreamName;

use super::detection_queue::DetectionQueue;
use super::director::Teller;
use super::frame_slot::FrameSlot;
use super::playout::PlayoutBuffer;
use super::streams::StreamChoice;
use super::verdict_trace::VerdictTrace;
use super::watchdog::TileWatch;
use crate::engine::{Engine, LinkState, Output, ReceivedFrame, Transport};
use crate::stats::Counters;
use crate::udp::Sink;

/// How often the counts of the engine are copied to the counters.
const SUMMARY_INTERVAL: Duration = Duration::from_millis(100);

/// The sink of the viewer's engine.
pub(super) struct Receiver {
    pub(super) frame_slot: Arc<FrameSlot>,
    pub(super) counters: Arc<Counters>,
    playout: Option<PlayoutBuffer>,
    detection_queue: Option<Arc<DetectionQueue>>,
    verdicts: VerdictTrace,
    choice: Arc<StreamChoice>,
    teller: Option<Teller>,
    ready: bool,
    summary_due: Time,
    watch: TileWatch,
    changes: LogLimiter,
}

impl Receiver {
    /// `detection_queue` is that of the trackers, if there are any, and `teller` that of the director.
    pub(super) fn new(
        frame_slot: Arc<FrameSlot>,
        counters: Arc<Counters>,
        watch: TileWatch,
        detection_queue: Option<Arc<DetectionQueue>>,
        verdicts: VerdictTrace,
        choice: Arc<StreamChoice>,
        teller: Option<Teller>,
    ) -> Self {
        let changes = LogLimiter::new();
        let summary_due = Time::default();
        Self {
            frame_slot,
            counters,
            playout: None,
            detection_queue,
            verdicts,
            choice,
            teller,
            ready: false,
            summary_due,
            watch,
            changes,
        }
    }

    /// Holds frames until so long after their capture.
    pub(super) fn set_delay(&mut self, delay: Duration) {
        self.playout = Some(PlayoutBuffer::new(delay));
    }

    /// Copies the final counts of the engine to the counters.
    pub(super) fn finish(&self, engine: &Engine) {
        self.counters.on_summary(engine.summary(clock::now()));
    }

    fn on_link_state(&mut self, now: Time, link_state: LinkState) {
        if let Some(changes) = self.changes.note(now) {
            self.log_link_state(changes, &link_state);
        }

        self.counters.on_link_state(now, &link_state);
        self.summary_due = now;
        // The next frame replaces the card.
        if link_state != LinkState::Live {
            self.forget_held();
            self.frame_slot.put_link_state(link_state);
        }
    }

    fn put_frame(&self, frame: ReceivedFrame) {
        if self.frame_slot.put_frame(frame) {
            self.counters.on_superseded();
        }
    }

    /// Hands on what has been held long enough; returns when that is the case next.
    fn play_out(&mut self, now: Time) -> Option<Time> {
        let mut playout = self.playout.take()?;
        while let Some(frame) = playout.take(now) {
            self.put_frame(frame);
        }
        let due = playout.due();
        self.playout = Some(playout);
        due
    }

    /// What is held is not shown after a card or another stream.
    fn forget_held(&mut self) {
        for body in self.playout.iter_mut().flat_map(PlayoutBuffer::clear) {
            self.counters.on_superseded();
            self.frame_slot.give_back(body);
        }
    }

    fn on_transport(&mut self, now: Time, transport: Transport, why: &'static str) {
        tracing::info!(
            transport = transport.word(),
            "{why}: pictures by {}",
            transport.word()
        );
        self.counters.on_transport(now, transport, why);
        self.summary_due = now;
    }

    /// Reports the link state in force to the operator, once for `changes` changes.
    fn log_link_state(&self, changes: u64, link_state: &LinkState) {
        tracing::info!(link_state = link_state.word(), changes, "{link_state}");
        self.watch.notify().status(&link_state.to_string());
    }
}

impl Sink for Receiver {
    fn take(&mut self, now: Time, output: Output) -> ControlFlow<()> {
        match output {
            Output::Frame(arrived) => match &mut self.playout {
                Some(playout) => playout.put(now, arrived),
                None => self.put_frame(arrived),
            },
            Output::LinkState(link_state) => self.on_link_state(now, link_state),
            Output::Transport(transport, why) => self.on_transport(now, transport, why),
            Output::Direct(direct) => {
                if let Some(teller) = &self.teller {
                    teller.on_direct(now, &direct);
                }
            }
            Output::Send(..)
            | Output::List(..)
            | Output::JoinGroup(..)
            | Output::LeaveGroup(_)
            | Output::Credit(..) => {}
        }

        ControlFlow::Continue(())
    }

    fn turn(&mut self, now: Time, engine: &mut Engine) -> Option<Time> {
        if !std::mem::replace(&mut self.ready, true) {
            self.watch.notify().ready();
        }

        if let Some(chosen) = self.choice.take() {
            let stream = chosen.stream.as_ref().map_or("any", StreamName::as_str);
            let by_hand = chosen.by_hand;
            tracing::info!(stream, by_hand, "another stream was chosen");
            if let Some(teller) = &mut self.teller {
                teller.on_choice(now, &chosen);
            }
            self.forget_held();
            engine.watch(now, chosen.stream);
        }
        let frame_due = self.play_out(now);

        while let Some(body) = self.frame_slot.spare() {
            engine.recycle(body);
        }

        if let Some(changes) = self.changes.flush(now) {
            self.log_link_state(changes, &self.counters.link_state());
        }

        if self.summary_due <= now {
            self.summary_due = now + SUMMARY_INTERVAL;
            engine.on_presentation(self.counters.presentation());
            let (last_shown, rejected) = self.counters.display();
            let hidden = self.teller.as_ref().and_then(Teller::hides);
            let rejected = hidden.or(rejected);
            engine.on_display(now, last_shown, rejected);
            let summary = engine.summary(now);
            self.verdicts.note(
                now,
                summary.stream.as_ref(),
                summary.verdict.map(Into::into),
            );

            self.counters.on_summary(summary);
        }

        // No wake-up comes with a detection: this thread takes them as often as it sends them.
        let detections_due = self.detection_queue.as_ref().map(|detection_queue| {
            detection_queue.drain_into(engine);
            self.summary_due
        });

        let teller = self.teller.as_mut();
        let telling_due = teller.and_then(|teller| teller.turn(now, engine));
        [self.watch.turn(now), frame_due, detections_due, telling_due]
            .into_iter()
            .flatten()
            .min()
    }
}
