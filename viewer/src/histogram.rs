//! A histogram of durations in bounded memory.

use std::time::Duration;

/// Buckets for each doubling: a quantile is at most 1/64 above the true value.
const BUCKETS_PER_OCTAVE: usize = 64;

/// Doublings above the first 64 us: the last begins at 39 minutes.
const OCTAVES: usize = 26;

/// How long things took, in microseconds, with an error of at most 1/64 whatever the number of them.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Box<[u64; BUCKETS_PER_OCTAVE * (OCTAVES + 1)]>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: Box::new([0; BUCKETS_PER_OCTAVE * (OCTAVES + 1)]),
            count: 0,
            max: 0,
        }
    }
}

impl Histogram {
    /// Counts one.
    pub fn record(&mut self, age: Duration) {
        let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)] += 1;
        self.count += 1;
        self.max = self.max.max(micros);
    }

    /// The least duration that `hundredths` of all do not exceed; none when there are none.
    #[must_use]
    pub fn percentile(&self, hundredths: u64) -> Option<Duration> {
        let rank = (self.count * hundredths).div_ceil(100).max(1);
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_micros(upper_end(at).min(self.max)))
    }

    /// The longest, exactly; zero when there are none.
    #[must_use]
    pub const fn max(&self) -> Duration {
        Duration::from_micros(self.max)
    }

    /// How many were counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Forgets all and keeps the memory.
    pub fn clear(&mut self) {
        self.buckets.fill(0);
        self.count = 0;
        self.max = 0;
    }
}

fn bucket(micros: u64) -> usize {
    // The highest seven bits: which doubling, and where in it.
    let shift = micros
        .checked_ilog2()
        .unwrap_or(0)
        .saturating_sub(BUCKETS_PER_OCTAVE.ilog2()) as usize;
    let in_octave = usize::try_from(micros >> shift).expect("seven bits are left");
    (shift * BUCKETS_PER_OCTAVE + in_octave).min(BUCKETS_PER_OCTAVE * (OCTAVES + 1) - 1)
}

/// The largest value that falls into a bucket.
fn upper_end(bucket: usize) -> u64 {
    if bucket < 2 * BUCKETS_PER_OCTAVE {
        return bucket as u64;
    }
    let shift = bucket / BUCKETS_PER_OCTAVE - 1;
    let in_octave = bucket - shift * BUCKETS_PER_OCTAVE;
    ((in_octave as u64 + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_bucket_that_ends_at_or_just_above_it() {
        for micros in (0..1_000_000).step_by(7).chain([u64::from(u32::MAX)]) {
            let end = upper_end(bucket(micros));
            assert!(
                end >= micros && end - micros <= micros / 64,
                "{micros}: {end}"
            );
        }
    }

    #[test]
    fn percentiles_are_those_of_a_sorted_list() {
        let mut ages = Histogram::default();
        let mut sorted: Vec<u64> = (0..1000).map(|n| (n * 7919) % 50_000).collect();
        sorted
            .iter()
            .for_each(|micros| ages.record(Duration::from_micros(*micros)));
        sorted.sort_unstable();
        for hundredths in [1, 50, 95, 99, 100] {
            let exact = sorted[hundredths as usize * 10 - 1];
            let told = ages.percentile(hundredths).unwrap().as_micros() as u64;
            assert!(
                told >= exact && told <= exact + exact / 64 + 1,
                "p{hundredths}: {told}, exact {exact}"
            );
        }

        assert_eq!(ages.max(), Duration::from_micros(sorted[999]));
    }

    #[test]
    fn nothing_has_no_percentile_and_one_value_is_all_of_them() {
        let mut ages = Histogram::default();
        assert_eq!(ages.percentile(50), None);
        ages.record(Duration::from_millis(5));

        for hundredths in [0, 1, 50, 100] {
            assert_eq!(ages.percentile(hundredths), Some(Duration::from_millis(5)));
        }

        ages.record(Duration::MAX);
        assert_eq!(ages.count(), 2);
        ages.clear();
        assert_eq!((ages.percentile(50), ages.max()), (None, Duration::ZERO));
    }
}
