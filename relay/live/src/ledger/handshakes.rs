//! Limits the handshakes that are worked on: each costs as much as 300 checks of a token.

use std::net::SocketAddr;

use fanlight_daemon::rate_limit::TokenBucket;
use fanlight_proto::clock::Time;
use fanlight_proto::token::TokenKey;

use super::client_network;

/// Handshakes in a second in all: a tenth of a core. A relay that restarts lets its thousand viewers in
/// within a second.
pub const HANDSHAKES_PER_SECOND: u32 = 1000;

/// Handshakes in a second for one address, or one network of 64 bits: a room full of viewers behind one
/// router joins within a second.
pub const HANDSHAKES_PER_SOURCE: u32 = 64;

/// Addresses are hashed to so many buckets, keyed with the relay's secret: an attacker cannot choose the
/// bucket of a victim.
const BUCKETS: usize = 1024;

/// The token buckets. No address is stored.
#[derive(Debug)]
pub struct Handshakes {
    all: TokenBucket,
    sources: Vec<TokenBucket>,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            all: TokenBucket::new(HANDSHAKES_PER_SECOND, HANDSHAKES_PER_SECOND),
            sources: vec![TokenBucket::new(HANDSHAKES_PER_SOURCE, HANDSHAKES_PER_SOURCE); BUCKETS],
        }
    }
}

impl Handshakes {
    /// Whether a handshake for `from` may be worked on now; it counts.
    pub fn admits(&mut self, now: Time, token_key: &TokenKey, from: SocketAddr) -> bool {
        let hash = token_key.mint(
            Time::default(),
            SocketAddr::new(client_network(from.ip()), 0),
        );
        let source =
            &mut self.sources[usize::from(u16::from_be_bytes([hash[0], hash[1]])) % BUCKETS];
        self.all.available(now) > 0 && source.try_take(now, 1) && self.all.try_take(now, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_source_does_not_use_up_what_others_may_and_all_together_are_limited() {
        let (mut handshakes, token_key, now) = (
            Handshakes::default(),
            TokenKey::new([3; 16]),
            Time::from_nanos(7),
        );

        let mut passed = |address: String, port, now| {
            handshakes.admits(
                now,
                &token_key,
                SocketAddr::new(address.parse().unwrap(), port),
            )
        };

        let one = (0..1000)
            .filter(|port| passed("10.0.0.1".into(), *port, now))
            .count();
        assert_eq!(one, HANDSHAKES_PER_SOURCE as usize);
        let network = (0..1000)
            .filter(|host| passed(format!("2001:db8::{host:x}"), 5, now))
            .count();
        assert_eq!(network, HANDSHAKES_PER_SOURCE as usize);
        assert!(passed("10.0.0.2".into(), 5, now));
        let many = (0..20_000)
            .filter(|n| passed(format!("10.1.{}.{}", n / 250, n % 250), 5, now))
            .count();
        assert_eq!(
            many,
            HANDSHAKES_PER_SECOND as usize - 2 * HANDSHAKES_PER_SOURCE as usize - 1
        );

        assert!(passed("10.0.0.1".into(), 5, now + Duration::from_secs(1)));
    }
}
