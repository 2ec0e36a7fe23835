//! The sessions. One for each address, made only after the address has proved itself.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Bound;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{SEALED_HEADER, ToViewer};
use fanlight_proto::handshake::{Channel, PublicKey};
use fanlight_proto::message::Report;
use fanlight_proto::parity::level_count;

use super::Route;
use super::congestion::CongestionController;
use super::detections::DetectionQueue;
use super::isolation::IsolationState;
use super::multicast::Membership;
use super::packetize::Target;
use super::parity_control::ParityController;

/// Shards that one viewer gets again in a second: half of a stream of 300 kB frames at 30 fps. A viewer that misses
/// more is not helped by repair, and one that asks for more is not honest.
pub const REPAIR_SHARDS_PER_SECOND: u32 = 4096;

/// A token holds for 20 s, and a viewer that joins anew does so after half a second at the soonest when nothing is wrong
/// but the way.
const MAX_USED_NONCES: usize = 32;

/// One session.
#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) session: u64,
    /// Of the JOIN that made it: the same JOIN again gets the same session.
    pub(super) nonce: u64,
    /// Of the JOINs that made the sessions before it at this address, as many as [`MAX_USED_NONCES`]: who recorded one of them
    /// does not end this session with it.
    pub(super) used_nonces: VecDeque<u64>,
    pub(super) alias: u16,
    pub(super) route: Route,
    pub(super) capacity: u32,
    pub(super) name: String,
    /// When the session began.
    pub(super) since: Time,
    pub(super) heard: Time,
    pub(super) report: Report,
    /// What it found.
    pub(super) detections: DetectionQueue,
    /// Shards that it may still get besides the stream's frames.
    pub(super) repairs: TokenBucket,
    /// Another path brings it the stream.
    pub(super) paused: bool,
    pub(super) congestion: CongestionController,
    pub(super) parity: ParityController,
    pub(super) isolation: IsolationState,
    pub(super) membership: Membership,
    /// Frames of which it got a part only.
    pub(super) aborted: u64,
    /// The newest key of its stream that it has.
    pub(super) key_generation: u32,
    pub(super) secure: Option<SecureSession>,
}

/// What a session has that began with a handshake.
#[derive(Debug)]
pub(super) struct SecureSession {
    pub(super) channel: Channel,
    /// The ACCEPT that made it, until the viewer shows by its first sealed message that it has come.
    pub(super) accept: Option<Vec<u8>>,
    /// Whose it is, when each viewer has a key of its own.
    pub(super) identity: Option<PublicKey>,
}

impl Viewer {
    /// The nonces that are spent when this session ends.
    pub(super) fn spend(&mut self) -> VecDeque<u64> {
        let mut spent = std::mem::take(&mut self.used_nonces);
        spent.push_back(self.nonce);
        if spent.len() > MAX_USED_NONCES {
            spent.pop_front();
        }
        spent
    }

    /// The datagram of a message to this session, sealed if the session is.
    pub(super) fn datagram(&mut self, message: &ToViewer<'_>) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(8 * SEALED_HEADER);
        match &mut self.secure {
            None => message.encode(&mut datagram),
            Some(secure) => {
                message.encode_inner(&mut datagram);
                let (counter, ciphertext) = secure.channel.seal(&datagram);
                ToViewer::Sealed(self.session, counter, &ciphertext).encode(&mut datagram);
            }
        }
        datagram
    }

    /// A frame did not go out whole to the viewer; `begun`: some of it did.
    pub(super) fn on_aborted(&mut self, begun: bool) {
        if begun {
            self.aborted += 1;
        } else {
            self.congestion.on_not_started();
        }
    }

    /// How the viewer gets a frame of `shards`, one of which comes each `interval`.
    pub(super) fn target(&self, shards: u16, interval: Duration) -> Target {
        Target {
            route: self.route,
            capacity: self.capacity,
            parity: level_count(shards, self.parity_level()),
            own_socket: self.isolation.is_own(),
            spread: self.congestion.spread(interval),
        }
    }

