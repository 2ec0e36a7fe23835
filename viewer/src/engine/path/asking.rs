//! How a path asks: JOIN, what of it is sealed in the handshake's first message, and what a relay answers to that.

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{ToRelay, VERSION};
use fanlight_proto::handshake::{Initiator, ViewerAccess};
use fanlight_proto::message::{Accept, Access, Challenge, Join};
use prost::Message as _;

use super::{LinkState, Output, Path, Request, STREAM_RETRY, Seal, Shared};

/// Longest token taken from a relay, in bytes: with it a JOIN is no longer than its padding.
const MAX_TOKEN: usize = 256;

impl Path {
    /// `join` as it is sent: with a key only its envelope, and the rest in the first handshake message, once the relay has
    /// given a token for it.
    fn sealed(&mut self, shared: &mut Shared, join: Join) -> Join {
        if self.access.kind() == Access::Open {
            return join;
        }

        if self.handshake.is_none() && !self.token.is_empty() {
            let begun = Initiator::begin(
                &self.access,
                self.nonce,
                &self.token,
                &join.request(),
                shared.secrets.bytes(),
            );
            self.handshake = begun.map(|(initiator, message)| (initiator, message.into()));
        }

        let message = self.handshake.as_ref().map(|(_, message)| message.clone());
        join.envelope(&self.access, message.unwrap_or_default())
    }

    pub(super) fn send_join(&mut self, now: Time, shared: &mut Shared, whole: u64) {
        self.whole_at_join = whole;
        let renewed = self
            .session
            .as_ref()
            .filter(|session| session.needs_renewal(now));
        let join = Join {
            version: VERSION,
            nonce: self.nonce,
            token: self.token.clone(),
            stream: shared.wanted().to_owned(),
            list: shared.config.request == Request::List,
            receive_capacity: shared.config.receive_capacity,
            name: shared.config.name.clone(),
            paused: self.paused,
            session: renewed.map_or(0, |session| session.id),
            handshake: Bytes::new(),
            mac: Bytes::new(),
        };

        let mut datagram = Vec::new();
        ToRelay::Join(self.sealed(shared, join)).encode(&mut datagram);
        shared.outputs.push_back(Output::Send(self.at, datagram));
    }

    /// Takes the relay's check of this viewer's address. `whole` frames are complete so far.
    pub(in crate::engine) fn on_challenge(
        &mut self,
        now: Time,
        shared: &mut Shared,
        challenge: Challenge,
        whole: u64,
    ) -> bool {
        let Some(joining) = self
            .joining
            .as_mut()
            .filter(|_| challenge.nonce == self.nonce)
        else {
            return false;
        };

        if challenge.token.len() > MAX_TOKEN {
            return false;
        }

        if let Some(why) = disagreement(&self.access, challenge.access()) {
            self.link
                .on_refusal(LinkState::NoKey(why), now + STREAM_RETRY.1);
            return true;
        }

        let answers = joining.answers_challenge();
        if challenge.token != self.token {
            self.token = challenge.token;
            self.handshake = None;
        }

        if answers {
            self.send_join(now, shared, whole);
        }

        true
    }

    /// What an ACCEPT says, and what seals the session that it opens; none when it is not the relay's answer.
    pub(in crate::engine) fn opened(
        &mut self,
        now: Time,
        shared: &mut Shared,
        accept: Accept,
    ) -> Option<(Accept, Option<Seal>)> {
        if self.access.kind() == Access::Open {
            return Some((accept, None));
        }

        let (initiator, _) = self.handshake.as_mut()?;
        let Ok((payload, channel)) = initiator.finish(&accept.handshake) else {
            let why = "the answer was not made with the relay's key";
            self.link
                .on_refusal(LinkState::NoKey(why), now + STREAM_RETRY.1);
            return None;
        };

        // A copy of this answer is ignored.
        self.handshake = None;
        let accept = Accept::decode(&payload[..]).ok()?;
        let renewal = shared.rng.shorten(shared.config.rekey_interval);
        let seal = Seal::new(channel, &accept.keys, now + renewal);
        Some((accept, Some(seal)))
    }
}

/// Why a viewer with this access does not join a relay that asks for that.
const fn disagreement(own: &ViewerAccess, asked: Access) -> Option<&'static str> {
    match (own, asked) {
        (ViewerAccess::Open, Access::Open | Access::Unspecified)
        | (ViewerAccess::Psk(_), Access::Psk)
        | (ViewerAccess::Keys { .. }, Access::Keys) => None,
        (ViewerAccess::Open, _) => {
            Some("the relay asks for a key, and this viewer has none (key_file)")
        }
        (_, Access::Open | Access::Unspecified) => {
            Some("this viewer has a key, but the relay lets everyone in")
        }
        (ViewerAccess::Psk(_), _) => {
            Some("the relay asks for a key of the viewer's own, and this one is shared")
        }
        (ViewerAccess::Keys { .. }, _) => {
            Some("the relay asks for the shared key, and this one is the viewer's own")
        }
    }
}
