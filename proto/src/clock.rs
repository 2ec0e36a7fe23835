//! Time as a value. Nothing here reads a clock: the caller supplies the time.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment in nanoseconds since an arbitrary origin that all values in one program share. In life the origin is that
/// of CLOCK_MONOTONIC (clock_gettime(2)), so that the programs of one host can compare moments; in a simulation it is
/// whatever the simulation says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The moment `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole microseconds since the origin.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// The first multiple of `interval` after this. Periodic work that is due at such moments shares one wake-up of the
    /// program's loop.
    ///
    /// # Panics
    /// When `interval` is zero.
    #[must_use]
    pub fn next_multiple_of(self, interval: Duration) -> Self {
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        Self((self.0 / interval + 1).saturating_mul(interval))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates after 584 years.
    fn add(self, length: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    /// Saturates at the origin.
    fn sub(self, length: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_never_lies_before_the_origin() {
        assert_eq!(
            Time::from_nanos(5) - Duration::from_secs(1),
            Time::default()
        );

        assert_eq!(
            Time::from_nanos(5).saturating_since(Time::from_nanos(9)),
            Duration::ZERO
        );
    }

    #[test]
    fn beats_of_an_interval_fall_on_those_of_its_parts() {
        let (whole, half) = (Duration::from_secs(1), Duration::from_millis(500));
        let beat = |nanos, interval| {
            Time::from_nanos(nanos)
                .next_multiple_of(interval)
                .as_nanos()
        };

        assert_eq!(
            (
                beat(0, half),
                beat(499_999_999, half),
                beat(500_000_000, half)
            ),
            (500_000_000, 500_000_000, 1_000_000_000)
        );

        assert_eq!(beat(500_000_001, whole), beat(500_000_000, half));
        assert_eq!(beat(u64::MAX, whole), u64::MAX);
    }
}
