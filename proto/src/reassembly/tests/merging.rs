//! Random loss, order and doubling, on one path and on two.

use super::*;
use crate::datagram::write_checksum;

/// Puts `items` in another order.
fn shuffle<T>(items: &mut [T], seed: &mut u64) {
    for at in (1..items.len()).rev() {
        items.swap(at, random(seed) as usize % (at + 1));
    }
}

#[test]
fn any_shards_as_many_as_the_frame_has_make_it_whole_and_fewer_never_do() {
    let mut seed = 7;
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);

    for number in 0..500 {
        let shards = 1 + random(&mut seed) as usize % 90;
        let mut datagrams = datagrams(first(1, number), shards);
        shuffle(&mut datagrams, &mut seed);

        for datagram in &datagrams[..shards - 1] {
            assert_eq!(feed(&mut reassembly, T0, datagram), None);
        }

        let whole = feed(&mut reassembly, T0, &datagrams[shards - 1]).unwrap();
        assert_eq!(whole.body, body(number, shards));
        reassembly.recycle(whole.body);
    }

    assert_eq!(
        (reassembly.counts().whole, reassembly.losses().total()),
        (500, 0)
    );

    assert!(reassembly.counts().recovered > 400);
}

/// Contradictions are refused, so that shards of one code are never mixed with those of another.
#[test]
fn a_header_that_contradicts_the_first_one_of_its_frame_changes_nothing() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    let good = datagrams(first(1, 0), 30);

    for datagram in &good[..29] {
        feed(&mut reassembly, T0, datagram);
        let Ok(ToViewer::Data(header, _)) = ToViewer::parse(datagram) else {
            panic!("not a media datagram")
        };

        for forged in [
            DataHeader {
                parity: header.parity - 1,
                index: 29,
                ..header
            },
            DataHeader {
                length: header.length - 1,
                index: 29,
                ..header
            },
            DataHeader {
                shards: 29,
                length: 29 * SHARD_BYTES as u32,
                index: 28,
                ..header
            },
        ] {
            assert_eq!(reassembly.on_shard(T0, &forged, &[0xbd; SHARD_BYTES]), None);
        }
    }

    assert_eq!(
        feed(&mut reassembly, T0, &good[35]).unwrap().body,
        body(0, 30)
    );

    assert_eq!(reassembly.counts().refused, 3 * 29);
}

/// Without a key nothing tells a forged shard from a true one; the harm ends with its frame.
#[test]
fn a_forged_parity_shard_damages_its_frame_and_no_other() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    let shown = |reassembly: &mut Reassembly, number, forge: bool| {
        let mut datagrams = datagrams(first(1, number), 30);
        if forge {
            datagrams[30][DATA_BYTES - 1] ^= 1;
            write_checksum(&mut datagrams[30]);
        }

        datagrams
            .iter()
            .skip(1)
            .find_map(|d| feed(reassembly, T0, d))
            .unwrap()
            .body
            == body(number, 30)
    };

    assert!(shown(&mut reassembly, 0, false));
    assert!(!shown(&mut reassembly, 1, true));
    assert!(shown(&mut reassembly, 2, false));
}

#[test]
fn memory_is_that_of_the_largest_frames_and_is_used_again() {
    let (mut reassembly, mut seed) = (Reassembly::new(MAX_FRAME_BYTES), 5);
    let mut bodies = std::collections::BTreeSet::new();

    for number in 0..300 {
        let shards = datagrams(first(1, number), 100);
        for datagram in shards
            .iter()
            .filter(|_| !random(&mut seed).is_multiple_of(10))
        {
            let Some(whole) = feed(&mut reassembly, T0, datagram) else {
                continue;
            };
            bodies.insert(whole.body.as_ptr() as usize);
            reassembly.recycle(whole.body);
        }

        for open in &reassembly.open {
            assert!(
                open.memory() <= 2 * (100 + 30) * (SHARD_BYTES + 2),
                "{} bytes",
                open.memory()
            );
        }
    }

    // A body moves while it grows; then its place is the same for ever.
    assert!(
        bodies.len() <= 3 * MAX_OPEN_FRAMES,
        "{} places",
        bodies.len()
    );

    assert!(
        reassembly.spare.len() <= MAX_OPEN_FRAMES && reassembly.bodies.len() <= MAX_OPEN_FRAMES
    );
}

