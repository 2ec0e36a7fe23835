//! Security mechanisms of a connection: NULL, and two of ours that run Noise (<https://noiseprotocol.org/noise.html>).
//!
//! `NOISE_NNPSK0` has one key that a source shares with its relays; `NOISE_IK` has a key for each source and relay. The
//! subscriber begins: HELLO carries the first Noise message, WELCOME the second with the publisher's properties, and
//! the subscriber's sealed READY completes the handshake. The prologue binds both greetings.
//!
//! Behind the handshake each ZMTP frame is sealed into one frame without flags: a Noise message with the hidden flags
//! (one byte) and the body's length (four bytes), and then the body in Noise messages as long as they may be.

use std::sync::Arc;

use bytes::Bytes;
use snow::{Builder, HandshakeState, StatelessTransportState};

use super::frame::{COMMAND, MORE, put_header};
use super::{ProtocolError, Role};
use crate::keys::{FeedKey, PrivateKey, PublicKey};
use crate::noise;

const NULL: &str = "NULL";
const NNPSK0: &str = "NOISE_NNPSK0";
const IK: &str = "NOISE_IK";

/// What a tag adds to a Noise message.
const TAG_BYTES: usize = 16;

/// Longest Noise message.
const MAX_CIPHERTEXT: usize = u16::MAX as usize;

/// Bytes of hidden flags and length, before they are sealed.
const HEADER_BYTES: usize = 5;

/// Longest handshake message: two keys, tags and properties have less.
const MAX_HANDSHAKE: usize = 256;

/// Begins the prologue.
const PURPOSE: &[u8] = b"fanlight zmtp 1";

/// How a subscriber secures its connection.
#[derive(Clone, Debug, Default)]
pub enum Security {
    /// In the clear, as every ZeroMQ program does by default.
    #[default]
    Null,
    /// By the key that the source shares with its relays.
    SharedKey(FeedKey),
    /// By a key for each side.
    Keys {
        /// The relay's.
        own: PrivateKey,
        /// The source's: nobody else can answer.
        source: PublicKey,
    },
}

/// How a publisher lets its subscribers secure their connections.
#[derive(Clone, Debug, Default)]
pub struct AcceptedSecurity {
    /// Whether in the clear.
    pub null: bool,
    /// Who has this key.
    pub shared_key: Option<FeedKey>,
    /// Who has one of the keys that the publisher knows.
    pub keys: Option<PublisherKeys>,
}

/// A publisher's key, and the keys of those that may subscribe.
#[derive(Clone, Debug)]
pub struct PublisherKeys {
    /// The publisher's.
    pub own: PrivateKey,
    /// The relays', and what people call them.
    pub relays: Vec<(PublicKey, String)>,
}

impl Security {
    /// The mechanism's name in a greeting.
    pub(super) const fn mechanism(&self) -> &'static str {
        match self {
            Self::Null => NULL,
            Self::SharedKey(_) => NNPSK0,
            Self::Keys { .. } => IK,
        }
    }

    /// The subscriber's side of a Noise handshake, if there is one. `seed` is for its ephemeral key.
    pub(super) fn begin(&self, greetings: [&[u8]; 2], seed: [u8; 32]) -> Option<NoiseHandshake> {
        let prologue = [PURPOSE, greetings[0], greetings[1]].concat();
        let built = match self {
            Self::Null => return None,
            Self::SharedKey(key) => shared(&prologue, seed, key).and_then(Builder::build_initiator),
            Self::Keys { own, source } => separate(&prologue, seed, own)
                .and_then(|builder| builder.remote_public_key(source.bytes()))
                .and_then(Builder::build_initiator),
        };

        let refused = match self {
            Self::Keys { .. } => ProtocolError::OtherSource,
            _ => ProtocolError::Key,
        };

        let state = built.expect(ALL_KEYS);
        Some(NoiseHandshake { state, refused })
    }
}

impl AcceptedSecurity {
    /// In the clear only.
    #[must_use]
    pub const fn null() -> Self {
        Self {
            null: true,
            shared_key: None,
            keys: None,
        }
    }

    /// The mechanism that the peer asks for, if it is accepted, or else the one it should ask for.
    pub(super) fn choose(&self, asked: &[u8]) -> Result<&'static str, &'static str> {
        let accepted = [
            (IK, self.keys.is_some()),
            (NNPSK0, self.shared_key.is_some()),
            (NULL, self.null),
        ];

        let mut accepted = accepted.into_iter().filter(|(_, accepted)| *accepted);
        let first = accepted.clone().next().map_or(NULL, |(name, _)| name);
        accepted
            .find(|(name, _)| name.as_bytes() == asked)
            .map(|(name, _)| name)
            .ok_or(first)
    }

