//! The multicast group of a path: what the relay offers, and what comes by it.

use std::net::SocketAddrV4;

use fanlight_proto::clock::Time;
use fanlight_proto::message::{self, Pulse};

use super::{Path, Shared};

impl Path {
    /// Takes the group that the relay offers to session `id`; a keep-alive confirms a change at once.
    pub(in crate::engine) fn on_group_offer(
        &mut self,
        now: Time,
        shared: &mut Shared,
        id: u64,
        pulse: &Pulse,
    ) {
        let Some(session) = self.session.as_mut().filter(|session| session.id == id) else {
            return;
        };

        let offer = pulse.group.as_ref().and_then(message::Group::checked);
        if let Some(change) = self
            .group
            .on_offer(now, self.at, offer, session.group_timeout())
        {
            shared.outputs.push_back(change);
            session.keep_alive_due = now;
        }
    }

    /// A group has been joined: a keep-alive says so at once.
    pub(in crate::engine) fn on_group_joined(&mut self, now: Time, group: SocketAddrV4) {
        if let Some(session) = self
            .session
            .as_mut()
            .filter(|_| self.group.on_joined(group))
        {
            session.keep_alive_due = now;
        }
    }

    /// Media came by the group: if the relay does not know yet, a keep-alive says so at once.
    pub(in crate::engine) fn on_group_media(&mut self, now: Time) {
        if let Some(session) = self.session.as_mut().filter(|_| self.group.on_media(now)) {
            session.keep_alive_due = now;
        }
    }
}
