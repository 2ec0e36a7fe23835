//! Who may join, and the channel that a handshake opens between a viewer and a relay.
//!
//! Noise (<https://noiseprotocol.org/noise.html>, revision 34): `NNpsk0` when all share a key, `IK` when each viewer has
//! its own. Two messages, which ride on JOIN and ACCEPT. The prologue binds them to the nonce of the JOIN and to the
//! token, and thereby to one address and time: a recorded message is of no use anywhere else.

use bytes::Bytes;
use prost::Message as _;
use snow::{Builder, HandshakeState, StatelessTransportState};

pub use crate::keys::{PrivateKey, PublicKey, SharedKey};

use crate::datagram::{SEAL_BYTES, SEALED_HEADER};
use crate::limits::{JOIN_BYTES, MAX_DATAGRAM, MAX_VIEWER_NAME};
use crate::message::{Access, Join};
use crate::noise;
use crate::replay::ReplayWindow;

mod join_mac;
#[cfg(test)]
mod tests;

pub use join_mac::{JOIN_MAC_BYTES, JoinMac};

/// Bytes of the largest message that can be sealed within a session: with headers and seal it fits a datagram.
pub const MAX_PLAINTEXT: usize = MAX_DATAGRAM - SEALED_HEADER - SEAL_BYTES;

/// Bytes of the longest handshake message taken or made: it fits a JOIN, or an ACCEPT no longer than a JOIN, with what
/// stands around it.
pub const MAX_HANDSHAKE: usize = JOIN_BYTES - 64;

/// Bytes that the second message has more than its payload: an ephemeral key and a seal.
const SECOND_OVERHEAD: usize = 32 + SEAL_BYTES;

/// Bytes of the largest payload of a second message.
pub const MAX_PAYLOAD: usize = MAX_HANDSHAKE - SECOND_OVERHEAD;

/// Bytes of the largest payload of a first message: it fits a JOIN with a token of any length that a viewer takes.
pub const MAX_REQUEST: usize = 512;

/// Messages of a new channel after which nothing of the one before is taken: at four a second, two seconds.
const FORMER_MESSAGES: u32 = 8;

/// What a viewer has to show to a relay.
#[derive(Clone, Debug)]
pub enum ViewerAccess {
    /// Nothing.
    Open,
    /// The key that all share.
    Psk(SharedKey),
    /// A key of its own.
    Keys {
        /// The viewer's.
        own: PrivateKey,
        /// The relay's: nobody else can answer.
        relay: PublicKey,
    },
}

/// Whom a relay lets in.
#[derive(Clone, Debug)]
pub enum RelayAccess {
    /// Everyone.
    Open,
    /// Who has the key that all share.
    Psk(SharedKey),
    /// Who has one of the keys that it knows.
    Keys {
        /// The relay's.
        own: PrivateKey,
        /// The viewers' and what people call them.
        viewers: Vec<(PublicKey, String)>,
    },
}

impl ViewerAccess {
    /// What a relay must ask for, so that this viewer can join.
    #[must_use]
    pub const fn kind(&self) -> Access {
        match self {
            Self::Open => Access::Open,
            Self::Psk(_) => Access::Psk,
            Self::Keys { .. } => Access::Keys,
        }
    }
}

impl RelayAccess {
    /// What the relay asks for, as CHALLENGE says it.
    #[must_use]
    pub const fn kind(&self) -> Access {
        match self {
            Self::Open => Access::Open,
            Self::Psk(_) => Access::Psk,
            Self::Keys { .. } => Access::Keys,
        }
    }
}

/// Why a handshake came to nothing. It does not tell a wrong key from a damaged message: nobody can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The relay lets everyone in and has no key to answer with.
    #[error("this relay takes no handshake")]
    NotAsked,
    /// Another key, nonce or token than ours, or no handshake message at all.
    #[error("the handshake was not made with this key for this address and time")]
    Refused,
    /// Good, and of a viewer that is not (or no longer) known.
    #[error("the relay does not know {0}")]
    Unknown(PublicKey),
    /// The payload has more than [`MAX_PAYLOAD`] bytes.
    #[error("a payload of {0} bytes does not fit the second message")]
    TooLong(usize),
}

