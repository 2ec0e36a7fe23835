//! What the relay asks a source beside the frames: when, and what the answers make of the source's clock.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::clock_filter::{ClockFilter, Estimate};
use fanlight_proto::envelope::{NONCE_BYTES, question};
use fanlight_proto::message::{Answer, SourceClock};

/// How many questions follow each other quickly, until one has had a quiet way.
const QUICK_QUESTIONS: u32 = 8;

/// Between those.
const QUICK_INTERVAL: Duration = Duration::from_millis(250);

/// Between the others: in it two clocks part by 0.12 ms at most. The source is told a feedback each second, and the question
/// goes with it.
const INTERVAL: Duration = Duration::from_millis(1200);

/// Of the time between two, the part in which a question goes with what else there is to say is the last of so many. It is
/// longer than that by which the time is longer than a second, so that questions fall in with the feedback.
const ALONG: u32 = 3;

/// The same while the source is told what viewers find: the answers bring the verdicts, which are to be less than a second
/// old on the screens.
const DETECTIONS_INTERVAL: Duration = Duration::from_millis(500);

/// Asks on one connection. One question is open at a time.
#[derive(Debug)]
pub(super) struct Asker {
    own_clock: u64,
    open: Option<Question>,
    /// What the source has still to be told that nobody waits for.
    stale: Option<String>,
    asked: u32,
    last: Time,
    due: Time,
    clock_id: u64,
    clock_filter: ClockFilter,
}

#[derive(Debug)]
struct Question {
    topic: String,
    sent: Time,
}

impl Asker {
    /// For a connection that is ready. The first question is due at once: a sealed source is not heard before its answer.
    pub(super) fn new(now: Time, own_clock: u64) -> Self {
        Self {
            own_clock,
            open: None,
            stale: None,
            asked: 0,
            last: now,
            due: now,
            clock_id: 0,
            clock_filter: ClockFilter::new(),
        }
    }

    /// When to [`ask`](Self::ask).
    pub(super) const fn due(&self) -> Time {
        self.due
    }

    /// Whether to [`ask`](Self::ask) now that both sides are awake for something else.
    pub(super) fn goes_along(&self, now: Time) -> bool {
        now + self.due.saturating_since(self.last) / ALONG >= self.due
    }

    /// The topic to subscribe to, and the one to unsubscribe from after it. `nonce` is random.
    pub(super) fn ask(&mut self, now: Time, nonce: [u8; NONCE_BYTES]) -> (String, Option<String>) {
        let topic = question(nonce);
        self.asked = self.asked.saturating_add(1);
        self.due = now
            + if self.asked < QUICK_QUESTIONS {
                QUICK_INTERVAL
            } else {
                INTERVAL
            };
        self.last = now;
        self.open = Some(Question {
            topic: topic.clone(),
            sent: now,
        });
        let stale = self.stale.replace(topic.clone());
        (topic, stale)
    }

    /// The source has been told what viewers found: what it makes of that is to be known soon.
    pub(super) fn on_detections(&mut self) {
        self.due = self.due.min(self.last + DETECTIONS_INTERVAL);
    }

    /// Whether `topic` is that of the open question.
    pub(super) fn awaits(&self, topic: &[u8]) -> bool {
        self.open
            .as_ref()
            .is_some_and(|question| question.topic.as_bytes() == topic)
    }

    /// Takes the answer to the open question, which is open no more. What is known of the source's clock.
    pub(super) fn on_answer(&mut self, received: Time, answer: &Answer) -> Option<SourceClock> {
        let Question { sent, .. } = self.open.take()?;
        if answer.clock_id == self.own_clock {
            return Some(same_clock(self.own_clock));
        }
        if answer.clock_id != self.clock_id {
            self.clock_id = answer.clock_id;
            self.clock_filter = ClockFilter::new();
        }
        self.clock_filter
            .on_answer(sent, received, Time::from_nanos(answer.clock_ns));
        let Estimate {
            offset_ns, error, ..
        } = self.clock_filter.estimate(received)?;
        let error_us = u32::try_from(error.as_nanos().div_ceil(1000)).unwrap_or(u32::MAX);
        Some(SourceClock {
            clock_id: answer.clock_id,
            offset_ns,
            error_us,
        })
    }
}

