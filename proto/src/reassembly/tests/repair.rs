//! What is asked for again, and when.

use super::*;

/// Feeds the shards of one frame with these indices, all at once.
fn feed_some(
    reassembly: &mut Reassembly,
    now: Time,
    number: u64,
    shards: usize,
    indices: impl IntoIterator<Item = usize>,
) {
    let datagrams = datagrams(first(1, number), shards);
    for index in indices {
        feed(reassembly, now, &datagrams[index]);
    }
}

fn round_trip(millis: u64) -> Reassembly {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    reassembly.set_round_trip(Duration::from_millis(millis));
    reassembly
}

#[test]
fn a_gap_is_asked_for_after_a_little_patience() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    let shards = datagrams(first(1, 0), 10);
    for index in [0, 1, 4, 6] {
        feed(&mut reassembly, ms(0), &shards[index]);
    }

    assert_eq!(reassembly.deadline(), Some(ms(2)));
    assert_eq!(reassembly.poll_repair(ms(1)), None);
    let repair = reassembly.poll_repair(ms(2)).unwrap();
    assert_eq!(
        (repair.epoch, repair.number, repair.ranges),
        (1, 0, vec![2, 2, 5, 1])
    );

    assert_eq!(reassembly.poll_repair(ms(7)), None);
    for index in [2, 3, 5, 7, 8] {
        assert_eq!(feed(&mut reassembly, ms(3), &shards[index]), None);
    }

    assert_eq!(
        feed(&mut reassembly, ms(3), &shards[9]).unwrap().body,
        body(0, 10)
    );

    let Counts {
        repairs_asked,
        repairs_received,
        ..
    } = *reassembly.counts();

    assert_eq!(
        (repairs_asked, repairs_received),
        (3, 3),
        "shards that nobody asked for are no repairs"
    );
}

#[test]
fn a_missing_end_is_asked_for_after_silence() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    for datagram in &datagrams(first(1, 0), 10)[..7] {
        feed(&mut reassembly, ms(0), datagram);
    }
    assert_eq!(reassembly.poll_repair(ms(7)), None);
    assert_eq!(reassembly.poll_repair(ms(8)).unwrap().ranges, [7, 3]);
}

#[test]
fn an_overdue_answer_is_asked_for_again_and_not_for_ever() {
    let mut reassembly = round_trip(4);
    feed_some(&mut reassembly, ms(0), 0, 10, 1..10);
    let mut asked = Vec::new();

    while let Some(due) = reassembly.deadline() {
        if let Some(repair) = reassembly.poll_repair(due) {
            assert_eq!(repair.ranges, [0, 1]);
            asked.push(due.saturating_since(T0).as_millis());
        }
    }

    // Two milliseconds of patience, then each time the round trip, a quarter more and two milliseconds.
    assert_eq!(asked, [2, 9, 16, 23, 30, 37]);
    assert_eq!(reassembly.poll_repair(ms(1000)), None);
}

#[test]
fn the_end_that_silence_shows_missing_is_asked_for_beside_what_is_under_way() {
    let mut reassembly = round_trip(20);
    feed_some(&mut reassembly, ms(0), 0, 10, 1..7);
    assert_eq!(reassembly.poll_repair(ms(2)).unwrap().ranges, [0, 1]);
    assert_eq!(reassembly.deadline(), Some(ms(8)));
    assert_eq!(reassembly.poll_repair(ms(8)).unwrap().ranges, [7, 3]);
    assert_eq!(reassembly.deadline(), Some(ms(2 + 20 + 5 + 2)));
}

#[test]
fn what_could_come_only_after_the_next_frames_is_not_asked_for() {
    for (trip, asks) in [(20, true), (70, false)] {
        let mut reassembly = round_trip(trip);
        for number in 0..10 {
            feed_some(&mut reassembly, ms(33 * number), number, 10, 0..10);
        }
        feed_some(&mut reassembly, ms(330), 10, 10, 2..10);
        assert_eq!(reassembly.poll_repair(ms(332)).is_some(), asks, "{trip} ms");
    }
}

/// A stream whose viewer is sent parity of level 1.
fn with_parity() -> Reassembly {
    let mut reassembly = round_trip(4);
    feed_some(
        &mut reassembly,
        ms(0),
        0,
        100,
        0..100 + usize::from(level_count(100, 1)),
    );

    assert_eq!(reassembly.counts().parity_shards, 12);
    assert_eq!(
        (reassembly.counts().late, reassembly.counts().recovered),
        (0, 0)
    );

    reassembly
}

