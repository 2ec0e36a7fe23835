//! A capture played to a real engine: what a viewer or a relay would do with the datagrams that came, at the times at
//! which they came. The pictures are zeros, which no engine looks into; sealed media are played as if nobody had sealed
//! them; and what belongs to one conversation only (nonces, tokens, sessions) is put right.

mod relay;
mod viewer;

use fanlight_daemon::capture::{Direction, Record, Recording, Role};
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DATA_HEADER, DataHeader, ToViewer, write_checksum};
use fanlight_proto::limits::SHARD_BYTES;

/// A count of the program that was captured, and of the engine that the capture was played to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// What is counted.
    pub name: String,
    /// What happened between the first and the last time that the program noted its counts; none: it did not count this.
    pub happened: Option<u64>,
    /// What happened in the replay in the same time.
    pub replayed: u64,
}

/// Plays a capture.
#[must_use]
pub fn replay(recording: &Recording) -> Vec<Compared> {
    let counts = match recording.role {
        Role::Viewer => viewer::replay(recording),
        Role::Relay => relay::replay(recording),
    };

    let compared = |(name, replayed): (&str, u64)| Compared {
        name: name.to_owned(),
        happened: recording.grown(name),
        replayed,
    };

    counts.into_iter().map(compared).collect()
}

/// From when on both are counted.
fn counted_from(recording: &Recording) -> Time {
    recording
        .snapshots
        .first()
        .map_or(Time::default(), |snapshot| snapshot.time)
}

/// By how much counts have grown.
fn growth(
    before: &[(&'static str, u64)],
    after: Vec<(&'static str, u64)>,
) -> Vec<(&'static str, u64)> {
    let former = |name| {
        before
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(0, |(_, count)| *count)
    };

    after
        .into_iter()
        .map(|(name, count)| (name, count - former(name)))
        .collect()
}

/// The media header of a record that holds one; of a train, of its first datagram.
fn media(record: &Record) -> Option<(DataHeader, Vec<u8>)> {
    let head = record.head();
    if head.len() != DATA_HEADER || !head.starts_with(&[0xf1, 16]) {
        return None;
    }

    let mut datagram = head.to_vec();
    datagram.resize(DATA_HEADER + SHARD_BYTES, 0);
    // Not sealed, and so with a check sum.
    datagram[10] = 0;
    write_checksum(&mut datagram);

    match ToViewer::parse(&datagram) {
        Ok(ToViewer::Data(header, _)) => Some((header, datagram)),
        _ => None,
    }
}

/// A record of a control message: its kind, its session, and whether all of it is there.
fn control(record: &Record) -> Option<(u8, u64, bool)> {
    let head = record.head();
    if head.len() < 12 || head[0] != 0xf1 || head[1] == 16 {
        return None;
    }

    let session = u64::from_be_bytes(std::array::from_fn(|i| head[4 + i]));
    let length = 12 + usize::from(u16::from_be_bytes([head[2], head[3]]));
    Some((head[1], session, length <= head.len()))
}

/// The session that is spoken of in what follows.
fn next_session(records: &[Record], of: impl Fn(&Record) -> bool) -> Option<u64> {
    records
        .iter()
        .filter(|record| of(record))
        .filter_map(control)
        .map(|(_, session, _)| session)
        .find(|id| *id != 0)
}

/// The alias of the stream whose media come next.
fn next_alias(records: &[Record]) -> Option<u16> {
    records
        .iter()
        .find_map(|record| media(record).map(|(header, _)| header.alias))
}

fn came_in(record: &Record) -> bool {
    record.direction == Direction::In
}
