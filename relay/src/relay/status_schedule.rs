//! When the event loop publishes what the engine knows, for other outputs to show.

use std::time::Duration;

use fanlight_proto::clock::Time;

use crate::engine::Engine;

/// Between two, when nothing has happened to a stream.
const INTERVAL: Duration = Duration::from_millis(500);

/// The same while there are viewers, who come and go and report.
const INTERVAL_WITH_VIEWERS: Duration = Duration::from_millis(250);

/// What happens to a stream is published at once, but not more often than this.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

/// An administrator may wait for a screen to do as it was told, which a person sees: it takes a few steps, each published at
/// once, but not more often than this.
const SHORTEST_SCREEN_INTERVAL: Duration = Duration::from_millis(5);

/// The schedule.
#[derive(Debug)]
pub(super) struct StatusSchedule {
    /// Without other outputs nothing is published.
    has_outputs: bool,
    last: Time,
    /// The version of the engine's streams that was published.
    version: u64,
    /// The same of how far screens have come.
    progress: u64,
    due: Time,
}

impl StatusSchedule {
    pub(super) const fn new(has_outputs: bool) -> Self {
        Self {
            has_outputs,
            last: Time::from_nanos(0),
            version: 0,
            progress: 0,
            due: Time::from_nanos(0),
        }
    }

    /// Whether to publish now. Then the next is due later.
    pub(super) fn take_due(&mut self, now: Time, engine: &Engine) -> bool {
        if engine.state_version() != self.version {
            self.due = self.due.min(self.last + SHORTEST_INTERVAL);
        }

        if engine.screens_progress() != self.progress {
            self.due = self.due.min(self.last + SHORTEST_SCREEN_INTERVAL);
        }

        if !self.has_outputs || now < self.due {
            return false;
        }

        let interval = if engine.viewers() + engine.client_screens() > 0 {
            INTERVAL_WITH_VIEWERS
        } else {
            INTERVAL
        };

        self.last = now;
        self.version = engine.state_version();
        self.progress = engine.screens_progress();
        self.due = now.next_multiple_of(interval);
        true
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Time> {
        self.has_outputs.then_some(self.due)
    }
}

#[cfg(test)]
mod tests {
    use fanlight_live::{Arrival, LiveFrame};
    use fanlight_proto::handshake::RelayAccess;
    use fanlight_proto::limits::MAX_FRAME_BYTES;
    use fanlight_proto::message::{FrameBuffer, FrameHeader, State, parse_frame};

    use super::*;
    use crate::engine::EngineConfig;

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    /// The stream's source says at that moment that its input is in that state.
    fn hear(engine: &mut Engine, millis: u64, state: State) {
        let header = FrameHeader {
            stream: "cam".into(),
            epoch: 1,
            state: state as i32,
            ..FrameHeader::default()
        };

        let body = FrameBuffer::with_capacity(0).finish(header);
        let frame = parse_frame(b"cam/", body.clone(), MAX_FRAME_BYTES).unwrap();
        let arrival = Arrival::first(LiveFrame::new(0, frame, body, at(millis)));
        engine.on_arrival(at(millis), &arrival);
    }

    #[test]
    fn a_status_is_rare_and_comes_sooner_when_a_stream_changes() {
        let mut engine = Engine::new(EngineConfig::default(), RelayAccess::Open, [5; 32]);
        let mut schedule = StatusSchedule::new(true);
        let mut look = |engine: &Engine, millis| {
            let is_due = schedule.take_due(at(millis), engine);
            (is_due, schedule.next().unwrap().as_micros() / 1_000)
        };

        assert_eq!(look(&engine, 10), (true, 500));
        assert_eq!(look(&engine, 499), (false, 500));
        assert_eq!(look(&engine, 500), (true, 1_000));

        hear(&mut engine, 510, State::Live);
        assert_eq!(look(&engine, 510), (false, 550), "not more often than this");
        assert_eq!(look(&engine, 550), (true, 1_000));
        hear(&mut engine, 600, State::Live);
        assert_eq!(look(&engine, 600), (false, 1_000), "nothing has changed");
        hear(&mut engine, 700, State::Unplugged);
        assert_eq!(look(&engine, 700), (true, 1_000));
    }
}
