use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use fanlight_proto::datagram::ToViewer;
use rustix::io::Errno;

use super::*;
use crate::udp::wire::GsoBatch;

const INTERVAL: Duration = Duration::from_millis(33);
/// A socket that holds any frame twice.
const ROOMY: u32 = 10_000;

/// Remembers the shards that each viewer got, in order, and does as it is told about the rest.
#[derive(Default)]
struct Fake {
    got: RefCell<BTreeMap<u16, Vec<u16>>>,
    order: RefCell<Vec<u16>>,
    batches: RefCell<usize>,
    room: RefCell<Option<usize>>,
    /// Ports with a socket of their own, and how many calls that takes.
    dedicated: RefCell<BTreeMap<u16, usize>>,
    no_trains: Option<Errno>,
    unreachable: Option<u16>,
    refusals: RefCell<usize>,
}

impl Wire for Fake {
    fn send(&self, batch: GsoBatch<'_>) -> Result<(), Refused> {
        let GsoBatch { to, bytes, segment } = batch;
        let segment = segment.filter(|segment| *segment < bytes.len());
        let port = to.remote.port();

        if std::mem::take(&mut *self.refusals.borrow_mut()) > 0 {
            return Err(Refused::Failed(Errno::CONNREFUSED.into()));
        }

        if self.unreachable == Some(port) {
            return Err(Refused::Failed(Errno::INVAL.into()));
        }

        if let (Some(error), Some(_)) = (self.no_trains, segment) {
            return Err(Refused::Failed(error.into()));
        }

        if let Some(room) = self.dedicated.borrow_mut().get_mut(&port) {
            *room = room.checked_sub(1).ok_or(Refused::DedicatedFull)?;
        } else if let Some(room) = &mut *self.room.borrow_mut() {
            *room = room.checked_sub(1).ok_or(Refused::Full)?;
        }

        *self.batches.borrow_mut() += usize::from(segment.is_some());
        self.order.borrow_mut().push(port);
        let mut got = self.got.borrow_mut();

        for datagram in bytes.chunks(segment.unwrap_or(bytes.len())) {
            let Ok(ToViewer::Data(header, _)) = ToViewer::parse(datagram) else {
                panic!("not a shard")
            };
            got.entry(port).or_default().push(header.index);
        }

        Ok(())
    }

    fn has_dedicated_socket(&self, to: SocketAddr) -> bool {
        self.dedicated.borrow().contains_key(&to.port())
    }
}

impl Fake {
    fn shards(&self, port: u16) -> Vec<u16> {
        self.got.borrow().get(&port).cloned().unwrap_or_default()
    }
}

fn at(millis: u64) -> Time {
    Time::from_nanos(1_000_000_000) + Duration::from_millis(millis)
}

/// Turns until the frame is out or blocked; how long that took.
fn run(sender: &mut Sender, wire: &Fake) -> (NextRun, Duration) {
    let mut now = at(0);
    loop {
        match sender.run(now, wire) {
            NextRun::Again => {}
            NextRun::At(time) => now = time,
            turn => return (turn, now.saturating_since(at(0))),
        }
    }
}

#[test]
fn every_viewer_gets_every_shard_once_with_trains_and_without() {
    for gso in [Gso::Auto, Gso::On, Gso::Off] {
        for length in [1, 20_000, 100_000, 300_000, 4_000_000] {
            let (wire, mut sender) = (Fake::default(), Sender::new(gso, 64));
            let transmit = FrameTransmit::example(length, &[20, ROOMY, 92, 1], INTERVAL);
            let all: Vec<_> = (0..transmit.packets.shards()).collect();
            sender.start(at(0), transmit);
            assert_eq!(run(&mut sender, &wire).0, NextRun::Idle);

            for port in 1..=4 {
                assert_eq!(wire.shards(port), all, "{gso} {length}");
            }

            assert_eq!(*wire.batches.borrow() > 0, gso != Gso::Off && length > 1200);
            assert_eq!(sender.counts().datagrams, 4 * all.len() as u64);
        }
    }
}

