//! The rate of a stream or of a client, measured over the last second. Time comes in.

use std::time::Duration;

use fanlight_proto::clock::Time;

/// Frames are counted for so long before their rate is told.
const WINDOW: Duration = Duration::from_secs(1);

/// Counts how many frames a second come.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateMeter {
    since: Option<Time>,
    count: u32,
    fps: f64,
}

impl RateMeter {
    /// A frame came.
    pub fn note(&mut self, now: Time) {
        let Some(since) = self.since else {
            self.since = Some(now);
            return;
        };

        self.count += 1;
        let elapsed = now.saturating_since(since);

        if elapsed >= WINDOW {
            *self = Self {
                since: Some(now),
                count: 0,
                fps: f64::from(self.count) / elapsed.as_secs_f64(),
            };
        }
    }

    /// How many a second came lately; 0 when none has come for two seconds and for twice the time between two.
    #[must_use]
    pub fn fps(&self, now: Time) -> f64 {
        let silence = self
            .interval()
            .map_or(WINDOW, |interval| interval.max(WINDOW))
            * 2;

        let heard = self
            .since
            .is_some_and(|since| now.saturating_since(since) < silence);
        if heard { self.fps } else { 0.0 }
    }

    /// The time between two; none before the first second is over.
    #[must_use]
    pub fn interval(&self) -> Option<Duration> {
        (self.fps > 0.0).then(|| Duration::from_secs_f64(1.0 / self.fps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Time {
        Time::from_nanos(1_000_000_000 + micros * 1_000)
    }

    #[test]
    fn a_rate_is_measured_and_forgotten_when_nothing_comes() {
        let mut meter = RateMeter::default();
        (0..=50).for_each(|n| meter.note(at(n * 40_000)));
        assert!((meter.fps(at(2_000_000)) - 25.0).abs() < 0.01);
        assert_eq!(meter.interval(), Some(Duration::from_millis(40)));
        assert_eq!(meter.fps(at(4_100_000)), 0.0);
    }

    #[test]
    fn a_slow_stream_is_not_taken_for_a_silent_one() {
        let mut meter = RateMeter::default();
        (0..3).for_each(|n| meter.note(at(n * 5_000_000)));
        assert!((meter.fps(at(19_000_000)) - 0.2).abs() < 0.001);
        assert_eq!(meter.fps(at(21_000_000)), 0.0);
    }
}