#[test]
fn what_the_parity_still_to_come_can_mend_is_not_asked_for() {
    let mut reassembly = with_parity();
    feed_some(
        &mut reassembly,
        ms(33),
        1,
        100,
        (0..60).filter(|index| index % 5 != 0),
    );

    assert_eq!(reassembly.poll_repair(ms(36)), None);
    feed_some(
        &mut reassembly,
        ms(36),
        1,
        100,
        (60..100).filter(|index| index % 5 != 0),
    );

    assert_eq!(
        reassembly.deadline(),
        Some(ms(38)),
        "20 are lost, 12 of parity are to come"
    );

    assert_eq!(
        reassembly.poll_repair(ms(38)).unwrap().ranges,
        [0, 1, 5, 1, 10, 1, 15, 1, 20, 1, 25, 1, 30, 1, 35, 1]
    );

    feed_some(&mut reassembly, ms(39), 1, 100, 100..112);
    feed_some(&mut reassembly, ms(41), 1, 100, (0..35).step_by(5));
    assert_eq!(reassembly.counts().whole, 1);
    feed_some(&mut reassembly, ms(41), 1, 100, [35]);
    assert_eq!(
        (reassembly.counts().whole, reassembly.counts().recovered),
        (2, 1)
    );
}

#[test]
fn parity_shows_a_lost_end_at_once_and_silence_the_loss_of_parity() {
    let mut reassembly = with_parity();
    feed_some(&mut reassembly, ms(33), 1, 100, (0..80).chain(100..112));
    assert_eq!(
        reassembly.poll_repair(ms(35)).unwrap().ranges,
        [80, 8],
        "of 20 missing, 12 are made good"
    );

    let mut reassembly = with_parity();
    feed_some(&mut reassembly, ms(33), 1, 100, 0..95);
    assert_eq!(
        (reassembly.deadline(), reassembly.poll_repair(ms(40))),
        (Some(ms(41)), None)
    );

    assert_eq!(reassembly.poll_repair(ms(41)).unwrap().ranges, [95, 5]);
}

#[test]
fn parity_that_is_lost_after_a_pause_is_not_waited_for() {
    let mut reassembly = round_trip(4);
    feed_some(&mut reassembly, ms(0), 0, 100, 0..90);
    assert_eq!(reassembly.poll_repair(ms(8)).unwrap().ranges, [90, 10]);
    // The first sign of parity at all, and the last datagram that comes by itself.
    feed_some(&mut reassembly, ms(9), 0, 100, [105]);
    assert_eq!(reassembly.poll_repair(ms(15)).unwrap().ranges, [90, 9]);
}

#[test]
fn parity_that_is_sent_no_longer_is_not_waited_for() {
    let mut reassembly = with_parity();
    for number in 1..10 {
        feed_some(&mut reassembly, ms(33 * number), number, 100, 0..100);
    }
    feed_some(&mut reassembly, ms(330), 10, 100, 1..50);
    assert_eq!(reassembly.poll_repair(ms(332)).unwrap().ranges, [0, 1]);
}

#[test]
fn no_more_is_asked_for_than_is_needed_and_no_more_than_one_request_holds() {
    let mut seed = 3;
    for round in 0..300 {
        let mut reassembly = round_trip(4);
        let (shards, sent) = (1 + random(&mut seed) as usize % 300, random(&mut seed) % 2);
        let end = shards + usize::from(level_count(shards as u16, sent as u8));
        let came: Vec<usize> = (0..end).filter(|_| random(&mut seed) % 100 < 70).collect();
        feed_some(&mut reassembly, ms(0), 0, shards, came.iter().copied());

        if reassembly.counts().whole == 1 {
            continue;
        }

        let needed = shards - came.len();
        let repair = if came.is_empty() {
            None
        } else {
            reassembly.poll_repair(ms(8))
        };

        let ranges = repair.map_or_else(Vec::new, |repair| repair.ranges);
        let asked: u32 = ranges.chunks(2).map(|range| range[1]).sum();
        assert!(
            asked as usize <= needed,
            "round {round}: {ranges:?} of {needed}"
        );

        assert!(
            asked as usize == needed || came.is_empty() || ranges.len() == 2 * MAX_REPAIR_RANGES
        );
        assert!(
            ranges
                .chunks(2)
                .all(|range| range[0] + range[1] <= shards as u32)
        );
    }
}

#[test]
fn the_pauses_of_a_frame_that_is_spread_out_are_not_taken_for_loss() {
    let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
    let asked = |reassembly: &mut Reassembly, number: u64| {
        let mut asked = 0;
        for (chunk, four) in datagrams(first(1, number), 40)[..40].chunks(4).enumerate() {
            let now = ms(number * 200 + chunk as u64 * 12);
            asked += std::iter::from_fn(|| reassembly.poll_repair(now)).count();
            four.iter().for_each(|d| drop(feed(reassembly, now, d)));
        }
        asked
    };

    assert!(asked(&mut reassembly, 0) > 0);
    reassembly.set_pause(Duration::from_millis(12));
    assert_eq!(asked(&mut reassembly, 1), 0);
    // Who claims that a pause is endless is not believed.
    reassembly.set_pause(Duration::MAX);
    feed(&mut reassembly, ms(1000), &datagrams(first(1, 5), 40)[0]);
    assert!(reassembly.deadline().is_some_and(|due| due <= ms(1200)));
}
