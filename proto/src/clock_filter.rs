//! The offset of a peer's clock, from clock probes that the peer answers with its time. No clock, no I/O.
//!
//! The peer reads its clock between the sending of the probe and the arrival of the answer. So one answer gives the offset
//! to within half the round trip, however unequal the two directions are. Of the last answers the one with the smallest
//! uncertainty is used: the clock filter of RFC 5905, section 10 (which calls the uncertainty dispersion), with bounds
//! instead of estimates.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Time;

/// Answers kept. At one a second the oldest has 3.2 ms of drift in its uncertainty, so that newer ones are better.
const MAX_SAMPLES: usize = 32;

/// Longest round trip that is used. A longer one is too uncertain, and may be of a connection that stalled.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(2);

/// How fast two clocks may drift apart, in nanoseconds per second (100 ppm): crystals of cheap boards are good to 50 ppm
/// each over their temperature range. RFC 5905, section 7.1, has 15 ppm for a clock that is disciplined already.
const DRIFT_NS_PER_SECOND: u128 = 100_000;

/// The offset of one peer's clock.
#[derive(Clone, Debug, Default)]
pub struct ClockFilter {
    samples: VecDeque<Sample>,
}

/// What is known of the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// The peer's clock minus ours, in nanoseconds.
    pub offset_ns: i64,
    /// The offset is right within this, as long as the clocks drift apart by no more than 100 ppm.
    pub error: Duration,
    /// Round trip of the answer that this is based on.
    pub round_trip: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    sent: Time,
    round_trip: Duration,
    offset_ns: i64,
}

impl ClockFilter {
    /// Nothing known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the answer to a question: sent and received by our clock, and the peer's clock in between. One that was
    /// received before it was sent, took longer than two seconds, or tells an offset of centuries is ignored.
    ///
    /// When it cannot be reconciled with what was known, the peer has another clock than before (its host was started
    /// anew, say), and all of that is forgotten.
    pub fn on_answer(&mut self, sent: Time, received: Time, peer: Time) {
        let Some(sample) = Sample::of(sent, received, peer) else {
            return;
        };

        if self
            .samples
            .iter()
            .any(|old| !old.agrees(&sample, received))
        {
            self.samples.clear();
        }
        if self.samples.len() == MAX_SAMPLES {
            self.samples.pop_front();
        }

        self.samples.push_back(sample);
    }

    /// The offset as well as it is known at `now`, which is not before the last answer; none before the first.
    #[must_use]
    pub fn estimate(&self, now: Time) -> Option<Estimate> {
        let best = self.samples.iter().min_by_key(|sample| sample.error(now))?;
        Some(Estimate {
            offset_ns: best.offset_ns,
            error: best.error(now),
            round_trip: best.round_trip,
        })
    }
}