#[test]
fn a_frame_leaves_at_once_to_a_socket_that_holds_it_and_paced_to_one_that_does_not() {
    let took = |length, capacity| {
        let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
        sender.start(at(0), FrameTransmit::example(length, &[capacity], INTERVAL));
        run(&mut sender, &wire).1
    };

    for length in [100_000, 300_000, 4_000_000] {
        assert_eq!(took(length, ROOMY), Duration::ZERO, "{length}");
    }
    // Of 87 datagrams 46 at once, the others at 30 in a millisecond.
    assert!(
        (2..4).contains(&took(100_000, 92).as_millis()),
        "{:?}",
        took(100_000, 92)
    );

    assert!(
        (7..9).contains(&took(300_000, 92).as_millis()),
        "{:?}",
        took(300_000, 92)
    );

    // However large the frame and small the socket: before the next frame.
    assert!(took(4_000_000, 10) <= INTERVAL / 4 * 3);
}

#[test]
fn a_small_socket_slows_nobody_else_down() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    sender.start(
        at(0),
        FrameTransmit::example(100_000, &[20, ROOMY], INTERVAL),
    );

    while sender.run(at(0), &wire) == NextRun::Again {}
    assert_eq!(wire.shards(2).len(), 87);
    assert_eq!(wire.shards(1).len(), 10);
}

#[test]
fn of_a_frame_that_a_socket_does_not_hold_as_much_leaves_as_its_viewer_has_read() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    let transmit = FrameTransmit::example(4_000_000, &[1000, 1000], INTERVAL);
    let sequence = transmit.packets.sequence();
    let from = transmit.targets[0].route.remote;
    sender.start(at(0), transmit);

    let mut sent_after = |sequence, reach| {
        sender.on_progress(&ReadProgress {
            from,
            alias: 1,
            sequence,
            reach,
        });
        while sender.run(at(0), &wire) == NextRun::Again {}
        (wire.shards(1).len(), wire.shards(2).len())
    };

    assert_eq!(sent_after(sequence, 0), (500, 500));
    assert_eq!(sent_after(sequence, 250), (750, 500));
    // Of another frame, and again.
    assert_eq!(sent_after(sequence + 1, 500), (750, 500));
    assert_eq!(sent_after(sequence, 250), (750, 500));
    // Nobody has read more than was sent.
    assert_eq!(sent_after(sequence, u16::MAX), (1250, 500));
    assert_eq!(sent_after(sequence, 1250), (1750, 500));
}

#[test]
fn a_viewer_that_does_not_say_what_it_reads_gets_a_large_frame_as_its_socket_bears_it() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    let interval = Duration::from_millis(100);
    sender.start(at(0), FrameTransmit::example(4_000_000, &[1000], interval));

    run_at(&mut sender, &wire, 0..1);
    assert_eq!(wire.shards(1).len(), 500);
    // A pace of 125 in a millisecond, from the beginning on.
    run_at(&mut sender, &wire, 1..4);
    assert_eq!(wire.shards(1).len(), 500);
    run_at(&mut sender, &wire, 4..5);
    assert_eq!(wire.shards(1).len(), 513);
    run_at(&mut sender, &wire, 5..29);
    assert_eq!(wire.shards(1).len(), 3473);
}

#[test]
fn viewers_take_turns_beginning_with_the_first_and_chunk_by_chunk_when_they_are_many() {
    let order = |viewers: usize| {
        let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
        let transmit = FrameTransmit {
            first: viewers - 1,
            ..FrameTransmit::example(100_000, &vec![ROOMY; viewers], INTERVAL)
        };

        sender.start(at(0), transmit);
        run(&mut sender, &wire);
        wire.order.into_inner()
    };

    assert_eq!(order(3), [3, 3, 1, 1, 2, 2]);
    let turn = || std::iter::once(40).chain(1..40);
    assert_eq!(order(40), turn().chain(turn()).collect::<Vec<_>>());
}

