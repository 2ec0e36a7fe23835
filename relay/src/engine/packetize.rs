//! Cuts frames into datagrams, and keeps the last ones of a stream for repairs. Buffers are used again, so
//! a frame costs no allocation. Called by the engine, and by the sender for what it is about to send, on one thread.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use fanlight_proto::datagram::{DataHeader, write_checksum};
use fanlight_proto::limits::SHARD_BYTES;
use fanlight_proto::message::FrameId;
use fanlight_proto::parity::{Encoder, recovery_count};
use fanlight_proto::seal::MediaKey;
use fanlight_proto::shard;
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Frames of one stream that are kept for repairs: at 60 fps the oldest is 66 ms old, and a viewer that
/// has not asked by then shows a newer one.
pub const RETRANSMIT_FRAMES: usize = 4;

/// Buffers of one stream that wait to be used again: one for the next frame, and those that a slow sender
/// still held when they left the retransmit buffer.
pub(super) const SPARE_FRAMES: usize = 3;

/// A frame in datagrams of one size. One without parity and seal is cut while it is sent, so that its viewers read the first
/// datagrams while the last are made.
pub struct PacketizedFrame {
    id: FrameId,
    sequence: u64,
    generation: u32,
    shards: u16,
    parity: u16,
    stride: usize,
    header: DataHeader,
    cutting: RwLock<Cutting>,
}

/// The datagrams of a frame that are made, and what others are made of.
struct Cutting {
    bytes: Vec<u8>,
    /// The frame; empty when it is cut.
    body: Bytes,
}

impl Cutting {
    /// Makes the datagrams of `header` before `end` that are not there yet.
    fn cut(&mut self, header: &DataHeader, end: u16) {
        let stride = header.datagram_bytes();
        let there = self.bytes.len() / stride;
        let shards = self.body.chunks(SHARD_BYTES).enumerate();

        for (at, shard) in shards.take(end.into()).skip(there) {
            let index = u16::try_from(at).expect("a frame has at most MAX_SHARDS");
            let header = DataHeader { index, ..*header };
            self.bytes.extend_from_slice(&header.to_bytes());
            self.bytes.extend_from_slice(shard);
            self.bytes.resize((at + 1) * stride, 0);
            write_checksum(&mut self.bytes[at * stride..]);
        }

        if self.bytes.len() == usize::from(header.shards) * stride {
            self.body = Bytes::new();
        }
    }
}

/// Datagrams of a frame, which nobody changes meanwhile.
pub struct Datagrams<'a> {
    stride: usize,
    cutting: RwLockReadGuard<'a, Cutting>,
}

impl fmt::Debug for Datagrams<'_> {
    /// Without the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Datagrams of {} bytes", self.stride)
    }
}

impl Datagrams<'_> {
    /// Those in `range`, one behind the other.
    ///
    /// # Panics
    /// When they are not among those that were asked for.
    #[must_use]
    pub fn range(&self, range: Range<u16>) -> &[u8] {
        let at = |index: u16| usize::from(index) * self.stride;
        &self.cutting.bytes[at(range.start)..at(range.end)]
    }
}

impl fmt::Debug for PacketizedFrame {
    /// Without the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PacketizedFrame({}, {} shards)", self.id, self.shards)
    }
}

impl PacketizedFrame {
    fn empty() -> Self {
        let id = FrameId {
            epoch: 0,
            number: 0,
        };

        Self {
            id,
            sequence: 0,
            generation: 0,
            shards: 0,
            parity: 0,
            stride: 0,
            header: DataHeader::default(),
            cutting: RwLock::new(Cutting {
                bytes: Vec::new(),
                body: Bytes::new(),
            }),
        }
    }

    /// Which frame this is.
    #[must_use]
    pub const fn id(&self) -> FrameId {
        self.id
    }

    /// The sequence of the media header: unique within a stream.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The generation of the key that seals it; 0: none does.
    pub(super) const fn generation(&self) -> u32 {
        self.generation
    }

    /// How many datagrams carry the frame itself.
    #[must_use]
    pub const fn shards(&self) -> u16 {
        self.shards
    }

    /// How many datagrams of parity there are after them.
    #[must_use]
    pub const fn parity(&self) -> u16 {
        self.parity
    }

    /// Bytes of each datagram.
    #[must_use]
    pub const fn stride(&self) -> usize {
        self.stride
    }

    /// Whether all datagrams are made.
    pub(crate) fn is_cut(&self) -> bool {
        self.cutting.read().body.is_empty()
    }

    /// The datagrams of the shards before `end`, which are made if they are not there yet; parity comes after the frame's own.
    #[must_use]
    pub fn up_to(&self, end: u16) -> Datagrams<'_> {
        let cutting = self.cutting.read();
        let stride = self.stride;
        if cutting.body.is_empty() || cutting.bytes.len() >= usize::from(end) * stride {
            return Datagrams { stride, cutting };
        }

        drop(cutting);
        let mut cutting = self.cutting.write();
        cutting.cut(&self.header, end);
        let cutting = RwLockWriteGuard::downgrade(cutting);
        Datagrams { stride, cutting }
    }

    /// The datagrams of the shards in `range`, one behind the other.
    ///
    /// # Panics
    /// When `range` does not lie within the shards and the parity.
    pub fn datagrams(&self, range: Range<u16>) -> MappedRwLockReadGuard<'_, [u8]> {
        let Datagrams { stride, cutting } = self.up_to(range.end);
        let at = |index: u16| usize::from(index) * stride;
        RwLockReadGuard::map(cutting, |cutting| {
            &cutting.bytes[at(range.start)..at(range.end)]
        })
    }

    /// Bytes of memory held: for datagrams, and for the frame until it is cut.
    fn capacity(&self) -> usize {
        let cutting = self.cutting.read();
        cutting.bytes.capacity() + cutting.body.len()
    }
}

