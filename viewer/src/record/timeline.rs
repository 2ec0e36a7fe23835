//! Places frames on the timeline of a file of constant rate.

use super::Sample;
use super::capture_clock::CaptureClock;

/// Moments on end that may pass without a frame in one file: half a day of a source that is gone, at 25 a second.
pub(super) const MAX_GAP: u64 = 1 << 20;

/// Where the next frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// After so many moments without a frame.
    After(u64),
    /// Nowhere: the moment before it is not over yet.
    Early,
}

/// Gives each frame the moment at which it was captured, within one: a clock that runs a little faster or slower than the
/// rate says, or jitters, costs no frame and makes no hole until it is a whole moment off.
#[derive(Debug)]
pub(super) struct Timeline {
    interval_ns: u64,
    /// The moment after the last frame's.
    next: u64,
    /// Of the film, once it has begun.
    clock: Option<CaptureClock>,
}

impl Timeline {
    /// `rate_millihertz` moments in a thousand seconds; not 0.
    pub(super) fn new(rate_millihertz: u32) -> Self {
        Self {
            interval_ns: interval_ns(rate_millihertz),
            next: 0,
            clock: None,
        }
    }

    /// Places the next frame, and remembers that.
    pub(super) fn place(&mut self, sample: &Sample) -> Place {
        let begin = || CaptureClock::begin(sample);
        let time = self.clock.get_or_insert_with(begin).time_ns(sample);
        let interval = i128::from(self.interval_ns);
        let ahead = time - i128::from(self.next) * interval;
        if ahead <= -interval {
            return Place::Early;
        }

        let gap = if ahead < interval {
            0
        } else {
            (ahead + interval / 2) / interval
        };

        let gap = u64::try_from(gap).unwrap_or(MAX_GAP).min(MAX_GAP);
        self.next += gap + 1;
        Place::After(gap)
    }
}

/// Nanoseconds from one moment to the next.
pub(super) fn interval_ns(rate_millihertz: u32) -> u64 {
    1_000_000_000_000 / u64::from(rate_millihertz.max(1))
}

/// The rate that these first frames came at, in thousandths of a frame a second: what their source says of itself when
/// they agree with it, else what was measured, else 25 a second.
pub(super) fn rate(samples: &[Sample]) -> u32 {
    /// So much may a source be off, in parts of a thousand: 30 for 29.97 is meant, 30 for 25 is not.
    const TOLERANCE: u64 = 20;
    const UNKNOWN: u32 = 25_000;
    let stated = samples.first().map_or(0, |sample| sample.rate_millihertz);
    let measured = measured(samples);

    match (stated, measured) {
        (0, measured) => measured.unwrap_or(UNKNOWN),
        (stated, Some(measured))
            if u64::from(stated.abs_diff(measured)) * 1000 > u64::from(stated) * TOLERANCE =>
        {
            measured
        }
        (stated, _) => stated,
    }
}

