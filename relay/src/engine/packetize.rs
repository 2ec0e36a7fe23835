//! Cuts frames into datagrams, and keeps the last ones of a stream for repairs. Buffers are used again, so
//! a frame costs no allocation.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use fanlight_proto::datagram::DataHeader;
use fanlight_proto::message::FrameId;
use fanlight_proto::parity::Encoder;
use fanlight_proto::seal::MediaKey;
use fanlight_proto::shard;

/// Frames of one stream that are kept for repairs: at 60 fps the oldest is 66 ms old, and a viewer that
/// has not asked by then shows a newer one.
pub const RETRANSMIT_FRAMES: usize = 4;

/// Buffers of one stream that wait to be used again: one for the next frame, and those that a slow sender
/// still held when they left the retransmit buffer.
pub(super) const SPARE_FRAMES: usize = 3;

/// A frame in datagrams of one size.
pub struct PacketizedFrame {
    id: FrameId,
    sequence: u64,
    generation: u32,
    shards: u16,
    parity: u16,
    stride: usize,
    bytes: Vec<u8>,
}

impl fmt::Debug for PacketizedFrame {
    /// Without the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PacketizedFrame({}, {} shards)", self.id, self.shards)
    }
}

impl PacketizedFrame {
    const fn empty() -> Self {
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
            bytes: Vec::new(),
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

    /// The datagrams of the shards in `range`, one behind the other; parity comes after the frame's own.
    ///
    /// # Panics
    /// When `range` does not lie within the shards and the parity.
    #[must_use]
    pub fn datagrams(&self, range: Range<u16>) -> &[u8] {
        &self.bytes[usize::from(range.start) * self.stride..usize::from(range.end) * self.stride]
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
    pub(super) fn cut(
        &mut self,
        header: DataHeader,
        body: &[u8],
        options: PacketizeOptions<'_>,
        room: usize,
    ) -> Arc<PacketizedFrame> {
        self.shed(room.saturating_sub(body.len() + body.len() / 4));

        let mut packets = self.unused();
        let buffer =
            Arc::get_mut(&mut packets).expect("a buffer is taken only when nobody else holds it");
        let header = DataHeader {
            key: options.key.map(MediaKey::slot),
            ..header
        };

        buffer.id = header.id;
        buffer.sequence = header.sequence;
        buffer.stride = header.datagram_bytes();
        buffer.generation = options.key.map_or(0, MediaKey::generation);
        buffer.shards = shard::packetize(header, body, &mut buffer.bytes);

        if let Some(encoder) = options.parity {
            encoder.append(&header, &mut buffer.bytes);
        }

        let datagrams = u16::try_from(buffer.bytes.len() / buffer.stride)
            .expect("shards and parity fit 16 bits");
        buffer.parity = datagrams - buffer.shards;
        if let Some(key) = options.key {
            key.seal(&mut buffer.bytes);
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
            buffers.map(|packets| packets.bytes.capacity()).sum()
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
pub(super) mod tests {
    use super::*;
    use fanlight_proto::datagram::{DATA_BYTES, SEALED_DATA_BYTES};

    pub(in crate::engine) fn header(number: u64) -> DataHeader {
        DataHeader {
            alias: 1,
            index: 0,
            shards: 0,
            length: 0,
            id: FrameId { epoch: 1, number },
            received_us: 0,
            lost_upstream: 0,
            lost_in_relay: 0,
            sequence: 1,
            ..DataHeader::default()
        }
    }

    #[test]
    fn the_ring_keeps_four_frames_and_uses_their_memory_again() {
        let mut retransmit_buffer = RetransmitBuffer::default();
        let body = vec![1; 100_000];
        let mut places = std::collections::BTreeSet::new();

        for number in 0..100 {
            let packets = retransmit_buffer.cut(
                header(number),
                &body,
                PacketizeOptions::default(),
                usize::MAX,
            );
            places.insert(packets.bytes.as_ptr() as usize);
        }

        assert!(
            places.len() <= RETRANSMIT_FRAMES + 1,
            "{} buffers",
            places.len()
        );

        assert!(
            retransmit_buffer
                .find(FrameId {
                    epoch: 1,
                    number: 96
                })
                .is_some()
        );

        assert!(
            retransmit_buffer
                .find(FrameId {
                    epoch: 1,
                    number: 95
                })
                .is_none()
        );
    }

    #[test]
    fn frames_beyond_the_room_are_forgotten_the_oldest_first() {
        let mut retransmit_buffer = RetransmitBuffer::default();
        let body = vec![1; 100_000];
        for (number, room) in [(1, 400_000), (2, 400_000), (3, 400_000), (4, 0)] {
            retransmit_buffer.cut(header(number), &body, PacketizeOptions::default(), room);
            let kept = (1..=4).filter(|number| {
                let id = FrameId {
                    epoch: 1,
                    number: *number,
                };
                retransmit_buffer.find(id).is_some()
            });

            let expected: &[u64] = match number {
                1 => &[1],
                2 => &[1, 2],
                3 => &[1, 2, 3],
                _ => &[4],
            };
            assert_eq!(kept.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_buffer_that_is_being_sent_is_not_written_over() {
        let mut retransmit_buffer = RetransmitBuffer::default();
        let held =
            retransmit_buffer.cut(header(0), &[7; 10], PacketizeOptions::default(), usize::MAX);
        for number in 1..20 {
            retransmit_buffer.cut(
                header(number),
                &[8; 10],
                PacketizeOptions::default(),
                usize::MAX,
            );
        }
        assert_eq!(shard::payload(held.datagrams(0..1))[..10], [7; 10]);
    }

    #[test]
    fn a_sealed_frame_has_its_parity_sealed_too_and_a_frame_without_either_neither() {
        let (mut retransmit_buffer, mut encoder, key) = (
            RetransmitBuffer::default(),
            Encoder::new(),
            MediaKey::new(3, [9; 16]),
        );

        let plain = retransmit_buffer.cut(
            header(1),
            &[7; 100_000],
            PacketizeOptions::default(),
            usize::MAX,
        );
        assert_eq!(
            (plain.shards(), plain.parity(), plain.stride()),
            (87, 0, DATA_BYTES)
        );

        let options = PacketizeOptions {
            parity: Some(&mut encoder),
            key: Some(&key),
        };

        let sealed = retransmit_buffer.cut(header(2), &[7; 100_000], options, usize::MAX);
        let parity = fanlight_proto::parity::recovery_count(87);
        assert_eq!(
            (sealed.shards(), sealed.parity(), sealed.stride()),
            (87, parity, SEALED_DATA_BYTES)
        );

        let mut datagrams = sealed.datagrams(0..87 + parity).to_vec();
        assert!(
            datagrams
                .chunks_exact_mut(SEALED_DATA_BYTES)
                .all(|datagram| key.open(datagram).is_some())
        );
    }

    #[test]
    fn a_request_gets_no_shard_twice_none_outside_the_frame_and_no_more_than_the_budget() {
        let asked = |pairs: &[u32], budget| -> Vec<(u16, u16)> {
            repair_ranges(pairs, 84, budget)
                .iter()
                .map(|range| (range.start, range.end))
                .collect()
        };

        assert_eq!(asked(&[0, 2, 5, 1], 1000), [(0, 2), (5, 6)]);
        assert_eq!(asked(&[80, 100], 1000), [(80, 84)]);
        assert_eq!(asked(&[90, 1, 95, 1], 1000), []);
        assert_eq!(asked(&[0, 10, 0, 10, 5, 1], 1000), [(0, 10)]);
        assert_eq!(asked(&[0, 10, 20, 10], 12), [(0, 10), (20, 22)]);
        assert_eq!(asked(&[u32::MAX, u32::MAX], 1000), []);
        assert_eq!(asked(&[0, 84], 0), []);
    }
}
