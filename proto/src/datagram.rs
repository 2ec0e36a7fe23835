//! What stands in each UDP datagram: parsing that refuses, building that cannot fail. `PROTOCOL.md` draws the bytes.

use std::ops::Range;

use prost::Message;

use crate::detections;
use crate::limits::{
    JOIN_BYTES, MAX_DATAGRAM, MAX_REASON, MAX_REPAIR_RANGES, MAX_SHARDS, MAX_VIEWER_NAME,
    SHARD_BYTES,
};
use crate::message::{
    Accept, Challenge, Detections, FrameId, Goodbye, Join, KeepAlive, Pulse, Refuse, Repair,
    truncate_reason,
};

/// The version of the wire format, as JOIN says it.
pub const VERSION: u32 = 1;

/// First byte of every datagram. Its upper bits keep it apart from STUN, DTLS and RTP (RFC 7983), its lowest are the version.
const MAGIC: u8 = 0xf0 | VERSION as u8;

/// Bytes before the body of a control datagram: magic, kind, body length, session.
pub const CONTROL_HEADER: usize = 12;

/// Bytes before the shard in a media datagram.
pub const DATA_HEADER: usize = 52;

/// Where the header of a media datagram has its check sum.
const CHECKSUM: Range<usize> = 48..52;

/// Bytes of every media datagram: shards have one size, so that trains of them can be segmented by the kernel.
pub const DATA_BYTES: usize = DATA_HEADER + SHARD_BYTES;

/// Bytes that a seal adds at the end.
pub const SEAL_BYTES: usize = 16;

/// Bytes of every sealed media datagram.
pub const SEALED_DATA_BYTES: usize = DATA_BYTES + SEAL_BYTES;

/// Bytes before the ciphertext of a sealed control datagram: the header and the counter.
pub const SEALED_HEADER: usize = CONTROL_HEADER + 8;

const _: () = assert!(SEALED_DATA_BYTES <= MAX_DATAGRAM && JOIN_BYTES <= MAX_DATAGRAM);

/// In the flags of a media datagram: it is sealed.
const SEALED: u8 = 1;

/// In the flags of a media datagram: the lowest bit of the key's generation.
const ODD_KEY: u8 = 2;

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
    pub(super) const DATA: u8 = 16;
}

/// Why a datagram is not ours. Nothing of it has been used.
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
    /// Says what was found in frames.
    Detections(u64, Detections),
    /// Ends a session.
    Goodbye(u64, Goodbye),
    /// A message of a session that is sealed: session, counter, ciphertext. What it opens to is for
    /// [`ToRelay::parse_inner`].
    Sealed(u64, u64, &'a [u8]),
}

/// What a viewer takes.
#[derive(Clone, Debug, PartialEq)]
pub enum ToViewer<'a> {
    /// Come again with this token.
    Challenge(Challenge),
    /// Welcome.
    Accept(Accept),
    /// Not now, and why.
    Refuse(Refuse),
    /// Answers a keep-alive, or tells a change of the stream's status.
    Pulse(u64, Pulse),
    /// The relay knows no such session: join again.
    Reset(u64),
    /// The relay ends the session.
    Goodbye(u64, Goodbye),
    /// A message of a session that is sealed: session, counter, ciphertext. What it opens to is for
    /// [`ToViewer::parse_inner`].
    Sealed(u64, u64, &'a [u8]),
    /// A shard of a frame; when [`DataHeader::key`] is set, sealed and with [`SEAL_BYTES`] more.
    Data(DataHeader, &'a [u8]),
}

/// Which of a stream's two keys seals a datagram: the lowest bit of the key's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySlot {
    /// An even generation.
    Even,
    /// An odd generation.
    Odd,
}

impl KeySlot {
    /// The slot of a generation.
    #[must_use]
    pub const fn of(generation: u32) -> Self {
        if generation.is_multiple_of(2) {
            Self::Even
        } else {
            Self::Odd
        }
    }
}

