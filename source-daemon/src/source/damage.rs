//! Which pictures that pass untouched are decoded, to find out whether they can be. A viewer shows no damaged picture, but a
//! browser draws what is left of one and takes it for whole, so damaged pictures must not leave the source. Shared by the
//! capture thread, which publishes such pictures, and the preparing thread, which looks at samples of them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use fanlight_proto::clock::Time;

/// Time between two samples. With the time after which the reason is told
/// ([`UNUSABLE_LIMIT`](crate::supervisor::UNUSABLE_LIMIT)) that is less than the 1.5 s of promise P32.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// For so long after a damaged picture each one is decoded before it is published.
const SUSPECT_FOR: Duration = Duration::from_secs(10);

/// Decides which pictures of one stream are decoded.
#[derive(Debug)]
pub(super) struct DamageWatch {
    /// Until when each picture is decoded; for ever before the first one was found whole.
    suspect_until: AtomicU64,
    next_sample: AtomicU64,
}

impl Default for DamageWatch {
    fn default() -> Self {
        Self {
            suspect_until: AtomicU64::new(u64::MAX),
            next_sample: AtomicU64::new(0),
        }
    }
}

impl DamageWatch {
    /// Whether a picture of this moment has to be decoded before it is published.
    pub(super) fn is_suspect(&self, at: Time) -> bool {
        at.as_nanos() < self.suspect_until.load(Relaxed)
    }

    /// Whether a picture of this moment that was published is to be decoded afterwards. To be asked by one thread.
    pub(super) fn takes_sample(&self, at: Time) -> bool {
        let takes = !self.is_suspect(at) && at.as_nanos() >= self.next_sample.load(Relaxed);
        if takes {
            let next = at + SAMPLE_INTERVAL;
            self.next_sample.store(next.as_nanos(), Relaxed);
        }
        takes
    }

    /// A picture was decoded at this moment.
    pub(super) fn on_decoded(&self, at: Time, is_whole: bool) {
        if !is_whole {
            let until = at + SUSPECT_FOR;
            self.suspect_until.store(until.as_nanos(), Relaxed);
        } else if self.suspect_until.load(Relaxed) == u64::MAX {
            self.suspect_until.store(0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn the_first_picture_is_decoded_before_it_is_published_and_then_two_a_second_afterwards() {
        let watch = DamageWatch::default();
        assert!(watch.is_suspect(at(0)) && !watch.takes_sample(at(0)));
        watch.on_decoded(at(0), true);

        let samples: Vec<u64> = (0..2000)
            .step_by(100)
            .filter(|millis| !watch.is_suspect(at(*millis)) && watch.takes_sample(at(*millis)))
            .collect();
        assert_eq!(samples, [0, 500, 1000, 1500]);
    }

    #[test]
    fn after_a_damaged_picture_each_is_decoded_until_none_was_damaged_for_ten_seconds() {
        let watch = DamageWatch::default();
        watch.on_decoded(at(0), true);
        watch.on_decoded(at(500), false);
        watch.on_decoded(at(600), true);
        assert!(watch.is_suspect(at(600)) && !watch.takes_sample(at(5000)));

        watch.on_decoded(at(5000), false);
        assert!(watch.is_suspect(at(14_999)));
        assert!(!watch.is_suspect(at(15_000)) && watch.takes_sample(at(15_000)));
    }
}