    /// The publisher's side of a Noise handshake, if `mechanism` has one. `seed` is for its ephemeral key.
    pub(super) fn begin(
        &self,
        mechanism: &str,
        greetings: [&[u8]; 2],
        seed: [u8; 32],
    ) -> Option<NoiseHandshake> {
        let prologue = [PURPOSE, greetings[0], greetings[1]].concat();
        let (builder, refused) = match (mechanism, &self.shared_key, &self.keys) {
            (NNPSK0, Some(key), _) => (shared(&prologue, seed, key), ProtocolError::Key),
            (IK, _, Some(keys)) => {
                let wanted = ProtocolError::OtherSourceWanted(keys.own.public());
                (separate(&prologue, seed, &keys.own), wanted)
            }
            _ => return None,
        };

        let state = builder.and_then(Builder::build_responder).expect(ALL_KEYS);
        Some(NoiseHandshake { state, refused })
    }

    /// The peer of a Noise handshake whose first message has been read, if it has a key of its own.
    pub(super) fn identify(
        &self,
        noise: &NoiseHandshake,
    ) -> Result<Option<(PublicKey, String)>, ProtocolError> {
        let key = noise
            .state
            .get_remote_static()
            .and_then(|key| key.try_into().ok())
            .map(PublicKey::exchanged);

        let Some(key) = key else {
            return Ok(None);
        };

        let name = self.name_of(&key).ok_or(ProtocolError::UnknownKey(key))?;
        Ok(Some((key, name.to_owned())))
    }

    /// What the list calls the owner of `key`, if that may subscribe.
    #[must_use]
    pub fn name_of(&self, key: &PublicKey) -> Option<&str> {
        let keys = self.keys.as_ref()?;
        let listed = keys.relays.iter().find(|(listed, _)| listed == key);
        match listed {
            Some((_, name)) => Some(name),
            // Whoever has the source's own key: `fanlight-source status` and `verify`.
            None => (*key == keys.own.public()).then_some(ITSELF),
        }
    }
}

/// What a peer is called that has the source's own key.
const ITSELF: &str = "this source itself";

const ALL_KEYS: &str = "the pattern has all keys that it needs";

fn shared<'a>(
    prologue: &'a [u8],
    seed: [u8; 32],
    key: &'a FeedKey,
) -> Result<Builder<'a>, snow::Error> {
    noise::builder("Noise_NNpsk0_25519_AESGCM_BLAKE2s", prologue, seed).psk(0, key.bytes())
}

fn separate<'a>(
    prologue: &'a [u8],
    seed: [u8; 32],
    own: &'a PrivateKey,
) -> Result<Builder<'a>, snow::Error> {
    noise::builder("Noise_IK_25519_AESGCM_BLAKE2s", prologue, seed).local_private_key(own.bytes())
}

/// What to do when a peer wants mechanism `theirs` where the end of this `role` uses `ours`.
pub(super) fn cure(role: Role, theirs: &str, ours: &str) -> &'static str {
    match (role, theirs, ours) {
        (Role::Subscriber, NULL, NNPSK0) => "it is not sealed: give its source the same feed_key",
        (Role::Subscriber, NNPSK0, NULL) => {
            "it is sealed: set feed_key to the key file of its source"
        }
        (Role::Publisher, NULL, NNPSK0) => "give the relay the same feed_key",
        (Role::Publisher, NNPSK0, NULL) => "set feed_key to the key file of the relay",
        (Role::Subscriber, IK, _) => {
            "set feed_identity, and list its public key with this endpoint in source_keys"
        }
        (Role::Subscriber, _, IK) => {
            "set feed_identity at the source, and list this relay's public key in its relay_keys"
        }
        (Role::Publisher, IK, _) => {
            "set feed_identity and relay_keys here, or take this source out of the relay's source_keys"
        }
        (Role::Publisher, _, IK) => {
            "set feed_identity at the relay, and list this source's public key in its source_keys"
        }
        _ => "no other is known here",
    }
}

/// A Noise handshake that is under way.
#[derive(Debug)]
pub(super) struct NoiseHandshake {
    state: HandshakeState,
    /// What it means when the peer's message does not open.
    refused: ProtocolError,
}

impl NoiseHandshake {
    /// The next message from this side.
    pub(super) fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, ProtocolError> {
        let mut message = vec![0; MAX_HANDSHAKE];
        // The peer's ephemeral key can be a point of small order, with which no secret can be shared.
        let length = self
            .state
            .write_message(payload, &mut message)
            .map_err(|_| self.refused.clone())?;

        message.truncate(length);
        Ok(message)
    }

