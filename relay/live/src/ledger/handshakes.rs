//! Who may have a handshake, each of which costs as much as 300 checks of a token. Called by the engine.
//!
//! Nothing queues: each address has a rate of its own, which is an equal share of [`HANDSHAKES_PER_SECOND`] among those that
//! ask at present. So many that ask all the time get a share each, and whoever comes anew has not used its own.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fanlight_daemon::rate_limit::TokenBucket;
use fanlight_proto::clock::Time;
use fanlight_proto::token::TokenKey;

use super::client_network;
use super::sessions::site_of;

/// Handshakes in a second in all: a tenth of a core. A relay that restarts lets its thousand viewers in
/// within a second.
pub const HANDSHAKES_PER_SECOND: u32 = 1000;

/// Handshakes in a second for one IPv4 address, or one IPv6 network of 64 bits and one site of 48, however few others ask: a
/// room full of viewers behind one router joins within a second.
pub const HANDSHAKES_PER_SOURCE: u32 = 64;

/// Of those of a second, what is left to sources that have not asked lately, and to those that have been in.
const KEPT_FOR_NEWCOMERS: u32 = HANDSHAKES_PER_SECOND / 4;

/// Of those, what is left to sources that have been in.
const KEPT_FOR_KNOWN: u32 = HANDSHAKES_PER_SECOND / 8;

/// Whoever had a handshake that succeeded counts as known for so long: five times [`REKEY_INTERVAL`], so that it holds for
/// as long as a session and for a restart behind it.
///
/// [`REKEY_INTERVAL`]: fanlight_proto::limits::REKEY_INTERVAL
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// Networks that are known: four for each of [`MAX_VIEWERS`](fanlight_proto::limits::MAX_VIEWERS).
const MAX_KNOWN: usize = 4096;

/// Handshakes of one known network that come out of what is kept for them: at once, and between two. A viewer that has lost
/// its relay tries every 2 s.
const KNOWN_BURST: u32 = 16;
const KNOWN_INTERVAL: Duration = Duration::from_millis(500);

/// Sources are hashed to so many cells, keyed with the relay's secret and anew every ten seconds: an attacker cannot choose the
/// cell of a victim, and who shares one by chance does not for long.
const CELLS: usize = 4096;

const SECOND: Duration = Duration::from_secs(1);

/// What each source may still have.
#[derive(Debug)]
pub struct Handshakes {
    all: TokenBucket,
    /// IPv4 addresses and IPv6 sites.
    sites: Sources,
    /// IPv6 networks within their site.
    networks: Sources,
    known: BTreeMap<IpAddr, Known>,
}

/// A network from which somebody has shown a key.
#[derive(Debug)]
struct Known {
    since: Time,
    handshakes: TokenBucket,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            all: TokenBucket::new(HANDSHAKES_PER_SECOND, HANDSHAKES_PER_SECOND),
            sites: Sources::default(),
            networks: Sources::default(),
            known: BTreeMap::new(),
        }
    }
}

impl Handshakes {
    /// Whether a handshake for `from` may be worked on now; it counts.
    pub fn admits(&mut self, now: Time, token_key: &TokenKey, from: SocketAddr) -> bool {
        let network = client_network(from.ip());
        if self.is_known(now, network) {
            return self.all.try_take(now, 1);
        }

        let site = site_of(network);
        let at = |source| cell(token_key, now, source);
        let (site_at, network_at) = (at(site), at(network));
        let share = self.sites.note(now, site_at);

        let debt = self.sites.debt(now, site_at);
        let kept = if debt.is_zero() {
            KEPT_FOR_KNOWN
        } else {
            KEPT_FOR_NEWCOMERS
        };

        // Networks of a site that ask all the time leave a quarter of what it has to its others.
        let others = network != site && !self.networks.debt(now, network_at).is_zero();
        let most = if others { SECOND * 3 / 4 } else { SECOND };
        let may = debt <= most.saturating_sub(share) && self.all.available(now) > kept;
        if may {
            self.all.take_up_to(now, 1);
            self.sites.take(now, site_at, share);
            self.networks.take(now, network_at, share);
        }
        may
    }

