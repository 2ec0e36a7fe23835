//! One attempt to open a session: when JOIN is sent again.

use std::time::Duration;

use fanlight_proto::clock::Time;

/// The first repetition of a JOIN that nobody answers comes after this.
const FIRST_STEP: Duration = Duration::from_millis(50);

/// The steps double up to this: a healed link is noticed within it (promise P5: live within 500 ms).
const LAST_STEP: Duration = Duration::from_millis(400);

/// After the relay's host has said that nobody listens, the next JOIN comes after this at the latest, then after twice as
/// long, up to [`LAST_STEP`]: who is started together with its relay does not wait for it longer than it takes to start.
const FIRST_REFUSED_STEP: Duration = Duration::from_millis(4);

/// What is left of a step by jitter at the least, in hundredths: viewers that lost one relay do not come back in step.
const LEAST_JITTER: u64 = 75;

/// A nonce is asked with for so long at most. A relay answers no JOIN with the nonce of a session that has ended, and a
/// session whose ACCEPT never came ends after [`SESSION_IDLE`](fanlight_proto::limits::SESSION_IDLE).
const NONCE_LIFETIME: Duration = Duration::from_secs(2);

/// An attempt to open a session.
#[derive(Debug)]
pub(super) struct JoinAttempt {
    due: Time,
    /// When the first JOIN with the present nonce went out.
    nonce_since: Option<Time>,
    step: Duration,
    refused_step: Duration,
    answered_challenge: bool,
}

impl JoinAttempt {
    /// An attempt whose first JOIN goes out at `due`.
    pub(super) const fn new(due: Time) -> Self {
        Self {
            due,
            nonce_since: None,
            step: FIRST_STEP,
            refused_step: FIRST_REFUSED_STEP,
            answered_challenge: false,
        }
    }

    /// When the next JOIN goes out.
    pub(super) const fn due(&self) -> Time {
        self.due
    }

    /// Whether a JOIN goes out now; if so, the next one is due a step later.
    pub(super) fn is_due(&mut self, now: Time, rng: &mut SplitMix64) -> bool {
        if now < self.due {
            return false;
        }
        self.due = now + rng.shorten(self.step);
        self.step = (self.step * 2).min(LAST_STEP);
        self.answered_challenge = false;
        true
    }

    /// The relay's host says that nobody listens there.
    pub(super) fn on_refused(&mut self, now: Time, rng: &mut SplitMix64) {
        self.due = self.due.min(now + rng.shorten(self.refused_step));
        self.refused_step = (self.refused_step * 2).min(LAST_STEP);
    }

    /// Whether the JOIN that goes out now needs another nonce.
    pub(super) fn needs_nonce(&mut self, now: Time) -> bool {
        let since = *self.nonce_since.get_or_insert(now);
        let old = now.saturating_since(since) >= NONCE_LIFETIME;
        if old {
            self.nonce_since = Some(now);
        }
        old
    }

    /// Whether a JOIN answers this challenge at once: one does for each that was due by time, so that no peer can make a
    /// viewer talk at the speed of the link.
    pub(super) fn answers_challenge(&mut self) -> bool {
        !std::mem::replace(&mut self.answered_challenge, true)
    }
}

/// Numbers that differ between viewers and repeat for the same seed (SplitMix64, Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub(super) struct SplitMix64(u64);

impl SplitMix64 {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between [`LEAST_JITTER`] hundredths of `length` and all of it.
    pub(super) fn shorten(&mut self, length: Duration) -> Duration {
        let hundredths = LEAST_JITTER + self.next() % (101 - LEAST_JITTER);
        length * u32::try_from(hundredths).expect("it is at most 100") / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_the_host_refuses_joins_come_soon_and_then_ever_less_often() {
        let mut rng = SplitMix64::new(1);
        let start = Time::default() + Duration::from_secs(1);
        let mut joining = JoinAttempt::new(start);
        let mut sent = Vec::new();

        while joining.due() < start + Duration::from_secs(4) {
            let now = joining.due();
            assert!(joining.is_due(now, &mut rng));
            sent.push(now.saturating_since(start));
            joining.on_refused(now, &mut rng);
        }

        assert!(sent[1] <= Duration::from_millis(4));
        assert!(sent[4] <= Duration::from_millis(60));
        let pauses = sent.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(pauses.clone().all(|pause| pause <= LAST_STEP));
        let long = pauses.skip(7).all(|pause| pause >= LAST_STEP / 2);
        assert!(long && sent.len() < 25, "{sent:?}");
    }

    #[test]
    fn a_refusal_puts_off_no_join() {
        let mut rng = SplitMix64::new(1);
        let start = Time::default() + Duration::from_secs(1);
        let mut joining = JoinAttempt::new(start);
        for _ in 0..100 {
            joining.on_refused(start, &mut rng);
        }
        assert_eq!(joining.due(), start);
    }
}
