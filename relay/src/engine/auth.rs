//! How one session was authenticated, and its encrypted channel if it has one.

use fanlight_proto::datagram::{SEALED_HEADER, ToViewer};
use fanlight_proto::handshake::{Channel, Channels, PublicKey};

/// How one session was authenticated.
#[derive(Debug)]
pub(super) struct Auth {
    /// Of the JOIN that made the session, or its newest channel: the same JOIN again gets the same session.
    nonce: u64,
    /// The newest key of its stream that the viewer has.
    key_generation: u32,
    channel: Option<SecureChannel>,
}

/// What a session has that began with a handshake.
#[derive(Debug)]
pub(super) struct SecureChannel {
    pub(super) channels: Channels,
    /// The ACCEPT that made it, until the first sealed message shows that it has arrived.
    pub(super) accept: Option<Vec<u8>>,
    /// Whose it is, when each viewer has a key of its own.
    pub(super) identity: Option<PublicKey>,
}

impl Auth {
    pub(super) const fn new(nonce: u64, channel: Option<SecureChannel>) -> Self {
        Self {
            nonce,
            key_generation: 0,
            channel,
        }
    }

    /// Whether a JOIN with `nonce` made this session.
    pub(super) const fn is_repeat(&self, nonce: u64) -> bool {
        self.nonce == nonce
    }

    /// A new handshake, which the JOIN with `nonce` brought and `accept` answers, gives the session another channel.
    pub(super) fn renew(&mut self, nonce: u64, channel: Channel, accept: Vec<u8>) {
        if let Some(secure) = &mut self.channel {
            self.nonce = nonce;
            secure.channels.offer(channel);
            secure.accept = Some(accept);
        }
    }

    /// Whether the session is sealed.
    pub(super) const fn is_sealed(&self) -> bool {
        self.channel.is_some()
    }

    /// The encoded ACCEPT of a sealed session, as long as it may have been lost.
    pub(super) fn unconfirmed_accept(&self) -> Option<Vec<u8>> {
        self.channel.as_ref()?.accept.clone()
    }

    /// The key of the viewer, when each has its own.
    pub(super) fn identity(&self) -> Option<&PublicKey> {
        self.channel.as_ref()?.identity.as_ref()
    }

    /// The viewer has the keys of its stream up to `generation`.
    pub(super) fn on_key_generation(&mut self, generation: u32) {
        self.key_generation = self.key_generation.max(generation);
    }

    pub(super) const fn key_generation(&self) -> u32 {
        self.key_generation
    }

    /// Opens a sealed message; none when it is forged, repeated, or the session is not sealed.
    pub(super) fn open(&mut self, counter: u64, ciphertext: &[u8]) -> Option<Vec<u8>> {
        let secure = self.channel.as_mut()?;
        let plaintext = secure.channels.open(counter, ciphertext)?;
        if !secure.channels.is_offering() {
            secure.accept = None;
        }
        Some(plaintext)
    }

    /// Encodes a message of `session`, sealed if the session is.
    pub(super) fn encode(&mut self, session: u64, message: &ToViewer<'_>) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(8 * SEALED_HEADER);
        match &mut self.channel {
            None => message.encode(&mut datagram),
            Some(secure) => {
                message.encode_inner(&mut datagram);
                let (counter, ciphertext) = secure.channels.seal(&datagram);
                ToViewer::Sealed(session, counter, &ciphertext).encode(&mut datagram);
            }
        }

        datagram
    }
}