    /// The level of parity that it gets.
    pub(super) fn parity_level(&self) -> u8 {
        self.congestion.cap_parity_level(self.parity.level())
    }
}

/// All sessions, in the order of their addresses, so that the same input always gives the same output.
#[derive(Debug, Default)]
pub(super) struct Viewers {
    by_address: BTreeMap<SocketAddr, Viewer>,
}

impl Viewers {
    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Viewer> {
        self.by_address.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Viewer> {
        self.by_address.values_mut()
    }

    /// Whoever has a session at `address`.
    pub(super) fn at(&self, address: SocketAddr) -> Option<&Viewer> {
        self.by_address.get(&address)
    }

    /// Whoever has a session at `address`.
    pub(super) fn at_mut(&mut self, address: SocketAddr) -> Option<&mut Viewer> {
        self.by_address.get_mut(&address)
    }

    /// Those of whom `wanted` holds, beginning after `turn` and going round.
    pub(super) fn after(
        &self,
        turn: Option<SocketAddr>,
        wanted: impl Fn(&Viewer) -> bool,
    ) -> Vec<SocketAddr> {
        let wanted = |(address, viewer): (&SocketAddr, &Viewer)| wanted(viewer).then_some(*address);
        let Some(turn) = turn else {
            return self.by_address.iter().filter_map(wanted).collect();
        };
        let later = self
            .by_address
            .range((Bound::Excluded(turn), Bound::Unbounded));
        later
            .chain(self.by_address.range(..=turn))
            .filter_map(wanted)
            .collect()
    }

    /// The viewer of `session`, if that is the session of `address`.
    pub(super) fn session(&mut self, address: SocketAddr, session: u64) -> Option<&mut Viewer> {
        self.by_address
            .get_mut(&address)
            .filter(|viewer| viewer.session == session)
    }

    pub(super) fn insert(&mut self, viewer: Viewer) {
        self.by_address.insert(viewer.route.remote, viewer);
    }

    pub(super) fn remove(&mut self, address: SocketAddr) -> Option<Viewer> {
        self.by_address.remove(&address)
    }

    /// One viewer that has not been heard for `limit`.
    pub(super) fn idle(&self, now: Time, limit: Duration) -> Option<SocketAddr> {
        let idle = |viewer: &Viewer| now.saturating_since(viewer.heard) >= limit;
        self.by_address
            .iter()
            .find(|(_, viewer)| idle(viewer))
            .map(|(address, _)| *address)
    }

    /// One viewer whose key is not among those that `known` knows.
    pub(super) fn find_unauthorized(&self, known: impl Fn(&PublicKey) -> bool) -> Option<Route> {
        let strange = |viewer: &&Viewer| {
            viewer
                .secure
                .as_ref()
                .and_then(|secure| secure.identity.as_ref())
                .is_some_and(|key| !known(key))
        };
        self.iter().find(strange).map(|viewer| viewer.route)
    }
}

/// So many a second and no more; what is not used in one second is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenBucket {
    a_second: u32,
    left: u32,
    since: Time,
}

impl TokenBucket {
    pub(super) const fn new(now: Time, a_second: u32) -> Self {
        Self {
            a_second,
            left: a_second,
            since: now,
        }
    }

    /// What is left at `now`.
    pub(super) fn left(&mut self, now: Time) -> u32 {
        if now.saturating_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.left = self.a_second;
        }
        self.left
    }

    /// Uses up to `count`.
    pub(super) fn spend(&mut self, count: u32) {
        self.left = self.left.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_renewed_each_second_and_not_saved_up() {
        let start = Time::from_nanos(7);
        let mut bucket = TokenBucket::new(start, 10);
        bucket.spend(9);
        assert_eq!(bucket.left(start + Duration::from_millis(999)), 1);
        assert_eq!(bucket.left(start + Duration::from_secs(60)), 10);
        bucket.spend(11);
        assert_eq!(bucket.left(start + Duration::from_secs(60)), 0);
    }
}
