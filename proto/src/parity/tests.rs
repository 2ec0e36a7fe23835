use super::*;
use crate::datagram::{DATA_BYTES, KeySlot, SEALED_DATA_BYTES, ToViewer};
use crate::limits::{MAX_FRAME_BYTES, MAX_SHARDS};
use crate::message::FrameId;
use crate::shard::packetize;

fn first(key: Option<KeySlot>) -> DataHeader {
    DataHeader {
        alias: 3,
        id: FrameId {
            epoch: 5,
            number: 7,
        },
        sequence: 9,
        key,
        ..DataHeader::default()
    }
}

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * i / 7 % 253) as u8).collect()
}

/// SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn a_higher_level_never_sends_less_and_no_level_more_than_the_frame_has() {
    for shards in 1..=MAX_SHARDS as u16 {
        let counts: Vec<u16> = (0..=LEVELS + 1)
            .map(|level| level_count(shards, level))
            .collect();
        assert!(counts.is_sorted() && counts[0] == 0, "{shards}: {counts:?}");
        assert_eq!(recovery_count(shards), counts[usize::from(LEVELS)]);
        assert!(recovery_count(shards) <= shards);

        for level in 1..=LEVELS {
            assert!(level_of(shards, counts[usize::from(level)] - 1) <= level);
        }
    }

    assert_eq!([1, 2, 3].map(|level| level_count(50, level)), [12, 16, 20]);
    assert_eq!([1, 2, 3].map(|level| level_count(250, level)), [25, 50, 75]);
    assert_eq!([1, 2, 3].map(|level| level_count(5, level)), [5, 5, 5]);
}

#[test]
fn parity_datagrams_have_the_headers_of_their_frame_and_room_for_the_seal() {
    let mut encoder = Encoder::new();
    for (key, stride) in [(None, DATA_BYTES), (Some(KeySlot::Odd), SEALED_DATA_BYTES)] {
        let mut packets = Vec::new();
        let shards = packetize(first(key), &body(60_000), &mut packets);
        encoder.append(&first(key), &mut packets);
        assert_eq!(
            packets.len(),
            usize::from(shards + recovery_count(shards)) * stride
        );

        for (index, datagram) in (0..).zip(packets.chunks(stride)) {
            let Ok(ToViewer::Data(header, _)) = ToViewer::parse(datagram) else {
                panic!("{index}")
            };

            let parity = recovery_count(shards);
            assert_eq!(
                header,
                DataHeader {
                    index,
                    shards,
                    parity,
                    length: 60_000,
                    ..first(key)
                }
            );
        }
    }
}

#[test]
fn the_same_frame_has_the_same_parity_whatever_was_encoded_before() {
    let parity = |encoder: &mut Encoder, length: usize| {
        let mut packets = Vec::new();
        packetize(first(None), &body(length), &mut packets);
        encoder.append(&first(None), &mut packets);
        packets
    };

    let mut used = Encoder::new();
    for length in [
        1,
        300_000,
        50_000,
        MAX_FRAME_BYTES,
        1153,
        90_000,
        36_864,
        36_865,
    ] {
        assert_eq!(
            parity(&mut used, length),
            parity(&mut Encoder::new(), length),
            "{length}"
        );
    }
}

/// What the code computes is part of the wire format: this fails when a release of the library computes another.
#[test]
fn the_parity_of_a_known_frame_has_a_known_hash() {
    let mut packets = Vec::new();
    let shards = packetize(first(None), &body(100_000), &mut packets);
    Encoder::new().append(&first(None), &mut packets);
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);

    for datagram in packets.chunks(DATA_BYTES).skip(usize::from(shards)) {
        digest.update(&datagram[DATA_HEADER..]);
    }

    let hex: String = digest
        .finish()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();

    assert_eq!(
        hex,
        "71ec87fdef9776e16084a92ce83c81cefed254b6e5dc211a133165305f46627f"
    );
}

#[test]
fn any_shards_as_many_as_the_frame_has_bring_it_back() {
    let (mut encoder, mut decoder, mut seed) = (Encoder::new(), Decoder::new(), 11);
    for length in [
        1, 1152, 1153, 20_000, 57_600, 36_864, 36_865, 97_000, 288_000,
    ] {
        let mut packets = Vec::new();
        let shards = packetize(first(None), &body(length), &mut packets);
        encoder.append(&first(None), &mut packets);
        for _ in 0..20 {
            let mut kept: Vec<u16> = (0..shards + recovery_count(shards)).collect();
            while kept.len() > usize::from(shards) {
                kept.swap_remove((random(&mut seed) % kept.len() as u64) as usize);
            }

            assert_eq!(
                restored(&mut decoder, &packets, shards, &kept)[..length],
                body(length),
                "{length}: {kept:?}"
            );
        }
    }
}

fn restored(decoder: &mut Decoder, packets: &[u8], shards: u16, kept: &[u16]) -> Vec<u8> {
    let shard = |index: u16| &packets[usize::from(index) * DATA_BYTES..][DATA_HEADER..DATA_BYTES];
    let mut body = vec![0xee; usize::from(shards) * SHARD_BYTES];
    for &index in kept.iter().filter(|&&index| index < shards) {
        body[usize::from(index) * SHARD_BYTES..][..SHARD_BYTES].copy_from_slice(shard(index));
    }

    let parity = kept
        .iter()
        .filter(|&&index| index >= shards)
        .map(|&index| (index - shards, shard(index)));

    decoder.restore(
        (shards, recovery_count(shards)),
        &mut body,
        |index| kept.contains(&index),
        parity,
    );

    body
}