/// What is known of a source that reads the clock that we read.
pub(super) const fn same_clock(clock_id: u64) -> SourceClock {
    SourceClock {
        clock_id,
        offset_ns: 0,
        error_us: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u64 = 5;

    fn ms(millis: u64) -> Time {
        Time::from_nanos((1_000_000 + millis) * 1_000_000)
    }

    fn answer(clock_id: u64, at: Time) -> Answer {
        Answer {
            clock_ns: at.as_nanos(),
            clock_id,
            ..Answer::default()
        }
    }

    #[test]
    fn eight_questions_come_quickly_and_then_fewer() {
        let mut asker = Asker::new(ms(0), OWN);
        let mut times = Vec::new();
        while times.len() < 11 {
            times.push(asker.due().saturating_since(ms(0)).as_millis());
            asker.ask(asker.due(), [0; NONCE_BYTES]);
        }
        assert_eq!(
            times,
            [0, 250, 500, 750, 1000, 1250, 1500, 1750, 2950, 4150, 5350]
        );
    }

    /// At which of the feedback, one a second from `first` on, a question went along.
    fn along(first: u64) -> Vec<bool> {
        let mut asker = Asker::new(ms(0), OWN);
        for _ in 0..QUICK_QUESTIONS {
            asker.ask(asker.due(), [0; NONCE_BYTES]);
        }
        let feedback = (first..).step_by(1000).map(ms);
        let goes = |feedback: Time| {
            while asker.due() < feedback {
                asker.ask(asker.due(), [0; NONCE_BYTES]);
            }
            let goes = asker.goes_along(feedback);
            if goes {
                asker.ask(feedback, [0; NONCE_BYTES]);
            }
            goes
        };
        feedback.map(goes).take(12).collect()
    }

    #[test]
    fn with_a_word_each_second_each_question_goes_along_whenever_that_began() {
        for first in (2000..3000).step_by(10) {
            let along = along(first);
            assert!(
                along[6..].iter().all(|along| *along),
                "from {first} ms on: {along:?}"
            );
        }
    }

    #[test]
    fn while_detections_flow_it_asks_twice_a_second() {
        let mut asker = Asker::new(ms(0), OWN);
        for _ in 0..QUICK_QUESTIONS {
            asker.ask(asker.due(), [0; NONCE_BYTES]);
        }
        let last = asker.due();
        asker.ask(last, [0; NONCE_BYTES]);
        asker.on_detections();
        assert_eq!(asker.due(), last + DETECTIONS_INTERVAL);
        asker.ask(asker.due(), [0; NONCE_BYTES]);
        assert_eq!(asker.due(), last + DETECTIONS_INTERVAL + INTERVAL);
    }

    #[test]
    fn each_question_takes_the_one_before_it_back() {
        let mut asker = Asker::new(ms(0), OWN);
        let (first, none) = asker.ask(ms(0), [1; NONCE_BYTES]);
        assert_eq!(none, None);
        assert!(asker.awaits(first.as_bytes()));
        let (second, stale) = asker.ask(ms(250), [2; NONCE_BYTES]);
        assert_eq!(stale.as_ref(), Some(&first));
        assert!(asker.awaits(second.as_bytes()) && !asker.awaits(first.as_bytes()));
    }

    #[test]
    fn an_answer_counts_once() {
        let mut asker = Asker::new(ms(0), OWN);
        let (topic, _) = asker.ask(ms(0), [1; NONCE_BYTES]);
        let clock = asker.on_answer(ms(2), &answer(9, ms(500_001))).unwrap();
        assert_eq!((clock.clock_id, clock.offset_ns), (9, 500_000_000_000));
        assert!((1000..1010).contains(&clock.error_us), "{clock:?}");
        assert!(!asker.awaits(topic.as_bytes()));
        assert_eq!(asker.on_answer(ms(2), &answer(9, ms(500_001))), None);
    }

    #[test]
    fn a_source_with_our_clock_needs_no_exchange() {
        let mut asker = Asker::new(ms(0), OWN);
        asker.ask(ms(0), [1; NONCE_BYTES]);
        assert_eq!(
            asker.on_answer(ms(900), &answer(OWN, ms(1))),
            Some(same_clock(OWN))
        );
    }

    #[test]
    fn another_clock_is_not_measured_by_the_last_ones_answers() {
        let mut asker = Asker::new(ms(0), OWN);
        asker.ask(ms(0), [1; NONCE_BYTES]);
        asker.on_answer(ms(1), &answer(9, ms(700)));
        asker.ask(ms(250), [2; NONCE_BYTES]);
        let clock = asker.on_answer(ms(280), &answer(10, ms(765))).unwrap();
        assert_eq!((clock.clock_id, clock.offset_ns), (10, 500_000_000));
    }
}
