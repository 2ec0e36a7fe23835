//! Cutting an encoded frame into the datagrams that every viewer of it gets.

use crate::datagram::{DATA_BYTES, DATA_HEADER, DataHeader, stamp};
use crate::limits::{MAX_FRAME_BYTES, SHARD_BYTES};

/// Cuts `body` into datagrams of [`DATA_BYTES`] each, one behind the other in `packets`, whose former content is gone.
/// `first` gives what they share; its `index`, `shards` and `length` are set here. This is the one copy of the picture
/// that a relay makes, however many viewers there are.
///
/// # Panics
/// When `body` is empty or over [`MAX_FRAME_BYTES`]: the caller has checked the frame.
pub fn cut(first: DataHeader, body: &[u8], packets: &mut Vec<u8>) -> u16 {
    assert!((1..=MAX_FRAME_BYTES).contains(&body.len()), "a checked frame has 1 to {MAX_FRAME_BYTES} bytes");
    let shards = u16::try_from(body.len().div_ceil(SHARD_BYTES)).expect("MAX_SHARDS fits 16 bits");
    let length = u32::try_from(body.len()).expect("MAX_FRAME_BYTES fits 32 bits");
    packets.clear();
    packets.reserve(usize::from(shards) * DATA_BYTES);
    for (index, shard) in (0..shards).zip(body.chunks(SHARD_BYTES)) {
        packets.extend_from_slice(&DataHeader { index, shards, length, ..first }.to_bytes());
        packets.extend_from_slice(shard);
        packets.resize((usize::from(index) + 1) * DATA_BYTES, 0);
        stamp(&mut packets[usize::from(index) * DATA_BYTES..]);
    }
    debug_assert_eq!(packets.len() % DATA_BYTES, 0);
    shards
}

/// Bytes of the shard in the datagram of a cut frame; for tests and tools.
#[must_use]
pub fn payload(datagram: &[u8]) -> &[u8] {
    &datagram[DATA_HEADER..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datagram::ToViewer;
    use crate::message::FrameId;

    #[test]
    fn shards_laid_side_by_side_are_the_frame_and_zeros() {
        let first = DataHeader {
            alias: 1,
            index: 0,
            shards: 0,
            length: 0,
            id: FrameId { epoch: 1, number: 2 },
            received_us: 3,
            lost_upstream: 0,
            lost_in_relay: 0,
            sequence: 1,
            ..DataHeader::default()
        };
        for length in [1, SHARD_BYTES - 1, SHARD_BYTES, SHARD_BYTES + 1, 100_000, MAX_FRAME_BYTES] {
            let body: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            let mut packets = vec![9; 50];
            let shards = cut(first, &body, &mut packets);
            let mut joined = Vec::new();
            for (index, datagram) in packets.chunks(DATA_BYTES).enumerate() {
                let Ok(ToViewer::Data(header, shard)) = ToViewer::parse(datagram) else { panic!("{length}") };
                assert_eq!((usize::from(header.index), header.shards), (index, shards));
                joined.extend_from_slice(shard);
            }
            assert_eq!(&joined[..length], &body[..]);
            assert!(joined[length..].iter().all(|&b| b == 0));
        }
    }
}
