use std::cell::RefCell;
use std::collections::BTreeMap;

use fanlight_proto::datagram::ToViewer;
use rustix::io::Errno;

use super::*;

const INTERVAL: Duration = Duration::from_millis(33);
/// A socket that holds any frame twice.
const ROOMY: u32 = 10_000;

/// Remembers the shards that each viewer got, in order, and does as it is told about the rest.
#[derive(Default)]
struct Fake {
    got: RefCell<BTreeMap<u16, Vec<u16>>>,
    order: RefCell<Vec<u16>>,
    trains: RefCell<usize>,
    room: RefCell<Option<usize>>,
    no_trains: Option<Errno>,
    unreachable: Option<u16>,
    refusals: RefCell<usize>,
}

impl Wire for Fake {
    fn send(&self, to: Route, bytes: &[u8], segment: Option<usize>) -> io::Result<()> {
        let port = to.remote.port();
        if std::mem::take(&mut *self.refusals.borrow_mut()) > 0 {
            return Err(Errno::CONNREFUSED.into());
        }
        if self.unreachable == Some(port) {
            return Err(Errno::INVAL.into());
        }
        if let (Some(error), Some(_)) = (self.no_trains, segment) {
            return Err(error.into());
        }
        if let Some(room) = &mut *self.room.borrow_mut() {
            *room = room.checked_sub(1).ok_or(Errno::AGAIN)?;
        }
        *self.trains.borrow_mut() += usize::from(segment.is_some());
        self.order.borrow_mut().push(port);
        let mut got = self.got.borrow_mut();
        for datagram in bytes.chunks(segment.unwrap_or(bytes.len())) {
            let Ok(ToViewer::Data(header, _)) = ToViewer::parse(datagram) else { panic!("not a shard") };
            got.entry(port).or_default().push(header.index);
        }
        Ok(())
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
fn run(sender: &mut Sender, wire: &Fake) -> (Turn, Duration) {
    let mut now = at(0);
    loop {
        match sender.run(now, wire) {
            Turn::Again => {}
            Turn::At(time) => now = time,
            turn => return (turn, now.saturating_since(at(0))),
        }
    }
}

#[test]
fn every_viewer_gets_every_shard_once_with_trains_and_without() {
    for gso in [Gso::Auto, Gso::On, Gso::Off] {
        for length in [1, 20_000, 100_000, 300_000, 4_000_000] {
            let (wire, mut sender) = (Fake::default(), Sender::new(gso, 64));
            let fan = Fan::example(length, &[0, ROOMY, 92, 1], INTERVAL);
            let all: Vec<_> = (0..fan.packets.shards()).collect();
            sender.start(at(0), fan);
            assert_eq!(run(&mut sender, &wire).0, Turn::Idle);
            for port in 1..=4 {
                assert_eq!(wire.shards(port), all, "{gso} {length}");
            }
            assert_eq!(*wire.trains.borrow() > 0, gso != Gso::Off && length > 1200);
            assert_eq!(sender.counts().datagrams, 4 * all.len() as u64);
        }
    }
}

#[test]
fn a_frame_leaves_at_once_to_a_socket_that_holds_it_and_paced_to_one_that_does_not() {
    let took = |length, capacity| {
        let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
        sender.start(at(0), Fan::example(length, &[capacity], INTERVAL));
        run(&mut sender, &wire).1
    };
    assert_eq!(took(100_000, ROOMY), Duration::ZERO);
    // 87 datagrams at 30 in a millisecond.
    assert!((2..4).contains(&took(100_000, 0).as_millis()), "{:?}", took(100_000, 0));
    assert!((7..9).contains(&took(300_000, 92).as_millis()), "{:?}", took(300_000, 92));
    // However large the frame and small the socket: within half the time to the next frame.
    assert!(took(4_000_000, 10) <= INTERVAL / 2);
}

#[test]
fn a_small_socket_slows_nobody_else_down() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    sender.start(at(0), Fan::example(100_000, &[20, ROOMY], INTERVAL));
    while sender.run(at(0), &wire) == Turn::Again {}
    assert_eq!(wire.shards(2).len(), 87);
    assert_eq!(wire.shards(1).len(), 27);
}

#[test]
fn viewers_take_turns_chunk_by_chunk_beginning_with_the_first() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    let fan = Fan { first: 2, ..Fan::example(60_000, &[ROOMY; 3], INTERVAL) };
    sender.start(at(0), fan);
    run(&mut sender, &wire);
    assert_eq!(*wire.order.borrow(), [3, 1, 2, 3, 1, 2]);
}

