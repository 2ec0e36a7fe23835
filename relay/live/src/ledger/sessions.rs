//! Shares of the sessions: how many each key, address and network may have, and who must give places up to newcomers while
//! the relay is full.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use fanlight_proto::handshake::PublicKey;

use super::client_network;

/// Sessions of one key unless configured otherwise: a key is one screen's, with a session for each window, and one that is
/// about to end for each restart.
pub const SESSIONS_PER_KEY: usize = 64;

/// Who holds sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// The owner of a key, where each viewer has its own.
    Key(PublicKey),
    /// An IPv4 address or an IPv6 network.
    Network(IpAddr),
}

/// The holders that a session counts for: the site, which is what a customer of a provider gets (RFC 6177), and the
/// network within it. They are the same for keys and for IPv4.
pub type Holders = [Holder; 2];

/// The holders of a session from `address` with the key `identity`, if it has one of its own.
#[must_use]
pub fn holders(address: IpAddr, identity: Option<&PublicKey>) -> Holders {
    if let Some(key) = identity {
        return [Holder::Key(*key); 2];
    }

    let network = client_network(address);
    [Holder::Network(site_of(network)), Holder::Network(network)]
}

/// The network that an address is counted as part of, which a site has many of.
#[must_use]
pub(super) fn site_of(network: IpAddr) -> IpAddr {
    match network {
        IpAddr::V6(network) => IpAddr::V6(Ipv6Addr::from_bits(network.to_bits() >> 80 << 80)),
        address => address,
    }
}

/// How many sessions one holder may have, also while there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Of one key.
    pub per_key: usize,
    /// From one IPv4 address or IPv6 network, without keys of their own.
    pub per_address: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            per_key: SESSIONS_PER_KEY,
            // A room of screens behind one router; they share equally with others when the relay is full.
            per_address: usize::MAX,
        }
    }
}

impl SessionLimits {
    fn of(self, holder: Holder) -> usize {
        match holder {
            Holder::Key(_) => self.per_key,
            Holder::Network(_) => self.per_address,
        }
    }
}

/// How many sessions each holder has.
#[derive(Debug, Default)]
pub struct SessionShares {
    counts: [BTreeMap<Holder, usize>; 2],
}

impl SessionShares {
    /// A session of `holders` begins.
    pub fn add(&mut self, holders: Holders) {
        for (counts, holder) in self.counts.iter_mut().zip(holders) {
            *counts.entry(holder).or_default() += 1;
        }
    }

    /// A session of `holders` ends.
    pub fn remove(&mut self, holders: Holders) {
        for (counts, holder) in self.counts.iter_mut().zip(holders) {
            if let Some(count) = counts.get_mut(&holder) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&holder);
                }
            }
        }
    }

    /// Whether `newcomer` has as many as one holder may.
    #[must_use]
    pub fn is_at_limit(&self, newcomer: Holders, limits: SessionLimits) -> bool {
        let [_, holder] = newcomer;
        let own = self.counts[1].get(&holder).copied().unwrap_or_default();
        own >= limits.of(holder)
    }

    /// Whether the address, site or key of `newcomer` has less than an equal share.
    #[must_use]
    pub fn is_below_share(&self, newcomer: Holders) -> bool {
        Self::is_below(&self.counts[0], newcomer[0])
    }

    /// The holder that must give up a session to `newcomer`: the one with the most, if even then it has no fewer.
    /// A newcomer that has an equal share already gets none, which costs no search.
    #[must_use]
    pub fn debtor(&self, newcomer: Holders) -> Option<Holder> {
        self.counts
            .iter()
            .zip(newcomer)
            .find_map(|(counts, holder)| {
                if !Self::is_below(counts, holder) {
                    return None;
                }

                let own = counts.get(&holder).copied().unwrap_or_default();
                let (debtor, most) = counts.iter().max_by_key(|(_, count)| **count)?;
                (own + 1 < *most).then_some(*debtor)
            })
    }

    fn is_below(counts: &BTreeMap<Holder, usize>, holder: Holder) -> bool {
        let own = counts.get(&holder).copied().unwrap_or_default();
        let all: usize = counts.values().sum();
        (own + 1) * counts.len() <= all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(address: &str) -> Holders {
        holders(address.parse().unwrap(), None)
    }

    #[test]
    fn the_greediest_gives_way_until_shares_are_equal() {
        let mut shares = SessionShares::default();
        let [greedy, modest] = [of("10.0.0.1"), of("10.0.0.2")];
        (0..10).for_each(|_| shares.add(greedy));

        let mut given = 0;
        while let Some(debtor) = shares.debtor(modest) {
            assert_eq!(debtor, greedy[0]);
            shares.remove(greedy);
            shares.add(modest);
            given += 1;
        }

        assert_eq!(given, 5);
        assert_eq!(shares.debtor(greedy), None, "and gets nothing back");
    }

    #[test]
    fn a_site_is_no_more_than_one_address_however_many_networks_it_has() {
        let mut shares = SessionShares::default();
        (0..1000).for_each(|n| shares.add(of(&format!("2001:db8:7:{n:x}::1"))));
        let site = of("2001:db8:7::1")[0];
        assert_eq!(shares.debtor(of("10.0.0.2")), Some(site));
        assert_eq!(shares.debtor(of("2001:db8:7:ffff::1")), None);
    }

    #[test]
    fn within_a_site_networks_are_equal() {
        let mut shares = SessionShares::default();
        (0..10).for_each(|n| shares.add(of(&format!("2001:db8:7:1::{n:x}"))));
        let newcomer = of("2001:db8:7:2::1");
        assert_eq!(shares.debtor(newcomer), Some(of("2001:db8:7:1::1")[1]));
        assert_eq!(shares.debtor(of("2001:db8:7:1::ffff")), None);
    }
}
