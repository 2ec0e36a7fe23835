//! The ages of frames over all viewers, and of each frame at the first and the last viewer that got it.

use std::collections::VecDeque;
use std::time::Duration;

use fanlight_proto::message::FrameId;

use fanlight_viewer::stats::Histogram;

/// Frames that may still come to a viewer: with repairs and pauses one is on its way for no more than a second.
const MAX_IN_FLIGHT: usize = 64;

/// Ages by frame and viewer. Memory is bounded, whatever comes.
#[derive(Debug, Default)]
pub(super) struct FanOut {
    /// Of each frame at each viewer.
    pub(super) all: Histogram,
    /// Of each frame at the viewer that had it first.
    pub(super) first: Histogram,
    /// Of each frame at the viewer that had it last.
    pub(super) last: Histogram,
    /// From the first to the last viewer of each frame.
    pub(super) spread: Histogram,
    /// As `all`, since the latest line.
    pub(super) second: Histogram,
    in_flight: VecDeque<InFlight>,
    /// The newest frame that is settled.
    settled: Option<FrameId>,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    id: FrameId,
    first: Duration,
    last: Duration,
}

impl FanOut {
    /// A viewer has frame `id`, which is `age` old.
    pub(super) fn record(&mut self, id: FrameId, age: Duration) {
        self.all.record(age);
        self.second.record(age);

        // Most often it is the newest.
        if let Some(frame) = self.in_flight.iter_mut().rev().find(|frame| frame.id == id) {
            frame.first = frame.first.min(age);
            frame.last = frame.last.max(age);
            return;
        }

        if self
            .settled
            .is_some_and(|settled| settled.epoch == id.epoch && id.number <= settled.number)
        {
            return;
        }
        if self.in_flight.len() == MAX_IN_FLIGHT {
            self.settle_oldest();
        }

        self.in_flight.push_back(InFlight {
            id,
            first: age,
            last: age,
        });
    }

    /// Takes what is under way for settled; the newest frame, which may still come to some, does not count.
    pub(super) fn end(&mut self) {
        self.in_flight.pop_back();
        while !self.in_flight.is_empty() {
            self.settle_oldest();
        }
    }

    fn settle_oldest(&mut self) {
        if let Some(InFlight { id, first, last }) = self.in_flight.pop_front() {
            self.first.record(first);
            self.last.record(last);
            self.spread.record(last.saturating_sub(first));
            self.settled = Some(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_and_the_last_viewer_are_told_frame_by_frame() {
        let mut fan_out = FanOut::default();
        for number in 0..200 {
            // Another viewer is first each time.
            for viewer in 0..4 {
                fan_out.record(FrameId { epoch: 1, number }, ms(5 + (viewer + number) % 4));
            }
        }

        fan_out.end();
        assert_eq!(fan_out.all.count(), 800);
        assert_eq!(
            [&fan_out.first, &fan_out.last, &fan_out.spread].map(Histogram::count),
            [199; 3]
        );

        assert_eq!(
            [&fan_out.first, &fan_out.last, &fan_out.spread].map(Histogram::max),
            [ms(5), ms(8), ms(3)]
        );
    }

    #[test]
    fn a_frame_that_is_settled_does_not_begin_anew() {
        let mut fan_out = FanOut::default();
        let frames = MAX_IN_FLIGHT as u64 + 10;
        (0..frames).for_each(|number| fan_out.record(FrameId { epoch: 1, number }, ms(1)));
        fan_out.record(
            FrameId {
                epoch: 1,
                number: 3,
            },
            ms(900),
        );

        assert_eq!(fan_out.in_flight.len(), MAX_IN_FLIGHT);
        fan_out.end();
        assert_eq!(
            (fan_out.first.max(), fan_out.last.max(), fan_out.all.max()),
            (ms(1), ms(1), ms(900))
        );

        fan_out.record(
            FrameId {
                epoch: 2,
                number: 0,
            },
            ms(2),
        );

        assert_eq!(
            fan_out.in_flight.len(),
            1,
            "another run of the source counts from 0 again"
        );
    }
}
