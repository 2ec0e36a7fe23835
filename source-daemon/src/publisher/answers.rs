//! Answers to what relays ask on their own connections: what time it is here, and that this is the source.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::envelope::{Sealer, plain_answer};
use fanlight_proto::message::Answer;

/// Questions of one peer that are answered in a second; a relay asks four. Further ones are passed over.
pub(super) const ANSWERS_PER_SECOND: usize = 20;

/// Questions of one peer that wait: one is asked at a time, and may be asked again while a large frame is on its way.
const MAX_WAITING: usize = 4;

/// The span that [`ANSWERS_PER_SECOND`] counts in.
const SPAN: Duration = Duration::from_secs(1);

/// Makes the answers.
#[derive(Debug)]
pub(super) struct Answerer {
    clock_id: u64,
    sealer: Option<Sealer>,
}

impl Answerer {
    pub(super) fn new(sealer: Option<Sealer>) -> Self {
        Self { clock_id: clock::clock_id(), sealer }
    }

    pub(super) fn sealer(&self) -> Option<&Sealer> {
        self.sealer.as_ref()
    }

    /// The body of the answer to `question`, with the time as it is now.
    pub(super) fn answer(&self, question: &[u8]) -> Bytes {
        let answer = Answer { clock_ns: clock::now().as_nanos(), clock_id: self.clock_id, newest_sealed: 0 };
        match &self.sealer {
            Some(sealer) => sealer.answer(question, answer),
            None => plain_answer(&answer),
        }
    }
}

/// What one peer has asked and not been told yet.
#[derive(Debug, Default)]
pub(super) struct Questions {
    waiting: VecDeque<Vec<u8>>,
    since: Time,
    taken: usize,
}

impl Questions {
    /// Takes a question, if the peer has not asked too many.
    pub(super) fn ask(&mut self, now: Time, question: Vec<u8>) {
        if now.saturating_since(self.since) >= SPAN {
            (self.since, self.taken) = (now, 0);
        }
        if self.taken < ANSWERS_PER_SECOND && self.waiting.len() < MAX_WAITING {
            self.taken += 1;
            self.waiting.push_back(question);
        }
    }

    /// The next to be answered.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        self.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_asks_a_thousand_times_a_second_is_answered_twenty_times() {
        let mut questions = Questions::default();
        let mut answered = 0;
        for millis in 0..3000 {
            questions.ask(Time::default() + Duration::from_secs(60) + Duration::from_millis(millis), vec![1]);
            answered += usize::from(questions.next().is_some());
        }
        assert_eq!(answered, 3 * ANSWERS_PER_SECOND);
    }

    #[test]
    fn questions_that_cannot_be_answered_yet_take_no_room() {
        let mut questions = Questions::default();
        for _ in 0..100 {
            questions.ask(Time::default() + SPAN, vec![1]);
        }
        assert_eq!(questions.waiting.len(), MAX_WAITING);
    }
}
