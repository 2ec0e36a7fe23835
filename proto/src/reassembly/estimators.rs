//! Estimators of a stream's frame interval and parity level, from the frames that came.

use std::time::Duration;

use crate::clock::Time;
use crate::datagram::DataHeader;
use crate::parity::level_of;

/// The usual time between two frames, as their first shards come.
#[derive(Debug, Default)]
pub(super) struct Interval {
    newest: Option<(u64, Time)>,
    mean: Option<Duration>,
}

/// A pause longer than this says nothing of the rate.
const LONGEST_INTERVAL: Duration = Duration::from_secs(2);

impl Interval {
    /// The first shard of frame `number` came.
    pub(super) fn on_first(&mut self, now: Time, number: u64) {
        if let Some((former, at)) = self.newest
            && let Some(frames @ 1..) = number
                .checked_sub(former)
                .and_then(|frames| u32::try_from(frames).ok())
        {
            let sample = now.saturating_since(at) / frames;
            if sample <= LONGEST_INTERVAL {
                self.mean = Some(self.mean.map_or(sample, |mean| (mean * 7 + sample) / 8));
            }
        } else if self.newest.is_some() {
            return;
        }

        self.newest = Some((number, now));
    }

    /// Forgets the frames, not their rate: numbers begin anew.
    pub(super) const fn restart(&mut self) {
        self.newest = None;
    }

    pub(super) const fn mean(&self) -> Option<Duration> {
        self.mean
    }
}

/// The parity that this viewer is sent at present.
#[derive(Debug, Default)]
pub(super) struct Level {
    level: u8,
    number: u64,
}

/// When so many frames bring no parity of a level, it is no longer sent: the relay has changed its mind.
const LEVEL_FRAMES: u64 = 8;

impl Level {
    /// A parity shard came, whether it was needed or not.
    pub(super) fn on_parity(&mut self, header: &DataHeader) {
        let level = level_of(header.shards, header.index - header.shards);
        if level >= self.at(header.id.number) {
            *self = Self {
                level,
                number: header.id.number,
            };
        }
    }

    /// The level to expect of frame `number`; 0: none.
    pub(super) const fn at(&self, number: u64) -> u8 {
        if number.abs_diff(self.number) <= LEVEL_FRAMES {
            self.level
        } else {
            0
        }
    }
}
