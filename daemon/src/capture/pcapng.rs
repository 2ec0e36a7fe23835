//! Captures as pcapng files (draft-ietf-opsawg-pcapng), which Wireshark opens; `docs/fanlight.lua` dissects them there.
//!
//! Each datagram is a packet of link type RAW with an IP and a UDP header of our making. The own address is not known
//! and left unspecified; the direction is in `epb_flags`. A packet is as long as the datagram was, or as the batch that
//! begins with it. Times are UTC. A comment of the section says what Wireshark has no field for, and the counts of each
//! second are the comments of interface statistics.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fanlight_proto::clock::Time;

use super::ring::{Direction, HEAD_BYTES, Record, Ring, Role, Snapshot};
use crate::clock;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

/// Says in which order the bytes of a section's numbers stand: here little-endian.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

/// Packets that begin with an IP header, by the IP version in it.
const LINK_TYPE_RAW: u16 = 101;

const END_OF_OPTIONS: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const OPTION_APPLICATION: u16 = 4;
const OPTION_TIME_RESOLUTION: u16 = 9;
const OPTION_FLAGS: u16 = 2;

/// Bytes of type and two lengths of a block.
const BLOCK_FRAME: usize = 12;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;

/// The port that a relay has unless told otherwise, so that Wireshark tells the sides apart.
const RELAY_PORT: u16 = 5004;

/// What the comment of our sections begins with.
const COMMENT: &str = "fanlight-capture";

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

/// Writes what `ring` holds at `now`.
pub(super) fn write(
    ring: &Ring,
    out: &mut impl Write,
    role: Role,
    now: Time,
    names: &[&str],
) -> io::Result<()> {
    let offset = clock::wall_offset_ns();
    let (application, role_name) = match role {
        Role::Relay => ("fanlight-relay", "relay"),
        Role::Viewer => ("fanlight-viewer", "viewer"),
    };

    let comment = format!(
        "{COMMENT} role={role_name} written_ns={} wall_offset_ns={offset} counts={}",
        now.as_nanos(),
        names.join(",")
    );

    let mut body = Vec::new();
    body.extend(BYTE_ORDER.to_le_bytes());
    body.extend(1_u16.to_le_bytes());
    body.extend(0_u16.to_le_bytes());
    body.extend(u64::MAX.to_le_bytes());
    option(&mut body, OPTION_APPLICATION, application.as_bytes());
    option(&mut body, OPTION_COMMENT, comment.as_bytes());
    block(out, SECTION, body)?;

    let mut body = Vec::new();
    body.extend(LINK_TYPE_RAW.to_le_bytes());
    body.extend([0; 6]);
    option(&mut body, OPTION_TIME_RESOLUTION, &[9]);
    block(out, INTERFACE, body)?;

    for snapshot in ring.snapshots() {
        let counts: Vec<String> = snapshot.counts.iter().map(u64::to_string).collect();
        let mut body = vec![0; 4];
        body.extend(timestamp(snapshot.time, offset));
        option(&mut body, OPTION_COMMENT, counts.join(",").as_bytes());
        block(out, STATISTICS, body)?;
    }

    ring.records()
        .try_for_each(|record| block(out, PACKET, packet(record, role, offset)))
}

/// The body of a packet's block.
fn packet(record: &Record, role: Role, offset: i64) -> Vec<u8> {
    let headers = headers(record, role);
    let captured = headers.len() + record.head().len();
    let original = headers.len() as u32 + record.length;

    let mut body = vec![0; 4];
    body.extend(timestamp(record.time, offset));
    body.extend((captured as u32).to_le_bytes());
    body.extend(original.to_le_bytes());
    body.extend(headers);
    body.extend(record.head());
    pad(&mut body);
    let flags: u32 = match record.direction {
        Direction::In => 1,
        Direction::Out => 2,
    };

    option(&mut body, OPTION_FLAGS, &flags.to_le_bytes());
    body
}

