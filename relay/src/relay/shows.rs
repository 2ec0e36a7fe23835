//! What the event loop leaves for the HTTP side, after the viewers have been served.

use std::sync::Arc;
use std::time::Duration;

use fanlight_proto::clock::Time;

use crate::board::{Board, Picture};
use crate::engine::{Arrival, Engine};

/// How often the HTTP side is told what the engine knows, when nothing has happened to a stream.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

/// The same while viewers come and go, and tell what they have seen.
const WATCHED_INTERVAL: Duration = Duration::from_millis(250);

/// What happens to a stream is told at once, but not more often than this.
const NEWS_INTERVAL: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug)]
pub(super) struct Shows {
    /// None when there is no HTTP: then nothing is done.
    board: Option<Arc<Board>>,
    /// When there was a status last, the engine's news of then, and when the next is due.
    counted: Time,
    told: u64,
    due: Time,
    /// Frames that have gone to the fan-out and not to the board: one or two a stream.
    fresh: Vec<Arrival>,
}

impl Shows {
    /// What is shown on `board`, if there is one.
    pub(super) const fn new(board: Option<Arc<Board>>) -> Self {
        let (counted, due) = (Time::from_nanos(0), Time::from_nanos(0));
        Self {
            board,
            counted,
            told: 0,
            due,
            fresh: Vec::new(),
        }
    }

    /// Whether it is enough to look at what comes as often as a status is due: while nobody watches but over HTTP.
    pub(super) fn suffice(&self, engine: &Engine) -> bool {
        self.board.is_some() && engine.viewers() == 0
    }

    /// Keeps a frame that goes to the viewers now.
    pub(super) fn keep(&mut self, arrival: Arrival) {
        if self.board.is_some() && !arrival.frame.jpeg.is_empty() && !arrival.shown {
            self.fresh.push(arrival);
        }
    }

    /// Leaves the frames that were kept, but for those that `engine` refused.
    pub(super) fn frames(&mut self, now: Time, engine: &Engine) {
        let Some(board) = &self.board else { return };
        for arrival in self
            .fresh
            .drain(..)
            .filter(|arrival| engine.carries(arrival))
        {
            let captured_us = engine.captured_us(now, &arrival);
            board.count(&arrival, captured_us);
            board.post(Picture::new(&arrival, captured_us));
        }
    }

    /// Leaves a status when it is due, and says when the next is.
    pub(super) fn status(&mut self, now: Time, engine: &Engine) -> Option<Time> {
        let board = self.board.as_ref()?;
        if engine.state_version() != self.told {
            self.due = self.due.min(self.counted + NEWS_INTERVAL);
        }
        if now >= self.due {
            let interval = if engine.viewers() > 0 {
                WATCHED_INTERVAL
            } else {
                STATUS_INTERVAL
            };
            (self.counted, self.told, self.due) =
                (now, engine.state_version(), now.next_multiple_of(interval));
            board.post_status(engine.status(now));
        }
        Some(self.due)
    }

    /// Waits for news of who watches over HTTP.
    pub(super) async fn demanded(&self) {
        match &self.board {
            Some(board) => board.demanded().await,
            None => std::future::pending().await,
        }
    }

    /// Tells `engine` who watches over HTTP.
    pub(super) fn take_demand(&self, now: Time, engine: &mut Engine) {
        while let Some((stream, clients)) =
            self.board.as_ref().and_then(|board| board.take_demand())
        {
            engine.on_clients(now, &stream, clients);
        }
    }
}

#[cfg(test)]
mod tests {
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
        let received = at(millis);
        let arrival = Arrival {
            origin: 0,
            frame,
            body,
            received,
            superseded: 0,
            unwatched: 0,
            shown: false,
        };
        engine.on_arrival(received, &arrival);
    }

    #[test]
    fn a_census_is_rare_and_hastens_when_a_stream_has_news() {
        let (board, mut engine) = (
            Arc::<Board>::default(),
            Engine::new(EngineConfig::default(), RelayAccess::Open, [5; 32]),
        );
        let mut shows = Shows::new(Some(Arc::clone(&board)));
        let mut look = |engine: &Engine, millis| {
            let due = shows.status(at(millis), engine).unwrap();
            (board.take().status.is_some(), due.as_micros() / 1_000)
        };
        assert_eq!(look(&engine, 10), (true, 500));
        assert_eq!(look(&engine, 499), (false, 500));
        assert_eq!(look(&engine, 500), (true, 1_000));
        hear(&mut engine, 510, State::Live);
        assert_eq!(
            look(&engine, 510),
            (false, 550),
            "who changes all the time is told of so often"
        );
        assert_eq!(look(&engine, 550), (true, 1_000));
        hear(&mut engine, 600, State::Live);
        assert_eq!(look(&engine, 600), (false, 1_000), "that is no news");
        hear(&mut engine, 700, State::Unplugged);
        assert_eq!(look(&engine, 700), (true, 1_000));
    }
}