    /// The payload of the next message from the other side.
    pub(super) fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, ProtocolError> {
        let mut payload = vec![0; MAX_HANDSHAKE];
        if message.len() > MAX_HANDSHAKE {
            return Err(self.refused.clone());
        }

        let length = self
            .state
            .read_message(message, &mut payload)
            .map_err(|_| self.refused.clone())?;

        payload.truncate(length);
        Ok(payload)
    }

    /// What seals and opens behind the handshake.
    pub(super) fn finish(self) -> (Sealer, Opener) {
        let state = self.state.into_stateless_transport_mode();
        let state = Arc::new(state.expect("both messages have been exchanged"));
        let sealer = Sealer {
            state: Arc::clone(&state),
            nonce: 0,
        };
        (sealer, Opener { state, nonce: 0 })
    }
}

/// Length of a sealed frame with a body of `length` bytes.
pub(super) const fn sealed_length(length: usize) -> usize {
    let messages = length.div_ceil(MAX_CIPHERTEXT - TAG_BYTES);
    HEADER_BYTES + TAG_BYTES + length + messages * TAG_BYTES
}

/// Seals the frames of one direction, in order.
#[derive(Debug)]
pub(super) struct Sealer {
    state: Arc<StatelessTransportState>,
    nonce: u64,
}

impl Sealer {
    /// Appends everything of a frame that comes before its sealed body.
    pub(super) fn header(&mut self, flags: u8, length: usize, out: &mut Vec<u8>) {
        put_header(out, 0, sealed_length(length));
        let mut header = [flags; HEADER_BYTES];
        let length = u32::try_from(length).expect("the caps are below 4 GB");
        header[1..].copy_from_slice(&length.to_be_bytes());
        self.message(&header, out);
    }

    /// Appends the sealed body. It must follow its header.
    pub(super) fn body(&mut self, body: &[u8], out: &mut Vec<u8>) {
        for chunk in body.chunks(MAX_CIPHERTEXT - TAG_BYTES) {
            self.message(chunk, out);
        }
    }

    fn message(&mut self, plaintext: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + plaintext.len() + TAG_BYTES, 0);
        self.state
            .write_message(self.nonce, plaintext, &mut out[start..])
            .expect("there is room, and nobody sends 2^64 messages");
        self.nonce += 1;
    }
}

/// Opens the frames of one direction, in order.
#[derive(Debug)]
pub(super) struct Opener {
    state: Arc<StatelessTransportState>,
    nonce: u64,
}

impl Opener {
    /// Flags and body of the frame whose sealed body is `sealed`. `limit` tells the longest body for its flags.
    pub(super) fn open(
        &mut self,
        sealed: &[u8],
        limit: impl FnOnce(u8) -> Result<usize, ProtocolError>,
    ) -> Result<(u8, Bytes), ProtocolError> {
        let (header, messages) = sealed
            .split_at_checked(HEADER_BYTES + TAG_BYTES)
            .ok_or(ProtocolError::Seal)?;
        let mut opened = [0; HEADER_BYTES + TAG_BYTES];
        self.message(header, &mut opened)?;
        let (flags, length) = (opened[0], &opened[1..HEADER_BYTES]);
        let length = length
            .iter()
            .fold(0, |length, byte| length << 8 | u64::from(*byte));
        if flags & !(MORE | COMMAND) != 0 || flags == MORE | COMMAND {
            return Err(ProtocolError::Flags(flags));
        }

        let limit = limit(flags)?;
        let fits = usize::try_from(length)
            .ok()
            .filter(|length| *length <= limit);
        let length = fits.ok_or(ProtocolError::TooLong { length, limit })?;
        // So nobody can cut one sealed frame into several, or join two.
        if sealed.len() != sealed_length(length) {
            return Err(ProtocolError::Seal);
        }

        // With room for a tag ring needs no buffer of its own.
        let mut body = vec![0; length + TAG_BYTES];
        let mut end = 0;
        for message in messages.chunks(MAX_CIPHERTEXT) {
            end += self.message(message, &mut body[end..])?;
        }

        body.truncate(length);
        Ok((flags, body.into()))
    }

    fn message(&mut self, ciphertext: &[u8], out: &mut [u8]) -> Result<usize, ProtocolError> {
        let length = self
            .state
            .read_message(self.nonce, ciphertext, out)
            .map_err(|_| ProtocolError::Seal)?;
        self.nonce += 1;
        Ok(length)
    }
}
