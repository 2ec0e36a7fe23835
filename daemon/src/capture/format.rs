//! The ring, and the file that it becomes. All numbers are big-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `FANLCAP1` |
//! | 1 | 1: a relay's, 2: a viewer's |
//! | 1 | names of counts |
//! | 2 | snapshots of counts |
//! | 4 | records |
//! | 8 | when it was written, on the program's CLOCK_MONOTONIC in nanoseconds, as all times here |
//! | 8 | signed: what to add to such a time for nanoseconds since 1970 in UTC |
//! | | each name: 1 byte length, then UTF-8 |
//! | | each snapshot: 8 bytes time, then 8 bytes for each name |
//! | | each record, the oldest first: 160 bytes |
//!
//! A record: 8 bytes time; 1 byte direction (0 in, 1 out); 1 byte: how many of the head's bytes there are; 2 bytes peer's
//! port; 4 bytes length of the datagram, or of the train of datagrams that begins with it; 16 bytes peer's address as
//! IPv6 (IPv4-mapped, RFC 4291 section 2.5.5.2); 128 bytes head, filled up with zeros.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Ipv6Addr, SocketAddr};

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DATA_BYTES, DATA_HEADER};

use crate::clock;

const MAGIC: &[u8; 8] = b"FANLCAP1";

/// Bytes before the names.
const FILE_HEADER: usize = 32;

/// Bytes of a datagram that are kept: all of a usual control message.
pub const HEAD_BYTES: usize = 128;

/// Bytes of a record.
pub(super) const RECORD_BYTES: usize = 32 + HEAD_BYTES;

/// Whose datagrams they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A relay's.
    Relay = 1,
    /// A viewer's.
    Viewer = 2,
}

/// Where a datagram went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To this program.
    In = 0,
    /// To the peer.
    Out = 1,
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

    fn new(time: Time, direction: Direction, peer: SocketAddr, datagram: &[u8]) -> Self {
        // Media are the datagrams of this size: control messages are shorter, but for JOIN, which is padded.
        let most = if datagram.len() >= DATA_BYTES {
            DATA_HEADER
        } else {
            HEAD_BYTES
        };

        let kept = datagram.len().min(most);
        let mut head = [0; HEAD_BYTES];
        head[..kept].copy_from_slice(&datagram[..kept]);
        let length = u32::try_from(datagram.len()).unwrap_or(u32::MAX);
        Self {
            time,
            direction,
            peer,
            length,
            kept: kept as u8,
            head,
        }
    }

    fn to_bytes(&self) -> [u8; RECORD_BYTES] {
        let address = match self.peer.ip() {
            std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            std::net::IpAddr::V6(v6) => v6,
        };

        let mut bytes = [0; RECORD_BYTES];
        bytes[..8].copy_from_slice(&self.time.as_nanos().to_be_bytes());
        (bytes[8], bytes[9]) = (self.direction as u8, self.kept);
        bytes[10..12].copy_from_slice(&self.peer.port().to_be_bytes());
        bytes[12..16].copy_from_slice(&self.length.to_be_bytes());
        bytes[16..32].copy_from_slice(&address.octets());
        bytes[32..].copy_from_slice(&self.head);
        bytes
    }

    fn parse(bytes: &[u8; RECORD_BYTES]) -> Result<Self, FormatError> {
        let octets: [u8; 16] = std::array::from_fn(|i| bytes[16 + i]);
        let direction = match bytes[8] {
            0 => Direction::In,
            1 => Direction::Out,
            _ => return Err(FormatError::Field("direction")),
        };

        if usize::from(bytes[9]) > HEAD_BYTES {
            return Err(FormatError::Field("head"));
        }

        Ok(Self {
            time: Time::from_nanos(number(&bytes[..8])),
            direction,
            peer: SocketAddr::new(
                Ipv6Addr::from(octets).to_canonical(),
                number(&bytes[10..12]) as u16,
            ),
            length: number(&bytes[12..16]) as u32,
            kept: bytes[9],
            head: std::array::from_fn(|i| bytes[32 + i]),
        })
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

    pub(super) fn write_to(
        &self,
        out: &mut impl Write,
        role: Role,
        now: Time,
        names: &[&str],
    ) -> io::Result<()> {
        let small = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        out.write_all(MAGIC)?;
        out.write_all(&[role as u8, small(names.len())])?;
        out.write_all(
            &u16::try_from(self.snapshots.len())
                .unwrap_or(u16::MAX)
                .to_be_bytes(),
        )?;

        out.write_all(
            &u32::try_from(self.records.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        )?;

        out.write_all(&now.as_nanos().to_be_bytes())?;
        out.write_all(&clock::wall_offset_ns().to_be_bytes())?;

        for name in names {
            out.write_all(&[small(name.len())])?;
            out.write_all(name.as_bytes())?;
        }

        for snapshot in &self.snapshots {
            out.write_all(&snapshot.time.as_nanos().to_be_bytes())?;
            snapshot
                .counts
                .iter()
                .try_for_each(|count| out.write_all(&count.to_be_bytes()))?;
        }

        let (newer, older) = self.records.split_at(self.next);
        older
            .iter()
            .chain(newer)
            .try_for_each(|record| out.write_all(&record.to_bytes()))
    }
}

/// Why bytes are no capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Something else, or another version.
    #[error("this is no capture of Fanlight")]
    Foreign,
    /// It ends too early.
    #[error("the capture is cut short")]
    Short,
    /// A field has no meaning.
    #[error("field {0} of the capture is out of bounds")]
    Field(&'static str),
}

/// A capture that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Whose it is.
    pub role: Role,
    /// When it was written.
    pub written: Time,
    /// What to add to its times for nanoseconds since 1970 in UTC.
    pub wall_offset_ns: i64,
    /// The names of the counts.
    pub names: Vec<String>,
    /// The counts of the last seconds, the oldest first.
    pub snapshots: Vec<Snapshot>,
    /// The datagrams, the oldest first.
    pub records: Vec<Record>,
}

