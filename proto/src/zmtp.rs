//! ZMTP 3.0 (<https://rfc.zeromq.org/spec/23/>) between a source and its subscribers, as a sans-IO codec for both roles.
//!
//! The source's publisher and the relay's upstream thread use it: first a [`Handshake`], then its [`Decoder`] for what
//! comes and its [`Encoder`] for what goes. Peers of ZMTP 3.1 are understood. Nothing is allocated from a length that
//! a peer claims: memory grows only with the bytes that came, up to the caps of the role.

mod decoder;
mod encoder;
mod frame;
mod handshake;
mod security;
#[cfg(test)]
mod tests;

use crate::keys::PublicKey;
use crate::limits::{MAX_FRAME_BYTES, MAX_FRAME_PREFIX, MAX_STREAM_NAME};

pub use decoder::{Decoder, Event};
pub use encoder::{Encoded, Encoder};
pub use handshake::{Established, Handshake};
pub use security::{AcceptedSecurity, PublisherKeys, Security};

/// Largest command: READY with its properties has about 50 bytes.
pub const MAX_COMMAND: usize = 512;

/// Longest topic that a subscriber may subscribe to. A stream's topic has at most 65 bytes.
pub const MAX_TOPIC: usize = 511;

/// Largest user message from a subscriber to its publisher, its first byte [`UPSTREAM`] included: the largest feedback
/// fits. Ten times a second it is 120 kB, which is nothing beside the frames.
pub const MAX_UPSTREAM: usize = 12 << 10;

/// Largest message from a publisher, topic and body together.
pub const MAX_MESSAGE: usize = MAX_STREAM_NAME + 1 + MAX_FRAME_PREFIX + MAX_FRAME_BYTES;

/// First byte of a user message from a subscriber to its publisher. 0 and 1 cancel and subscribe.
pub const UPSTREAM: u8 = 2;

/// Longest context of a PING (ZMTP 3.1) that is sent back.
const MAX_PING_CONTEXT: usize = 16;

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Announces XPUB; accepts SUB and XSUB.
    Publisher,
    /// Announces XSUB; accepts PUB and XPUB.
    Subscriber,
}

impl Role {
    const fn socket_type(self) -> &'static str {
        match self {
            Self::Publisher => "XPUB",
            Self::Subscriber => "XSUB",
        }
    }

    /// Whether a peer with this socket type fits this end.
    const fn accepts(self, socket_type: &[u8]) -> bool {
        match self {
            Self::Publisher => matches!(socket_type, b"SUB" | b"XSUB"),
            Self::Subscriber => matches!(socket_type, b"PUB" | b"XPUB"),
        }
    }
}

/// Which rule a peer broke. The connection is of no use afterwards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// No greeting of ZMTP 3.
    #[error("it does not speak ZMTP 3")]
    Greeting,
    /// Another security mechanism than ours.
    #[error("it has security mechanism {theirs:?}, and ours is {ours:?}: {cure}")]
    Mechanism {
        /// What the peer announces.
        theirs: String,
        /// What this end requires.
        ours: &'static str,
        /// What to do.
        cure: &'static str,
    },
    /// A handshake of somebody who has not our key, or that was damaged on its way.
    #[error("its handshake was made with another key than ours: give both sides the same feed_key")]
    Key,
    /// A source whose handshake does not prove the key that is listed for it.
    #[error(
        "it does not have the key that is listed for it: another program answers there, or its key is a new one \
         (`keygen public` prints it)"
    )]
    OtherSource,
    /// A relay that takes this source for another.
    #[error("it wants a source with another key than ours: list {0} in its source_keys")]
    OtherSourceWanted(PublicKey),
    /// A key that is in nobody's list.
    #[error("its key {0} is not in relay_keys")]
    UnknownKey(PublicKey),
    /// A sealed frame that was forged, damaged or out of order.
    #[error("a sealed frame does not open: it was changed on its way")]
    Seal,
    /// Reserved flags, or a command in several parts.
    #[error("a frame has the unknown flags {0:#04x}")]
    Flags(u8),
    /// A frame or message over the cap of the role.
    #[error("it announces {length} bytes where {limit} is the limit")]
    TooLong {
        /// What it claims.
        length: u64,
        /// The cap.
        limit: usize,
    },
    /// No READY where one is due, or a malformed one.
    #[error("its handshake is malformed")]
    Handshake,
    /// A socket type that does not fit ours.
    #[error("it is a {theirs:?} socket, which does not fit our {ours}")]
    SocketType {
        /// What the peer announces.
        theirs: String,
        /// What this end is.
        ours: &'static str,
    },
    /// A subscriber sent something that is neither a subscription nor a user message.
    #[error("it sends messages that are no subscriptions")]
    Message,
    /// A publisher sent a message of more than two parts.
    #[error("it sends messages of more than two parts")]
    Parts,
    /// A command that cannot be read.
    #[error("a command is malformed")]
    Command,
    /// The peer sent ERROR.
    #[error("it reports an error: {0:?}")]
    Reported(String),
}

/// A byte of length, so many bytes, and the rest.
fn short_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// For error texts: a hostile peer must not write into a terminal.
fn printable(bytes: &[u8]) -> String {
    let shown = |byte: &u8| {
        if *byte == b' ' || byte.is_ascii_graphic() {
            char::from(*byte)
        } else {
            '?'
        }
    };

    bytes.iter().take(32).map(shown).collect()
}