/// A viewer's side of a handshake that is under way.
#[derive(Debug)]
pub struct Initiator(Option<HandshakeState>);

impl Initiator {
    /// Begins a handshake for the JOIN with `nonce` and `token` and gives its first message, with `request` encrypted in
    /// it; `None` when there is nothing to show. `ephemeral` must be random and is used for nothing else.
    ///
    /// # Panics
    /// When `request` has more than [`MAX_REQUEST`] bytes.
    #[must_use]
    pub fn begin(
        access: &ViewerAccess,
        nonce: u64,
        token: &[u8],
        request: &[u8],
        ephemeral: [u8; 32],
    ) -> Option<(Self, Vec<u8>)> {
        assert!(request.len() <= MAX_REQUEST, "a JOIN has bounded fields");
        let prologue = prologue(nonce, token);
        let builder = |pattern| noise::builder(pattern, &prologue, ephemeral);
        let built = match access {
            ViewerAccess::Open => return None,
            ViewerAccess::Psk(key) => builder(PSK)
                .psk(0, key.bytes())
                .and_then(Builder::build_initiator),
            ViewerAccess::Keys { own, relay } => builder(KEYS)
                .local_private_key(own.bytes())
                .and_then(|builder| builder.remote_public_key(relay.bytes()))
                .and_then(Builder::build_initiator),
        };

        let mut state = built.expect("the pattern has all keys that it needs");
        let mut message = vec![0; MAX_HANDSHAKE];
        let length = state
            .write_message(request, &mut message)
            .expect("a relay's key has been checked when it was made");
        message.truncate(length);
        Some((Self(Some(state)), message))
    }

    /// Takes the second message, and gives its payload and the channel.
    ///
    /// # Errors
    /// [`HandshakeError::Refused`] for what the relay has not made in answer to this first message. The handshake goes
    /// on all the same: the true answer may still come.
    pub fn finish(&mut self, message: &[u8]) -> Result<(Vec<u8>, Channel), HandshakeError> {
        let state = self.0.as_mut().ok_or(HandshakeError::Refused)?;
        let mut payload = vec![0; MAX_PAYLOAD];
        let length = state
            .read_message(message, &mut payload)
            .map_err(|_| HandshakeError::Refused)?;
        payload.truncate(length);
        let state = self.0.take().expect("it has just been there");
        Ok((payload, Channel::new(state)))
    }
}

/// A relay's side of a handshake whose first message was good.
#[derive(Debug)]
pub struct Responder {
    state: HandshakeState,
    viewer: Option<(PublicKey, String)>,
    request: Vec<u8>,
}

/// Takes the first message of a JOIN with `nonce` and a `token` that has been checked before: that is hundreds of times
/// cheaper. `ephemeral` must be random and is used for nothing else.
///
/// # Errors
/// [`HandshakeError`]; only [`HandshakeError::Unknown`] comes from someone who has the key that they claim.
pub fn answer(
    access: &RelayAccess,
    nonce: u64,
    token: &[u8],
    message: &[u8],
    ephemeral: [u8; 32],
) -> Result<Responder, HandshakeError> {
    let prologue = prologue(nonce, token);
    let builder = |pattern| noise::builder(pattern, &prologue, ephemeral);
    let built = match access {
        RelayAccess::Open => return Err(HandshakeError::NotAsked),
        RelayAccess::Psk(key) => builder(PSK)
            .psk(0, key.bytes())
            .and_then(Builder::build_responder),
        RelayAccess::Keys { own, .. } => builder(KEYS)
            .local_private_key(own.bytes())
            .and_then(Builder::build_responder),
    };

    let mut state = built.expect("the pattern has all keys that it needs");
    let mut request = vec![0; MAX_REQUEST];
    let length = state
        .read_message(message, &mut request)
        .map_err(|_| HandshakeError::Refused)?;
    request.truncate(length);
    let viewer = match access {
        RelayAccess::Keys { viewers, .. } => Some(known(viewers, &state)?),
        _ => None,
    };

    Ok(Responder {
        state,
        viewer,
        request,
    })
}

