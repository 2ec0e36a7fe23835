mod epochs;
mod merging;
mod repair;
mod whole_frames;

use super::*;
use crate::datagram::{DATA_BYTES, ToViewer};
use crate::limits::{MAX_REPAIR_RANGES, MAX_SHARDS, SHARD_BYTES};
use crate::parity::{Encoder, level_count, recovery_count};
use crate::shard::packetize;

const T0: Time = Time::from_nanos(1_000_000_000);

fn ms(n: u64) -> Time {
    T0 + Duration::from_millis(n)
}

/// SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn first(epoch: u64, number: u64) -> DataHeader {
    DataHeader {
        alias: 1,
        index: 0,
        shards: 0,
        length: 0,
        id: FrameId { epoch, number },
        received_us: 0,
        lost_upstream: 0,
        lost_in_relay: 0,
        sequence: 1,
        ..DataHeader::default()
    }
}

fn body(number: u64, shards: usize) -> Vec<u8> {
    (0..shards * SHARD_BYTES - 5)
        .map(|i| (i as u64 * 31).wrapping_add(number) as u8)
        .collect()
}

/// Data, and parity behind it.
fn datagrams(first: DataHeader, shards: usize) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    packetize(first, &body(first.id.number, shards), &mut packets);
    Encoder::new().append(&first, &mut packets);
    packets.chunks(DATA_BYTES).map(<[u8]>::to_vec).collect()
}

fn feed(reassembly: &mut Reassembly, now: Time, datagram: &[u8]) -> Option<CompleteFrame> {
    let Ok(ToViewer::Data(header, shard)) = ToViewer::parse(datagram) else {
        panic!("not a media datagram")
    };
    reassembly.on_shard(now, &header, shard)
}

fn feed_all(
    reassembly: &mut Reassembly,
    first: DataHeader,
    shards: usize,
) -> Option<CompleteFrame> {
    datagrams(first, shards)[..shards]
        .iter()
        .filter_map(|d| feed(reassembly, T0, d))
        .next_back()
}

#[test]
fn a_frame_is_whole_in_any_order_and_with_doubled_shards() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    let mut shards = datagrams(first(1, 0), 5)[..5].to_vec();
    shards.reverse();
    shards.insert(1, shards[0].clone());
    let whole: Vec<CompleteFrame> = shards
        .iter()
        .filter_map(|d| feed(&mut reassembly, T0, d))
        .collect();

    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0].body, body(0, 5));
    assert_eq!(reassembly.counts().duplicates, 1);
    assert_eq!(reassembly.losses().total(), 0);
}

#[test]
fn a_frame_that_loses_a_shard_is_lost_and_counted_when_a_newer_one_is_whole() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    for datagram in &datagrams(first(1, 0), 4)[..3] {
        assert_eq!(feed(&mut reassembly, T0, datagram), None);
    }

    assert!(feed_all(&mut reassembly, first(1, 1), 4).is_some());
    assert_eq!(
        *reassembly.losses(),
        Losses {
            incomplete: 1,
            ..Losses::default()
        }
    );

    assert_eq!(
        feed(&mut reassembly, T0, &datagrams(first(1, 0), 4)[3]),
        None
    );

    assert_eq!(reassembly.counts().late, 1);
}

#[test]
fn every_lost_frame_has_one_reason() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    assert!(feed_all(&mut reassembly, first(1, 10), 2).is_some());
    // 11 never comes; 12 and 13 the relay never had; 14 it had and did not send; 15 comes.
    let header = DataHeader {
        lost_upstream: 2,
        lost_in_relay: 1,
        ..first(1, 15)
    };

    assert!(feed_all(&mut reassembly, header, 2).is_some());
    assert_eq!(
        *reassembly.losses(),
        Losses {
            upstream: 2,
            relay: 1,
            link: 1,
            ..Losses::default()
        }
    );

    // 16 comes in part; 17 is never seen; 18 comes.
    feed(&mut reassembly, T0, &datagrams(first(1, 16), 2)[0]);
    assert!(feed_all(&mut reassembly, first(1, 18), 2).is_some());
    assert_eq!(
        *reassembly.losses(),
        Losses {
            upstream: 2,
            relay: 1,
            link: 2,
            incomplete: 1,
            ..Losses::default()
        }
    );

    assert_eq!(
        reassembly.losses().total() + reassembly.counts().whole,
        18 - 10 + 1
    );
}

#[test]
fn what_is_missed_without_a_session_is_counted_apart() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    assert!(feed_all(&mut reassembly, first(1, 0), 1).is_some());
    feed(&mut reassembly, T0, &datagrams(first(1, 1), 2)[0]);
    reassembly.on_away();
    let header = DataHeader {
        lost_upstream: 3,
        ..first(1, 100)
    };

    assert!(feed_all(&mut reassembly, header, 1).is_some());
    assert_eq!(
        *reassembly.losses(),
        Losses {
            incomplete: 1,
            away: 95,
            upstream: 3,
            ..Losses::default()
        }
    );
}

