//! Frames, their losses, their repair, and what becomes of a stream.

use std::collections::BTreeMap;
use std::ops::Range;

use fanlight_live::ledger::REPAIR_SHARDS_PER_SECOND;
use fanlight_proto::datagram::{DATA_BYTES, DataHeader};

use super::*;

fn first_header(transmit: &FrameTransmit) -> DataHeader {
    match ToViewer::parse(&transmit.packets.datagrams(0..1)).unwrap() {
        ToViewer::Data(header, _) => header,
        other => panic!("{other:?}"),
    }
}

/// What the next frame says about (upstream, relay) losses before it.
fn losses(rig: &mut Rig, epoch: u64, number: u64, superseded: u64) -> (u16, u16) {
    rig.frame("cam", epoch, number, superseded);
    let header = first_header(&rig.fans()[0]);
    assert_eq!(header.id, FrameId { epoch, number });
    (header.lost_upstream, header.lost_in_relay)
}

fn repair(rig: &mut Rig, from: SocketAddr, session: u64, body: Repair) -> Vec<Vec<Range<u16>>> {
    rig.outputs();
    let mut datagram = Vec::new();
    ToRelay::Repair(session, body).encode(&mut datagram);
    rig.engine.on_datagram(
        rig.now,
        Route {
            remote: from,
            local: None,
        },
        &datagram,
    );

    rig.outputs()
        .into_iter()
        .map(|output| match output {
            Output::Retransmit(retransmit) => {
                assert_eq!(retransmit.to.remote, from);
                retransmit.ranges
            }
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_frame_is_cut_once_and_goes_to_every_viewer_of_its_stream_and_no_other() {
    let mut rig = Rig::live();
    rig.frame("other", 1, 5, 0);
    rig.outputs();

    for n in 1..=3 {
        rig.join(viewer(n), 1);
    }

    let Said::Accept(_) = rig.ask(
        viewer(4),
        Join {
            stream: "other".into(),
            ..join(1)
        },
    ) else {
        panic!()
    };

    rig.frame("cam", 1, 101, 0);
    let fans = rig.fans();
    assert_eq!(fans.len(), 1);
    let mut to: Vec<_> = fans[0]
        .targets
        .iter()
        .map(|target| target.route.remote)
        .collect();

    to.sort();
    assert_eq!(to, [viewer(1), viewer(2), viewer(3)]);
    let shards = fans[0].packets.shards();
    assert_eq!(
        fans[0].packets.datagrams(0..shards).len(),
        usize::from(shards) * DATA_BYTES
    );
}

#[test]
fn the_viewer_that_comes_first_changes_with_each_frame() {
    let mut rig = Rig::live();
    for n in 1..=3 {
        rig.join(viewer(n), 1);
    }

    let firsts: std::collections::BTreeSet<_> = (101..104)
        .map(|number| {
            rig.frame("cam", 1, number, 0);
            rig.fans()[0].first
        })
        .collect();

    assert_eq!(firsts.len(), 3);
}

#[test]
fn frames_that_came_unwatched_are_counted_and_lost_to_nobody() {
    let mut rig = Rig::live();
    rig.join(viewer(1), 1);
    let seldom = rig.arrival(
        0,
        header("cam", 1, 105, State::Live),
        &[0xff, 0xd8, 0xff, 0xd9],
        0,
    );

    rig.engine.on_arrival(
        rig.now,
        &Arrival {
            unwatched: 3,
            ..seldom
        },
    );

    let header = first_header(&rig.fans()[0]);
    assert_eq!((header.lost_upstream, header.lost_in_relay), (1, 0));
    assert_eq!(rig.engine.counts().frames, 1 + 3 + 1);
    assert_eq!(losses(&mut rig, 1, 107, 1), (0, 1));
}

#[test]
fn lost_frames_are_counted_where_they_were_lost() {
    let mut rig = Rig::live();
    rig.join(viewer(1), 1);
    assert_eq!(losses(&mut rig, 1, 101, 0), (0, 0));
    assert_eq!(losses(&mut rig, 1, 105, 0), (3, 0));
    assert_eq!(losses(&mut rig, 1, 108, 2), (0, 2));
    assert_eq!(losses(&mut rig, 1, 113, 1), (3, 1));
    assert_eq!(losses(&mut rig, 1, 200_000, 0), (u16::MAX, 0));
    // A count that does not fit the gap is cut to it.
    assert_eq!(losses(&mut rig, 1, 200_002, 9), (0, 1));
    // What was before a new epoch is nobody's loss.
    assert_eq!(losses(&mut rig, 2, 50, 0), (0, 0));
    assert_eq!(losses(&mut rig, 2, 52, 0), (1, 0));
}

#[test]
fn a_frame_that_is_not_newer_than_the_last_is_not_sent() {
    let mut rig = Rig::live();
    rig.join(viewer(1), 1);
    rig.frame("cam", 1, 101, 0);
    rig.frame("cam", 1, 101, 0);
    rig.frame("cam", 1, 99, 0);
    assert_eq!(rig.fans().len(), 1);
}

#[test]
fn a_repair_brings_the_shards_asked_for_from_the_last_four_frames() {
    let mut rig = Rig::live();
    let accept = rig.join(viewer(1), 1);
    let alias = accept.stream.unwrap().alias;

    for number in 101..106 {
        rig.frame("cam", 1, number, 0);
    }

    rig.outputs();
    let ask = |number, ranges: &[u32]| Repair {
        alias,
        epoch: 1,
        number,
        ranges: ranges.to_vec(),
    };

    let mut get = |body| repair(&mut rig, viewer(1), accept.session, body);
    assert_eq!(get(ask(105, &[3, 2, 80, 100])), [[3..5, 80..87]]);
    assert_eq!(get(ask(102, &[0, 1])).len(), 1);
    assert_eq!(get(ask(101, &[0, 1])).len(), 0);
    assert_eq!(get(ask(106, &[0, 1])).len(), 0);
    assert_eq!(
        get(Repair {
            epoch: 2,
            ..ask(105, &[0, 1])
        })
        .len(),
        0
    );

    assert_eq!(
        get(Repair {
            alias: alias + 1,
            ..ask(105, &[0, 1])
        })
        .len(),
        0
    );
}

#[test]
fn repairs_are_bounded_for_each_viewer() {
    let mut rig = Rig::live();
    let one = rig.join(viewer(1), 1);
    let other = rig.join(viewer(2), 1);
    rig.pass(SECOND);
    rig.frame("cam", 1, 101, 0);
    rig.outputs();
    let alias = one.stream.unwrap().alias;
    let all = || Repair {
        alias,
        epoch: 1,
        number: 101,
        ranges: vec![0, 1000],
    };

    let mut shards = 0;
    for _ in 0..1000 {
        let ranges = repair(&mut rig, viewer(1), one.session, all()).concat();
        shards += ranges
            .iter()
            .map(|range| u32::from(range.end - range.start))
            .sum::<u32>();
    }

    assert_eq!(shards, REPAIR_SHARDS_PER_SECOND);
    let asked = rig.engine.counts().repairs_asked;
    let refused = rig.engine.refusals().of(Resource::Repairs);
    assert_eq!(asked, u64::from(shards) + refused);
    assert_eq!(repair(&mut rig, viewer(2), other.session, all()).len(), 1);
    rig.pass(SECOND);
    assert_eq!(repair(&mut rig, viewer(1), one.session, all()).len(), 1);
}

/// From issue 14: the count was what viewers claimed, up to 2^38 shards in one datagram.
#[test]
fn repairs_count_as_asked_only_for_shards_that_exist() {
    let mut rig = Rig::live();
    let joined = rig.join(viewer(1), 1);
    rig.frame("cam", 1, 101, 0);
    rig.outputs();
    let alias = joined.stream.unwrap().alias;
    let ask = |number, ranges| Repair {
        alias,
        epoch: 1,
        number,
        ranges,
    };

    let mut asked = |body| {
        repair(&mut rig, viewer(1), joined.session, body);
        rig.engine.counts().repairs_asked
    };
    assert_eq!(asked(ask(999, vec![0, u32::MAX])), 0, "no such frame");
    assert_eq!(asked(ask(101, vec![0, 3])), 3);
    assert_eq!(asked(ask(101, vec![u32::MAX, u32::MAX])), 3);
    // 100 000 bytes and a header are 87 shards; the second range repeats the first.
    assert_eq!(asked(ask(101, vec![0, u32::MAX, 0, u32::MAX])), 3 + 87);
}

#[test]
fn a_change_of_state_is_told_at_once_and_repeated_by_each_answer() {
    let mut rig = Rig::live();
    let session = rig.join(viewer(1), 1).session;
    rig.heartbeat("cam", 1, 100, State::Live);
    assert_eq!(rig.said(), []);
    rig.heartbeat("cam", 1, 100, State::Unplugged);
    let told = only(rig.said());
    assert!(matches!(&told, Said::Pulse(to, pulse) if *to == session && pulse.echo_us == 0));
    assert_eq!(status(&told).state, State::Unplugged as i32);
    assert_eq!(
        status(&rig.keep_alive(viewer(1), session)).state,
        State::Unplugged as i32
    );

    rig.frame("cam", 1, 101, 0);
    assert_eq!(status(&only(rig.said())).state, State::Live as i32);
}

#[test]
fn a_source_that_changes_its_mind_all_the_time_is_told_ten_times_a_second_and_its_last_word_by_each_answer()
 {
    let mut rig = Rig::live();
    let session = rig.join(viewer(1), 1).session;
    rig.pass(SECOND - Duration::from_millis(1));
    for _ in 0..500 {
        rig.heartbeat("cam", 1, 100, State::Stalled);
        rig.heartbeat("cam", 1, 100, State::Unplugged);
    }
    assert!((9..=10).contains(&rig.said().len()));
    assert_eq!(
        status(&rig.keep_alive(viewer(1), session)).state,
        State::Unplugged as i32
    );
    rig.pass(SECOND);
    rig.said();
    rig.heartbeat("cam", 1, 100, State::Stalled);
    assert_eq!(status(&only(rig.said())).state, State::Stalled as i32);
}

#[test]
fn older_news_does_not_overwrite_newer() {
    let mut rig = Rig::live();
    let session = rig.join(viewer(1), 1).session;
    let waited = rig.now;
    rig.pass(FRAME_TIME);
    rig.heartbeat("cam", 1, 105, State::Stalled);
    let later = std::mem::replace(&mut rig.now, waited);
    rig.frame("cam", 1, 104, 0);
    rig.now = later;
    let answer = rig.keep_alive(viewer(1), session);
    assert_eq!(
        (status(&answer).state, status(&answer).newest),
        (State::Stalled as i32, 105)
    );
}

#[test]
fn a_silent_source_is_told_gone_after_a_second_and_back_when_it_speaks() {
    let mut rig = Rig::live();
    let session = rig.join(viewer(1), 1).session;
    rig.pass(SECOND - Duration::from_millis(1));
    assert_eq!(rig.said(), []);
    rig.pass(Duration::from_millis(1));
    let told = only(rig.said());
    assert!(status(&told).source_gone);
    assert_eq!(status(&told).state, State::Live as i32);
    rig.keep_alive(viewer(1), session);
    rig.pass(SECOND);
    assert_eq!(rig.said(), []);
    rig.heartbeat("cam", 1, 101, State::Live);
    assert!(!status(&only(rig.said())).source_gone);
}

#[test]
fn a_restarted_source_is_the_same_stream_with_a_new_epoch() {
    let mut rig = Rig::live();
    let accept = rig.join(viewer(1), 1);
    rig.frame("cam", 1, 5000, 0);
    rig.outputs();
    rig.frame("cam", 2, 0, 0);
    let outputs = rig.outputs();

    let [Output::Send { datagram, .. }, Output::Transmit(transmit)] = outputs.as_slice() else {
        panic!("{outputs:?}")
    };

    assert_eq!(status(&read(datagram)).epoch, 2);
    assert_eq!(u32::from(transmit.alias), accept.stream.unwrap().alias);
    let frame = Repair {
        alias: u32::from(transmit.alias),
        epoch: 1,
        number: 5000,
        ranges: vec![0, 1],
    };

    assert_eq!(repair(&mut rig, viewer(1), accept.session, frame).len(), 0);
}

#[test]
fn a_stream_is_the_sources_that_the_table_took_it_from_and_both_are_told_of_a_change() {
    let mut rig = Rig::live();
    rig.join(viewer(1), 1);
    rig.pass(SECOND / 5);
    rig.outputs();
    rig.arrive(1, header("cam", 1, 6, State::Live), &[], 0);
    rig.pass(SECOND / 5);
    let told = rig.outputs().into_iter().filter_map(|output| match output {
        Output::Feedback { origin, feedback } => Some((origin, feedback.demand.len())),
        _ => None,
    });
    let told: BTreeMap<_, _> = told.collect();
    assert_eq!(told, BTreeMap::from([(0, 0), (1, 1)]));
}

#[test]
fn a_stream_that_is_gone_stays_for_its_viewers_and_is_forgotten_without() {
    let mut rig = Rig::live();
    let session = rig.join(viewer(1), 1).session;

    for _ in 0..200 {
        rig.pass(SECOND);
        rig.keep_alive(viewer(1), session);
    }

    assert_eq!(rig.engine.streams(), 1);
    rig.pass(SECOND * 70);
    rig.outputs();
    assert_eq!((rig.engine.viewers(), rig.engine.streams()), (0, 0));
    assert_eq!(rig.engine.next_deadline(), None);
}

#[test]
fn a_viewer_that_does_not_choose_gets_a_stream_that_has_a_source() {
    let mut rig = Rig::live();
    rig.pass(SECOND * 2);
    rig.heartbeat("alive", 1, 1, State::Live);
    assert_eq!(rig.join(viewer(1), 1).stream.unwrap().name, "alive");
}