/// The median of what each two frames say that follow one another.
fn measured(samples: &[Sample]) -> Option<u32> {
    let pairs = samples
        .windows(2)
        .filter(|pair| pair[0].id.epoch == pair[1].id.epoch);
    let mut intervals: Vec<u64> = pairs
        .filter_map(|pair| {
            let numbers = pair[1]
                .id
                .number
                .checked_sub(pair[0].id.number)
                .filter(|numbers| *numbers > 0)?;

            pair[1]
                .captured_ns
                .checked_sub(pair[0].captured_ns)
                .map(|length| length / numbers)
        })
        .filter(|interval| *interval > 0)
        .collect();

    intervals.sort_unstable();
    let median = *intervals.get(intervals.len() / 2)?;
    u32::try_from(1_000_000_000_000 / median)
        .ok()
        .filter(|rate| *rate > 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use fanlight_proto::clock::Time;
    use fanlight_proto::message::FrameId;

    use super::*;

    fn sample(epoch: u64, number: u64, captured_us: u64) -> Sample {
        Sample {
            stream: "cam".parse().unwrap(),
            id: FrameId { epoch, number },
            captured_ns: captured_us * 1000,
            rate_millihertz: 30_000,
            at: Time::from_nanos(0)
                + Duration::from_secs(1000)
                + Duration::from_micros(captured_us),
            jpeg: Bytes::new(),
            marker: None,
            figures: String::new(),
        }
    }

    fn places(samples: impl IntoIterator<Item = Sample>) -> (Vec<Place>, u64) {
        let mut timeline = Timeline::new(30_000);
        (
            samples
                .into_iter()
                .map(|sample| timeline.place(&sample))
                .collect(),
            timeline.next,
        )
    }

    #[test]
    fn frames_that_jitter_by_less_than_a_frame_follow_one_another() {
        let jitter = [0, 9_000, -9_000, 30_000, 20_000, -1_000];
        let samples = (0..600).map(|n| {
            sample(
                1,
                n,
                (n * 33_333).saturating_add_signed(jitter[n as usize % 6]),
            )
        });

        let (places, moments) = places(samples);
        assert!(
            places.iter().all(|place| *place == Place::After(0)),
            "{places:?}"
        );

        assert_eq!(moments, 600);
    }

    #[test]
    fn lost_frames_leave_their_moments_empty() {
        let (places, moments) = places([0, 1, 4, 5].map(|n| sample(1, n, n * 33_333)));
        assert_eq!(
            places,
            [
                Place::After(0),
                Place::After(0),
                Place::After(2),
                Place::After(0)
            ]
        );

        assert_eq!(moments, 6);
    }

    #[test]
    fn a_source_that_runs_slower_or_faster_than_it_says_plays_as_long_as_it_ran() {
        for interval_us in [66_666, 40_000, 34_000, 33_000, 20_000, 8_333] {
            let count = 20_000_000 / interval_us;
            let (_, moments) = places((0..count).map(|n| sample(1, n, n * interval_us)));
            let played_us = moments * 33_333;
            assert!(
                played_us.abs_diff(count * interval_us) <= 2 * 33_334,
                "{interval_us}: {played_us}"
            );
        }
    }

    #[test]
    fn a_restarted_source_goes_on_when_it_is_seen_whatever_its_clock_says() {
        let mut second = sample(2, 0, 2_000_000);
        second.captured_ns = 7;
        let mut third = sample(2, 1, 2_033_333);
        third.captured_ns = 7 + 33_333_000;
        let (places, moments) = places([sample(1, 0, 0), sample(1, 1, 33_333), second, third]);
        assert_eq!(places[2..], [Place::After(58), Place::After(0)]);
        assert_eq!(moments, 62);
    }

    #[test]
    fn a_clock_that_jumps_makes_no_endless_file() {
        let mut far = sample(1, 1, 0);
        far.captured_ns = u64::MAX;
        let (places, _) = places([sample(1, 0, 0), far]);
        assert_eq!(places[1], Place::After(MAX_GAP));
    }

    #[test]
    fn the_rate_is_what_the_source_says_unless_its_frames_say_otherwise() {
        let every = |interval_us: u64, told: u32| {
            let told = |sample| Sample {
                rate_millihertz: told,
                ..sample
            };
            (0..8)
                .map(|n| told(sample(1, n, n * interval_us)))
                .collect::<Vec<_>>()
        };

        assert_eq!(rate(&every(33_366, 30_000)), 30_000);
        assert_eq!(rate(&every(66_666, 30_000)), 15_000);
        assert_eq!(rate(&every(40_000, 0)), 25_000);
        assert_eq!(rate(&every(0, 0)), 25_000);
        assert_eq!(rate(&[]), 25_000);
        let thinned: Vec<_> = (0..8).map(|n| sample(1, 2 * n, 2 * n * 33_333)).collect();
        assert_eq!(
            rate(&thinned),
            30_000,
            "frames that were left out still count"
        );
    }
}