/// What one relay sends of each frame, in order of time: some frames it never had, some it skips.
fn path(seed: &mut u64, frames: u64, loss: u64, delay: u64, alias: u16) -> Vec<(u64, Vec<u8>)> {
    let (mut sent, mut upstream, mut relay) = (Vec::new(), 0, 0);
    for number in 0..frames {
        match random(seed) % 12 {
            0 => upstream += 1,
            1 => relay += 1,
            2 if number > 0 && number + 1 < frames => {}
            _ => {
                let header = DataHeader {
                    alias,
                    lost_upstream: upstream,
                    lost_in_relay: relay,
                    ..first(1, number)
                };

                let lost = |seed: &mut u64| random(seed) % 100 < loss;
                let datagrams = datagrams(header, 1 + (number % 9) as usize);
                let jitter = |seed: &mut u64| random(seed) % 20;
                sent.extend(datagrams.into_iter().filter_map(|d| {
                    (!lost(seed)).then(|| (number * 10 + delay + jitter(seed), d))
                }));
                (upstream, relay) = (0, 0);
            }
        }
    }

    sent
}

#[test]
fn of_two_paths_every_frame_is_given_out_once_or_lost_for_one_reason() {
    for round in 0..40 {
        let mut seed = round;
        let (loss, delay) = (random(&mut seed) % 60, random(&mut seed) % 40);
        let mut arrivals = path(&mut seed, 60, loss, 0, 1);
        arrivals.extend(path(&mut seed, 60, loss, delay, 2));
        arrivals.sort_by_key(|(at, _)| *at);
        let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
        let (mut oldest, mut newest, mut whole) = (None, 0, 0);

        for (at, datagram) in &arrivals {
            let Ok(ToViewer::Data(header, shard)) = ToViewer::parse(datagram) else {
                panic!("not a media datagram")
            };

            oldest.get_or_insert(header.id.number);
            newest = newest.max(header.id.number);
            let Some(frame) = reassembly.on_shard(ms(*at), &header, shard) else {
                continue;
            };

            assert_eq!(
                frame.body,
                body(frame.id.number, frame.body.len().div_ceil(SHARD_BYTES))
            );

            whole += 1;
        }

        reassembly.on_away();
        let frames = newest + 1 - oldest.unwrap_or(0);
        assert_eq!(
            reassembly.losses().total() + whole,
            frames,
            "round {round}: {:?}",
            reassembly.losses()
        );

        assert_eq!(reassembly.counts().whole, whole);
    }
}

#[test]
fn what_one_relay_had_was_not_lost_upstream_of_both() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    assert!(feed_all(&mut reassembly, first(1, 0), 2).is_some());
    let one = datagrams(
        DataHeader {
            lost_upstream: 3,
            ..first(1, 5)
        },
        2,
    );

    let other = datagrams(
        DataHeader {
            lost_upstream: 1,
            lost_in_relay: 1,
            alias: 2,
            sequence: 77,
            ..first(1, 5)
        },
        2,
    );

    feed(&mut reassembly, T0, &one[0]);
    assert!(feed(&mut reassembly, T0, &other[1]).is_some());
    assert_eq!(
        *reassembly.losses(),
        Losses {
            upstream: 1,
            relay: 1,
            link: 2,
            ..Losses::default()
        }
    );
}

#[test]
fn two_paths_complete_a_frame_that_neither_brings_whole() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    let one = datagrams(
        DataHeader {
            received_us: 5,
            ..first(1, 0)
        },
        40,
    );

    let other = datagrams(
        DataHeader {
            received_us: 900,
            alias: 2,
            sequence: 8,
            ..first(1, 0)
        },
        40,
    );

    let mut whole = None;
    for index in 0..60 {
        let shard = if index % 2 == 0 {
            &one[index]
        } else {
            &other[index]
        };
        whole = whole.or(feed(&mut reassembly, T0, shard).map(|whole| (index, whole)));
        assert_eq!(feed(&mut reassembly, T0, shard), None);
    }

    let (index, whole) = whole.unwrap();
    assert_eq!(
        (index, whole.body, whole.received_us),
        (39, body(0, 40), 900)
    );

    assert_eq!(reassembly.counts().refused, 0);
}
