//! How much parity one viewer gets with each frame: as much as its own reports of lost shards ask for,
//! none on a clean link.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::Report;

/// The part of shards lost from which on each level is needed. Without repair one lost shard spoils a
/// frame of 84: 0.3 % is a frame in four. 10 % of parity recovers 3 % of random loss, 20 % recovers 8 %,
/// with room for bursts.
const LEVEL_LOSS: [f64; 3] = [0.003, 0.03, 0.08];

/// A level is left after so long without need for it: loss comes in bursts, and parity that comes a second
/// late helps nobody.
const STEP_DOWN_AFTER: Duration = Duration::from_secs(10);

/// A path that loses more than this part of all shards is too narrow, with or without parity.
const MAX_RECOVERABLE_LOSS: f64 = 0.1;

/// The level of parity of one viewer.
#[derive(Debug, Default)]
pub(super) struct ParityController {
    level: u8,
    expected: u64,
    missed: u64,
    /// Since when reports ask for less.
    calm_since: Option<Time>,
}

impl ParityController {
    /// 0: none, to 3.
    pub(super) const fn level(&self) -> u8 {
        self.level
    }

    /// Takes the viewer's report: up at once, down one level after [`STEP_DOWN_AFTER`]. Returns whether
    /// parity begins, so that the frames lost so far say nothing of what will be lost.
    pub(super) fn on_report(&mut self, now: Time, report: &Report) -> bool {
        let expected = report.shards_expected.saturating_sub(self.expected);
        let missed = report.shards_missed.saturating_sub(self.missed);
        self.expected = report.shards_expected;
        self.missed = report.shards_missed;

        if expected == 0 {
            return false;
        }

        let loss = missed as f64 / expected as f64;
        let wanted = LEVEL_LOSS
            .iter()
            .fold(0, |level, needed| level + u8::from(loss >= *needed));
        if wanted >= self.level {
            let begins = self.level == 0 && wanted > 0 && loss <= MAX_RECOVERABLE_LOSS;
            self.level = wanted;
            self.calm_since = None;
            return begins;
        }

        let since = *self.calm_since.get_or_insert(now);
        if now.saturating_since(since) >= STEP_DOWN_AFTER {
            self.level -= 1;
            self.calm_since = Some(now);
        }

        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A viewer that reports each second.
    struct Reporter(ParityController, Time, Report);

    impl Reporter {
        fn new() -> Self {
            Self(
                ParityController::default(),
                Time::from_nanos(1),
                Report::default(),
            )
        }

        /// The level after one more second in which `missed` of 10 000 shards did not come.
        fn second(&mut self, missed: u64) -> u8 {
            self.1 = self.1 + Duration::from_secs(1);
            self.2.shards_expected += 10_000;
            self.2.shards_missed += missed;
            self.0.on_report(self.1, &self.2);
            self.0.level()
        }
    }

    #[test]
    fn a_clean_link_gets_no_parity_and_one_bad_second_is_answered_at_once() {
        let mut reporter = Reporter::new();
        assert_eq!(reporter.second(0), 0);
        assert_eq!(reporter.second(29), 0);
        assert_eq!(reporter.second(30), 1);
        assert_eq!(reporter.second(300), 2);
        assert_eq!(reporter.second(5000), 3);
        assert_eq!(Reporter::new().second(800), 3);
    }

    #[test]
    fn parity_begins_with_the_first_loss_that_it_can_mend() {
        let begins = |missed| {
            let report = Report {
                shards_expected: 10_000,
                shards_missed: missed,
                ..Report::default()
            };

            let mut need = ParityController::default();
            let first = need.on_report(Time::from_nanos(1), &report);
            let twice = Report {
                shards_expected: 20_000,
                shards_missed: 2 * missed,
                ..Report::default()
            };

            assert!(!need.on_report(Time::from_nanos(2), &twice));
            first
        };

        assert_eq!([29, 30, 1000, 1001].map(begins), [false, true, true, false]);
    }

    #[test]
    fn parity_goes_down_level_by_level_ten_seconds_each() {
        let mut reporter = Reporter::new();
        reporter.second(1000);
        let levels: Vec<_> = (0..32).map(|_| reporter.second(0)).collect();
        assert_eq!(levels.iter().filter(|level| **level == 3).count(), 10);
        assert_eq!(levels.iter().filter(|level| **level == 2).count(), 10);
        assert_eq!(levels.iter().filter(|level| **level == 1).count(), 10);
        assert_eq!(levels[31], 0);
    }

    #[test]
    fn a_second_of_loss_begins_the_calm_anew() {
        let mut reporter = Reporter::new();
        reporter.second(100);

        for _ in 0..20 {
            for _ in 0..8 {
                assert_eq!(reporter.second(0), 1);
            }
            assert_eq!(reporter.second(100), 1);
        }
    }

    #[test]
    fn reports_that_count_nothing_or_backwards_change_nothing() {
        let mut reporter = Reporter::new();
        reporter.second(1000);
        reporter
            .0
            .on_report(reporter.1 + STEP_DOWN_AFTER, &reporter.2);
        reporter
            .0
            .on_report(reporter.1 + STEP_DOWN_AFTER * 2, &Report::default());
        assert_eq!(reporter.0.level(), 3);
    }
}
