//! The multicast group of one session: offered by the relay, joined by the socket thread, confirmed when media comes.

use std::net::SocketAddrV4;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::ToViewer;
use fanlight_proto::message::KeepAlive;

use super::{Engine, Output};

impl Engine {
    /// Takes a datagram that came from the relay of path `at` by the group that was joined for it: media, or nothing.
    ///
    /// # Panics
    /// When there is no such path.
    pub fn on_group_datagram(&mut self, now: Time, at: usize, datagram: &mut [u8]) {
        let summary = &mut self.paths[at].summary;
        summary.datagrams += 1;
        summary.by_multicast += 1;
        summary.bytes += datagram.len() as u64;
        let ours = match ToViewer::parse(datagram) {
            Ok(ToViewer::Data(header, _)) => self.on_data(now, at, &header, datagram),
            _ => None,
        };

        match ours {
            Some(()) => self.paths[at].on_group_media(now),
            None => self.foreign += 1,
        }
    }

    /// `group` has been joined for path `at`.
    ///
    /// # Panics
    /// When there is no such path.
    pub fn on_group_joined(&mut self, now: Time, at: usize, group: SocketAddrV4) {
        self.paths[at].on_group_joined(now, group);
    }
}

/// Groups joined in a second, at most: each costs the host and its switch a message of IGMP (RFC 3376).
const JOIN_INTERVAL: Duration = Duration::from_secs(1);

/// The state of the group of one session.
#[derive(Debug, Default)]
pub(super) struct Group {
    offered: Option<SocketAddrV4>,
    /// When another group may be joined.
    next_join: Time,
    joined: bool,
    /// When media last came by it.
    last_received: Option<Time>,
    /// Whether the last keep-alive said that media comes by it.
    confirmed: bool,
    /// Longest time between its media while it works.
    timeout: Duration,
}

impl Group {
    /// Takes the relay's offer for path `at`: a group, or none. Returns what to do, if it changed. A relay that changes its
    /// mind more often than once in [`JOIN_INTERVAL`] has no group meanwhile; it repeats its offer.
    pub(super) fn on_offer(
        &mut self,
        now: Time,
        at: usize,
        offer: Option<SocketAddrV4>,
        timeout: Duration,
    ) -> Option<Output> {
        if self.offered == offer {
            return None;
        }

        let offer = offer.filter(|_| now >= self.next_join);
        if self.offered == offer {
            return None;
        }

        let next_join = offer.map_or(self.next_join, |_| now + JOIN_INTERVAL);
        *self = Self {
            offered: offer,
            next_join,
            timeout,
            ..Self::default()
        };

        Some(offer.map_or(Output::LeaveGroup(at), |group| Output::JoinGroup(at, group)))
    }

    /// The session is over.
    pub(super) fn leave(&mut self, at: usize) -> Option<Output> {
        self.on_offer(Time::default(), at, None, Duration::ZERO)
    }

    /// A group has been joined; returns whether it is the one that the relay offers now.
    pub(super) fn on_joined(&mut self, group: SocketAddrV4) -> bool {
        self.joined = self.offered == Some(group);
        self.joined
    }

    /// Media came by the group; returns whether the relay does not know yet that it works.
    pub(super) fn on_media(&mut self, now: Time) -> bool {
        self.last_received = Some(now);
        self.joined && !self.confirmed
    }

    /// When a keep-alive must say that nothing comes by the group any more, if nothing comes until then.
    pub(super) fn silence_due(&self) -> Option<Time> {
        self.last_received
            .filter(|_| self.confirmed)
            .map(|at| at + self.timeout)
    }

    /// Fills in what `keep_alive` says of the group.
    pub(super) fn fill(&mut self, now: Time, keep_alive: KeepAlive) -> KeepAlive {
        self.confirmed =
            self.joined && self.last_received.is_some_and(|at| now < at + self.timeout);
        KeepAlive {
            group_joined: self.joined,
            group_heard: self.confirmed,
            ..keep_alive
        }
    }
}
