//! The nonces of JOINs that have opened a session. A recorded JOIN opens none again, also after its session has ended: a
//! nonce is remembered until no token that it can have come with holds any more.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use fanlight_proto::clock::Time;
use fanlight_proto::token;

/// Nonces remembered of one span of tokens: more than [`HANDSHAKES_PER_SECOND`](super::HANDSHAKES_PER_SECOND) allows in
/// one. Without keys, where whoever can record a JOIN can also make one, the oldest go when there are more.
const MAX_NONCES: usize = 1 << 14;

/// The nonces, with the address that each came from.
#[derive(Debug, Default)]
pub(super) struct SpentNonces {
    span: u64,
    /// Of this span, and of the one before.
    now: BTreeSet<(SocketAddr, u64)>,
    before: BTreeSet<(SocketAddr, u64)>,
}

impl SpentNonces {
    /// A JOIN with `nonce` from `address` has opened a session.
    pub(super) fn spend(&mut self, now: Time, address: SocketAddr, nonce: u64) {
        self.rotate(now);
        if self.now.len() == MAX_NONCES {
            self.before = std::mem::take(&mut self.now);
        }
        self.now.insert((address, nonce));
    }

    /// Whether a JOIN with `nonce` from `address` has opened a session.
    pub(super) fn contains(&mut self, now: Time, address: SocketAddr, nonce: u64) -> bool {
        self.rotate(now);
        let spent = (address, nonce);
        self.now.contains(&spent) || self.before.contains(&spent)
    }

    fn rotate(&mut self, now: Time) {
        let span = token::span(now);
        let passed = span.saturating_sub(self.span);
        if passed > 0 {
            self.before = std::mem::take(&mut self.now);
            self.span = span;
        }
        if passed > 1 {
            self.before.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanlight_proto::limits::TOKEN_LIFETIME;
    use fanlight_proto::token::TokenKey;

    fn address(n: u64) -> SocketAddr {
        SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 5))
    }

    #[test]
    fn a_nonce_is_remembered_for_as_long_as_the_token_beside_it_holds() {
        let (key, mut spent) = (TokenKey::new([3; 16]), SpentNonces::default());
        let mut now = Time::from_nanos(1_003_000_000_000);
        let token = key.mint(now, address(1));
        spent.spend(now, address(1), 7);
        assert!(!spent.contains(now, address(1), 8) && !spent.contains(now, address(2), 7));

        while key.holds(now, address(1), &token) {
            assert!(spent.contains(now, address(1), 7), "{now:?}");
            now = now + TOKEN_LIFETIME / 100;
        }

        assert!(!spent.contains(now, address(1), 7), "and no longer");
    }

    #[test]
    fn a_flood_of_sessions_costs_no_more_memory() {
        let (mut spent, now) = (SpentNonces::default(), Time::from_nanos(7));
        for n in 0..100_000 {
            spent.spend(now, address(n), n);
        }
        assert!(spent.now.len() + spent.before.len() <= 2 * MAX_NONCES);
        assert!(spent.contains(now, address(99_999), 99_999));
    }
}
