//! The clock of a node: it runs from an origin and at a speed of its own.

use std::time::Duration;

use fanlight_proto::clock::Time;

/// Parts in a million.
const MILLION: i128 = 1_000_000;

/// What a node reads where the world's time is `t`: offset + t × (1 + drift).
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// What it showed when the world began.
    pub offset: Duration,
    /// How much faster than the world it runs, in millionths.
    pub drift_ppm: i32,
    /// CLOCK_REALTIME minus this clock, in nanoseconds: what a source tells people, and nobody decides by.
    pub wall_offset_ns: i64,
}

impl Clock {
    /// What the clock shows at the world's `moment`.
    #[must_use]
    pub fn read(&self, moment: Duration) -> Time {
        let true_ns = i128::try_from(moment.as_nanos()).expect("no world lasts for 10^22 years");
        let run = true_ns + true_ns * i128::from(self.drift_ppm) / MILLION;
        let origin =
            u64::try_from(self.offset.as_nanos()).expect("an origin is a boot within 584 years");
        Time::from_nanos(origin) + Duration::from_nanos(u64::try_from(run).unwrap_or(0))
    }

    /// The first moment of the world at which the clock shows `time` or more.
    #[must_use]
    pub fn moment(&self, time: Time) -> Duration {
        let run = i128::from(time.as_nanos())
            - i128::try_from(self.offset.as_nanos()).unwrap_or(i128::MAX);
        let near = run.max(0) * MILLION / (MILLION + i128::from(self.drift_ppm));
        let mut moment = Duration::from_nanos(u64::try_from(near).unwrap_or(u64::MAX));
        while self.read(moment) < time {
            moment += Duration::from_nanos(1);
        }

        moment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_woken_neither_early_nor_late() {
        for drift_ppm in [-500, -1, 0, 3, 500] {
            let clock = Clock {
                offset: Duration::from_secs(1 << 30),
                drift_ppm,
                wall_offset_ns: 0,
            };

            for nanos in [0, 1, 999, 1_000_000_007, 86_400_000_000_001] {
                let due = Time::from_nanos((1 << 30) * 1_000_000_000) + Duration::from_nanos(nanos);
                let moment = clock.moment(due);
                assert!(clock.read(moment) >= due);
                assert!(moment.is_zero() || clock.read(moment - Duration::from_nanos(1)) < due);
            }
        }
    }
}