impl Recording {
    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut rest = bytes;
        let mut take = |length: usize| {
            let (head, tail) = rest.split_at_checked(length).ok_or(FormatError::Short)?;
            rest = tail;
            Ok::<_, FormatError>(head)
        };

        let header = take(FILE_HEADER)?;
        if !header.starts_with(MAGIC) {
            return Err(FormatError::Foreign);
        }

        let role = match header[8] {
            1 => Role::Relay,
            2 => Role::Viewer,
            _ => return Err(FormatError::Field("role")),
        };

        let names = (0..header[9]).map(|_| {
            let length = usize::from(take(1)?[0]);
            Ok(String::from_utf8_lossy(take(length)?).into_owned())
        });

        let names = names.collect::<Result<Vec<_>, FormatError>>()?;
        let snapshots = (0..number(&header[10..12])).map(|_| {
            let bytes = take(8 * (1 + names.len()))?;
            let counts = bytes[8..].chunks(8).map(number).collect();
            Ok(Snapshot {
                time: Time::from_nanos(number(&bytes[..8])),
                counts,
            })
        });

        let snapshots = snapshots.collect::<Result<_, FormatError>>()?;
        let records = (0..number(&header[12..16])).map(|_| {
            let bytes = take(RECORD_BYTES)?
                .first_chunk()
                .ok_or(FormatError::Short)?;
            Record::parse(bytes)
        });

        let records = records.collect::<Result<_, FormatError>>()?;
        let written = Time::from_nanos(number(&header[16..24]));
        Ok(Self {
            role,
            written,
            wall_offset_ns: number(&header[24..32]) as i64,
            names,
            snapshots,
            records,
        })
    }

    /// By how much a count grew from the first snapshot to the last.
    #[must_use]
    pub fn grown(&self, name: &str) -> Option<u64> {
        let at = self.names.iter().position(|known| known == name)?;
        let (first, last) = (self.snapshots.first()?, self.snapshots.last()?);
        last.counts.get(at)?.checked_sub(*first.counts.get(at)?)
    }
}

/// A big-endian number of up to 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn written(ring: &Ring) -> Vec<u8> {
        let mut out = Vec::new();
        ring.write_to(&mut out, Role::Relay, Time::from_nanos(9), &["a", "b"])
            .unwrap();
        out
    }

    #[test]
    fn a_full_ring_keeps_the_newest_in_their_order_in_the_memory_it_has() {
        let mut ring = Ring::new(5, 2);
        let place = ring.records.as_ptr();

        for n in 0..12_u16 {
            ring.note(
                Time::from_nanos(n.into()),
                Direction::Out,
                peer(n),
                &n.to_be_bytes(),
            );
            ring.snapshot(Time::from_nanos(n.into()), vec![n.into(), 2 * u64::from(n)]);
        }

        assert_eq!(ring.records.as_ptr(), place);
        let recording = Recording::parse(&written(&ring)).unwrap();
        let ports: Vec<_> = recording
            .records
            .iter()
            .map(|record| record.peer.port())
            .collect();

        assert_eq!(ports, [7, 8, 9, 10, 11]);
        assert_eq!(
            (
                recording.grown("a"),
                recording.grown("b"),
                recording.grown("c")
            ),
            (Some(1), Some(2), None)
        );
    }

    #[test]
    fn of_media_only_the_header_is_kept() {
        let mut ring = Ring::new(2, 1);
        ring.note(
            Time::from_nanos(1),
            Direction::In,
            peer(1),
            &[5; DATA_BYTES],
        );

        let recording = Recording::parse(&written(&ring)).unwrap();
        assert_eq!(recording.records[0].head(), [5; DATA_HEADER]);
        assert_eq!(recording.records[0].length as usize, DATA_BYTES);
    }

    #[test]
    fn both_kinds_of_addresses_come_back() {
        let six: SocketAddr = "[2001:db8::7]:9".parse().unwrap();
        for peer in [peer(7), six] {
            let mut ring = Ring::new(1, 1);
            ring.note(Time::from_nanos(1), Direction::In, peer, &[1]);
            assert_eq!(
                Recording::parse(&written(&ring)).unwrap().records[0].peer,
                peer
            );
        }
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        let mut ring = Ring::new(2, 1);
        ring.note(Time::from_nanos(1), Direction::In, peer(1), &[1]);
        let good = written(&ring);

        for length in 0..good.len() {
            assert_eq!(Recording::parse(&good[..length]), Err(FormatError::Short));
        }

        let mut bad = good;
        bad[0] ^= 1;
        assert_eq!(Recording::parse(&bad), Err(FormatError::Foreign));
    }
}
