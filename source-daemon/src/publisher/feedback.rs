//! What relays say to the source, one peer's worth: who floods or forges is heard no more than anyone else.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::envelope::{
    CHALLENGE_BYTES, FeedbackError, FeedbackOpener, MAX_FEEDBACK_TOPIC, Sealer,
};
use fanlight_proto::message::FeedbackReport;

/// Words of one peer that are taken in a second. A relay says eleven, and up to forty more while viewers of a stream that
/// nobody watches come and go.
pub(super) const WORDS_PER_SECOND: u32 = 60;

/// Bytes of their topics: a relay fills no more than ten feedback a second.
pub(super) const WORD_BYTES_PER_SECOND: usize = 20 * MAX_FEEDBACK_TOPIC;

/// The span that both count in.
const SPAN: Duration = Duration::from_secs(1);

/// Why a feedback is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Dropped {
    #[error(
        "more than {WORDS_PER_SECOND} feedback, or {WORD_BYTES_PER_SECOND} bytes of them, in a second"
    )]
    TooMany,
    /// From a peer in the clear, where relays need a key.
    #[error("it came in the clear: give the relay the same feed_key")]
    Unsealed,
    #[error(transparent)]
    Wrong(#[from] FeedbackError),
}

/// Limits what one peer may say in a second, right or wrong: wrong messages cost the most.
#[derive(Debug, Default)]
pub(super) struct UpstreamLimiter {
    since: Time,
    messages: u32,
    bytes: usize,
}

impl UpstreamLimiter {
    /// Whether a message of `length` bytes is taken.
    pub(super) fn take(&mut self, now: Time, length: usize) -> Result<(), Dropped> {
        if now.saturating_since(self.since) >= SPAN {
            *self = Self {
                since: now,
                messages: 0,
                bytes: 0,
            };
        }
        if self.messages >= WORDS_PER_SECOND || self.bytes + length > WORD_BYTES_PER_SECOND {
            return Err(Dropped::TooMany);
        }
        self.messages += 1;
        self.bytes += length;
        Ok(())
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Words {
    listener: FeedbackOpener,
    limiter: UpstreamLimiter,
}

impl Words {
    /// Of a peer that has only just connected, and is told `challenge`.
    pub(super) fn new(sealer: Option<&Sealer>, challenge: [u8; CHALLENGE_BYTES]) -> Self {
        Self {
            listener: FeedbackOpener::new(sealer, challenge),
            limiter: UpstreamLimiter::default(),
        }
    }

    /// The feedback that a subscription to `topic` says. Wrong ones count as well: they cost the most.
    pub(super) fn take(&mut self, now: Time, topic: &[u8]) -> Result<FeedbackReport, Dropped> {
        self.limiter.take(now, topic.len())?;
        Ok(self.listener.hear(topic)?)
    }
}

#[cfg(test)]
mod tests {
    use fanlight_proto::envelope::FeedbackSealer;
    use fanlight_proto::message::Answer;

    use super::*;

    const CHALLENGE: [u8; CHALLENGE_BYTES] = [3; CHALLENGE_BYTES];

    fn at(millis: u64) -> Time {
        Time::from_nanos(1 << 40) + Duration::from_millis(millis)
    }

    fn feedback_sealer() -> FeedbackSealer {
        let mut feedback_sealer = FeedbackSealer::new(None, [4; 16]);
        feedback_sealer.on_answer(&Answer {
            challenge: CHALLENGE.to_vec(),
            ..Answer::default()
        });
        feedback_sealer
    }

    #[test]
    fn a_peer_is_heard_so_often_in_a_second_and_again_in_the_next() {
        let (mut feedback, mut feedback_sealer) = (Words::new(None, CHALLENGE), feedback_sealer());
        let mut taken = |second: u64| {
            let mut said = || feedback_sealer.topic(FeedbackReport::default()).unwrap();
            (0..1000)
                .filter(|n| {
                    feedback
                        .take(at(1000 * second + n % 900), said().as_bytes())
                        .is_ok()
                })
                .count()
        };
        assert_eq!([0, 1, 2].map(&mut taken), [WORDS_PER_SECOND as usize; 3]);
    }

    #[test]
    fn long_words_are_limited_by_their_bytes_and_wrong_ones_count() {
        let mut feedback = Words::new(None, CHALLENGE);
        let long = vec![b'!'; MAX_FEEDBACK_TOPIC];
        let wrong = (0..1000)
            .filter(|_| feedback.take(at(0), &long) == Err(Dropped::Wrong(FeedbackError::Text)))
            .count();
        assert_eq!(wrong, WORD_BYTES_PER_SECOND / MAX_FEEDBACK_TOPIC);
        let good = feedback_sealer().topic(FeedbackReport::default()).unwrap();
        assert_eq!(
            feedback.take(at(500), good.as_bytes()),
            Err(Dropped::TooMany)
        );
        assert!(feedback.take(at(1000), good.as_bytes()).is_ok());
    }
}