/// The last frames of one stream.
#[derive(Debug, Default)]
pub(super) struct RetransmitBuffer {
    recent: VecDeque<Arc<PacketizedFrame>>,
    spare: Vec<Arc<PacketizedFrame>>,
}

/// What to add to the shards of a frame.
#[derive(Debug, Default)]
pub(super) struct PacketizeOptions<'a> {
    /// Appends parity.
    pub(super) parity: Option<&'a mut Encoder>,
    /// Seals every datagram.
    pub(super) key: Option<&'a MediaKey>,
}

impl RetransmitBuffer {
    /// Cuts `body` into datagrams with `header`, in a buffer that nobody uses any more. Forgets what does not fit
    /// `room` bytes beside it: spare buffers first, then the oldest frames.
    ///
    /// # Panics
    /// When `body` is empty or over [`MAX_FRAME_BYTES`](fanlight_proto::limits::MAX_FRAME_BYTES): the caller has checked it.
    pub(super) fn cut(
        &mut self,
        header: DataHeader,
        body: &Bytes,
        options: PacketizeOptions<'_>,
        room: usize,
    ) -> Arc<PacketizedFrame> {
        self.shed(room.saturating_sub(body.len() + body.len() / 4));

        let mut packets = self.unused();
        let buffer =
            Arc::get_mut(&mut packets).expect("a buffer is taken only when nobody else holds it");
        let shards = u16::try_from(body.len().div_ceil(SHARD_BYTES));
        let shards = shards.expect("a checked frame has at most MAX_SHARDS");
        let header = DataHeader {
            key: options.key.map(MediaKey::slot),
            shards,
            parity: recovery_count(shards),
            length: u32::try_from(body.len()).expect("it has fewer than MAX_FRAME_BYTES"),
            ..header
        };

        buffer.id = header.id;
        buffer.sequence = header.sequence;
        buffer.stride = header.datagram_bytes();
        buffer.generation = options.key.map_or(0, MediaKey::generation);
        buffer.shards = shards;
        buffer.parity = 0;
        buffer.header = header;
        let Cutting { bytes, body: uncut } = buffer.cutting.get_mut();

        if options.parity.is_none() && options.key.is_none() {
            bytes.clear();
            // With room for parity, so that a buffer used again does not grow when somebody needs some.
            bytes.reserve(usize::from(shards + header.parity) * buffer.stride);
            uncut.clone_from(body);
        } else {
            *uncut = Bytes::new();
            shard::packetize(header, body, bytes);
            if let Some(encoder) = options.parity {
                encoder.append(&header, bytes);
            }

            let datagrams =
                u16::try_from(bytes.len() / buffer.stride).expect("shards and parity fit 16 bits");
            buffer.parity = datagrams - shards;
            if let Some(key) = options.key {
                key.seal(bytes);
            }
        }

        if self.recent.len() == RETRANSMIT_FRAMES {
            self.retire();
        }

        self.recent.push_back(Arc::clone(&packets));
        packets
    }

    /// The frame `id`, cut last, if it is still there.
    pub(super) fn find(&self, id: FrameId) -> Option<&Arc<PacketizedFrame>> {
        self.recent.iter().rev().find(|packets| packets.id == id)
    }

    /// Forgets the frames of an epoch that has ended.
    pub(super) fn clear(&mut self) {
        while !self.recent.is_empty() {
            self.retire();
        }
    }

    /// Forgets what is more than `room` bytes.
    fn shed(&mut self, room: usize) {
        let held = |this: &Self| -> usize {
            let buffers = this.recent.iter().chain(&this.spare);
            buffers.map(|packets| packets.capacity()).sum()
        };

        while held(self) > room {
            // The newest spare is the likeliest to be in use by a sender, who goes on holding it.
            let forgotten = self.spare.pop().or_else(|| self.recent.pop_front());
            if forgotten.is_none() {
                break;
            }
        }
    }

    fn unused(&mut self) -> Arc<PacketizedFrame> {
        match self
            .spare
            .iter_mut()
            .position(|packets| Arc::get_mut(packets).is_some())
        {
            Some(at) => self.spare.swap_remove(at),
            None => Arc::new(PacketizedFrame::empty()),
        }
    }

    fn retire(&mut self) {
        if let Some(oldest) = self.recent.pop_front()
            && self.spare.len() < SPARE_FRAMES
        {
            self.spare.push(oldest);
        }
    }
}

/// The ranges of a frame of `shards` that `pairs` (first, count) ask for, at most `budget` shards in all.
/// A pair that starts before the end of the pair before ends the list: no request gets a shard twice.
pub(super) fn repair_ranges(pairs: &[u32], shards: u16, budget: u32) -> Vec<Range<u16>> {
    let mut ranges = Vec::new();
    let mut reach = 0;
    let mut left = budget;

    for pair in pairs.chunks_exact(2) {
        let start = pair[0];
        let end = start
            .saturating_add(pair[1].min(left))
            .min(u32::from(shards));
        if start < reach || left == 0 {
            break;
        }

        if start >= end {
            continue;
        }

        left -= end - start;
        reach = end;
        ranges.extend(
            u16::try_from(start)
                .ok()
                .zip(u16::try_from(end).ok())
                .map(|(start, end)| start..end),
        );
    }

    ranges
}

#[cfg(test)]
pub(super) mod tests;
