//! Address validation without state: proof that a viewer receives at the address it sends from.
//!
//! The relay keeps one secret, and no table that requests could fill. A token is a keyed hash of address, port and time.
//! Who sends it back has received it at that address (as in RFC 9000, section 8.1.2).

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::clock::Time;
use crate::limits::{CONSENT_LIFETIME, TOKEN_LIFETIME};

/// Bytes of a token.
pub const TOKEN_BYTES: usize = 16;

/// Makes and checks tokens with a secret that is drawn afresh at each start of a relay.
#[derive(Clone)]
pub struct TokenKey {
    secret: [u8; 16],
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(secret)")
    }
}

impl TokenKey {
    /// Uses `secret`, which nobody else may know.
    #[must_use]
    pub const fn new(secret: [u8; 16]) -> Self {
        Self { secret }
    }

    /// The token for `address` at `now`.
    #[must_use]
    pub fn mint(&self, now: Time, address: SocketAddr) -> [u8; TOKEN_BYTES] {
        self.hash(span(now), address)
    }

    /// Whether `token` was minted for `address` in this span of [`TOKEN_LIFETIME`] or the one before.
    #[must_use]
    pub fn holds(&self, now: Time, address: SocketAddr, token: &[u8]) -> bool {
        let Ok(token) = <[u8; TOKEN_BYTES]>::try_from(token) else {
            return false;
        };

        let span = span(now);
        let fresh = equal(&self.hash(span, address), &token);
        let former = span
            .checked_sub(1)
            .is_some_and(|former| equal(&self.hash(former, address), &token));
        fresh | former
    }

    /// What a viewer of `session` has to return to show that it reads what is sent to it now.
    #[must_use]
    pub fn consent(&self, now: Time, session: u64) -> u64 {
        self.consent_of(second(now), session)
    }

    /// Until when whoever returns `value` consents to get the media of `session`: a second and [`CONSENT_LIFETIME`] after
    /// it began to be given out. None when it is no such value, or too old.
    #[must_use]
    pub fn consent_until(&self, now: Time, session: u64, value: u64) -> Option<Time> {
        let second = second(now);
        let oldest = second.saturating_sub(CONSENT_LIFETIME.as_secs());
        (oldest..=second)
            .rev()
            .find(|given| self.consent_of(*given, session) == value)
            .map(|given| Time::from_nanos((given + 1) * NANOS) + CONSENT_LIFETIME)
    }

    fn consent_of(&self, second: u64, session: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        hasher.write(b"consent");
        hasher.write_u64(second);
        hasher.write_u64(session);
        hasher.finish128().h1.max(1)
    }

    /// The id of the `count`th session, which nobody can guess; never 0.
    #[must_use]
    pub fn session(&self, count: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        hasher.write(b"session");
        hasher.write_u64(count);
        hasher.finish128().h1.max(1)
    }

    fn hash(&self, span: u64, address: SocketAddr) -> [u8; TOKEN_BYTES] {
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        hasher.write(b"token");
        hasher.write_u64(span);
        hasher.write_u16(address.port());

        match address.ip().to_canonical() {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }

        hasher.finish128().as_bytes()
    }
}

/// The number of the span of [`TOKEN_LIFETIME`] that `now` is in. What is minted in one holds in it and in the next.
#[must_use]
pub fn span(now: Time) -> u64 {
    now.as_nanos()
        / u64::try_from(TOKEN_LIFETIME.as_nanos()).expect("ten seconds in nanoseconds fit 64 bits")
}

/// Nanoseconds of a second.
const NANOS: u64 = 1_000_000_000;

fn second(now: Time) -> u64 {
    now.as_nanos() / NANOS
}

/// Compares without telling by its duration where the first difference lies.
pub(crate) fn equal(a: &[u8; TOKEN_BYTES], b: &[u8; TOKEN_BYTES]) -> bool {
    a.iter()
        .zip(b)
        .fold(0, |difference, (x, y)| difference | (x ^ y))
        == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Time = Time::from_nanos(1_000_000_000_000);

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_holds_for_its_address_and_port_only() {
        let token_key = TokenKey::new([3; 16]);
        let token = token_key.mint(NOW, address("10.0.0.1:5000"));
        assert!(token_key.holds(NOW, address("10.0.0.1:5000"), &token));
        assert!(!token_key.holds(NOW, address("10.0.0.1:5001"), &token));
        assert!(!token_key.holds(NOW, address("10.0.0.2:5000"), &token));
        assert!(!token_key.holds(NOW, address("10.0.0.1:5000"), &token[..15]));
        assert!(!TokenKey::new([4; 16]).holds(NOW, address("10.0.0.1:5000"), &token));
    }

    #[test]
    fn a_token_outlives_its_lifetime_but_not_twice() {
        let token_key = TokenKey::new([3; 16]);
        let token = token_key.mint(NOW, address("[::1]:5000"));
        assert!(token_key.holds(NOW + TOKEN_LIFETIME, address("[::1]:5000"), &token));
        assert!(!token_key.holds(
            NOW + TOKEN_LIFETIME * 2 + Duration::from_nanos(1),
            address("[::1]:5000"),
            &token
        ));
    }

    #[test]
    fn consent_lasts_from_three_to_four_seconds_and_belongs_to_one_session() {
        let token_key = TokenKey::new([3; 16]);
        let value = token_key.consent(NOW, 9);
        let until = token_key.consent_until(NOW, 9, value).unwrap();
        let left = until.saturating_since(NOW);
        assert!(left > CONSENT_LIFETIME && left <= CONSENT_LIFETIME + Duration::from_secs(1));

        let late = NOW + CONSENT_LIFETIME;
        assert_eq!(token_key.consent_until(late, 9, value), Some(until));
        let too_late = late + Duration::from_secs(1);
        assert_eq!(token_key.consent_until(too_late, 9, value), None);
        assert_eq!(token_key.consent_until(NOW, 8, value), None);
        assert_eq!(token_key.consent_until(NOW, 9, 0), None);
        assert_ne!(token_key.consent(NOW + Duration::from_secs(1), 9), value);
    }

    #[test]
    fn sessions_are_distinct_and_never_zero() {
        let token_key = TokenKey::new([3; 16]);
        assert_ne!(token_key.session(1), token_key.session(2));
        assert_ne!(token_key.session(1), 0);
    }
}
