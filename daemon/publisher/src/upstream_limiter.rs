//! Limits what one peer may say to the source: who floods is heard no more than anyone else.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::feed::FeedbackError;
use fanlight_proto::zmtp::MAX_UPSTREAM;

/// Messages of one peer that are taken in a second. A relay sends ten reports and two probes, and up to forty more while
/// viewers of a stream that nobody watches come and go.
pub(super) const MESSAGES_PER_SECOND: u32 = 60;

/// Their bytes: a relay fills no more than ten reports a second.
const BYTES_PER_SECOND: usize = 20 * MAX_UPSTREAM;

/// The span that both count in.
const SPAN: Duration = Duration::from_secs(1);

/// Why a feedback is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Dropped {
    #[error(
        "more than {MESSAGES_PER_SECOND} messages, or {BYTES_PER_SECOND} bytes of them, in a second"
    )]
    TooMany,
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

        if self.messages >= MESSAGES_PER_SECOND || self.bytes + length > BYTES_PER_SECOND {
            return Err(Dropped::TooMany);
        }

        self.messages += 1;
        self.bytes += length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_nanos(1 << 40) + Duration::from_millis(millis)
    }

    #[test]
    fn a_peer_is_heard_so_often_in_a_second_and_again_in_the_next() {
        let mut limiter = UpstreamLimiter::default();
        let mut taken = |second: u64| {
            let taken = |n: &u64| limiter.take(at(1000 * second + n % 900), 10).is_ok();
            (0..1000).filter(taken).count()
        };
        assert_eq!([0, 1, 2].map(&mut taken), [MESSAGES_PER_SECOND as usize; 3]);
    }

    #[test]
    fn long_messages_are_limited_by_their_bytes() {
        let mut limiter = UpstreamLimiter::default();
        let taken = |_: &u64| limiter.take(at(0), MAX_UPSTREAM).is_ok();
        assert_eq!(
            (0..1000).filter(taken).count(),
            BYTES_PER_SECOND / MAX_UPSTREAM
        );

        assert!(limiter.take(at(500), 1).is_err());
        assert!(limiter.take(at(1000), MAX_UPSTREAM).is_ok());
    }
}
