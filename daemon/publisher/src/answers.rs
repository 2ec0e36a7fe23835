//! Answers to what relays ask on their own connections: what time it is here, that this is the source, what becomes of
//! their viewers; and to whoever asks how things stand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::feed::{ANSWER_TOPIC, MAX_STATUS_BYTES, MAX_VERDICTS, encode_answer};
use fanlight_proto::message::Answer;

use super::FeedbackSink;

/// Questions of one peer that are answered in a second; a relay asks four. Further ones are passed over.
pub(super) const ANSWERS_PER_SECOND: usize = 20;

/// Of those, how many may ask how things stand: a table that is printed anew twice a second asks two.
pub(super) const STATUSES_PER_SECOND: usize = 4;

/// Questions of one peer that wait: one is asked at a time, and may be asked again while a large frame is on its way.
const MAX_WAITING: usize = 4;

/// The span that they count in.
const SPAN: Duration = Duration::from_secs(1);

/// What a peer has asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// A relay probes the clock, with this nonce.
    Clock(u64),
    /// How things stand, by a subscription to this topic.
    Status(Bytes),
}

impl Question {
    /// Under which the answer goes out.
    pub(super) fn topic(&self) -> &[u8] {
        match self {
            Self::Clock(_) => ANSWER_TOPIC,
            Self::Status(topic) => topic,
        }
    }

    fn asks_for_status(&self) -> bool {
        matches!(self, Self::Status(_))
    }
}

/// Makes the answers.
#[derive(Debug)]
pub(super) struct Answerer {
    clock_id: u64,
    sink: Arc<dyn FeedbackSink>,
}

impl Answerer {
    pub(super) fn new(sink: Arc<dyn FeedbackSink>) -> Self {
        Self {
            clock_id: clock::clock_id(),
            sink,
        }
    }

    pub(super) fn sink(&self) -> &dyn FeedbackSink {
        &*self.sink
    }

    /// The body of the answer to `question` of `peer`, with the time as it is now.
    pub(super) fn answer(&self, question: &Question, peer: u64) -> Bytes {
        let now = clock::now();
        let mut verdicts = self.sink.verdicts(now, peer);
        verdicts.truncate(MAX_VERDICTS);
        let (nonce, mut status) = match question {
            Question::Clock(nonce) => (*nonce, Vec::new()),
            Question::Status(_) => (0, self.sink.status(now)),
        };

        if status.len() > MAX_STATUS_BYTES {
            let bytes = status.len();
            tracing::error!(bytes, "the status is longer than may be told");
            status = Vec::new();
        }

        let answer = Answer {
            nonce,
            verdicts,
            status,
            ..self.unasked()
        };

        encode_answer(&answer)
    }

    /// What relays are told without a question.
    pub(super) fn keep_alive(&self) -> Bytes {
        encode_answer(&self.unasked())
    }

    fn unasked(&self) -> Answer {
        Answer {
            source_clocks: self.sink.source_clocks(),
            clock_ns: clock::now().as_nanos(),
            clock_id: self.clock_id,
            ..Answer::default()
        }
    }
}

/// What one peer has asked and not been told yet.
#[derive(Debug, Default)]
pub(super) struct Questions {
    waiting: VecDeque<Question>,
    since: Time,
    taken: usize,
    statuses: usize,
}

impl Questions {
    /// Whether none waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a question, if the peer has not asked too many.
    pub(super) fn ask(&mut self, now: Time, question: Question) {
        if now.saturating_since(self.since) >= SPAN {
            (self.since, self.taken, self.statuses) = (now, 0, 0);
        }

        let status = usize::from(question.asks_for_status());
        let few = self.taken < ANSWERS_PER_SECOND && self.statuses + status <= STATUSES_PER_SECOND;

        if few && self.waiting.len() < MAX_WAITING {
            self.taken += 1;
            self.statuses += status;
            self.waiting.push_back(question);
        }
    }

    /// The next to be answered.
    pub(super) fn next(&mut self) -> Option<Question> {
        self.waiting.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use fanlight_proto::feed::status_topic;

    use super::*;

    #[test]
    fn a_peer_that_asks_a_thousand_times_a_second_is_answered_twenty_times() {
        let mut questions = Questions::default();
        let mut answered = 0;

        for millis in 0..3000 {
            questions.ask(
                Time::default() + Duration::from_secs(60) + Duration::from_millis(millis),
                Question::Clock(1),
            );
            answered += usize::from(questions.next().is_some());
        }

        assert_eq!(answered, 3 * ANSWERS_PER_SECOND);
    }

    #[test]
    fn how_things_stand_is_told_four_times_a_second_and_the_time_all_the_same() {
        let mut questions = Questions::default();
        let (status, time) = (
            Question::Status(status_topic([1; 16]).into()),
            Question::Clock(1),
        );

        let mut answered = |asked: &Question| {
            questions.ask(Time::default() + SPAN, asked.clone());
            questions.next().is_some()
        };

        assert_eq!(
            (0..100).filter(|_| answered(&status)).count(),
            STATUSES_PER_SECOND
        );

        assert!(answered(&time));
    }

    #[test]
    fn questions_that_cannot_be_answered_yet_take_no_room() {
        let mut questions = Questions::default();
        for _ in 0..100 {
            questions.ask(Time::default() + SPAN, Question::Clock(1));
        }
        assert_eq!(questions.waiting.len(), MAX_WAITING);
    }
}
