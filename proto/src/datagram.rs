//! The UDP datagrams: parsing, which refuses what is malformed, and encoding, which cannot fail. `PROTOCOL.md` draws the
//! bytes. Used by the engines of relay and viewer.

mod control;
mod media;

use crate::limits::{JOIN_BYTES, MAX_DATAGRAM, SHARD_BYTES};
use crate::message::{
    Accept, Challenge, Detections, Direct, Goodbye, Join, KeepAlive, Progress, Pulse, Refuse,
    Repair, ScreenReport,
};
use crate::{detections, direction};

use control::{
    Control, checked, checked_goodbye, checked_join, checked_repair, encode, encode_sealed,
    to_inner,
};
#[cfg(test)]
use media::CHECKSUM;
pub use media::{DataHeader, KeySlot, write_checksum};

/// The version of the wire format, as JOIN says it.
pub const VERSION: u32 = 1;

/// First byte of every datagram. Its upper bits keep it apart from STUN, DTLS and RTP (RFC 7983), its lowest are the version.
const MAGIC: u8 = 0xf0 | VERSION as u8;

/// Bytes before the body of a control datagram: magic, kind, body length, session.
pub const CONTROL_HEADER: usize = 12;

/// Bytes before the shard in a media datagram.
pub const DATA_HEADER: usize = 52;

/// Bytes of every media datagram. All have one size, so that the kernel can segment a batch of them (UDP GSO).
pub const DATA_BYTES: usize = DATA_HEADER + SHARD_BYTES;

/// Bytes that a seal adds at the end.
pub const SEAL_BYTES: usize = 16;

/// Bytes of every sealed media datagram.
pub const SEALED_DATA_BYTES: usize = DATA_BYTES + SEAL_BYTES;

/// Bytes before the ciphertext of a sealed control datagram: the header and the counter.
pub const SEALED_HEADER: usize = CONTROL_HEADER + 8;

const _: () = assert!(SEALED_DATA_BYTES <= MAX_DATAGRAM && JOIN_BYTES <= MAX_DATAGRAM);

/// Why a datagram is refused. Nothing of it has been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// Another protocol, or another version of this one.
    #[error("not a Fanlight datagram of version {VERSION}")]
    Foreign,
    /// A kind that this side does not take.
    #[error("kind {0} is not for this side")]
    Kind(u8),
    /// Shorter or longer than its kind allows.
    #[error("{0} bytes do not fit its kind")]
    Length(usize),
    /// The body is no protobuf message of its kind.
    #[error("body is malformed")]
    Body,
    /// A field is out of its bounds.
    #[error("field {0} is out of bounds")]
    Field(&'static str),
    /// The check sum is not that of the bytes.
    #[error("damaged on its way")]
    Damaged,
}

/// What a relay takes.
#[derive(Clone, Debug, PartialEq)]
pub enum ToRelay<'a> {
    /// Asks for a session or a list.
    Join(Join),
    /// Keeps a session.
    KeepAlive(u64, KeepAlive),
    /// Asks for shards again.
    Repair(u64, Repair),
    /// Says how far a large frame has been read.
    Progress(u64, Progress),
    /// Reports what trackers detected in frames.
    Detections(u64, Detections),
    /// Reports what a screen was told to show, and what it shows.
    ScreenReport(u64, ScreenReport),
    /// Ends a session.
    Goodbye(u64, Goodbye),
    /// A message of a session that is sealed: session, counter, ciphertext. Its plaintext is for
    /// [`ToRelay::parse_inner`].
    Sealed(u64, u64, &'a [u8]),
}

/// What a viewer takes.
#[derive(Clone, Debug, PartialEq)]
pub enum ToViewer<'a> {
    /// Asks for the JOIN again, with this token.
    Challenge(Challenge),
    /// The session is accepted.
    Accept(Accept),
    /// The session is refused, and why.
    Refuse(Refuse),
    /// Answers a keep-alive, or reports a change of the stream's status.
    Pulse(u64, Pulse),
    /// Tells a screen what to show.
    Direct(u64, Direct),
    /// The relay knows no such session: join again.
    Reset(u64),
    /// The relay ends the session.
    Goodbye(u64, Goodbye),
    /// A message of a session that is sealed: session, counter, ciphertext. Its plaintext is for
    /// [`ToViewer::parse_inner`].
    Sealed(u64, u64, &'a [u8]),
    /// A shard of a frame; when [`DataHeader::key`] is set, sealed and with [`SEAL_BYTES`] more.
    Data(DataHeader, &'a [u8]),
}

impl<'a> ToRelay<'a> {
    /// Parses a datagram that the relay received.
    ///
    /// # Errors
    /// [`DatagramError`]; a JOIN shorter than [`JOIN_BYTES`] is one, because its answer could be larger.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, DatagramError> {
        let control = Control::parse(datagram)?;
        match control.kind {
            kind::JOIN if datagram.len() < JOIN_BYTES => Err(DatagramError::Length(datagram.len())),
            kind::JOIN => Ok(Self::Join(checked_join(control.body()?)?)),
            kind::SEALED => control
                .sealed()
                .map(|(session, counter, text)| Self::Sealed(session, counter, text)),
            _ => Self::parse_body(control),
        }
    }

    /// Parses the plaintext of a sealed message of `session`.
    ///
    /// # Errors
    /// [`DatagramError`].
    pub fn parse_inner(session: u64, plaintext: &'a [u8]) -> Result<Self, DatagramError> {
        Self::parse_body(Control::parse_inner(session, plaintext)?)
    }

    fn parse_body(control: Control<'a>) -> Result<Self, DatagramError> {
        match control.kind {
            kind::KEEP_ALIVE => Ok(Self::KeepAlive(control.session()?, control.body()?)),
            kind::REPAIR => Ok(Self::Repair(
                control.session()?,
                checked_repair(control.body()?)?,
            )),
            kind::PROGRESS => Ok(Self::Progress(control.session()?, control.body()?)),
            kind::DETECTIONS => Ok(Self::Detections(
                control.session()?,
                checked(control.body()?, detections::check_message)?,
            )),
            kind::SCREEN_REPORT => Ok(Self::ScreenReport(
                control.session()?,
                checked(control.body()?, direction::check_report)?,
            )),
            kind::GOODBYE => Ok(Self::Goodbye(
                control.session()?,
                checked_goodbye(control.body()?),
            )),
            other => Err(DatagramError::Kind(other)),
        }
    }

    /// Writes the datagram into `out`, which is cleared first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Join(body) => {
                encode(kind::JOIN, 0, body, out);
                out.resize(JOIN_BYTES, 0);
            }
            Self::KeepAlive(session, body) => encode(kind::KEEP_ALIVE, *session, body, out),
            Self::Repair(session, body) => encode(kind::REPAIR, *session, body, out),
            Self::Progress(session, body) => encode(kind::PROGRESS, *session, body, out),
            Self::Detections(session, body) => encode(kind::DETECTIONS, *session, body, out),
            Self::ScreenReport(session, body) => {
                encode(kind::SCREEN_REPORT, *session, body, out);
            }
            Self::Goodbye(session, body) => encode(kind::GOODBYE, *session, body, out),
            Self::Sealed(session, counter, ciphertext) => {
                encode_sealed(*session, *counter, ciphertext, out);
            }
        }
    }

    /// Writes the part of a message that is sealed into `out`, which is cleared first.
    pub fn encode_inner(&self, out: &mut Vec<u8>) {
        self.encode(out);
        to_inner(out);
    }
}