#[test]
fn a_turn_is_short_and_the_next_goes_on_where_it_ended() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    sender.start(
        at(0),
        FrameTransmit::example(100_000, &[ROOMY; 100], INTERVAL),
    );

    assert_eq!(sender.run(at(0), &wire), NextRun::Again);
    assert!(wire.order.borrow().len() <= DATAGRAMS_PER_RUN as usize / 43 + BATCHES_PER_CALL);
    run(&mut sender, &wire);
    assert!((1..=100).all(|port| wire.shards(port).len() == 87));
}

/// Turns at `times`; the frames that went wrong for a viewer.
fn run_at(sender: &mut Sender, wire: &Fake, times: impl Iterator<Item = u64>) -> Vec<(u16, bool)> {
    for millis in times {
        while sender.run(at(millis), wire) == NextRun::Again {}
    }
    std::iter::from_fn(|| sender.take_aborted())
        .map(|aborted| (aborted.to.port(), aborted.begun))
        .collect()
}

#[test]
fn a_frame_waits_for_a_socket_that_takes_nothing_and_is_then_aborted_for_who_lacks_some() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    *wire.room.borrow_mut() = Some(2);
    sender.start(
        at(0),
        FrameTransmit::example(150_000, &[ROOMY; 3], INTERVAL),
    );

    assert_eq!(sender.run(at(0), &wire), NextRun::Blocked(at(2)));
    // Room again in time: it goes on without losing or doubling a shard.
    *wire.room.borrow_mut() = Some(3);
    assert_eq!(sender.run(at(2), &wire), NextRun::Blocked(at(4)));
    assert_eq!(run_at(&mut sender, &wire, 3..22), []);
    assert!(sender.busy(1));
    assert_eq!(run_at(&mut sender, &wire, 22..23), [(2, true), (3, false)]);

    assert_eq!((sender.counts().aborted, sender.busy(1)), (1, false));
    // The next frame has its own patience.
    sender.start(
        at(500),
        FrameTransmit::example(100_000, &[ROOMY; 3], INTERVAL),
    );

    assert_eq!(run_at(&mut sender, &wire, 500..519), []);
    assert_eq!(
        run_at(&mut sender, &wire, 520..521),
        [(1, false), (2, false), (3, false)]
    );
}

#[test]
fn a_frame_that_goes_on_however_slowly_goes_out_to_all() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    *wire.room.borrow_mut() = Some(0);
    sender.start(
        at(0),
        FrameTransmit::example(100_000, &[ROOMY; 10], INTERVAL),
    );

    for millis in 0..400 {
        *wire.room.borrow_mut() = Some(usize::from(millis % 10 == 0));
        assert_eq!(run_at(&mut sender, &wire, std::iter::once(millis)), []);
    }

    assert!((1..=10).all(|port| wire.shards(port).len() == 87));
}

#[test]
fn a_viewer_whose_own_socket_is_full_holds_up_nobody_and_gets_no_new_frame_before_the_old() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    wire.dedicated.borrow_mut().insert(1, 1);
    sender.start(
        at(0),
        FrameTransmit::example(100_000, &[ROOMY; 3], INTERVAL),
    );

    assert_eq!(run_at(&mut sender, &wire, 0..1), []);
    assert_eq!(
        (
            wire.shards(1).len(),
            wire.shards(2).len(),
            wire.shards(3).len()
        ),
        (27, 87, 87)
    );

    assert!(!sender.busy(1));
    sender.start(
        at(33),
        FrameTransmit::example(100_000, &[ROOMY; 3], INTERVAL),
    );

    assert_eq!(run_at(&mut sender, &wire, 33..34), [(1, false)]);
    assert_eq!((wire.shards(1).len(), wire.shards(2).len()), (27, 2 * 87));
    // There is room: the old frame is finished, the next is sent.
    wire.dedicated.borrow_mut().insert(1, 100);
    run_at(&mut sender, &wire, 40..60);
    sender.start(
        at(66),
        FrameTransmit::example(100_000, &[ROOMY; 3], INTERVAL),
    );

    assert_eq!(run_at(&mut sender, &wire, 66..67), []);
    assert_eq!(wire.shards(1), (0..87).chain(0..87).collect::<Vec<_>>());
}