/// How far two clocks may drift apart in `age`. An offset that old is so much less certain.
#[must_use]
pub fn drift(age: Duration) -> Duration {
    let nanos = (age.as_nanos() * DRIFT_NS_PER_SECOND).div_ceil(1_000_000_000);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl Sample {
    fn of(sent: Time, received: Time, peer: Time) -> Option<Self> {
        let round_trip = received.saturating_since(sent);
        if received < sent || round_trip > MAX_ROUND_TRIP {
            return None;
        }

        let middle = sent + round_trip / 2;
        let offset = i128::from(peer.as_nanos()) - i128::from(middle.as_nanos());
        // Half the range, so that the difference of two offsets fits.
        let offset_ns = i64::try_from(offset)
            .ok()
            .filter(|offset| offset.unsigned_abs() < 1 << 62)?;
        Some(Self {
            sent,
            round_trip,
            offset_ns,
        })
    }

    /// How far the offset may be from the true one at `now`: the peer read its clock up to half the round trip from the
    /// middle, and since the sending at the earliest the clocks have been parting.
    fn error(&self, now: Time) -> Duration {
        // One nanosecond for the half that rounding takes.
        self.round_trip / 2 + drift(now.saturating_since(self.sent)) + Duration::from_nanos(1)
    }

    /// Whether one clock can have given both.
    fn agrees(&self, other: &Self, now: Time) -> bool {
        let apart = Duration::from_nanos(self.offset_ns.abs_diff(other.offset_ns));
        apart <= self.error(now).saturating_add(other.error(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer whose clock was `offset` ahead of ours at our 1000 s and runs `ppm` fast.
    struct Peer {
        offset: i64,
        ppm: i64,
    }

    const START: u64 = 1_000_000_000_000;

    impl Peer {
        fn offset_at(&self, at: u64) -> i64 {
            self.offset
                + i64::try_from(i128::from(at - START) * i128::from(self.ppm) / 1_000_000).unwrap()
        }

        /// Asks at `sent`; the ways take `there` and `back`. When the answer came.
        fn asked(&self, filter: &mut ClockFilter, sent: u64, there: u64, back: u64) -> u64 {
            let read = sent + there;
            let peer = read.checked_add_signed(self.offset_at(read)).unwrap();
            filter.on_answer(
                Time::from_nanos(sent),
                Time::from_nanos(read + back),
                Time::from_nanos(peer),
            );

            read + back
        }

        fn assert_known_within(&self, filter: &ClockFilter, now: u64) -> Estimate {
            let estimate = filter.estimate(Time::from_nanos(now)).unwrap();
            let wrong = Duration::from_nanos(estimate.offset_ns.abs_diff(self.offset_at(now)));
            assert!(
                wrong <= estimate.error,
                "{wrong:?} wrong at {now}: {estimate:?}"
            );
            estimate
        }
    }

    const MS: u64 = 1_000_000;
    const SECOND: u64 = 1_000 * MS;

    /// SplitMix64.
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[test]
    fn the_answer_that_came_fastest_is_believed() {
        let (mut filter, peer) = (
            ClockFilter::new(),
            Peer {
                offset: -5_000_000_000,
                ppm: 0,
            },
        );

        assert_eq!(filter.estimate(Time::default()), None);
        peer.asked(&mut filter, START, 40 * MS, MS);
        peer.asked(&mut filter, START + SECOND, MS, MS);
        let now = peer.asked(&mut filter, START + 2 * SECOND, MS, 90 * MS);
        let estimate = peer.assert_known_within(&filter, now);
        assert_eq!(
            (estimate.offset_ns, estimate.round_trip),
            (-5_000_000_000, Duration::from_millis(2))
        );

        assert!(
            estimate.error < Duration::from_micros(1_150),
            "{estimate:?}"
        );
    }

    #[test]
    fn an_old_answer_gives_way_when_drift_has_made_it_worse_than_a_slower_one() {
        let (mut filter, peer) = (
            ClockFilter::new(),
            Peer {
                offset: 0,
                ppm: 100,
            },
        );

        peer.asked(&mut filter, START, MS, MS);
        let now = peer.asked(&mut filter, START + 20 * SECOND, 2 * MS, 2 * MS);
        let estimate = peer.assert_known_within(&filter, now);
        assert_eq!(estimate.round_trip, Duration::from_millis(4));
    }

    #[test]
    fn the_bound_holds_for_every_drift_and_jitter_of_either_way() {
        let mut state = 42;
        let mut tightest = Duration::MAX;

        for round in 0..200 {
            let offset = i64::try_from(random(&mut state) % (1 << 62)).unwrap() - (1 << 39);
            let peer = Peer {
                offset,
                ppm: i64::try_from(random(&mut state) % 201).unwrap() - 100,
            };

            let mut filter = ClockFilter::new();
            let mut now = START;

            for asked in 0..200 {
                let there = random(&mut state) % (if round % 2 == 0 { 30 * MS } else { MS });
                let back = random(&mut state) % (if round % 3 == 0 { 30 * MS } else { MS });
                now = peer.asked(&mut filter, now + SECOND / 4, there, back);
                let idle = now + random(&mut state) % SECOND;
                let estimate = peer.assert_known_within(&filter, idle);
                tightest = tightest.min(estimate.error);
                assert!(
                    asked < 8 || estimate.error < Duration::from_millis(31),
                    "{estimate:?}"
                );

                assert_eq!(
                    filter.samples.len(),
                    (asked + 1).min(MAX_SAMPLES),
                    "no answer contradicts another"
                );
            }
        }

        assert!(tightest < Duration::from_micros(50), "{tightest:?}");
    }

    #[test]
    fn a_clock_that_steps_is_a_new_clock() {
        let (mut filter, before) = (
            ClockFilter::new(),
            Peer {
                offset: 9_000_000_000_000,
                ppm: 20,
            },
        );

        for n in 0..40 {
            before.asked(&mut filter, START + n * SECOND, MS, MS);
        }

        let after = Peer {
            offset: 70_000_000,
            ppm: 20,
        };

        let now = after.asked(&mut filter, START + 41 * SECOND, 20 * MS, 9 * MS);
        after.assert_known_within(&filter, now);
        let now = after.asked(&mut filter, START + 42 * SECOND, MS, MS);
        assert!(after.assert_known_within(&filter, now).error < Duration::from_millis(2));
        assert_eq!(filter.samples.len(), 2);
    }

    #[test]
    fn absurd_answers_are_untracked() {
        let mut filter = ClockFilter::new();
        let at = |ms: u64| Time::from_nanos(START + ms * MS);
        filter.on_answer(at(10), at(9), at(9));
        filter.on_answer(at(0), at(2001), at(9));
        filter.on_answer(at(0), at(1), Time::from_nanos(u64::MAX));
        assert_eq!(filter.estimate(at(2001)), None);
        filter.on_answer(Time::default(), Time::default(), Time::default());
        assert_eq!(
            filter
                .estimate(Time::from_nanos(u64::MAX))
                .unwrap()
                .offset_ns,
            0
        );
    }
}