impl<'a> ToViewer<'a> {
    /// Parses a datagram that the viewer received.
    ///
    /// # Errors
    /// [`DatagramError`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, DatagramError> {
        if let Some(header) = DataHeader::of_media(datagram) {
            return Ok(Self::Data(header?, &datagram[DATA_HEADER..]));
        }

        let control = Control::parse(datagram)?;
        match control.kind {
            kind::CHALLENGE => Ok(Self::Challenge(control.body()?)),
            kind::ACCEPT => Ok(Self::Accept(control.body()?)),
            kind::REFUSE => Ok(Self::Refuse(control.body()?)),
            kind::RESET => Ok(Self::Reset(control.session()?)),
            kind::SEALED => control
                .sealed()
                .map(|(session, counter, text)| Self::Sealed(session, counter, text)),
            _ => Self::parse_body(control),
        }
    }

    /// Parses the plaintext of a sealed message of `session`.
    ///
    /// # Errors
    /// [`DatagramError`].
    pub fn parse_inner(session: u64, plaintext: &'a [u8]) -> Result<Self, DatagramError> {
        Self::parse_body(Control::parse_inner(session, plaintext)?)
    }

    fn parse_body(control: Control<'a>) -> Result<Self, DatagramError> {
        match control.kind {
            kind::PULSE => Ok(Self::Pulse(control.session()?, control.body()?)),
            kind::DIRECT => Ok(Self::Direct(
                control.session()?,
                checked(control.body()?, direction::check_direct)?,
            )),
            kind::GOODBYE => Ok(Self::Goodbye(
                control.session()?,
                checked_goodbye(control.body()?),
            )),
            other => Err(DatagramError::Kind(other)),
        }
    }

    /// Writes the datagram into `out`, which is cleared first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Challenge(body) => encode(kind::CHALLENGE, 0, body, out),
            Self::Accept(body) => encode(kind::ACCEPT, 0, body, out),
            Self::Refuse(body) => encode(kind::REFUSE, 0, body, out),
            Self::Pulse(session, body) => encode(kind::PULSE, *session, body, out),
            Self::Direct(session, body) => encode(kind::DIRECT, *session, body, out),
            Self::Reset(session) => encode(kind::RESET, *session, &(), out),
            Self::Goodbye(session, body) => encode(kind::GOODBYE, *session, body, out),
            Self::Sealed(session, counter, ciphertext) => {
                encode_sealed(*session, *counter, ciphertext, out);
            }
            Self::Data(header, shard) => {
                out.clear();
                out.extend_from_slice(&header.to_bytes());
                out.extend_from_slice(shard);
                out.resize(header.datagram_bytes(), 0);
                if header.key.is_none() {
                    write_checksum(out);
                }
            }
        }
    }

    /// Writes the part of a message that is sealed into `out`, which is cleared first.
    pub fn encode_inner(&self, out: &mut Vec<u8>) {
        self.encode(out);
        to_inner(out);
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]))
}

mod kind {
    pub(super) const JOIN: u8 = 1;
    pub(super) const CHALLENGE: u8 = 2;
    pub(super) const ACCEPT: u8 = 3;
    pub(super) const REFUSE: u8 = 4;
    pub(super) const KEEP_ALIVE: u8 = 5;
    pub(super) const PULSE: u8 = 6;
    pub(super) const REPAIR: u8 = 7;
    pub(super) const RESET: u8 = 8;
    pub(super) const GOODBYE: u8 = 9;
    pub(super) const SEALED: u8 = 10;
    pub(super) const DETECTIONS: u8 = 11;
    pub(super) const SCREEN_REPORT: u8 = 12;
    pub(super) const DIRECT: u8 = 13;
    pub(super) const PROGRESS: u8 = 14;
    pub(super) const DATA: u8 = 16;
}

#[cfg(test)]
mod tests;
