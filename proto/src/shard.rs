//! Packetizing: from an encoded frame to the datagrams that all its viewers get. Called by the relay's engine.

use crate::datagram::{DATA_HEADER, DataHeader, write_checksum};
use crate::limits::{MAX_FRAME_BYTES, SHARD_BYTES};
use crate::parity::recovery_count;

/// Packetizes `body` into datagrams of `first.datagram_bytes()` each, one behind the other in `packets`, whose former content
/// is gone; when `first.key` is set, each ends with room for its seal. `first` gives what they share; its `index`,
/// `shards`, `parity` and `length` are set here. This is the one copy of the picture that a relay makes, however many
/// viewers there are.
///
/// # Panics
/// When `body` is empty or over [`MAX_FRAME_BYTES`]: the caller has checked the frame.
pub fn packetize(first: DataHeader, body: &[u8], packets: &mut Vec<u8>) -> u16 {
    assert!(
        (1..=MAX_FRAME_BYTES).contains(&body.len()),
        "a checked frame has 1 to {MAX_FRAME_BYTES} bytes"
    );

    let shards = u16::try_from(body.len().div_ceil(SHARD_BYTES)).expect("MAX_SHARDS fits 16 bits");
    let length = u32::try_from(body.len()).expect("MAX_FRAME_BYTES fits 32 bits");
    let (stride, parity) = (first.datagram_bytes(), recovery_count(shards));
    packets.clear();
    // With room for parity, so that a buffer used again does not grow when somebody needs some.
    packets.reserve(usize::from(shards + parity) * stride);

    let header = DataHeader {
        shards,
        parity,
        length,
        ..first
    }
    .to_bytes();

    for (index, shard) in (0..shards).zip(body.chunks(SHARD_BYTES)) {
        packets.extend_from_slice(&DataHeader::with_index(header, index));
        packets.extend_from_slice(shard);
        packets.resize((usize::from(index) + 1) * stride, 0);
        if first.key.is_none() {
            write_checksum(&mut packets[usize::from(index) * stride..]);
        }
    }

    shards
}

/// Bytes of the shard in the datagram of a cut frame that is not sealed; for tests and tools.
#[must_use]
pub fn payload(datagram: &[u8]) -> &[u8] {
    &datagram[DATA_HEADER..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datagram::{KeySlot, ToViewer};
    use crate::message::FrameId;

    #[test]
    fn shards_laid_side_by_side_are_the_frame_and_zeros() {
        let id = FrameId {
            epoch: 1,
            number: 2,
        };

        for key in [None, Some(KeySlot::Odd)] {
            let first = DataHeader {
                alias: 1,
                id,
                received_us: 3,
                sequence: 1,
                key,
                ..DataHeader::default()
            };

            for length in [
                1,
                SHARD_BYTES - 1,
                SHARD_BYTES,
                SHARD_BYTES + 1,
                100_000,
                MAX_FRAME_BYTES,
            ] {
                let body: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
                let mut packets = vec![9; 50];
                let shards = packetize(first, &body, &mut packets);
                let mut joined = Vec::new();
                for (index, datagram) in packets.chunks(first.datagram_bytes()).enumerate() {
                    let Ok(ToViewer::Data(header, shard)) = ToViewer::parse(datagram) else {
                        panic!("{length}")
                    };
                    assert_eq!((usize::from(header.index), header.shards), (index, shards));
                    assert_eq!(header.parity, recovery_count(shards));
                    joined.extend_from_slice(&shard[..SHARD_BYTES]);
                    assert!(shard[SHARD_BYTES..].iter().all(|&b| b == 0));
                }
                assert_eq!(&joined[..length], &body[..]);
                assert!(joined[length..].iter().all(|&b| b == 0));
            }
        }
    }
}
