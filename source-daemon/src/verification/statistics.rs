//! Statistics of a bounded history, and of all values at constant cost.

use std::collections::VecDeque;

/// The newest values, at most as many as it was made for.
#[derive(Clone, Debug)]
pub struct History<T> {
    values: VecDeque<T>,
    size: usize,
}

impl<T> History<T> {
    /// For the newest `size` values, which is at least one.
    #[must_use]
    pub const fn new(size: usize) -> Self {
        Self {
            values: VecDeque::new(),
            size,
        }
    }

    /// Adds a value in place of the oldest, once it is full.
    pub fn push(&mut self, value: T) {
        if self.values.len() >= self.size {
            self.values.pop_front();
        }
        self.values.push_back(value);
    }

    /// From the newest to the oldest.
    pub fn newest_first(&self) -> impl Iterator<Item = &T> {
        self.values.iter().rev()
    }
}

/// Count, mean, largest and standard deviation of all values so far, without keeping them. B. P. Welford, "Note on a
/// method for calculating corrected sums of squares and products", Technometrics 4 (1962): no cancellation however many.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunningStats {
    /// Values so far.
    pub count: u64,
    /// Their mean; 0 when there are none.
    pub mean: f64,
    /// The largest; 0 when there are none. No value is negative.
    pub max: f64,
    squares: f64,
}

impl RunningStats {
    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
        self.max = self.max.max(value);
    }

    /// The standard deviation of these values (of all of them, not estimated from a sample).
    #[must_use]
    pub fn deviation(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            (self.squares / self.count as f64).max(0.0).sqrt()
        }
    }
}

impl Extend<f64> for RunningStats {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.add(value));
    }
}

impl FromIterator<f64> for RunningStats {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut sum = Self::default();
        sum.extend(values);
        sum
    }
}

/// Of how many hundredths of the values each is the bound, by nearest rank: a value that did occur.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// Nineteen of twenty are not larger.
    pub p95: f64,
    /// Ninety-nine of a hundred are not larger.
    pub p99: f64,
}

impl Percentiles {
    /// Those of `values`; none when there are none.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let rank = |part: f64| {
            let rank = (part * values.len() as f64).ceil() as usize;
            values.get(rank.max(1) - 1).copied()
        };

        Some(Self {
            p50: rank(0.5)?,
            p95: rank(0.95)?,
            p99: rank(0.99)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_keeps_the_newest() {
        let mut history = History::new(3);
        (0..10).for_each(|value| history.push(value));
        assert_eq!(
            history.newest_first().copied().collect::<Vec<_>>(),
            [9, 8, 7]
        );
    }

    #[test]
    fn a_sum_is_what_two_passes_over_all_values_give() {
        let values: Vec<f64> = (0..1000).map(|n| 1e6 + f64::from(n * n % 37)).collect();
        let sum: RunningStats = values.iter().copied().collect();
        let mean = values.iter().sum::<f64>() / 1000.0;
        let deviation = (values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            / 1000.0)
            .sqrt();

        assert!(
            (sum.mean - mean).abs() < 1e-6 && (sum.deviation() - deviation).abs() < 1e-6,
            "{sum:?}"
        );

        assert_eq!((sum.count, sum.max), (1000, 1e6 + 36.0));
        assert_eq!(RunningStats::default().deviation(), 0.0);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let of = |count: u32| Percentiles::of((1..=count).rev().map(f64::from));
        assert_eq!(
            of(100),
            Some(Percentiles {
                p50: 50.0,
                p95: 95.0,
                p99: 99.0
            })
        );

        assert_eq!(
            of(1),
            Some(Percentiles {
                p50: 1.0,
                p95: 1.0,
                p99: 1.0
            })
        );

        assert_eq!(
            of(30),
            Some(Percentiles {
                p50: 15.0,
                p95: 29.0,
                p99: 30.0
            })
        );

        assert_eq!(of(0), None);
    }
}
