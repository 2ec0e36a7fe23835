//! The ages of frames over all viewers, and frame by frame at the first and the last viewer that got it.

use std::collections::VecDeque;
use std::time::Duration;

use fanlight_proto::message::FrameId;

use crate::stats::Ages;

/// Frames that may still come to a viewer: with repairs and pauses one is on its way for no more than a second.
const FRAMES_UNDER_WAY: usize = 64;

/// See the module. Memory is bounded, whatever comes.
#[derive(Debug, Default)]
pub(super) struct Fan {
    /// Of each frame at each viewer.
    pub(super) all: Ages,
    /// Of each frame at the viewer that had it first.
    pub(super) first: Ages,
    /// Of each frame at the viewer that had it last.
    pub(super) last: Ages,
    /// From the first to the last viewer of each frame.
    pub(super) spread: Ages,
    /// As `all`, since the latest line.
    pub(super) second: Ages,
    under_way: VecDeque<UnderWay>,
    /// The newest frame that is settled.
    settled: Option<FrameId>,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    id: FrameId,
    first: Duration,
    last: Duration,
}

impl Fan {
    /// A viewer has frame `id`, which is `age` old.
    pub(super) fn record(&mut self, id: FrameId, age: Duration) {
        self.all.record(age);
        self.second.record(age);
        // Most often it is the newest.
        if let Some(frame) = self.under_way.iter_mut().rev().find(|frame| frame.id == id) {
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
        if self.under_way.len() == FRAMES_UNDER_WAY {
            self.settle_oldest();
        }
        self.under_way.push_back(UnderWay {
            id,
            first: age,
            last: age,
        });
    }

    /// Takes what is under way for settled; the newest frame, which may still come to some, does not count.
    pub(super) fn end(&mut self) {
        self.under_way.pop_back();
        while !self.under_way.is_empty() {
            self.settle_oldest();
        }
    }

    fn settle_oldest(&mut self) {
        if let Some(UnderWay { id, first, last }) = self.under_way.pop_front() {
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
        let mut fan = Fan::default();
        for number in 0..200 {
            // Another viewer is first each time.
            for viewer in 0..4 {
                fan.record(FrameId { epoch: 1, number }, ms(5 + (viewer + number) % 4));
            }
        }
        fan.end();
        assert_eq!(fan.all.count(), 800);
        assert_eq!(
            [&fan.first, &fan.last, &fan.spread].map(Ages::count),
            [199; 3]
        );
        assert_eq!(
            [&fan.first, &fan.last, &fan.spread].map(Ages::max),
            [ms(5), ms(8), ms(3)]
        );
    }

    #[test]
    fn a_frame_that_is_settled_does_not_begin_anew() {
        let mut fan = Fan::default();
        let frames = FRAMES_UNDER_WAY as u64 + 10;
        (0..frames).for_each(|number| fan.record(FrameId { epoch: 1, number }, ms(1)));
        fan.record(
            FrameId {
                epoch: 1,
                number: 3,
            },
            ms(900),
        );
        assert_eq!(fan.under_way.len(), FRAMES_UNDER_WAY);
        fan.end();
        assert_eq!(
            (fan.first.max(), fan.last.max(), fan.all.max()),
            (ms(1), ms(1), ms(900))
        );
        fan.record(
            FrameId {
                epoch: 2,
                number: 0,
            },
            ms(2),
        );
        assert_eq!(
            fan.under_way.len(),
            1,
            "another run of the source counts from 0 again"
        );
    }
}