/// The IP and UDP headers of a datagram between the peer and this program.
fn headers(record: &Record, role: Role) -> Vec<u8> {
    let own_port = match role {
        Role::Relay => RELAY_PORT,
        Role::Viewer => 0,
    };

    let own_ip = match record.peer {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };

    let own = SocketAddr::new(own_ip, own_port);
    let (from, to) = match record.direction {
        Direction::In => (record.peer, own),
        Direction::Out => (own, record.peer),
    };

    // A batch may be longer than a datagram can say.
    let length = |headers: usize| {
        u16::try_from(record.length.saturating_add(headers as u32)).unwrap_or(u16::MAX)
    };
    let mut bytes = Vec::with_capacity(IPV6_HEADER + UDP_HEADER);
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend([0x45, 0]);
            bytes.extend(length(IPV4_HEADER + UDP_HEADER).to_be_bytes());
            bytes.extend([0, 0, 0, 0, 64, UDP, 0, 0]);
            bytes.extend(from.octets());
            bytes.extend(to.octets());
        }
        (from, to) => {
            bytes.extend([0x60, 0, 0, 0]);
            bytes.extend(length(UDP_HEADER).to_be_bytes());
            bytes.extend([UDP, 64]);
            bytes.extend(v6(from).octets());
            bytes.extend(v6(to).octets());
        }
    }

    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    bytes.extend(length(UDP_HEADER).to_be_bytes());
    bytes.extend([0, 0]);
    bytes
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn block(out: &mut impl Write, kind: u32, mut body: Vec<u8>) -> io::Result<()> {
    option(&mut body, END_OF_OPTIONS, &[]);
    let length = (body.len() + BLOCK_FRAME) as u32;
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&body)?;
    out.write_all(&length.to_le_bytes())
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Nanoseconds since 1970, the upper half first.
fn timestamp(time: Time, offset: i64) -> [u8; 8] {
    let wall = time.as_nanos().saturating_add_signed(offset);
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&((wall >> 32) as u32).to_le_bytes());
    bytes[4..].copy_from_slice(&(wall as u32).to_le_bytes());
    bytes
}

impl Recording {
    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// [`FormatError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let (kind, section, mut rest) = next_block(bytes)?;
        if kind != SECTION || section.get(..4) != Some(&BYTE_ORDER.to_le_bytes()) {
            return Err(FormatError::Foreign);
        }

        let comment = find_option(section, 16, OPTION_COMMENT).ok_or(FormatError::Foreign)?;
        let mut recording = Self::of_comment(&String::from_utf8_lossy(comment))?;

        while !rest.is_empty() {
            let (kind, body, after) = next_block(rest)?;
            rest = after;
            match kind {
                STATISTICS => recording.add_statistics(body)?,
                PACKET => recording.add_packet(body)?,
                _ => {}
            }
        }

        Ok(recording)
    }

    /// What the comment of the section says.
    fn of_comment(comment: &str) -> Result<Self, FormatError> {
        let words = comment.strip_prefix(COMMENT).ok_or(FormatError::Foreign)?;
        let field = |name: &'static str| {
            let mut words = words
                .split_whitespace()
                .filter_map(|word| word.split_once('='));
            let found = words.find(|(known, _)| *known == name);
            found
                .map(|(_, value)| value)
                .ok_or(FormatError::Field(name))
        };

        let role = match field("role")? {
            "relay" => Role::Relay,
            "viewer" => Role::Viewer,
            _ => return Err(FormatError::Field("role")),
        };

        let written = field("written_ns")?.parse();
        let offset = field("wall_offset_ns")?.parse();
        Ok(Self {
            role,
            written: Time::from_nanos(written.map_err(|_| FormatError::Field("written_ns"))?),
            wall_offset_ns: offset.map_err(|_| FormatError::Field("wall_offset_ns"))?,
            names: field("counts")?.split(',').map(str::to_owned).collect(),
            snapshots: Vec::new(),
            records: Vec::new(),
        })
    }

    fn add_statistics(&mut self, body: &[u8]) -> Result<(), FormatError> {
        let time = self.time(body)?;
        let comment = find_option(body, 12, OPTION_COMMENT).unwrap_or_default();
        let counts = String::from_utf8_lossy(comment);
        let counts: Result<Vec<u64>, _> = counts.split(',').map(str::parse).collect();
        let counts = counts.map_err(|_| FormatError::Field("counts"))?;
        self.snapshots.push(Snapshot { time, counts });
        Ok(())
    }

    fn add_packet(&mut self, body: &[u8]) -> Result<(), FormatError> {
        let time = self.time(body)?;
        let captured = number(body, 12)? as usize;
        let original = number(body, 16)?;
        let packet = body.get(20..).and_then(|rest| rest.get(..captured));
        let packet = packet.ok_or(FormatError::Field("captured length"))?;
        let options = 20 + captured.next_multiple_of(4);
        let direction = match find_option(body, options, OPTION_FLAGS) {
            Some([1, ..]) => Direction::In,
            Some([2, ..]) => Direction::Out,
            _ => return Err(FormatError::Field("direction")),
        };

        let (from, to, head) = addresses(packet).ok_or(FormatError::Field("packet"))?;
        let headers = packet.len() - head.len();
        let length = original.checked_sub(headers as u32);

        if head.len() > HEAD_BYTES {
            return Err(FormatError::Field("captured length"));
        }

        self.records.push(Record::from_parts(
            time,
            direction,
            match direction {
                Direction::In => from,
                Direction::Out => to,
            },
            length.ok_or(FormatError::Field("original length"))?,
            head,
        ));

        Ok(())
    }

    /// The time of a block on the clock of the program.
    fn time(&self, body: &[u8]) -> Result<Time, FormatError> {
        let wall = u64::from(number(body, 4)?) << 32 | u64::from(number(body, 8)?);
        let monotonic = i128::from(wall) - i128::from(self.wall_offset_ns);
        let nanos = u64::try_from(monotonic).map_err(|_| FormatError::Field("time"))?;
        Ok(Time::from_nanos(nanos))
    }

    /// By how much a count grew from the first snapshot to the last.
    #[must_use]
    pub fn grown(&self, name: &str) -> Option<u64> {
        let at = self.names.iter().position(|known| known == name)?;
        let (first, last) = (self.snapshots.first()?, self.snapshots.last()?);
        last.counts.get(at)?.checked_sub(*first.counts.get(at)?)
    }
}

