//! The sink of one session: checks each frame, counts it, and returns its memory to the engine.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{CheckedFrame, FrameError, parse_frame};

use super::totals::{Delivery, Totals};
use fanlight_viewer::engine::{
    ClockOffset, Engine, LinkState, Output, Presentation, ReceivedFrame,
};
use fanlight_viewer::stats::{Captured, Clock};
use fanlight_viewer::udp::Sink;

/// How often a session gives its account. It costs an allocation or two: for each of a thousand sessions five times a
/// second it is nothing.
const SUMMARY_INTERVAL: Duration = Duration::from_millis(200);

/// Session state between its engine and the totals.
#[derive(Debug)]
pub(super) struct Session {
    totals: Arc<Totals>,
    number: usize,
    max_frame_bytes: usize,
    clock: Clock,
    source_clock: Option<ClockOffset>,
    /// Memory of frames that have been looked at.
    bodies: Vec<Vec<u8>>,
    joined: bool,
    shown: u64,
    unshowable: u64,
    summary_due: Time,
    /// Whether an account was given since the measuring began.
    measured: bool,
}

impl Session {
    /// Session `number`, counted in `totals`.
    pub(super) fn new(
        totals: Arc<Totals>,
        number: usize,
        max_frame_bytes: usize,
        clock: Clock,
    ) -> Self {
        totals.session(number).asked = Some(fanlight_daemon::clock::now());
        Self {
            totals,
            number,
            max_frame_bytes,
            clock,
            source_clock: None,
            bodies: Vec::new(),
            joined: false,
            shown: 0,
            unshowable: 0,
            summary_due: Time::default(),
            measured: false,
        }
    }

    /// Leaves the totals exact.
    pub(super) fn finish(&mut self, engine: &Engine) {
        self.account(clock::now(), engine);
    }

    fn on_frame(&mut self, arrived: ReceivedFrame) {
        let ReceivedFrame {
            topic,
            whole,
            arrived: at,
            ..
        } = arrived;

        let id = whole.id;
        let length = whole.body.len();
        let body = Bytes::from(whole.body);

        match self.checked(&topic, body.clone()) {
            Ok(frame) if frame.id == id => {
                let (age, clock) =
                    self.clock
                        .age(&Captured::of(&frame.header), at, self.source_clock);
                let rate_millihertz = frame.header.rate_millihertz;
                self.shown += 1;
                self.totals.on_delivery(
                    self.number,
                    &Delivery {
                        id,
                        at,
                        age,
                        clock,
                        bytes: length,
                        rate_millihertz,
                    },
                );
            }
            _ => {
                self.unshowable += 1;
                self.totals.session(self.number).undecodable += 1;
            }
        }

        // Nobody else holds it by now, so that this copies nothing.
        self.bodies.push(body.into());
    }

    fn checked(&self, topic: &[u8], body: Bytes) -> Result<CheckedFrame, FrameError> {
        parse_frame(topic, body, self.max_frame_bytes)
    }

    fn account(&mut self, now: Time, engine: &Engine) {
        self.measured = self.totals.is_measuring();
        self.summary_due = now + SUMMARY_INTERVAL;
        let summary = engine.summary(now);
        self.source_clock = summary.source_clock;
        self.clock.wall_offset_ns = clock::wall_offset_ns();
        self.totals
            .session(self.number)
            .on_summary(&summary, self.measured);
    }

    fn on_link_state(&self, link_state: LinkState) {
        self.totals.session(self.number).link_state = link_state;
    }
}

impl Sink for Session {
    fn take(&mut self, _now: Time, output: Output) -> ControlFlow<()> {
        match output {
            Output::Frame(arrived) => self.on_frame(arrived),
            Output::LinkState(link_state) => self.on_link_state(link_state),
            Output::Send(..)
            | Output::List(..)
            | Output::JoinGroup(..)
            | Output::LeaveGroup(_)
            | Output::Credit(..)
            | Output::Direct(_)
            | Output::Transport(..) => {}
        }
        ControlFlow::Continue(())
    }

    fn turn(&mut self, now: Time, engine: &mut Engine) -> Option<Time> {
        for body in self.bodies.drain(..) {
            engine.recycle(body);
        }

        if !self.joined && engine.joins() > 0 {
            self.joined = true;
            self.totals.session(self.number).joined = Some(now);
        }

        if self.summary_due <= now || self.measured != self.totals.is_measuring() {
            self.account(now, engine);
            // The age at presentation is not known: nothing is presented.
            engine.on_presentation(Presentation {
                shown: self.shown,
                lost: self.unshowable,
                age_us: 0,
            });
        }

        None
    }
}