#[test]
fn a_viewer_whose_own_socket_takes_nothing_loses_the_frame_after_its_patience() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    wire.dedicated.borrow_mut().insert(2, 2);
    sender.start(
        at(0),
        FrameTransmit::example(100_000, &[ROOMY; 2], INTERVAL),
    );

    assert_eq!(run_at(&mut sender, &wire, 0..249), []);
    assert_eq!(run_at(&mut sender, &wire, 249..260), [(2, true)]);
    assert_eq!((sender.counts().aborted, wire.shards(1).len()), (1, 87));
}

#[test]
fn a_full_shared_socket_does_not_hold_up_who_has_its_own() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    *wire.room.borrow_mut() = Some(0);
    wire.dedicated.borrow_mut().insert(3, 100);
    sender.start(
        at(0),
        FrameTransmit::example(100_000, &[ROOMY; 3], INTERVAL),
    );

    assert_eq!(run_at(&mut sender, &wire, 0..30), [(1, false), (2, false)]);
    assert_eq!(wire.shards(3).len(), 87);
}

#[test]
fn a_frame_spread_out_for_one_viewer_delays_no_other_frame_nor_viewer() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    let spread = |at: usize| {
        FrameTransmit::example(100_000, &[ROOMY; 2], INTERVAL)
            .with(at, |target| target.spread = Duration::from_millis(80))
    };

    sender.start(at(0), spread(0));
    assert_eq!(run_at(&mut sender, &wire, 0..1), []);
    assert_eq!(
        (wire.shards(1).len(), wire.shards(2).len(), sender.busy(1)),
        (4, 87, false)
    );

    assert_eq!(run_at(&mut sender, &wire, 1..41), []);
    assert_eq!(wire.shards(1).len(), 48);
    run_at(&mut sender, &wire, 41..80);
    assert_eq!(wire.shards(1), (0..87).collect::<Vec<_>>());
}

#[test]
fn stragglers_hold_a_bounded_number_of_frames() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    for port in 1..=20 {
        wire.dedicated.borrow_mut().insert(port, 1);
    }

    let mut stuck = BTreeSet::new();
    for n in 0..20_u64 {
        let transmit = FrameTransmit::example(100_000, &[ROOMY; 20], INTERVAL);
        let transmit = FrameTransmit {
            targets: std::sync::Arc::new(vec![transmit.targets[n as usize]]),
            ..transmit
        };

        sender.start(at(n), transmit);
        stuck.extend(run_at(&mut sender, &wire, std::iter::once(n)));
        assert!(sender.jobs.len() <= MAX_JOBS);
    }

    assert_eq!(stuck.len(), 20 - MAX_JOBS);
}

#[test]
fn a_welcome_delays_no_frame_and_no_frame_is_left_out_for_it() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    sender.start(
        at(0),
        FrameTransmit {
            catch_up: true,
            ..FrameTransmit::example(300_000, &[92], INTERVAL)
        },
    );

    run_at(&mut sender, &wire, 0..1);
    assert!(!sender.busy(1));
    sender.start(
        at(1),
        FrameTransmit::example(100_000, &[92, ROOMY], INTERVAL),
    );

    assert_eq!(run_at(&mut sender, &wire, 1..33), []);
    assert_eq!((wire.shards(1).len(), wire.shards(2).len()), (261 + 87, 87));
}

#[test]
fn each_viewer_gets_as_much_parity_as_it_is_to_have_after_the_shards() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    let transmit =
        FrameTransmit::example(100_000, &[ROOMY; 3], INTERVAL).with(1, |target| target.parity = 12);
    let (transmit, all) = (
        transmit.with(2, |target| target.parity = u16::MAX),
        87 + fanlight_proto::parity::recovery_count(87),
    );

    sender.start(at(0), transmit);
    run(&mut sender, &wire);
    assert_eq!(wire.shards(1).len(), 87);
    assert_eq!(wire.shards(2), (0..99).collect::<Vec<_>>());
    assert_eq!(wire.shards(3), (0..all).collect::<Vec<_>>());
    assert_eq!(sender.counts().parity, u64::from(12 + all - 87));
}

