//! Where the time of frames went in the second that ended, and how old they were in each of the last minute.

use std::collections::VecDeque;
use std::time::Duration;

use super::{FrameInfo, Histogram, StageTimings};
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
    /// A frame was shown.
    pub(super) fn on_shown(&mut self, info: &FrameInfo, timings: &StageTimings, age: Duration) {
        let StageTimings {
            transit,
            wait,
            decode,
            present,
            ..
        } = *timings;
        // By the error of clocks that differ a part may seem longer than the whole.
        let reassembly = info.arrived.saturating_since(info.begun).min(transit);
        let until_begun = transit - reassembly;
        let network = info.relayed.map_or(until_begun, |relayed| {
            info.begun.saturating_since(relayed).min(until_begun)
        });
        let publish = until_begun - network;

        let stages = [
            info.prepared,
            publish,
            network,
            reassembly,
            wait,
            decode,
            present,
        ];
        for (sum, stage) in self.sums.iter_mut().zip(stages) {
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
    use fanlight_proto::clock::Time;
    use fanlight_proto::message::FrameId;

    use super::*;

    fn ms(length: u64) -> Duration {
        Duration::from_millis(length)
    }

    /// Of a frame whose relay had it after `relayed` milliseconds, and whose shards came from `begun` to `arrived` on.
    fn info(relayed: Option<u64>, begun: u64, arrived: u64) -> FrameInfo {
        let at = |after: u64| Time::default() + ms(after);
        FrameInfo {
            stream: "cam".parse().unwrap(),
            id: FrameId {
                epoch: 1,
                number: 1,
            },
            captured_ns: 0,
            wall_offset_ns: 0,
            clock_id: 1,
            rate_millihertz: 30_000,
            prepared: ms(2),
            relayed: relayed.map(at),
            begun: at(begun),
            arrived: at(arrived),
            decoded: at(arrived),
            decoding: Duration::ZERO,
            bytes: 100,
            canary: None,
            traced: None,
            jpeg: None,
        }
    }

    fn timings(wait: u64) -> StageTimings {
        StageTimings {
            transit: ms(10),
            wait: ms(wait),
            decode: ms(4),
            present: ms(5),
            clock_error: None,
        }
    }

    #[test]
    fn the_way_to_the_last_shard_is_that_to_the_relay_that_from_there_and_reassembly() {
        for (info, ways) in [
            (info(Some(5), 9, 12), [3, 4, 3]),
            (info(None, 9, 12), [0, 7, 3]),
            // Clocks that differ: in sum it is the transit all the same.
            (info(Some(0), 9, 12), [0, 7, 3]),
            (info(Some(10), 9, 12), [7, 0, 3]),
            (info(Some(5), 9, 30), [0, 0, 10]),
        ] {
            let mut minute = Minute::default();
            minute.on_shown(&info, &timings(1), ms(22));
            minute.end_second(&Histogram::default(), 0.0);
            assert_eq!(minute.ended().stages[1..4], ways.map(ms), "{info:?}");
        }
    }

    #[test]
    fn stages_are_means_of_their_second_and_ages_of_a_minute_are_kept() {
        let mut minute = Minute::default();
        let mut ages = Histogram::default();
        for wait in [1, 3] {
            minute.on_shown(&info(Some(5), 9, 12), &timings(wait), ms(20 + wait));
            ages.record(ms(20 + wait));
        }

        minute.end_second(&ages, 25.5);
        assert_eq!(minute.ended().stages, [2, 3, 4, 3, 2, 4, 5].map(ms));
        assert_eq!(minute.newest_age(), ms(23));
        assert!(minute.ended().age_p99 >= ms(22));

        for _ in 0..MAX_SECONDS - 1 {
            minute.end_second(&Histogram::default(), 0.0);
        }
        assert_eq!(minute.ended().stages, [Duration::ZERO; STAGES.len()]);
        assert_eq!(minute.medians().len(), MAX_SECONDS);
        assert!(minute.medians()[0] > ms(20));
        minute.end_second(&Histogram::default(), 0.0);
        assert_eq!(minute.medians(), [Duration::ZERO; MAX_SECONDS]);
    }
}
