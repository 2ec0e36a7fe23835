//! One frame of which some shards are there.

use std::time::Duration;

use super::Whole;
use crate::clock::Time;
use crate::datagram::DataHeader;
use crate::limits::{MAX_REPAIR_RANGES, MAX_SHARDS, SHARD_BYTES};
use crate::message::{FrameId, Repair};

const WORDS: usize = MAX_SHARDS.div_ceil(64);

#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: FrameId,
    pub(super) lost_upstream: u64,
    pub(super) lost_in_relay: u64,
    body: Vec<u8>,
    shards: u16,
    length: u32,
    received_us: u32,
    there: [u64; WORDS],
    count: u16,
    /// One past the highest index that came.
    reach: u16,
    first: Time,
    last: Time,
    /// When a shard first came with one missing before it.
    gap: Option<Time>,
    asks: u8,
    asked: Time,
    /// Every shard below this one that was missing has been asked for.
    asked_below: u16,
}

/// A frame is asked for so often: what is still missing after two round trips comes too late.
const MAX_ASKS: u8 = 2;

impl Open {
    /// Grows with the shards that come, whatever the header claims.
    pub(super) const fn new(now: Time, header: &DataHeader, body: Vec<u8>) -> Self {
        Self {
            id: header.id,
            lost_upstream: header.lost_upstream as u64,
            lost_in_relay: header.lost_in_relay as u64,
            body,
            shards: header.shards,
            length: header.length,
            received_us: header.received_us,
            there: [0; WORDS],
            count: 0,
            reach: 0,
            first: now,
            last: now,
            gap: None,
            asks: 0,
            asked: now,
            asked_below: 0,
        }
    }

    pub(super) const fn agrees(&self, header: &DataHeader) -> bool {
        self.length == header.length && self.shards == header.shards
    }

    /// Puts a shard in its place and says whether it had been asked for again; none if it was there already.
    pub(super) fn place(&mut self, now: Time, index: u16, shard: &[u8]) -> Option<bool> {
        let (word, bit) = (usize::from(index / 64), 1_u64 << (index % 64));
        if self.there[word] & bit != 0 {
            return None;
        }
        self.there[word] |= bit;
        let start = usize::from(index) * SHARD_BYTES;
        if self.body.len() < start + SHARD_BYTES {
            self.body.resize(start + SHARD_BYTES, 0);
        }
        self.body[start..start + SHARD_BYTES].copy_from_slice(shard);
        self.count += 1;
        self.reach = self.reach.max(index + 1);
        self.last = now;
        if self.gap.is_none() && self.count < self.reach {
            self.gap = Some(now);
        } else if self.count == self.reach {
            self.gap = None;
        }
        Some(index < self.asked_below)
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.count == self.shards
    }

    /// When to ask for what is missing: soon after a gap was seen, or after silence.
    pub(super) fn repair_due(&self, gap_patience: Duration, tail_patience: Duration) -> Option<Time> {
        match (self.asks, self.gap) {
            (0, Some(gap)) => Some(gap + gap_patience),
            (0..MAX_ASKS, _) => Some(self.last.max(self.asked) + tail_patience),
            _ => None,
        }
    }

    /// What is missing, in ranges, and how many shards that is. A gap seen while shards still come is asked for up to
    /// the highest one that came; after silence, to the end.
    pub(super) fn ask(&mut self, now: Time, tail_patience: Duration) -> (Repair, u64) {
        self.asks += 1;
        self.asked = now;
        let end = if now.saturating_since(self.last) < tail_patience { self.reach } else { self.shards };
        let mut ranges = Vec::new();
        let mut missing = 0;
        let mut index = 0;
        while index < end && ranges.len() < 2 * MAX_REPAIR_RANGES {
            let start = index;
            while index < end && !self.has(index) {
                index += 1;
            }
            if index > start {
                ranges.extend([u32::from(start), u32::from(index - start)]);
                missing += u64::from(index - start);
            }
            index += 1;
        }
        self.asked_below = self.asked_below.max(index.min(end));
        (Repair { alias: 0, epoch: self.id.epoch, number: self.id.number, ranges }, missing)
    }

    const fn has(&self, index: u16) -> bool {
        self.there[index as usize / 64] & (1 << (index % 64)) != 0
    }

    pub(super) fn into_whole(mut self) -> Whole {
        self.body.truncate(self.length as usize);
        Whole { id: self.id, body: self.body, first: self.first, received_us: self.received_us }
    }

    /// Bytes of memory that the frame holds.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.body.capacity()
    }

    pub(super) fn into_body(self) -> Vec<u8> {
        self.body
    }
}
