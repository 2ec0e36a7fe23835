//! What was published of one stream, frame by frame, and what is truly in it.

use std::collections::VecDeque;

use fanlight_proto::clock::Time;
use fanlight_proto::message::Ball;

/// Frames of one stream that are remembered: more than two minutes at 30 frames a second, which no answer takes.
pub const MAX_FRAMES: usize = 4096;

/// One frame as it was published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PublishedFrame {
    /// Its number.
    pub number: u64,
    /// When it was handed to the publisher.
    pub at: Time,
    /// From its capture until then, in microseconds.
    pub prepared_us: u32,
    /// Where the ball is in it, in pixels of the coded picture; none when nobody knows.
    pub ball: Option<Ball>,
}

/// The newest [`MAX_FRAMES`] frames of one run of one stream. Each has an ordinal: frames published before it in this
/// run, those that are forgotten included.
#[derive(Debug)]
pub struct GroundTruth {
    epoch: u64,
    frames: VecDeque<PublishedFrame>,
    /// The ordinal of the oldest frame remembered.
    first: u64,
}

/// What is known of a frame's number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FrameLookup {
    /// It was published, as this ordinal.
    Found(u64, PublishedFrame),
    /// It may have been published, but too long ago.
    Expired,
    /// It never was.
    Unknown,
}

impl GroundTruth {
    /// Before the first frame of the run `epoch`.
    #[must_use]
    pub const fn new(epoch: u64) -> Self {
        Self {
            epoch,
            frames: VecDeque::new(),
            first: 0,
        }
    }

    /// The run that these frames are of.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// A frame is about to be published. Its number and its time are not before those of the last one; one whose number
    /// is not new is passed over.
    pub fn on_published(&mut self, frame: PublishedFrame) {
        if self
            .frames
            .back()
            .is_some_and(|newest| newest.number >= frame.number)
        {
            return;
        }
        if self.frames.len() == MAX_FRAMES {
            self.frames.pop_front();
            self.first += 1;
        }

        self.frames.push_back(frame);
    }

    /// Frames published in this run.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// What is known of frame `number`.
    #[must_use]
    pub fn find(&self, number: u64) -> FrameLookup {
        let index = self.frames.partition_point(|frame| frame.number < number);
        match self.frames.get(index) {
            Some(frame) if frame.number == number => {
                FrameLookup::Found(self.first + index as u64, *frame)
            }
            Some(_) if index == 0 && self.first > 0 => FrameLookup::Expired,
            _ => FrameLookup::Unknown,
        }
    }

    /// How many frames of this run had been published by `moment`; never less than are forgotten.
    #[must_use]
    pub fn published_by(&self, moment: Time) -> u64 {
        self.first + self.frames.partition_point(|frame| frame.at <= moment) as u64
    }

    /// When the frame of this ordinal was published, or the oldest that is remembered in its place; none when it is yet to
    /// come.
    #[must_use]
    pub fn published_at(&self, ordinal: u64) -> Option<Time> {
        let index = usize::try_from(ordinal.saturating_sub(self.first)).ok()?;
        self.frames.get(index).map(|frame| frame.at)
    }

    /// When the oldest remembered frame after `moment` was published.
    #[must_use]
    pub fn first_after(&self, moment: Time) -> Option<Time> {
        self.published_at(self.published_by(moment))
    }

    /// Whether the newest frame has a ball that is known.
    #[must_use]
    pub fn has_truth(&self) -> bool {
        self.frames.back().is_some_and(|frame| frame.ball.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u64) -> PublishedFrame {
        let ball = Some(Ball {
            x: number as f32,
            y: 1.0,
            radius: 2.0,
        });

        PublishedFrame {
            number,
            at: Time::from_nanos(number * 10),
            prepared_us: 3,
            ball,
        }
    }

    /// Every third number was published.
    fn truths(count: u64) -> GroundTruth {
        let mut truths = GroundTruth::new(7);
        (0..count).for_each(|index| truths.on_published(frame(index * 3)));
        truths
    }

    #[test]
    fn a_frame_is_found_by_its_number_and_a_gap_is_not() {
        let truths = truths(10);
        assert_eq!(truths.find(9), FrameLookup::Found(3, frame(9)));
        assert_eq!(
            [truths.find(10), truths.find(28), truths.find(u64::MAX)],
            [FrameLookup::Unknown; 3]
        );
        assert_eq!(truths.total(), 10);
    }

    #[test]
    fn the_ring_forgets_the_oldest_and_keeps_its_bound() {
        let count = MAX_FRAMES as u64 + 100;
        let truths = truths(count);
        assert_eq!(truths.frames.len(), MAX_FRAMES);
        assert_eq!(truths.total(), count);
        assert_eq!(
            (truths.find(0), truths.find(297)),
            (FrameLookup::Expired, FrameLookup::Expired)
        );

        assert_eq!(truths.find(300), FrameLookup::Found(100, frame(300)));
        assert_eq!(
            truths.published_at(0),
            Some(frame(300).at),
            "the oldest stands for those before it"
        );
    }

    #[test]
    fn a_number_that_is_not_new_is_untracked() {
        let mut truths = truths(4);
        truths.on_published(frame(9));
        truths.on_published(frame(1));
        assert_eq!(truths.total(), 4);
    }

    #[test]
    fn frames_are_counted_by_the_time_they_were_published() {
        let truths = truths(10);
        assert_eq!(truths.published_by(Time::from_nanos(89)), 3);
        assert_eq!(truths.published_by(Time::from_nanos(90)), 4);
        assert_eq!(
            truths.first_after(Time::from_nanos(90)),
            Some(Time::from_nanos(120))
        );

        assert_eq!(truths.first_after(Time::from_nanos(270)), None);
        assert_eq!(truths.published_at(10), None);
    }
}
