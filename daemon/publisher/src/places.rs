//! Who may be connected to the publisher: peers that shake hands have places of their own, so that they take none from
//! those that have proved themselves; and no address has more than its share of either.
//!
//! Peers come and go on the publisher's thread. Nobody is refused while a peer that is worth less can go instead.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Peers that have shaken hands, over all endpoints. A source has a handful of relays.
pub(super) const MAX_CONNECTIONS: usize = 64;

/// Peers that are shaking hands, over all endpoints.
pub(super) const MAX_HANDSHAKES: usize = 64;

/// Of either, from one address: IPv4 address or IPv6 /64, or all that come over Unix sockets together.
pub(super) const MAX_PER_ADDRESS: usize = 16;

/// How far a peer is. What is less goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Handshake,
    /// It may read, but has subscribed to nothing.
    Idle,
    Subscribed,
}

/// All peers, oldest first.
#[derive(Debug, Default)]
pub(super) struct Places {
    peers: Mutex<Vec<Arc<Peer>>>,
}

#[derive(Debug)]
struct Peer {
    address: Option<IpAddr>,
    progress: Mutex<Progress>,
    displaced: Notify,
}

/// A peer's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    peer: Arc<Peer>,
}

/// All places are taken by peers that have subscribed.
#[derive(Debug, thiserror::Error)]
#[error("there are {MAX_CONNECTIONS} subscribers already, or {MAX_PER_ADDRESS} from its address")]
pub(super) struct NoPlace;

impl Places {
    /// A place for a peer at `address` that is going to shake hands.
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Place {
        let address = address.map(network);
        let mut peers = self.peers.lock();
        let handshake = |progress| progress == Progress::Handshake;
        // One that shakes hands can always go.
        make_room(&mut peers, address, MAX_HANDSHAKES, handshake, handshake);

        let peer = Arc::new(Peer {
            address,
            progress: Mutex::new(Progress::Handshake),
            displaced: Notify::new(),
        });
        peers.push(Arc::clone(&peer));

        Place {
            places: Arc::clone(self),
            peer,
        }
    }

    /// Peers, those that shake hands included.
    pub(super) fn count(&self) -> usize {
        self.peers.lock().len()
    }
}

impl Place {
    /// Hands have been shaken: the peer moves to the places for those.
    pub(super) fn establish(&self) -> Result<(), NoPlace> {
        let mut peers = self.places.peers.lock();
        let established = |progress| progress != Progress::Handshake;
        let idle = |progress| progress == Progress::Idle;
        if !make_room(
            &mut peers,
            self.peer.address,
            MAX_CONNECTIONS,
            established,
            idle,
        ) {
            return Err(NoPlace);
        }

        *self.peer.progress.lock() = Progress::Idle;
        Ok(())
    }

    /// Notes whether the peer, with which hands have been shaken, has subscribed.
    pub(super) fn set_subscribed(&self, subscribed: bool) {
        *self.peer.progress.lock() = if subscribed {
            Progress::Subscribed
        } else {
            Progress::Idle
        };
    }

    /// Waits until the place has been given to another.
    pub(super) async fn displaced(&self) {
        self.peer.displaced.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut peers = self.places.peers.lock();
        peers.retain(|peer| !Arc::ptr_eq(peer, &self.peer));
    }
}

/// Lets the oldest peer that `goes` leave, if there are too many of those that `counts`: of the same address, or else of
/// the address that has most. Returns whether there is room for one at `address`.
fn make_room(
    peers: &mut Vec<Arc<Peer>>,
    address: Option<IpAddr>,
    limit: usize,
    counts: impl Fn(Progress) -> bool,
    goes: impl Fn(Progress) -> bool,
) -> bool {
    let of = |address| {
        peers
            .iter()
            .filter(|peer| peer.address == address && counts(*peer.progress.lock()))
            .count()
    };

    let crowded = of(address) >= MAX_PER_ADDRESS;
    let total = peers.iter().filter(|peer| counts(*peer.progress.lock()));
    if !crowded && total.count() < limit {
        return true;
    }

    let leaving = peers
        .iter()
        .enumerate()
        .filter(|(_, peer)| goes(*peer.progress.lock()) && (!crowded || peer.address == address))
        // The first of several that are equal, which is the oldest.
        .min_by_key(|(_, peer)| std::cmp::Reverse(of(peer.address)))
        .map(|(index, _)| index);

    let Some(index) = leaving else {
        return false;
    };
    peers.remove(index).displaced.notify_one();
    true
}

/// What counts as one address: a host has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::net::Ipv4Addr;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn host(number: usize) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::from_bits(
            u32::try_from(number).unwrap(),
        )))
    }

    fn is_displaced(place: &Place) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        pin!(place.displaced()).poll(&mut context).is_ready()
    }

    fn subscriber(places: &Arc<Places>, address: Option<IpAddr>) -> Result<Place, NoPlace> {
        let place = places.enter(address);
        place.establish()?;
        place.set_subscribed(true);
        Ok(place)
    }

    #[test]
    fn who_shakes_hands_takes_no_place_from_subscribers() {
        let places = Arc::new(Places::default());
        let subscribers: Vec<_> = (0..MAX_CONNECTIONS)
            .map(|number| subscriber(&places, host(number)).unwrap())
            .collect();

        let crowd: Vec<_> = (0..200).map(|number| places.enter(host(number))).collect();
        assert_eq!(places.count(), MAX_CONNECTIONS + MAX_HANDSHAKES);
        assert!(!subscribers.iter().any(is_displaced));
        let displaced = crowd.iter().filter(|place| is_displaced(place)).count();
        assert_eq!(displaced, 200 - MAX_HANDSHAKES);
        assert!(subscriber(&places, host(500)).is_err());
    }

    #[test]
    fn one_address_that_floods_displaces_only_its_own() {
        let places = Arc::new(Places::default());
        let other = places.enter(host(1));
        let crowd: Vec<_> = (0..500).map(|_| places.enter(host(2))).collect();
        assert_eq!(places.count(), 1 + MAX_PER_ADDRESS);
        assert!(!is_displaced(&other));
        assert!(is_displaced(&crowd[0]) && !is_displaced(&crowd[499]));
    }

    #[test]
    fn who_does_not_subscribe_makes_way() {
        let places = Arc::new(Places::default());
        let keen = subscriber(&places, host(2)).unwrap();
        let idle: Vec<_> = (0..100)
            .map(|_| places.enter(host(2)))
            .inspect(|place| place.establish().unwrap())
            .collect();

        assert!(!is_displaced(&keen));
        assert!(is_displaced(&idle[0]) && !is_displaced(&idle[99]));
        assert!(subscriber(&places, host(2)).is_ok());
        drop((keen, idle));
        assert_eq!(places.count(), 0);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let same = ["2001:db8::1", "2001:db8::ffff:2"].map(|text| network(text.parse().unwrap()));
        assert_eq!(same[0], same[1]);
        assert_ne!(same[0], network("2001:db8:0:1::1".parse().unwrap()));
        assert_eq!(
            network("::ffff:10.0.0.1".parse().unwrap()),
            host(0x0a00_0001).unwrap()
        );
    }
}
