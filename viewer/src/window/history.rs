//! The frames that a window showed in the last seconds, as they were received, for a person who looks again. The window's
//! thread owns it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{FrameId, StreamName};

use crate::scene::Shown;

/// How far back it reaches.
const SPAN: Duration = Duration::from_secs(10);

/// Bytes of all JPEGs; large pictures reach less far back.
const MAX_BYTES: usize = 48 << 20;

/// Frames, however small: ten seconds of 120 a second.
const MAX_FRAMES: usize = 1200;

/// A frame that was shown.
#[derive(Clone, Debug)]
pub(super) struct Past {
    /// When it was shown.
    pub(super) at: Time,
    pub(super) stream: StreamName,
    pub(super) id: FrameId,
    pub(super) rate_millihertz: u32,
    pub(super) jpeg: Bytes,
}

/// Frames in the order in which they were shown.
#[derive(Debug, Default)]
pub(super) struct History {
    frames: VecDeque<Past>,
    bytes: usize,
}

impl History {
    /// `shown` is on the screen since `at`.
    pub(super) fn push(&mut self, at: Time, shown: &Shown) {
        self.bytes += shown.jpeg.len();
        self.frames.push_back(Past {
            at,
            stream: shown.stream.clone(),
            id: shown.id,
            rate_millihertz: shown.rate_millihertz,
            jpeg: shown.jpeg.clone(),
        });

        let is_over = |bytes: usize, frames: &VecDeque<Past>| {
            let is_old = |oldest: &Past| at.saturating_since(oldest.at) > SPAN;
            bytes > MAX_BYTES || frames.len() > MAX_FRAMES || frames.front().is_some_and(is_old)
        };
        while self.frames.len() > 1 && is_over(self.bytes, &self.frames) {
            let oldest = self.frames.pop_front();
            self.bytes -= oldest.map_or(0, |oldest| oldest.jpeg.len());
        }
    }

    /// Number of frames.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Frame `at`, from 0, the oldest.
    pub(super) fn get(&self, at: usize) -> Option<&Past> {
        self.frames.get(at)
    }

    /// The newest frame that was shown at `time` or before; else the oldest.
    pub(super) fn position(&self, time: Time) -> usize {
        let after = self.frames.partition_point(|past| past.at <= time);
        after.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Picture;

    fn shown(number: u64, bytes: usize) -> Shown {
        Shown {
            stream: "lobby".parse().unwrap(),
            id: FrameId { epoch: 1, number },
            picture: Picture::default(),
            rate_millihertz: 0,
            jpeg: Bytes::from(vec![0; bytes]),
        }
    }

    fn ms(n: u64) -> Time {
        Time::from_nanos(n * 1_000_000)
    }

    #[test]
    fn frames_of_the_last_ten_seconds_are_kept() {
        let mut history = History::default();
        for number in 0..400 {
            history.push(ms(number * 100), &shown(number, 10));
        }

        assert_eq!(history.len(), 101);
        assert_eq!(history.bytes, 1010);
        assert_eq!(history.get(0).unwrap().id.number, 299);
        let number = |at| history.get(history.position(at)).unwrap().id.number;
        assert_eq!(number(ms(39_899)), 398);
        assert_eq!(number(ms(39_900)), 399);
        assert_eq!(number(ms(0)), 299);
    }

    #[test]
    fn large_pictures_and_many_are_kept_for_less_long() {
        let mut history = History::default();
        for number in 0..100 {
            history.push(ms(number), &shown(number, 1 << 20));
            assert!(history.bytes <= MAX_BYTES);
        }
        assert_eq!(history.len(), 48);

        for number in 0..5000 {
            history.push(ms(100), &shown(number, 0));
        }
        assert_eq!(history.len(), MAX_FRAMES);
    }

    #[test]
    fn the_newest_frame_is_kept_whatever_its_size() {
        let mut history = History::default();
        history.push(ms(0), &shown(1, MAX_BYTES + 1));
        history.push(ms(1), &shown(2, MAX_BYTES + 1));
        assert_eq!(history.get(0).unwrap().id.number, 2);
        assert_eq!(history.len(), 1);
    }
}