#[test]
fn a_restarted_source_begins_anew_and_its_former_run_does_not_come_back() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    assert!(feed_all(&mut reassembly, first(1, 900), 2).is_some());
    reassembly.on_newest(T0, first(2, 0).id, Some(1));
    assert!(feed_all(&mut reassembly, first(2, 0), 2).is_some());
    assert!(feed_all(&mut reassembly, first(1, 901), 2).is_none());
    assert!(feed_all(&mut reassembly, first(2, 1), 2).is_some());
    assert_eq!(reassembly.losses().total(), 0);
    assert_eq!(reassembly.counts().late, 2);
}

#[test]
fn at_most_three_frames_are_open() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    for number in 0..1000 {
        feed(&mut reassembly, T0, &datagrams(first(1, number), 2)[0]);
        assert!(reassembly.open.len() <= MAX_OPEN_FRAMES);
    }
    assert_eq!(reassembly.losses().incomplete, 997);
}

#[test]
fn a_claim_of_a_large_frame_takes_no_memory() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    let mut claim = first(1, 0);
    claim.length = MAX_FRAME_BYTES as u32;
    claim.shards = MAX_SHARDS as u16;
    assert_eq!(reassembly.on_shard(T0, &claim, &[0; SHARD_BYTES]), None);
    assert!(reassembly.open[0].memory() <= 2 * SHARD_BYTES);
}

#[test]
fn a_shard_of_another_size_is_refused() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    assert_eq!(
        reassembly.on_shard(
            T0,
            &DataHeader {
                shards: 1,
                length: 9,
                ..first(1, 0)
            },
            &[0; SHARD_BYTES + 16]
        ),
        None
    );

    assert_eq!(reassembly.counts().refused, 1);
}

#[test]
fn a_shard_that_contradicts_its_frame_or_jumps_too_far_is_refused() {
    let mut reassembly = Reassembly::new(100_000);
    feed(&mut reassembly, T0, &datagrams(first(1, 0), 3)[0]);
    assert_eq!(
        feed(&mut reassembly, T0, &datagrams(first(1, 0), 4)[1]),
        None
    );

    assert_eq!(
        feed(&mut reassembly, T0, &datagrams(first(1, 0), 100)[1]),
        None
    );

    assert_eq!(
        feed(&mut reassembly, T0, &datagrams(first(1, u64::MAX), 1)[0]),
        None
    );

    assert_eq!(reassembly.counts().refused, 3);
}

#[test]
fn a_forged_number_does_not_silence_the_stream_for_ever() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    assert!(feed_all(&mut reassembly, first(1, 0), 10).is_some());
    assert!(feed_all(&mut reassembly, first(1, 1 << 30), 1).is_some());
    let shown = (1..100)
        .filter(|&n| feed_all(&mut reassembly, first(1, n), 10).is_some())
        .count();
    assert!(shown >= 70, "{shown} of 99 frames");
}

#[test]
fn who_has_keys_does_not_fall_back() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    reassembly.set_authentic(true);
    assert!(feed_all(&mut reassembly, first(1, 1 << 30), 1).is_some());
    assert!((1..100).all(|number| feed_all(&mut reassembly, first(1, number), 10).is_none()));
}

#[test]
fn parity_completes_a_frame_and_says_so() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    let shards = datagrams(first(1, 0), 40);
    let came: Vec<CompleteFrame> = shards
        .iter()
        .skip(3)
        .filter_map(|d| feed(&mut reassembly, T0, d))
        .collect();

    assert_eq!(came.len(), 1);
    assert_eq!(came[0].body, body(0, 40));
    let Counts {
        whole,
        recovered,
        parity_shards,
        shards_expected,
        shards_missed,
        late,
        duplicates,
        ..
    } = *reassembly.counts();

    assert_eq!((whole, recovered, late, duplicates), (1, 1, 0, 0));
    assert_eq!(
        (shards_expected, shards_missed, parity_shards),
        (40, 3, u64::from(recovery_count(40)))
    );
}

#[test]
fn shards_that_did_not_come_by_themselves_are_counted_whatever_mended_the_frame() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    let shards = datagrams(first(1, 0), 10);
    shards[2..10]
        .iter()
        .for_each(|d| drop(feed(&mut reassembly, ms(0), d)));
    assert_eq!(reassembly.poll_repair(ms(2)).unwrap().ranges, [0, 2]);
    shards[..2]
        .iter()
        .for_each(|d| drop(feed(&mut reassembly, ms(4), d)));
    assert_eq!(
        (
            reassembly.counts().shards_expected,
            reassembly.counts().shards_missed
        ),
        (10, 2)
    );

    // Frame 1 comes in part, nothing comes of frame 2.
    feed(&mut reassembly, ms(33), &datagrams(first(1, 1), 10)[0]);
    assert!(feed_all(&mut reassembly, first(1, 3), 20).is_some());
    assert_eq!(
        (
            reassembly.counts().shards_expected,
            reassembly.counts().shards_missed
        ),
        (40, 2 + 9)
    );
}