fn known(
    viewers: &[(PublicKey, String)],
    state: &HandshakeState,
) -> Result<(PublicKey, String), HandshakeError> {
    let key = state
        .get_remote_static()
        .and_then(|key| key.try_into().ok());
    let key = PublicKey::exchanged(key.expect("the first message of IK brings a static key"));
    viewers
        .iter()
        .find(|(known, _)| *known == key)
        .cloned()
        .ok_or(HandshakeError::Unknown(key))
}

/// What of a JOIN stands in the clear when it brings a handshake: version, nonce, token, that handshake and its [`JoinMac`].
/// Everything else is the request, which the first message encrypts.
impl Join {
    /// What the first message encrypts.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        let request = Self {
            version: 0,
            nonce: 0,
            token: Bytes::new(),
            handshake: Bytes::new(),
            mac: Bytes::new(),
            ..self.clone()
        };
        request.encode_to_vec()
    }

    /// What stands in the clear of a viewer with that access beside `handshake`, which may be empty.
    #[must_use]
    pub fn envelope(&self, access: &ViewerAccess, handshake: Bytes) -> Self {
        let join = Self {
            version: self.version,
            nonce: self.nonce,
            token: self.token.clone(),
            handshake,
            ..Self::default()
        };

        let mac = JoinMac::of_viewer(access).filter(|_| !join.handshake.is_empty());
        let mac = mac.map(|mac| mac.of(&join).to_vec().into());
        Self {
            mac: mac.unwrap_or_default(),
            ..join
        }
    }

    /// The whole JOIN, of this envelope and the `request` that came in its handshake; none when a field is malformed or
    /// out of bounds.
    #[must_use]
    pub fn with_request(&self, request: &[u8]) -> Option<Self> {
        let request = Self::decode(request).ok()?;
        (request.name.len() <= MAX_VIEWER_NAME).then(|| Self {
            version: self.version,
            nonce: self.nonce,
            token: self.token.clone(),
            handshake: self.handshake.clone(),
            ..request
        })
    }
}

impl Responder {
    /// What the first message said.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// The viewer's key, when each has its own.
    #[must_use]
    pub fn identity(&self) -> Option<&PublicKey> {
        self.viewer.as_ref().map(|(key, _)| key)
    }

    /// What the list of keys calls the viewer.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.viewer.as_ref().map(|(_, name)| name.as_str())
    }

    /// Gives the second message with `payload` in it, and the channel.
    ///
    /// # Errors
    /// [`HandshakeError::TooLong`].
    pub fn finish(mut self, payload: &[u8]) -> Result<(Vec<u8>, Channel), HandshakeError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(HandshakeError::TooLong(payload.len()));
        }

        let mut message = vec![0; payload.len() + SECOND_OVERHEAD];
        // The viewer's ephemeral key can be a point of small order, with which no secret can be shared.
        let length = self
            .state
            .write_message(payload, &mut message)
            .map_err(|_| HandshakeError::Refused)?;

        message.truncate(length);
        Ok((message, Channel::new(self.state)))
    }
}

/// A sealed session's two directions. Datagrams may be lost, doubled and reordered: each brings its counter, which
/// opens once.
#[derive(Debug)]
pub struct Channel {
    state: StatelessTransportState,
    sent: u64,
    received: ReplayWindow,
}

impl Channel {
    fn new(state: HandshakeState) -> Self {
        let state = state
            .into_stateless_transport_mode()
            .expect("both messages have been exchanged");
        Self {
            state,
            sent: 0,
            received: ReplayWindow::default(),
        }
    }