#[test]
fn a_device_that_takes_no_trains_is_noticed_once_and_no_shard_is_lost() {
    for errno in [Errno::IO, Errno::INVAL, Errno::OPNOTSUPP] {
        let wire = Fake {
            no_trains: Some(errno),
            ..Fake::default()
        };

        let mut sender = Sender::new(Gso::Auto, 64);
        sender.start(
            at(0),
            FrameTransmit::example(100_000, &[ROOMY; 2], INTERVAL),
        );

        run(&mut sender, &wire);
        assert!(!sender.uses_gso());
        assert_eq!(
            (
                wire.shards(1).len(),
                wire.shards(2).len(),
                sender.counts().failed
            ),
            (87, 87, 0)
        );
    }
}

#[test]
fn with_gso_on_trains_are_insisted_on() {
    let wire = Fake {
        no_trains: Some(Errno::IO),
        ..Fake::default()
    };

    let mut sender = Sender::new(Gso::On, 64);
    sender.start(
        at(0),
        FrameTransmit::example(100_000, &[ROOMY; 2], INTERVAL),
    );

    run(&mut sender, &wire);
    assert!(sender.uses_gso());
    assert_eq!(sender.counts().failed, 2);
}

#[test]
fn a_viewer_that_cannot_be_reached_is_no_reason_to_give_up_trains_nor_the_others() {
    let wire = Fake {
        unreachable: Some(1),
        ..Fake::default()
    };

    let mut sender = Sender::new(Gso::Auto, 64);
    sender.start(
        at(0),
        FrameTransmit::example(100_000, &[ROOMY; 2], INTERVAL),
    );

    run(&mut sender, &wire);
    assert!(sender.uses_gso());
    assert_eq!((wire.shards(2).len(), sender.counts().failed), (87, 1));
}

#[test]
fn an_old_refusal_that_the_network_reports_costs_no_datagram() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    *wire.refusals.borrow_mut() = 1;
    sender.start(at(0), FrameTransmit::example(100_000, &[ROOMY], INTERVAL));
    run(&mut sender, &wire);
    assert_eq!((wire.shards(1).len(), sender.counts().failed), (87, 0));
}

#[test]
fn a_repair_sends_its_ranges_and_nothing_else() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::Auto, 64));
    let transmit = FrameTransmit::example(100_000, &[ROOMY], INTERVAL);
    let retransmit = Retransmit {
        to: transmit.targets[0].route,
        first_sent_to: transmit.targets[0].route,
        packets: transmit.packets,
        ranges: vec![0..1, 5..40, 86..87],
    };

    sender.retransmit(&wire, &retransmit);
    assert_eq!(
        wire.shards(1),
        (0..1).chain(5..40).chain(86..87).collect::<Vec<_>>()
    );
}

#[test]
fn what_is_still_to_be_sent_is_not_sent_again_before() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::Auto, 64));
    let transmit = FrameTransmit::example(50_000, &[ROOMY], INTERVAL)
        .with(0, |target| target.spread = INTERVAL);
    let retransmit = Retransmit {
        to: transmit.targets[0].route,
        first_sent_to: transmit.targets[0].route,
        packets: transmit.packets.clone(),
        ranges: vec![1..3, 20..44],
    };

    sender.start(at(0), transmit);
    sender.run(at(0), &wire);
    let begun = wire.shards(1);
    assert!(begun.len() < 20, "it is spread out");
    sender.retransmit(&wire, &retransmit);
    assert_eq!(wire.shards(1)[begun.len()..], [1, 2]);
    run(&mut sender, &wire);
    let mut got = wire.shards(1);
    got.sort_unstable();
    got.dedup();
    assert_eq!(got.len(), 44);
}
