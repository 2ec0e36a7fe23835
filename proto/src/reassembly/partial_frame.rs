//! One frame of which some shards are there.

use std::time::Duration;

use super::CompleteFrame;
use super::repair_scheduler::{RepairScheduler, Timing};
use crate::clock::Time;
use crate::datagram::DataHeader;
use crate::limits::SHARD_BYTES;
use crate::message::{FrameId, Repair};
use crate::parity::{Decoder, level_count};

#[derive(Debug)]
pub(super) struct PartialFrame {
    pub(super) id: FrameId,
    pub(super) lost_upstream: u64,
    pub(super) lost_in_relay: u64,
    pub(super) shards: u16,
    pub(super) first: Time,
    memory: FrameMemory,
    parity: u16,
    length: u32,
    /// Data shards that are there, and those of them that nobody had asked for again.
    data: u16,
    unasked: u16,
    /// One past the highest index that came, parity's too.
    reach: u16,
    last: Time,
    repairs: RepairScheduler,
}

/// What a frame is put together in. It grows with the shards that come, and serves frame after frame: what an earlier
/// one left in it is written over before a frame is whole.
#[derive(Debug, Default)]
pub(super) struct FrameMemory {
    pub(super) body: Vec<u8>,
    parity: Vec<u8>,
    /// Which parity shards there are, counted from 0, in the order they came.
    indices: Vec<u16>,
    /// A bit for each shard that is there, data and parity.
    there: Vec<u64>,
}

impl FrameMemory {
    fn put_data(&mut self, index: u16, shard: &[u8]) {
        let start = usize::from(index) * SHARD_BYTES;
        let end = start + SHARD_BYTES;
        if self.body.capacity() == 0 {
            // Zeros from the system: a forged index costs addresses, and no memory.
            self.body = vec![0; end];
        } else if self.body.len() < end {
            self.body.resize(end, 0);
        }
        self.body[start..start + SHARD_BYTES].copy_from_slice(shard);
    }

    fn put_parity(&mut self, index: u16, shard: &[u8]) {
        self.indices.push(index);
        self.parity.extend_from_slice(shard);
    }

    /// Another frame is put together in it.
    fn begin(&mut self) {
        self.indices.clear();
        self.parity.clear();
        self.there.clear();
    }

    fn has(&self, index: u16) -> bool {
        let word = self.there.get(usize::from(index / 64));
        word.is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    fn note(&mut self, index: u16) {
        let word = usize::from(index / 64);
        if self.there.len() <= word {
            self.there.resize(word + 1, 0);
        }
        self.there[word] |= 1 << (index % 64);
    }

    /// Bytes of memory held.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.body.capacity()
            + self.parity.capacity()
            + 2 * self.indices.capacity()
            + 8 * self.there.capacity()
    }
}

impl PartialFrame {
    pub(super) fn new(now: Time, header: &DataHeader, mut memory: FrameMemory) -> Self {
        memory.begin();
        Self {
            id: header.id,
            lost_upstream: header.lost_upstream.into(),
            lost_in_relay: header.lost_in_relay.into(),
            shards: header.shards,
            first: now,
            memory,
            parity: header.parity,
            length: header.length,
            data: 0,
            unasked: 0,
            reach: 0,
            last: now,
            repairs: RepairScheduler::default(),
        }
    }

    /// Whether a header is of the same frame, cut and protected in the same way.
    pub(super) const fn agrees(&self, header: &DataHeader) -> bool {
        self.length == header.length && self.shards == header.shards && self.parity == header.parity
    }

    /// Another relay may know more of the frames before this one: what either had was not lost before both.
    pub(super) fn learn(&mut self, header: &DataHeader) {
        let (upstream, relay) = (
            u64::from(header.lost_upstream),
            u64::from(header.lost_in_relay),
        );
        let both = (self.lost_upstream + self.lost_in_relay).min(upstream + relay);
        self.lost_upstream = self.lost_upstream.min(upstream).min(both);
        self.lost_in_relay = both - self.lost_upstream;
    }