    /// A handshake from `from` has succeeded.
    pub fn on_success(&mut self, now: Time, from: SocketAddr) {
        let network = client_network(from.ip());
        if self.known.len() >= MAX_KNOWN && !self.known.contains_key(&network) {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.since);
            if let Some(oldest) = oldest.map(|(network, _)| *network) {
                self.known.remove(&oldest);
            }
        }

        let known = self.known.entry(network).or_insert_with(|| Known {
            since: now,
            handshakes: TokenBucket::with_interval(KNOWN_INTERVAL, KNOWN_BURST),
        });
        known.since = now;
    }

    fn is_known(&mut self, now: Time, network: IpAddr) -> bool {
        let known = self.known.get_mut(&network);
        known.is_some_and(|known| {
            now.saturating_since(known.since) < KNOWN_FOR && known.handshakes.try_take(now, 1)
        })
    }
}

/// What one handshake costs whoever is alone, in time.
const EACH: Duration = Duration::from_micros(1_000_000 / HANDSHAKES_PER_SOURCE as u64);

fn cell(token_key: &TokenKey, now: Time, source: IpAddr) -> usize {
    let hash = token_key.mint(now, SocketAddr::new(source, 0));
    usize::from(u16::from_be_bytes([hash[0], hash[1]])) % CELLS
}

/// Rates of sources, each kept as the moment at which it has used nothing (ITU-T I.371). No address is stored.
#[derive(Debug)]
struct Sources {
    cells: Vec<Cell>,
    /// The second that is counted, and the sources that asked in it and in the one before.
    second: u64,
    asking: [u32; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    free_at: Time,
    /// The second in which it asked last.
    asked: u64,
}

impl Default for Sources {
    fn default() -> Self {
        Self {
            cells: vec![Cell::default(); CELLS],
            second: 0,
            asking: [0; 2],
        }
    }
}

impl Sources {
    /// A source asks; what one handshake costs each at present, in time.
    fn note(&mut self, now: Time, at: usize) -> Duration {
        let second = now.as_nanos() / 1_000_000_000;
        if second != self.second {
            let last = self.asking[0];
            self.asking = [0, if second == self.second + 1 { last } else { 0 }];
            self.second = second;
        }

        let cell = &mut self.cells[at];
        if std::mem::replace(&mut cell.asked, second) != second {
            self.asking[0] += 1;
        }

        let asking = self.asking[0].max(self.asking[1]);
        EACH.max(SECOND * asking / HANDSHAKES_PER_SECOND)
    }

    /// How far a source is ahead of its rate.
    fn debt(&self, now: Time, at: usize) -> Duration {
        self.cells[at].free_at.saturating_since(now)
    }