/// What a media datagram says of its shard. Each relay that receives a frame cuts it into the same shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataHeader {
    /// The stream, as ACCEPT named it.
    pub alias: u16,
    /// Which shard of the frame this is: below `shards` a piece of it, from there on parity.
    pub index: u16,
    /// Shards of the frame without parity, 1 to [`MAX_SHARDS`].
    pub shards: u16,
    /// Parity shards that there could be of the frame, sent or not; the code depends on it.
    pub parity: u16,
    /// The key, when the datagram is sealed.
    pub key: Option<KeySlot>,
    /// Bytes of the encoded `Frame`; the last shard is filled up with zeros.
    pub length: u32,
    /// The frame.
    pub id: FrameId,
    /// The lower half of the relay's clock in microseconds when the frame came from the source.
    pub received_us: u32,
    /// Frames directly before this one that never reached the relay; saturates.
    pub lost_upstream: u16,
    /// Frames before this one that the relay had and did not send because a newer one was there; saturates.
    pub lost_in_relay: u16,
    /// Counts the frames that this relay has cut of this stream, from 1. It does not repeat while a relay runs.
    pub sequence: u64,
}

impl DataHeader {
    /// Where the index stands in the datagram.
    pub(crate) const INDEX_AT: usize = 4;

    /// Where the sequence stands in the datagram.
    pub(crate) const SEQUENCE_AT: usize = 40;

    /// Bytes of each datagram of the frame.
    #[must_use]
    pub const fn datagram_bytes(&self) -> usize {
        if self.key.is_some() {
            SEALED_DATA_BYTES
        } else {
            DATA_BYTES
        }
    }

    /// The bytes before the shard. There is no check sum in them yet; where nothing is to be sealed, [`write_checksum`] puts it
    /// in when the shard is there.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; DATA_HEADER] {
        let mut bytes = [0; DATA_HEADER];
        bytes[0] = MAGIC;
        bytes[1] = kind::DATA;
        bytes[2..4].copy_from_slice(&self.alias.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.index.to_be_bytes());
        bytes[6..8].copy_from_slice(&self.shards.to_be_bytes());
        bytes[8..10].copy_from_slice(&self.parity.to_be_bytes());
        bytes[10] = match self.key {
            None => 0,
            Some(KeySlot::Even) => SEALED,
            Some(KeySlot::Odd) => SEALED | ODD_KEY,
        };
        bytes[12..16].copy_from_slice(&self.length.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.id.epoch.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.id.number.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.received_us.to_be_bytes());
        bytes[36..38].copy_from_slice(&self.lost_upstream.to_be_bytes());
        bytes[38..40].copy_from_slice(&self.lost_in_relay.to_be_bytes());
        bytes[40..48].copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }

    /// The bytes before another shard of the same frame.
    pub(crate) fn with_index(mut bytes: [u8; DATA_HEADER], index: u16) -> [u8; DATA_HEADER] {
        bytes[4..6].copy_from_slice(&index.to_be_bytes());
        bytes
    }

    /// The header of a media datagram, checked as [`ToViewer::parse`] does; none for any other datagram.
    ///
    /// A viewer takes this way. To be moved into an enum and out again, the header would have to be read from memory
    /// right after it was written there in other portions, which processors wait for.
    ///
    /// # Errors
    /// [`DatagramError`].
    #[inline]
    pub fn of_media(datagram: &[u8]) -> Option<Result<Self, DatagramError>> {
        datagram
            .starts_with(&[MAGIC, kind::DATA])
            .then(|| Self::parse(datagram))
    }

    fn parse(datagram: &[u8]) -> Result<Self, DatagramError> {
        let (head, _) = datagram
            .split_at_checked(DATA_HEADER)
            .ok_or(DatagramError::Length(datagram.len()))?;
        let key = match head[10] {
            0 => None,
            SEALED => Some(KeySlot::Even),
            flags if flags == SEALED | ODD_KEY => Some(KeySlot::Odd),
            _ => return Err(DatagramError::Field("flags")),
        };
        let header = Self {
            alias: u16_at(head, 2),
            index: u16_at(head, 4),
            shards: u16_at(head, 6),
            parity: u16_at(head, 8),
            key,
            length: u32_at(head, 12),
            id: FrameId {
                epoch: u64_at(head, 16),
                number: u64_at(head, 24),
            },
            received_us: u32_at(head, 32),
            lost_upstream: u16_at(head, 36),
            lost_in_relay: u16_at(head, 38),
            sequence: u64_at(head, 40),
        };
        if datagram.len() != header.datagram_bytes() {
            return Err(DatagramError::Length(datagram.len()));
        }
        let expected = if header.key.is_some() {
            [0; 4]
        } else {
            checksum(datagram)
        };
        if head[CHECKSUM] != expected {
            return Err(DatagramError::Damaged);
        }
        let field = |ok: bool, name| {
            if ok {
                Ok(())
            } else {
                Err(DatagramError::Field(name))
            }
        };
        field(head[11] == 0, "reserved")?;
        field(
            (1..=MAX_SHARDS).contains(&usize::from(header.shards)),
            "shards",
        )?;
        field(header.parity <= header.shards, "parity")?;
        field(header.index < header.shards + header.parity, "index")?;
        field(
            (header.length as usize).div_ceil(SHARD_BYTES) == usize::from(header.shards),
            "length",
        )?;
        field(header.id.epoch != 0, "epoch")?;
        field(header.sequence != 0, "sequence")?;
        Ok(header)
    }
}