    /// Puts a shard in its place and says whether it had been asked for again; none if it was there already.
    pub(super) fn place(&mut self, now: Time, index: u16, shard: &[u8], level: u8) -> Option<bool> {
        if self.memory.has(index) {
            return None;
        }

        self.memory.note(index);
        let asked = self.repairs.on_came(index);

        if index < self.shards {
            self.memory.put_data(index, shard);
            self.data += 1;
            self.unasked += u16::from(!asked);
        } else {
            self.memory.put_parity(index - self.shards, shard);
        }

        self.reach = self.reach.max(index + 1);
        self.last = now;
        self.repairs.on_lack(now, self.lacking(level));
        Some(asked)
    }

    /// Any shards, as many as the frame has, bring all of it.
    pub(super) const fn is_whole(&self) -> bool {
        self.received() >= self.shards
    }

    /// Data shards that came without being asked for again.
    pub(super) const fn unasked(&self) -> u16 {
        self.unasked
    }

    /// When to ask for what is missing; see [`RepairScheduler`].
    pub(super) fn repair_due(&self, pause: Duration) -> Option<Time> {
        self.repairs.due(self.last, pause)
    }

    /// What to ask for now, and how many shards that is; none: nothing, or it would come too late.
    pub(super) fn ask(&mut self, now: Time, timing: &Timing) -> Option<(Repair, u64)> {
        self.repairs.begin(now, self.last, timing.pause);
        if timing.is_too_late(now.saturating_since(self.first)) {
            return None;
        }

        let (lacking, memory) = (self.lacking(timing.level), &self.memory);
        let missing =
            (0..self.end(timing.level).min(self.shards)).filter(|&index| !memory.has(index));
        let (ranges, count) = self.repairs.choose(now, lacking, missing, timing);
        let repair = Repair {
            alias: 0,
            epoch: self.id.epoch,
            number: self.id.number,
            ranges,
        };

        (count > 0).then_some((repair, count))
    }

    /// The frame, what is missing of it restored from parity; whether that was needed; and the memory left over.
    pub(super) fn into_whole(
        mut self,
        decoder: &mut Decoder,
        received_us: u32,
    ) -> (CompleteFrame, bool, FrameMemory) {
        let recovered = self.data < self.shards;
        if recovered {
            self.restore(decoder);
        }

        let mut body = std::mem::take(&mut self.memory.body);
        body.truncate(self.length as usize);
        (
            CompleteFrame {
                id: self.id,
                body,
                first: self.first,
                received_us,
            },
            recovered,
            self.memory,
        )
    }

    pub(super) fn into_memory(self) -> FrameMemory {
        self.memory
    }

    fn restore(&mut self, decoder: &mut Decoder) {
        let mut body = std::mem::take(&mut self.memory.body);
        body.resize(body.len().max(usize::from(self.shards) * SHARD_BYTES), 0);
        let FrameMemory {
            parity, indices, ..
        } = &self.memory;
        let recovery = indices
            .iter()
            .copied()
            .zip(parity.chunks_exact(SHARD_BYTES));

        decoder.restore(
            (self.shards, self.parity),
            &mut body,
            |index| self.memory.has(index),
            recovery,
        );
        self.memory.body = body;
    }

    /// How many shards are lost beyond what the parity sent at `level` makes good.
    fn lacking(&self, level: u8) -> u16 {
        (self.end(level) - self.received()).saturating_sub(self.expected(level))
    }

    /// One past the highest index that came or should have come by now: what is missing below it is lost.
    fn end(&self, level: u8) -> u16 {
        if self.repairs.is_silent() {
            self.reach.max(self.shards + self.expected(level))
        } else {
            self.reach
        }
    }

    /// Parity shards sent at `level`.
    fn expected(&self, level: u8) -> u16 {
        level_count(self.shards, level).min(self.parity)
    }

    const fn received(&self) -> u16 {
        self.data + self.memory.indices.len() as u16
    }

    /// Bytes of memory that the frame holds.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.memory.capacity()
    }
}
