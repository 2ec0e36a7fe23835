//! Where the time of frames went in the second that ended, and how old they were in each of the last minute.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Histogram, StageTimings};
use crate::readings::STAGES;

/// Seconds that are remembered.
const MAX_SECONDS: usize = 60;

/// What is summed up in a second, and what came of those before it.
#[derive(Debug, Default)]
pub(super) struct Minute {
    sums: [Duration; STAGES.len()],
    shown: u32,
    ended: EndedSecond,
    medians: VecDeque<Duration>,
    /// Of the frame shown last.
    newest_age: Duration,
}

/// A second that is over.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EndedSecond {
    /// The mean time in each stage; zero when no frame was shown.
    pub stages: [Duration; STAGES.len()],
    /// 99 of 100 frames were at most so old.
    pub age_p99: Duration,
    /// What came, in millions of bits a second.
    pub megabits: f64,
}

impl Minute {
    /// A frame was shown that had taken `prepared` from its capture to the publisher.
    pub(super) fn on_shown(&mut self, prepared: Duration, timings: &StageTimings, age: Duration) {
        let StageTimings {
            transit,
            wait,
            decode,
            present,
            ..
        } = *timings;
        for (sum, stage) in self
            .sums
            .iter_mut()
            .zip([prepared, transit, wait, decode, present])
        {
            *sum += stage;
        }

        self.shown += 1;
        self.newest_age = age;
    }

    /// A second ended, in which frames of these ages were shown.
    pub(super) fn end_second(&mut self, ages: &Histogram, megabits: f64) {
        let sums = std::mem::take(&mut self.sums);
        let shown = std::mem::take(&mut self.shown);
        self.ended = EndedSecond {
            stages: sums.map(|sum| sum.checked_div(shown).unwrap_or_default()),
            age_p99: ages.percentile(99).unwrap_or_default(),
            megabits,
        };

        if self.medians.len() == MAX_SECONDS {
            self.medians.pop_front();
        }
        self.medians
            .push_back(ages.percentile(50).unwrap_or_default());
    }

    pub(super) const fn ended(&self) -> EndedSecond {
        self.ended
    }

    /// The median age of each second, the newest last; zero where no frame was shown.
    pub(super) fn medians(&self) -> Vec<Duration> {
        self.medians.iter().copied().collect()
    }

    pub(super) const fn newest_age(&self) -> Duration {
        self.newest_age
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_means_of_their_second_and_ages_of_a_minute_are_kept() {
        let mut minute = Minute::default();
        let mut ages = Histogram::default();
        let ms = Duration::from_millis;
        for wait in [1, 3] {
            let timings = StageTimings {
                transit: ms(10),
                wait: ms(wait),
                decode: ms(4),
                present: ms(5),
                clock_error: None,
            };
            minute.on_shown(ms(2), &timings, ms(20 + wait));
            ages.record(ms(20 + wait));
        }

        minute.end_second(&ages, 25.5);
        assert_eq!(minute.ended().stages, [2, 10, 2, 4, 5].map(ms));
        assert_eq!(minute.newest_age(), ms(23));
        assert!(minute.ended().age_p99 >= ms(22));

        for _ in 0..MAX_SECONDS - 1 {
            minute.end_second(&Histogram::default(), 0.0);
        }
        assert_eq!(minute.ended().stages, [Duration::ZERO; 5]);
        assert_eq!(minute.medians().len(), MAX_SECONDS);
        assert!(minute.medians()[0] > ms(20));
        minute.end_second(&Histogram::default(), 0.0);
        assert_eq!(minute.medians(), [Duration::ZERO; MAX_SECONDS]);
    }
}
