//! How long a viewer's keep-alives waited on their way: in the socket of a relay that stood still, or in a queue of the
//! network. What they say is of the time before that. Used by `delivery` for each viewer.

use std::time::Duration;

use fanlight_proto::clock::Time;

/// The fastest keep-alive of the last one to two of these is taken to have waited nowhere. As long as a path that has become
/// longer, or a viewer's clock that was set, is taken for waiting.
const SPAN: Duration = Duration::from_secs(5);

/// Compares the clocks of both ends over the keep-alives of one session.
#[derive(Debug, Default)]
pub(super) struct WaitEstimator {
    newest_sent_us: u64,
    /// The least difference of the clocks, in microseconds: in this span, and in the one before.
    least: [Option<i64>; 2],
    span_end: Time,
}

impl WaitEstimator {
    /// A keep-alive came that was sent at `sent_us` by the viewer's clock. Returns how long it waited.
    pub(super) fn on_keep_alive(&mut self, now: Time, sent_us: u64) -> Duration {
        // Of a clock that stands still nothing can be told.
        if sent_us <= self.newest_sent_us {
            return Duration::ZERO;
        }

        self.newest_sent_us = sent_us;
        if now >= self.span_end {
            self.span_end = now + SPAN;
            self.least = [None, self.least[0]];
        }

        let took = now.as_micros().wrapping_sub(sent_us).cast_signed();
        self.least[0] = Some(self.least[0].map_or(took, |least| least.min(took)));
        let least = self.least.into_iter().flatten().min().unwrap_or(took);
        Duration::from_micros(took.abs_diff(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The viewer's clock is far from the relay's.
    const OFFSET_US: u64 = 9_000_000_000;

    fn waited(estimator: &mut WaitEstimator, sent_ms: u64, came_ms: u64) -> u128 {
        let now = Time::default() + Duration::from_millis(came_ms);
        let waited = estimator.on_keep_alive(now, OFFSET_US + sent_ms * 1000);
        waited.as_millis()
    }

    #[test]
    fn what_a_relay_that_stood_still_finds_in_its_socket_has_waited() {
        let mut estimator = WaitEstimator::default();
        for sent in (0..3000).step_by(250) {
            assert_eq!(waited(&mut estimator, sent, sent + 20), 0);
        }

        // It stood still for two seconds.
        for sent in (3000..5000).step_by(250) {
            let wait = u128::from(5020 - sent - 20);
            assert_eq!(waited(&mut estimator, sent, 5020), wait);
        }
        assert_eq!(waited(&mut estimator, 5000, 5020), 0);
    }

    #[test]
    fn a_longer_path_is_waiting_for_ten_seconds_at_most() {
        let mut estimator = WaitEstimator::default();
        waited(&mut estimator, 0, 20);
        assert_eq!(waited(&mut estimator, 1000, 1120), 100);
        for sent in (2000..12_000).step_by(250) {
            waited(&mut estimator, sent, sent + 120);
        }
        assert_eq!(waited(&mut estimator, 12_000, 12_120), 0);
    }

    #[test]
    fn a_clock_that_stands_still_says_nothing() {
        let mut estimator = WaitEstimator::default();
        assert_eq!(waited(&mut estimator, 5, 20), 0);
        assert_eq!(waited(&mut estimator, 5, 9000), 0);
    }
}