#[test]
fn a_turn_is_short_and_the_next_goes_on_where_it_ended() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    sender.start(at(0), Fan::example(100_000, &[ROOMY; 100], INTERVAL));
    assert_eq!(sender.run(at(0), &wire), Turn::Again);
    assert_eq!(wire.order.borrow().len(), CALLS_PER_TURN as usize);
    run(&mut sender, &wire);
    assert!((1..=100).all(|port| wire.shards(port).len() == 87));
}

#[test]
fn without_room_the_frame_waits_until_its_deadline_and_the_rest_is_dropped() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    *wire.room.borrow_mut() = Some(5);
    sender.start(at(0), Fan::example(100_000, &[ROOMY; 3], INTERVAL));
    let (turn, _) = run(&mut sender, &wire);
    let Turn::Blocked(deadline) = turn else { panic!("{turn:?}") };
    assert!((20..=40).contains(&deadline.saturating_since(at(0)).as_millis()));
    // Room again in time: it goes on without losing or doubling a shard.
    *wire.room.borrow_mut() = Some(5);
    assert_eq!(sender.run(at(1), &wire), Turn::Blocked(deadline));
    *wire.room.borrow_mut() = None;
    assert_eq!(sender.run(deadline, &wire), Turn::Idle);
    let lengths: Vec<_> = (1..=3).map(|port| wire.shards(port).len()).collect();
    assert_eq!((lengths, sender.counts().dropped), (vec![87, 81, 81], 2));
    assert!(!sender.busy(1));
}

#[test]
fn a_device_that_takes_no_trains_is_noticed_once_and_no_shard_is_lost() {
    for errno in [Errno::IO, Errno::INVAL, Errno::OPNOTSUPP] {
        let wire = Fake { no_trains: Some(errno), ..Fake::default() };
        let mut sender = Sender::new(Gso::Auto, 64);
        sender.start(at(0), Fan::example(100_000, &[ROOMY; 2], INTERVAL));
        run(&mut sender, &wire);
        assert!(!sender.uses_trains());
        assert_eq!((wire.shards(1).len(), wire.shards(2).len(), sender.counts().failed), (87, 87, 0));
    }
}

#[test]
fn with_gso_on_trains_are_insisted_on() {
    let wire = Fake { no_trains: Some(Errno::IO), ..Fake::default() };
    let mut sender = Sender::new(Gso::On, 64);
    sender.start(at(0), Fan::example(100_000, &[ROOMY; 2], INTERVAL));
    run(&mut sender, &wire);
    assert!(sender.uses_trains());
    assert_eq!(sender.counts().failed, 2);
}

#[test]
fn a_viewer_that_cannot_be_reached_is_no_reason_to_give_up_trains_nor_the_others() {
    let wire = Fake { unreachable: Some(1), ..Fake::default() };
    let mut sender = Sender::new(Gso::Auto, 64);
    sender.start(at(0), Fan::example(100_000, &[ROOMY; 2], INTERVAL));
    run(&mut sender, &wire);
    assert!(sender.uses_trains());
    assert_eq!((wire.shards(2).len(), sender.counts().failed), (87, 1));
}

#[test]
fn an_old_refusal_that_the_network_reports_costs_no_datagram() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::On, 64));
    *wire.refusals.borrow_mut() = 1;
    sender.start(at(0), Fan::example(100_000, &[ROOMY], INTERVAL));
    run(&mut sender, &wire);
    assert_eq!((wire.shards(1).len(), sender.counts().failed), (87, 0));
}

#[test]
fn a_repair_sends_its_ranges_and_nothing_else() {
    let (wire, mut sender) = (Fake::default(), Sender::new(Gso::Auto, 64));
    let fan = Fan::example(100_000, &[ROOMY], INTERVAL);
    let resend = Resend { to: fan.targets[0].route, packets: fan.packets, ranges: vec![0..1, 5..40, 86..87] };
    sender.resend(&wire, &resend);
    assert_eq!(wire.shards(1), (0..1).chain(5..40).chain(86..87).collect::<Vec<_>>());
}