impl<'a> ToRelay<'a> {
    /// Parses what came in at the relay.
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

    /// Parses what a sealed message of `session` opened to.
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
            kind::DETECTIONS => Ok(Self::Detections(
                control.session()?,
                checked_detections(control.body()?)?,
            )),
            kind::GOODBYE => Ok(Self::Goodbye(
                control.session()?,
                checked_goodbye(control.body()?),
            )),
            other => Err(DatagramError::Kind(other)),
        }
    }

    /// Writes the datagram into `out`, whose former content is gone.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Join(body) => {
                encode(kind::JOIN, 0, body, out);
                out.resize(JOIN_BYTES, 0);
            }
            Self::KeepAlive(session, body) => encode(kind::KEEP_ALIVE, *session, body, out),
            Self::Repair(session, body) => encode(kind::REPAIR, *session, body, out),
            Self::Detections(session, body) => encode(kind::DETECTIONS, *session, body, out),
            Self::Goodbye(session, body) => encode(kind::GOODBYE, *session, body, out),
            Self::Sealed(session, counter, ciphertext) => {
                encode_sealed(*session, *counter, ciphertext, out);
            }
        }
    }

    /// Writes what is to be sealed of a message within a session into `out`, whose former content is gone.
    pub fn encode_inner(&self, out: &mut Vec<u8>) {
        self.encode(out);
        to_inner(out);
    }
}

impl<'a> ToViewer<'a> {
    /// Parses what came in at the viewer.
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

    /// Parses what a sealed message of `session` opened to.
    ///
    /// # Errors
    /// [`DatagramError`].
    pub fn parse_inner(session: u64, plaintext: &'a [u8]) -> Result<Self, DatagramError> {
        Self::parse_body(Control::parse_inner(session, plaintext)?)
    }

    fn parse_body(control: Control<'a>) -> Result<Self, DatagramError> {
        match control.kind {
            kind::PULSE => Ok(Self::Pulse(control.session()?, control.body()?)),
            kind::GOODBYE => Ok(Self::Goodbye(
                control.session()?,
                checked_goodbye(control.body()?),
            )),
            other => Err(DatagramError::Kind(other)),
        }
    }

    /// Writes the datagram into `out`, whose former content is gone.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Challenge(body) => encode(kind::CHALLENGE, 0, body, out),
            Self::Accept(body) => encode(kind::ACCEPT, 0, body, out),
            Self::Refuse(body) => encode(kind::REFUSE, 0, body, out),
            Self::Pulse(session, body) => encode(kind::PULSE, *session, body, out),
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

    /// Writes what is to be sealed of a message within a session into `out`, whose former content is gone.
    pub fn encode_inner(&self, out: &mut Vec<u8>) {
        self.encode(out);
        to_inner(out);
    }
}

/// Puts the check sum into a media datagram that is complete and will not be sealed. (What is sealed has its tag, and
/// zeros here.) UDP's own sum of 16 bits misses one damage in 65 536; with this one as well, a damaged shard is a lost
/// shard, which parity or repair makes good.
///
/// # Panics
/// When there is not even a header.
pub fn write_checksum(datagram: &mut [u8]) {
    let sum = checksum(datagram);
    datagram[CHECKSUM].copy_from_slice(&sum);
}

/// CRC-32 (IEEE 802.3) of all bytes but the check sum's own.
fn checksum(datagram: &[u8]) -> [u8; 4] {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&datagram[..CHECKSUM.start]);
    sum.update(&datagram[CHECKSUM.end..]);
    sum.finalize().to_be_bytes()
}