/// The type and body of the first block, and what comes after it.
fn next_block(bytes: &[u8]) -> Result<(u32, &[u8], &[u8]), FormatError> {
    let kind = number(bytes, 0)?;
    let length = number(bytes, 4)? as usize;
    if length < BLOCK_FRAME || !length.is_multiple_of(4) {
        return Err(FormatError::Field("block length"));
    }
    let (block, rest) = bytes.split_at_checked(length).ok_or(FormatError::Short)?;
    Ok((kind, &block[8..length - 4], rest))
}

/// The value of an option of a block whose options begin at `at`.
fn find_option(body: &[u8], at: usize, wanted: u16) -> Option<&[u8]> {
    let mut rest = body.get(at..)?;
    loop {
        let (head, tail) = rest.split_at_checked(4)?;
        let code = u16::from_le_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_le_bytes([head[2], head[3]]));

        if code == END_OF_OPTIONS {
            return None;
        }

        let value = tail.get(..length)?;
        if code == wanted {
            return Some(value);
        }

        rest = tail.get(length.next_multiple_of(4)..)?;
    }
}

/// From where to where a packet goes, and its payload.
fn addresses(packet: &[u8]) -> Option<(SocketAddr, SocketAddr, &[u8])> {
    let (ips, udp): ([IpAddr; 2], &[u8]) = match packet.first()? >> 4 {
        4 => {
            let (header, udp) = packet.split_at_checked(IPV4_HEADER)?;
            let ip = |at: usize| Some(IpAddr::from(*header.get(at..)?.first_chunk::<4>()?));
            ([ip(12)?, ip(16)?], udp)
        }
        6 => {
            let (header, udp) = packet.split_at_checked(IPV6_HEADER)?;
            let ip = |at: usize| Some(IpAddr::from(*header.get(at..)?.first_chunk::<16>()?));
            ([ip(8)?, ip(24)?], udp)
        }
        _ => return None,
    };

    let (header, payload) = udp.split_at_checked(UDP_HEADER)?;
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let [from, to] = ips;
    Some((
        SocketAddr::new(from, port(0)),
        SocketAddr::new(to, port(2)),
        payload,
    ))
}

/// A little-endian number.
fn number(bytes: &[u8], at: usize) -> Result<u32, FormatError> {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    Ok(u32::from_le_bytes(*bytes.ok_or(FormatError::Short)?))
}

#[cfg(test)]
mod tests {
    use fanlight_proto::datagram::{DATA_BYTES, DATA_HEADER};

    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    fn written(ring: &Ring) -> Vec<u8> {
        let mut out = Vec::new();
        write(
            ring,
            &mut out,
            Role::Relay,
            Time::from_nanos(9),
            &["a", "b"],
        )
        .unwrap();

        out
    }

    #[test]
    fn a_full_ring_keeps_the_newest_in_their_order() {
        let mut ring = Ring::new(5, 2);
        for n in 0..12_u16 {
            ring.note(
                Time::from_nanos(n.into()),
                Direction::Out,
                peer(n),
                &n.to_be_bytes(),
            );
            ring.snapshot(Time::from_nanos(n.into()), vec![n.into(), 2 * u64::from(n)]);
        }

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
            let cut = Recording::parse(&good[..length]);
            let whole_blocks = cut
                .as_ref()
                .is_ok_and(|recording| recording.records.is_empty());
            assert!(
                whole_blocks || cut == Err(FormatError::Short),
                "{length}: {cut:?}"
            );
        }

        let mut bad = good;
        bad[0] ^= 1;
        assert_eq!(Recording::parse(&bad), Err(FormatError::Foreign));
    }
}
