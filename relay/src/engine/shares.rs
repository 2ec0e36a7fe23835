//! Equal shares of the sessions: who has more than one must give places up to newcomers while the relay is full.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use fanlight_live::client_network;
use fanlight_proto::handshake::PublicKey;

/// Who holds sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    /// The owner of a key, where each viewer has its own.
    Key(PublicKey),
    /// An IPv4 address or an IPv6 network.
    Network(IpAddr),
}

/// The holders that a session counts for: the site, which is what a customer of a provider gets (RFC 6177), and the
/// network within it. They are the same for keys and for IPv4.
pub(super) type Holders = [Holder; 2];

/// The holders of a session from `address` with the key `identity`, if it has one of its own.
pub(super) fn holders(address: IpAddr, identity: Option<&PublicKey>) -> Holders {
    if let Some(key) = identity {
        return [Holder::Key(*key); 2];
    }

    let network = client_network(address);
    let site = match network {
        IpAddr::V6(network) => IpAddr::V6(Ipv6Addr::from_bits(network.to_bits() >> 80 << 80)),
        address => address,
    };
    [Holder::Network(site), Holder::Network(network)]
}

/// How many sessions each holder has.
#[derive(Debug, Default)]
pub(super) struct Shares {
    counts: [BTreeMap<Holder, usize>; 2],
}

impl Shares {
    /// A session of `holders` begins.
    pub(super) fn add(&mut self, holders: Holders) {
        for (counts, holder) in self.counts.iter_mut().zip(holders) {
            *counts.entry(holder).or_default() += 1;
        }
    }

    /// A session of `holders` ends.
    pub(super) fn remove(&mut self, holders: Holders) {
        for (counts, holder) in self.counts.iter_mut().zip(holders) {
            if let Some(count) = counts.get_mut(&holder) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&holder);
                }
            }
        }
    }

    /// The holder that must give up a session to `newcomer`: the one with the most, if even then it has no fewer.
    /// A newcomer that has an equal share already gets none, which costs no search.
    pub(super) fn debtor(&self, newcomer: Holders) -> Option<Holder> {
        self.counts
            .iter()
            .zip(newcomer)
            .find_map(|(counts, holder)| {
                let own = counts.get(&holder).copied().unwrap_or_default();
                let all: usize = counts.values().sum();
                if (own + 1) * counts.len() > all {
                    return None;
                }

                let (debtor, most) = counts.iter().max_by_key(|(_, count)| **count)?;
                (own + 1 < *most).then_some(*debtor)
            })
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
        let mut shares = Shares::default();
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
        let mut shares = Shares::default();
        (0..1000).for_each(|n| shares.add(of(&format!("2001:db8:7:{n:x}::1"))));
        let site = of("2001:db8:7::1")[0];
        assert_eq!(shares.debtor(of("10.0.0.2")), Some(site));
        assert_eq!(shares.debtor(of("2001:db8:7:ffff::1")), None);
    }

    #[test]
    fn within_a_site_networks_are_equal() {
        let mut shares = Shares::default();
        (0..10).for_each(|n| shares.add(of(&format!("2001:db8:7:1::{n:x}"))));
        let newcomer = of("2001:db8:7:2::1");
        assert_eq!(shares.debtor(newcomer), Some(of("2001:db8:7:1::1")[1]));
        assert_eq!(shares.debtor(of("2001:db8:7:1::ffff")), None);
    }
}
