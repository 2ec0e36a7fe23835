//! The newest datagrams of a program, in memory that is taken once.

use std::collections::VecDeque;
use std::net::SocketAddr;

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DATA_BYTES, DATA_HEADER};

/// Bytes of a datagram that are kept: all of a usual control message.
pub const HEAD_BYTES: usize = 128;

/// Whose datagrams they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A relay's.
    Relay,
    /// A viewer's.
    Viewer,
}

/// Where a datagram went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To this program.
    In,
    /// To the peer.
    Out,
}

/// A datagram that passed, or a train of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub time: Time,
    /// Where to.
    pub direction: Direction,
    /// From whom, or to whom.
    pub peer: SocketAddr,
    /// Bytes of it, or of the whole train.
    pub length: u32,
    kept: u8,
    head: [u8; HEAD_BYTES],
}

impl Record {
    /// How it begins; of media the header only.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head[..usize::from(self.kept)]
    }

    pub(super) fn new(time: Time, direction: Direction, peer: SocketAddr, datagram: &[u8]) -> Self {
        // Media are the datagrams of this size: control messages are shorter, but for JOIN, which is padded.
        let most = if datagram.len() >= DATA_BYTES {
            DATA_HEADER
        } else {
            HEAD_BYTES
        };

        let kept = datagram.len().min(most);
        let length = u32::try_from(datagram.len()).unwrap_or(u32::MAX);
        Self::from_parts(time, direction, peer, length, &datagram[..kept])
    }

    /// `head` has at most [`HEAD_BYTES`].
    pub(super) fn from_parts(
        time: Time,
        direction: Direction,
        peer: SocketAddr,
        length: u32,
        head: &[u8],
    ) -> Self {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..head.len()].copy_from_slice(head);
        Self {
            time,
            direction,
            peer,
            length,
            kept: head.len() as u8,
            head: bytes,
        }
    }
}

/// Counts at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// When.
    pub time: Time,
    /// One for each name.
    pub counts: Vec<u64>,
}

/// The newest datagrams, in memory that is taken once.
#[derive(Debug)]
pub(super) struct Ring {
    records: Vec<Record>,
    most: usize,
    /// Where the next one goes, which is the oldest one when the ring is full.
    next: usize,
    snapshots: VecDeque<Snapshot>,
    most_snapshots: usize,
}

impl Ring {
    pub(super) fn new(records: usize, snapshots: usize) -> Self {
        Self {
            records: Vec::with_capacity(records),
            most: records,
            next: 0,
            snapshots: VecDeque::with_capacity(snapshots),
            most_snapshots: snapshots,
        }
    }

    pub(super) fn note(
        &mut self,
        now: Time,
        direction: Direction,
        peer: SocketAddr,
        datagram: &[u8],
    ) {
        let record = Record::new(now, direction, peer, datagram);
        if self.records.len() < self.most {
            self.records.push(record);
        } else {
            self.records[self.next] = record;
            self.next = (self.next + 1) % self.most;
        }
    }

    pub(super) fn snapshot(&mut self, now: Time, counts: Vec<u64>) {
        if self.snapshots.len() == self.most_snapshots {
            self.snapshots.pop_front();
        }
        self.snapshots.push_back(Snapshot { time: now, counts });
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The datagrams, the oldest first.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        let (newer, older) = self.records.split_at(self.next);
        older.iter().chain(newer)
    }

    /// The counts of the last seconds, the oldest first.
    pub(super) fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.snapshots.iter()
    }
}