    fn take(&mut self, now: Time, at: usize, cost: Duration) {
        let cell = &mut self.cells[at];
        cell.free_at = cell.free_at.max(now) + cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_nanos(1_000_000_000_007);

    struct Rig(Handshakes, TokenKey);

    impl Rig {
        fn new() -> Self {
            Self(Handshakes::default(), TokenKey::new([3; 16]))
        }

        fn passes(&mut self, now: Time, address: &str) -> bool {
            let from = SocketAddr::new(address.parse().unwrap(), 5);
            self.0.admits(now, &self.1, from)
        }

        /// How many of `count` at once from each of `addresses` pass at `now`.
        fn passed(&mut self, now: Time, count: usize, addresses: &[String]) -> usize {
            let asked = addresses.iter().flat_map(|address| vec![address; count]);
            asked.filter(|address| self.passes(now, address)).count()
        }
    }

    fn hosts(net: u8, count: u8) -> Vec<String> {
        (0..count).map(|n| format!("10.{net}.0.{n}")).collect()
    }

    #[test]
    fn one_source_does_not_use_up_what_others_may_and_all_together_are_limited() {
        let mut rig = Rig::new();
        let one = rig.passed(START, 1000, &hosts(0, 1));
        assert_eq!(one, HANDSHAKES_PER_SOURCE as usize);
        assert!(rig.passes(START, "10.1.0.1"));

        let many: Vec<_> = (0..20_000)
            .map(|n| format!("10.2.{}.{}", n / 250, n % 250))
            .collect();
        let many = rig.passed(START, 1, &many);
        // Each of them is new, which leaves what is kept for the known.
        let left = HANDSHAKES_PER_SECOND - KEPT_FOR_KNOWN - HANDSHAKES_PER_SOURCE - 1;
        assert_eq!(many, left as usize);
    }

    #[test]
    fn sources_that_ask_all_the_time_share_equally_and_a_newcomer_passes_at_once() {
        let mut rig = Rig::new();
        let attackers = hosts(1, 40);
        let mut passed = [0; 40];
        for millis in 0..5000 {
            let now = START + Duration::from_millis(millis);
            for (at, address) in attackers.iter().enumerate() {
                passed[at] += u32::from(rig.passes(now, address));
            }
            if millis > 1000 && millis % 100 == 0 {
                assert!(
                    rig.passes(now, &format!("10.2.0.{}", millis / 100)),
                    "{millis}"
                );
            }
        }

        // A burst at the beginning, and 25 a second each.
        let [least, most] = [passed.iter().min(), passed.iter().max()].map(Option::unwrap);
        assert!(
            *least >= 80 && *most <= 5 * 25 + HANDSHAKES_PER_SOURCE,
            "{passed:?}"
        );
    }

    #[test]
    fn who_has_been_in_passes_beside_any_number_of_newcomers() {
        let mut rig = Rig::new();
        rig.0.on_success(START, "10.0.0.0:7".parse().unwrap());
        for millis in 0..2000 {
            let now = START + Duration::from_millis(millis);
            for n in 0..10 {
                let n = millis * 10 + n;
                rig.passes(
                    now,
                    &format!("10.{}.{}.{}", 1 + (n >> 14), n >> 7 & 127, n & 127),
                );
            }
        }

        let now = START + Duration::from_secs(2);
        assert_eq!(rig.passed(now, 100, &hosts(0, 1)), KNOWN_BURST as usize);
        let later = START + KNOWN_FOR + Duration::from_millis(1);
        assert!(!rig.0.is_known(later, "10.0.0.0".parse().unwrap()));
    }

    #[test]
    fn a_site_has_one_share_and_its_networks_share_that() {
        let mut rig = Rig::new();
        let network: Vec<_> = (0..1000).map(|n| format!("2001:db8:7:1::{n:x}")).collect();
        let site: Vec<_> = (2..1000).map(|n| format!("2001:db8:7:{n:x}::1")).collect();
        // A quarter is left to the site's other networks.
        let flooding = rig.passed(START, 1, &network);
        assert_eq!(flooding, HANDSHAKES_PER_SOURCE as usize * 3 / 4);
        let others = rig.passed(START, 1, &site);
        assert_eq!(others, HANDSHAKES_PER_SOURCE as usize / 4);
        assert!(rig.passes(START, "2001:db8:8::1"));
    }

    #[test]
    fn known_networks_are_bounded_and_the_oldest_go() {
        let mut handshakes = Handshakes::default();
        for n in 0..MAX_KNOWN as u32 + 1 {
            let address = std::net::Ipv4Addr::from_bits(n).into();
            let now = START + Duration::from_micros(n.into());
            handshakes.on_success(now, SocketAddr::new(address, 5));
        }

        assert_eq!(handshakes.known.len(), MAX_KNOWN);
        assert!(!handshakes.known.contains_key(&IpAddr::from([0, 0, 0, 0])));
    }
}
