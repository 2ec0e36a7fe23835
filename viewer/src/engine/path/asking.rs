//! How a path asks: JOIN, and what of it is sealed in the handshake's first message.

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{ToRelay, VERSION};
use fanlight_proto::handshake::Initiator;
use fanlight_proto::message::{Access, Join};

use super::{Output, Path, Request, Shared};

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
}
