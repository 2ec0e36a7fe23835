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

/// The state of the group of one session.
#[derive(Debug, Default)]
pub(super) struct Group {
    offered: Option<SocketAddrV4>,
    joined: bool,
    /// When media last came by it.
    heard: Option<Time>,
    /// Whether the relay has been told that it is heard.
    told: bool,
    /// It is heard as long as no more time passes between its media.
    timeout: Duration,
}

impl Group {
    /// Takes what the relay says: the group of path `at`, or that there is none.
    pub(super) fn on_offer(
        &mut self,
        at: usize,
        offer: Option<SocketAddrV4>,
        timeout: Duration,
    ) -> Option<Output> {
        if self.offered == offer {
            return None;
        }
        *self = Self {
            offered: offer,
            timeout,
            ..Self::default()
        };
        Some(offer.map_or(Output::LeaveGroup(at), |group| Output::JoinGroup(at, group)))
    }

    /// The session is over.
    pub(super) fn leave(&mut self, at: usize) -> Option<Output> {
        self.on_offer(at, None, Duration::ZERO)
    }

    /// A group has been joined; whether it is the one that the relay offers now.
    pub(super) fn on_joined(&mut self, group: SocketAddrV4) -> bool {
        self.joined = self.offered == Some(group);
        self.joined
    }

    /// Media came by the group; whether that is news to the relay.
    pub(super) fn on_media(&mut self, now: Time) -> bool {
        self.heard = Some(now);
        self.joined && !self.told
    }

    /// When the relay is to be told that nothing comes any more, if nothing does.
    pub(super) fn news_due(&self) -> Option<Time> {
        self.heard
            .filter(|_| self.told)
            .map(|heard| heard + self.timeout)
    }

    /// The keep-alive with what it says of the group.
    pub(super) fn tell(&mut self, now: Time, keep_alive: KeepAlive) -> KeepAlive {
        self.told = self.joined && self.heard.is_some_and(|heard| now < heard + self.timeout);
        KeepAlive {
            group_joined: self.joined,
            group_heard: self.told,
            ..keep_alive
        }
    }
}
