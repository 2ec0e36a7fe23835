//! The media datagram: the header of a shard, and its checksum.

use std::ops::Range;

use super::{
    DATA_BYTES, DATA_HEADER, DatagramError, MAGIC, SEALED_DATA_BYTES, kind, u16_at, u32_at, u64_at,
};
use crate::limits::{MAX_SHARDS, SHARD_BYTES};
use crate::message::FrameId;

/// Where the checksum lies in the header of a media datagram.
pub(super) const CHECKSUM: Range<usize> = 48..52;

/// In the flags of a media datagram: it is sealed.
const SEALED: u8 = 1;

/// In the flags of a media datagram: the lowest bit of the key's generation.
const ODD_KEY: u8 = 2;

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

/// The header of a media datagram. Every relay that receives a frame packetizes it into the same shards.
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
    /// Counts the frames of this stream that this relay has packetized, from 1. Never repeats while a relay runs.
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

    /// The bytes before the shard. The checksum is not in them yet: if the datagram is not sealed, [`write_checksum`] puts it
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

    /// The header of a media datagram, checked as [`ToViewer::parse`](super::ToViewer::parse) does; none for any other datagram.
    ///
    /// Viewers call this and not [`ToViewer::parse`](super::ToViewer::parse): moving the header into an enum and out again reads
    /// it right after it was written in other portions, which stalls processors (store forwarding).
    ///
    /// # Errors
    /// [`DatagramError`].
    #[inline]
    pub fn of_media(datagram: &[u8]) -> Option<Result<Self, DatagramError>> {
        datagram
            .starts_with(&[MAGIC, kind::DATA])
            .then(|| Self::parse(datagram))
    }

    pub(super) fn parse(datagram: &[u8]) -> Result<Self, DatagramError> {
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

        if head[11] != 0 {
            return Err(DatagramError::Field("reserved"));
        }

        header.check()?;
        Ok(header)
    }

    /// Whether the fields agree with each other.
    fn check(&self) -> Result<(), DatagramError> {
        let field = |ok: bool, name| ok.then_some(()).ok_or(DatagramError::Field(name));
        let shards = usize::from(self.shards);
        field((1..=MAX_SHARDS).contains(&shards), "shards")?;
        field(self.parity <= self.shards, "parity")?;
        field(self.index < self.shards + self.parity, "index")?;
        field(
            (self.length as usize).div_ceil(SHARD_BYTES) == shards,
            "length",
        )?;

        field(self.id.epoch != 0, "epoch")?;
        field(self.sequence != 0, "sequence")
    }
}

/// Writes the checksum into a media datagram that is complete and will not be sealed. (A sealed one has its tag, and
/// zeros here.) UDP's own 16-bit sum misses one damage in 65 536. With this one as well, a damaged shard counts as lost,
/// and parity or repair restores it.
///
/// # Panics
/// When there is not even a header.
pub fn write_checksum(datagram: &mut [u8]) {
    let sum = checksum(datagram);
    datagram[CHECKSUM].copy_from_slice(&sum);
}

/// CRC-32 (IEEE 802.3) of all bytes except the checksum itself.
fn checksum(datagram: &[u8]) -> [u8; 4] {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&datagram[..CHECKSUM.start]);
    sum.update(&datagram[CHECKSUM.end..]);
    sum.finalize().to_be_bytes()
}
