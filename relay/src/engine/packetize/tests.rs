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
    let body = Bytes::from(vec![1; 100_000]);
    let mut places = std::collections::BTreeSet::new();

    for number in 0..100 {
        let packets = retransmit_buffer.cut(
            header(number),
            &body,
            PacketizeOptions::default(),
            usize::MAX,
        );
        places.insert(packets.up_to(1).range(0..1).as_ptr() as usize);
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
    let body = Bytes::from(vec![1; 100_000]);
    for (number, room) in [(1, 400_000), (2, 400_000), (3, 400_000), (4, 0)] {
        let packets =
            retransmit_buffer.cut(header(number), &body, PacketizeOptions::default(), room);
        drop(packets.up_to(packets.shards()));
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
    let held = retransmit_buffer.cut(
        header(0),
        &Bytes::from_static(&[7; 10]),
        PacketizeOptions::default(),
        usize::MAX,
    );
    for number in 1..20 {
        retransmit_buffer.cut(
            header(number),
            &Bytes::from_static(&[8; 10]),
            PacketizeOptions::default(),
            usize::MAX,
        );
    }
    assert_eq!(shard::payload(&held.datagrams(0..1))[..10], [7; 10]);
}

#[test]
fn a_frame_that_is_cut_piece_by_piece_has_the_datagrams_of_one_that_is_cut_at_once() {
    for length in [1, SHARD_BYTES, SHARD_BYTES + 1, 300_000] {
        let body: Bytes = (0..length).map(|at| (at * at / 7) as u8).collect();
        let mut whole = Vec::new();
        let shards = shard::packetize(header(1), &body, &mut whole);

        let mut retransmit_buffer = RetransmitBuffer::default();
        let packets =
            retransmit_buffer.cut(header(1), &body, PacketizeOptions::default(), usize::MAX);
        assert!(!packets.is_cut());
        for end in [1, 40, 41, 200, shards] {
            let end = end.min(shards);
            let expected = &whole[..usize::from(end) * packets.stride()];
            assert_eq!(packets.up_to(end).range(0..end), expected);
        }

        assert!(packets.is_cut());
        assert_eq!(packets.shards(), shards);
    }
}

#[test]
fn a_sealed_frame_has_its_parity_sealed_too_and_a_frame_without_either_neither() {
    let (mut retransmit_buffer, mut encoder, key) = (
        RetransmitBuffer::default(),
        Encoder::new(),
        MediaKey::new(3, [9; 16]),
    );
    let body = Bytes::from(vec![7; 100_000]);

    let plain = retransmit_buffer.cut(header(1), &body, PacketizeOptions::default(), usize::MAX);
    assert_eq!(
        (plain.shards(), plain.parity(), plain.stride()),
        (87, 0, DATA_BYTES)
    );

    let options = PacketizeOptions {
        parity: Some(&mut encoder),
        key: Some(&key),
    };

    let sealed = retransmit_buffer.cut(header(2), &body, options, usize::MAX);
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
