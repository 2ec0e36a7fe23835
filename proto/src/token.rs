//! Address validation without state: proof that a viewer receives at the address it sends from.
//!
//! The relay keeps one secret, and no table that requests could fill. A token is a keyed hash of address, port and time.
//! Who sends it back has received it at that address (as in RFC 9000, section 8.1.2).

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::clock::Time;
use crate::limits::TOKEN_LIFETIME;

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

/// Compares without telling by its duration where the first difference lies.
fn equal(a: &[u8; TOKEN_BYTES], b: &[u8; TOKEN_BYTES]) -> bool {
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
    fn sessions_are_distinct_and_never_zero() {
        let token_key = TokenKey::new([3; 16]);
        assert_ne!(token_key.session(1), token_key.session(2));
        assert_ne!(token_key.session(1), 0);
    }
}
