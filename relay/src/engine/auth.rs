//! How one session was authenticated, and its encrypted channel if it has one.

use std::collections::VecDeque;

use fanlight_proto::datagram::{SEALED_HEADER, ToViewer};
use fanlight_proto::handshake::{Channel, PublicKey};

/// Nonces of earlier JOINs from one address that are remembered. A token holds for 20 s, and a viewer
/// joins anew after half a second at the soonest when only the path is bad.
const MAX_USED_NONCES: usize = 32;

/// How one session was authenticated.
#[derive(Debug)]
pub(super) struct Auth {
    /// Of the JOIN that made the session: the same JOIN again gets the same session.
    nonce: u64,
    /// Of the JOINs that made the sessions before it at this address: a recorded JOIN does not end
    /// this session.
    used_nonces: VecDeque<u64>,
    /// The newest key of its stream that the viewer has.
    key_generation: u32,
    channel: Option<SecureChannel>,
}

/// What a session has that began with a handshake.
#[derive(Debug)]
pub(super) struct SecureChannel {
    pub(super) channel: Channel,
    /// The ACCEPT that made it, until the first sealed message shows that it has arrived.
    pub(super) accept: Option<Vec<u8>>,
    /// Whose it is, when each viewer has a key of its own.
    pub(super) identity: Option<PublicKey>,
}

impl Auth {
    pub(super) const fn new(
        nonce: u64,
        used_nonces: VecDeque<u64>,
        channel: Option<SecureChannel>,
    ) -> Self {
        Self {
            nonce,
            used_nonces,
            key_generation: 0,
            channel,
        }
    }

    /// Whether a JOIN with `nonce` made this session.
    pub(super) const fn is_repeat(&self, nonce: u64) -> bool {
        self.nonce == nonce
    }

    /// Whether a JOIN with `nonce` made an earlier session at this address.
    pub(super) fn is_used(&self, nonce: u64) -> bool {
        self.used_nonces.contains(&nonce)
    }

    /// The nonces that are used when this session ends.
    pub(super) fn take_used_nonces(&mut self) -> VecDeque<u64> {
        let mut used = std::mem::take(&mut self.used_nonces);
        used.push_back(self.nonce);
        if used.len() > MAX_USED_NONCES {
            used.pop_front();
        }
        used
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
        let plaintext = secure.channel.open(counter, ciphertext)?;
        secure.accept = None;
        Some(plaintext)
    }

    /// Encodes a message of `session`, sealed if the session is.
    pub(super) fn encode(&mut self, session: u64, message: &ToViewer<'_>) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(8 * SEALED_HEADER);
        match &mut self.channel {
            None => message.encode(&mut datagram),
            Some(secure) => {
                message.encode_inner(&mut datagram);
                let (counter, ciphertext) = secure.channel.seal(&datagram);
                ToViewer::Sealed(session, counter, &ciphertext).encode(&mut datagram);
            }
        }

        datagram
    }
}