/// A control datagram whose outer form holds.
#[derive(Clone, Copy)]
struct Control<'a> {
    kind: u8,
    session: u64,
    body: &'a [u8],
}

impl<'a> Control<'a> {
    fn parse(datagram: &'a [u8]) -> Result<Self, DatagramError> {
        if datagram.first() != Some(&MAGIC) {
            return Err(DatagramError::Foreign);
        }
        if !(CONTROL_HEADER..=MAX_DATAGRAM).contains(&datagram.len()) {
            return Err(DatagramError::Length(datagram.len()));
        }
        let (head, rest) = datagram.split_at(CONTROL_HEADER);
        let body = rest
            .get(..usize::from(u16_at(head, 2)))
            .ok_or(DatagramError::Length(datagram.len()))?;
        if head[1] != kind::JOIN && body.len() != rest.len() {
            return Err(DatagramError::Length(datagram.len()));
        }
        Ok(Self {
            kind: head[1],
            session: u64_at(head, 4),
            body,
        })
    }

    /// The kind and the body that were sealed.
    fn parse_inner(session: u64, plaintext: &'a [u8]) -> Result<Self, DatagramError> {
        let (kind, body) = plaintext.split_first().ok_or(DatagramError::Length(0))?;
        Ok(Self {
            kind: *kind,
            session,
            body,
        })
    }

    /// Session, counter and ciphertext of a sealed message.
    fn sealed(&self) -> Result<(u64, u64, &'a [u8]), DatagramError> {
        let length = DatagramError::Length(CONTROL_HEADER + self.body.len());
        let (counter, ciphertext) = self.body.split_first_chunk().ok_or(length)?;
        if ciphertext.len() <= SEAL_BYTES {
            return Err(length);
        }
        Ok((self.session()?, u64::from_be_bytes(*counter), ciphertext))
    }

    /// The session, of a kind that has one.
    fn session(&self) -> Result<u64, DatagramError> {
        if self.session == 0 {
            Err(DatagramError::Field("session"))
        } else {
            Ok(self.session)
        }
    }

    fn body<M: Message + Default>(&self) -> Result<M, DatagramError> {
        M::decode(self.body).map_err(|_| DatagramError::Body)
    }
}

fn encode(kind: u8, session: u64, body: &impl Message, out: &mut Vec<u8>) {
    let length = body.encoded_len();
    let short = u16::try_from(length).expect("a control message is bounded far below 64 KiB");
    out.clear();
    out.extend_from_slice(&[MAGIC, kind]);
    out.extend_from_slice(&short.to_be_bytes());
    out.extend_from_slice(&session.to_be_bytes());
    body.encode(out)
        .expect("a Vec grows as far as the message needs");
}

fn encode_sealed(session: u64, counter: u64, ciphertext: &[u8], out: &mut Vec<u8>) {
    let short =
        u16::try_from(8 + ciphertext.len()).expect("a control message is bounded far below 64 KiB");
    out.clear();
    out.extend_from_slice(&[MAGIC, kind::SEALED]);
    out.extend_from_slice(&short.to_be_bytes());
    out.extend_from_slice(&session.to_be_bytes());
    out.extend_from_slice(&counter.to_be_bytes());
    out.extend_from_slice(ciphertext);
}

/// Of a control datagram, what is sealed: its kind and its body.
fn to_inner(datagram: &mut Vec<u8>) {
    let kind = datagram[1];
    datagram.drain(..CONTROL_HEADER - 1);
    datagram[0] = kind;
}

fn checked_join(join: Join) -> Result<Join, DatagramError> {
    if join.name.len() > MAX_VIEWER_NAME {
        return Err(DatagramError::Field("name"));
    }
    Ok(join)
}

fn checked_repair(repair: Repair) -> Result<Repair, DatagramError> {
    if repair.ranges.len() > 2 * MAX_REPAIR_RANGES || !repair.ranges.len().is_multiple_of(2) {
        return Err(DatagramError::Field("ranges"));
    }
    Ok(repair)
}

fn checked_detections(body: Detections) -> Result<Detections, DatagramError> {
    detections::check(&body).map_err(DatagramError::Field)?;
    Ok(body)
}

fn checked_goodbye(mut goodbye: Goodbye) -> Goodbye {
    if goodbye.reason.len() > MAX_REASON {
        truncate_reason(&mut goodbye.reason);
    }
    goodbye
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

#[cfg(test)]
mod tests;