    /// Seals a message; gives its counter, which goes beside it, and the ciphertext.
    ///
    /// # Panics
    /// When `plaintext` has more than [`MAX_PLAINTEXT`] bytes: every message within a session is bounded below that.
    pub fn seal(&mut self, plaintext: &[u8]) -> (u64, Vec<u8>) {
        assert!(
            plaintext.len() <= MAX_PLAINTEXT,
            "a control message of {} bytes",
            plaintext.len()
        );

        let counter = self.sent;
        let mut ciphertext = vec![0; plaintext.len() + SEAL_BYTES];
        self.state
            .write_message(counter, plaintext, &mut ciphertext)
            .expect("there is room, and nobody sends 2^64 messages");
        self.sent += 1;
        (counter, ciphertext)
    }

    /// Opens what the other side has sealed; `None` when it has not, when it has been opened before, or when it is
    /// older than the replay window.
    #[must_use]
    pub fn open(&mut self, counter: u64, ciphertext: &[u8]) -> Option<Vec<u8>> {
        if ciphertext.len() > MAX_PLAINTEXT + SEAL_BYTES || !self.received.accepts(counter) {
            return None;
        }

        let mut plaintext = vec![0; ciphertext.len().checked_sub(SEAL_BYTES)?];
        self.state
            .read_message(counter, ciphertext, &mut plaintext)
            .ok()?;
        self.received.note(counter);
        Some(plaintext)
    }
}

/// A session's channel, and what is taken beside it while a new handshake replaces it: of the one before what was still on
/// its way, of the one after the first message, which shows that the other side has it.
#[derive(Debug)]
pub struct Channels {
    current: Channel,
    next: Option<Channel>,
    /// With the messages of `current` after which it goes.
    former: Option<(Channel, u32)>,
}

impl Channels {
    /// A session that begins.
    #[must_use]
    pub const fn new(channel: Channel) -> Self {
        Self {
            current: channel,
            next: None,
            former: None,
        }
    }

    /// The other side will use `next` as soon as it knows of it; so will this one then.
    pub fn offer(&mut self, next: Channel) {
        self.next = Some(next);
    }

    /// Whether the other side may not have what was offered.
    #[must_use]
    pub const fn is_offering(&self) -> bool {
        self.next.is_some()
    }

    /// Uses `next` from now on, which the other side has.
    pub fn switch(&mut self, next: Channel) {
        let former = std::mem::replace(&mut self.current, next);
        self.next = None;
        self.former = Some((former, FORMER_MESSAGES));
    }

    /// The one in use.
    #[must_use]
    pub fn into_current(self) -> Channel {
        self.current
    }

    /// As [`Channel::seal`].
    ///
    /// # Panics
    /// As there.
    pub fn seal(&mut self, plaintext: &[u8]) -> (u64, Vec<u8>) {
        self.current.seal(plaintext)
    }

    /// As [`Channel::open`], with any of the channels.
    #[must_use]
    pub fn open(&mut self, counter: u64, ciphertext: &[u8]) -> Option<Vec<u8>> {
        let by_next = |next: &mut Channel| next.open(counter, ciphertext);
        if let Some(plaintext) = self.next.as_mut().and_then(by_next) {
            let next = self.next.take().expect("it has just opened something");
            self.switch(next);
            return Some(plaintext);
        }

        if let Some(plaintext) = self.current.open(counter, ciphertext) {
            self.former = self
                .former
                .take()
                .and_then(|(former, left)| Some((former, left.checked_sub(1)?)));
            return Some(plaintext);
        }

        self.former.as_mut()?.0.open(counter, ciphertext)
    }
}

const PSK: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
const KEYS: &str = "Noise_IK_25519_ChaChaPoly_BLAKE2s";

fn prologue(nonce: u64, token: &[u8]) -> Vec<u8> {
    [b"fanlight 1", &nonce.to_be_bytes()[..], token].concat()
}
