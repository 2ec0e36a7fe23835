//! Who is served by the group of a stream, and who alone.

use std::net::{Ipv4Addr, SocketAddrV4};

use fanlight_proto::message::Report;
use fanlight_proto::parity::level_count;

use super::*;

const FIRST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 42, 0), 5005);
const GROUP: SocketAddr = SocketAddr::V4(FIRST);
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const MULTICAST: Multicast = Multicast {
    first: FIRST,
    from: RELAY,
    looped: false,
};

/// What a viewer does with what it is told.
#[derive(Clone, Debug)]
struct Screen {
    address: SocketAddr,
    session: u64,
    /// Whether its network brings it what is sent to the group.
    reached: bool,
    offered: bool,
    heard: bool,
    newest: u64,
    report: Report,
    capacity: u32,
    whole: std::collections::BTreeSet<u64>,
}

/// Viewers of a stream of 30 frames a second.
struct EngineHarness {
    rig: Rig,
    screens: Vec<Screen>,
    number: u64,
    /// Frames sent: to the group, and to each viewer alone.
    to_group: u64,
    alone: Vec<u64>,
}

impl EngineHarness {
    /// So many viewers; the first two seconds, in which each has a socket of its own, are over.
    fn new(viewers: u16) -> Self {
        Self::with(viewers, MULTICAST)
    }

    fn with(viewers: u16, multicast: Multicast) -> Self {
        let mut rig = Rig::with(EngineConfig {
            multicast: Some(multicast),
            ..EngineConfig::default()
        });

        rig.frame("cam", 1, 100, 0);
        let screens = (0..viewers).map(|n| {
            let capacity = 2000 + u32::from(n);
            let Said::Accept(accept) = rig.ask(
                viewer(n),
                Join {
                    receive_capacity: capacity,
                    ..join(1)
                },
            ) else {
                panic!("it is let in")
            };

            Screen {
                address: viewer(n),
                session: accept.session,
                reached: true,
                offered: false,
                heard: false,
                newest: 0,
                report: Report::default(),
                capacity,
                whole: std::collections::BTreeSet::new(),
            }
        });

        let screens = screens.collect();
        let alone = vec![0; viewers.into()];
        let mut harness = Self {
            rig,
            screens,
            number: 100,
            to_group: 0,
            alone,
        };

        harness.seconds(2);
        harness
    }

    /// A frame, which the viewers get as far as they are reached.
    fn frame(&mut self) -> Option<FrameTransmit> {
        self.rig.pass(FRAME_TIME);
        self.number += 1;
        self.rig.frame("cam", 1, self.number, 0);
        let transmit = self.rig.fans().pop();
        transmit.iter().for_each(|transmit| self.carry(transmit));
        transmit
    }

    fn carry(&mut self, transmit: &FrameTransmit) {
        let sent_to = |address| {
            transmit
                .targets
                .iter()
                .any(|target| target.route.remote == address)
        };

        let to_group = sent_to(GROUP) && !transmit.catch_up;
        self.to_group += u64::from(to_group);

        for (screen, alone) in self.screens.iter_mut().zip(&mut self.alone) {
            *alone += u64::from(sent_to(screen.address));
            screen.heard = screen.offered
                && if to_group {
                    screen.reached
                } else {
                    screen.heard && screen.reached
                };

            if sent_to(screen.address) || (to_group && screen.heard) {
                screen.newest = transmit.packets.sequence();
                screen.report.frames_whole +=
                    u64::from(screen.whole.insert(transmit.packets.id().number));
                screen.report.shards_expected += u64::from(transmit.packets.shards());
            }
        }
    }

    /// Viewer `at` says that it is there; what it is told.
    fn keep_alive(&mut self, at: usize, reports: bool) -> Pulse {
        let screen = self.screens[at].clone();
        let body = KeepAlive {
            sent_us: 1,
            newest_sequence: screen.newest,
            report: reports.then_some(screen.report),
            group_joined: screen.offered,
            group_heard: screen.heard,
            ..KeepAlive::default()
        };

        self.rig.outputs();
        let mut datagram = Vec::new();
        let message = ToRelay::KeepAlive(screen.session, body);
        self.rig.read(&message).encode(&mut datagram);
        self.rig.engine.on_datagram(
            self.rig.now,
            Route {
                remote: screen.address,
                local: None,
            },
            &datagram,
        );

        let mut told = None;
        for output in self.rig.outputs() {
            match output {
                Output::Send { datagram, .. } => told = Some(read(&datagram)),
                Output::Transmit(transmit) => self.carry(&transmit),
                Output::Retransmit(_)
                | Output::Progress(_)
                | Output::Isolate(_)
                | Output::Rejoin(_)
                | Output::Feedback { .. } => {}
            }
        }

        let Some(Said::Pulse(_, pulse)) = told else {
            panic!("{told:?}")
        };

        self.screens[at].offered =
            pulse.group.as_ref().and_then(|group| group.checked()) == Some(FIRST);
        pulse
    }

    /// Frames with their keep-alives and reports.
    fn seconds(&mut self, count: u32) {
        for n in 0..30 * count {
            self.frame();
            if n % 7 == 6 {
                (0..self.screens.len()).for_each(|at| drop(self.keep_alive(at, n % 28 == 27)));
            }
        }
    }

    /// A second, at the end of which viewer `at` reports that of its frames `lost` did not come and of its shards
    /// `missed`.
    fn bad_second(&mut self, at: usize, lost: u64, missed: u64) {
        self.screens[at].report.frames_whole -= lost;
        self.screens[at].report.shards_missed += missed;
        self.seconds(1);
    }

    /// How many frames went to the group and to each viewer alone since.
    fn sent_in(&mut self, seconds: u32) -> (u64, Vec<u64>) {
        (self.to_group, self.alone) = (0, vec![0; self.screens.len()]);
        self.seconds(seconds);
        (self.to_group, self.alone.clone())
    }
}

#[test]
fn viewers_that_hear_the_group_cost_one_copy_and_the_others_one_each() {
    let mut harness = EngineHarness::new(5);
    harness.screens[4].reached = false;
    harness.seconds(1);
    assert_eq!(harness.rig.engine.in_groups(), 4);
    assert_eq!(harness.sent_in(1), (30, vec![0, 0, 0, 0, 30]));
    let transmit = harness.frame().unwrap();
    let group = transmit
        .targets
        .iter()
        .find(|target| target.route.remote == GROUP)
        .unwrap();

    let least = harness.screens.iter().map(|screen| screen.capacity).min();
    assert_eq!(
        (transmit.targets.len(), Some(group.capacity), group.spread),
        (2, least, Duration::ZERO)
    );
}

#[test]
fn a_group_that_nobody_joins_is_sent_nothing() {
    let mut harness = EngineHarness::new(2);
    for _ in 0..60 {
        let transmit = harness.frame().unwrap();
        assert!(
            transmit
                .targets
                .iter()
                .all(|target| !target.route.remote.ip().is_multicast())
        );

        // They say nothing of the group, as viewers of an older version do.
        for at in 0..2 {
            harness.screens[at].offered = false;
            let pulse = harness.keep_alive(at, true);
            assert!(pulse.group.is_some());
        }
    }

    assert_eq!(harness.rig.engine.in_groups(), 0);
}

#[test]
fn who_hears_nothing_gets_unicast_at_once_and_the_newest_frame_besides_and_is_not_slowed_down() {
    let mut harness = EngineHarness::new(2);
    harness.seconds(1);
    harness.screens[0].reached = false;

    for _ in 0..4 {
        harness.frame();
    }

    let newest = harness.number;
    harness.keep_alive(0, false);
    assert!(
        harness.screens[0].whole.contains(&newest),
        "the frame it missed last"
    );

    for _ in 0..90 {
        harness.frame();
        harness.keep_alive(0, harness.number.is_multiple_of(30));
        harness.keep_alive(1, false);
        assert!(harness.screens[0].whole.contains(&harness.number));
    }

    assert_eq!(harness.keep_alive(0, true).frames_skipped, 0);
    // After three seconds it is told to leave, and not asked to join again before half a minute has passed.
    harness.seconds(1);
    assert_eq!(
        (
            harness.keep_alive(0, false).group,
            harness.rig.engine.counts().left_groups
        ),
        (None, 1)
    );

    harness.seconds(25);
    assert_eq!(harness.keep_alive(0, false).group, None);
    harness.seconds(6);
    assert!(harness.keep_alive(0, false).group.is_some());
}

#[test]
fn a_pause_of_the_source_takes_nobody_out_of_the_group() {
    let mut harness = EngineHarness::new(3);
    harness.seconds(1);
    harness.rig.pass(SECOND / 2);

    for at in 0..3 {
        harness.screens[at].heard = false;
        harness.keep_alive(at, false);
    }

    // Nor does a frame that is on its way when they say so.
    harness.number += 1;
    harness.rig.frame("cam", 1, harness.number, 0);
    harness.rig.pass(Duration::from_millis(20));
    (0..3).for_each(|at| drop(harness.keep_alive(at, false)));
    assert_eq!(harness.rig.engine.in_groups(), 3);
}

#[test]
fn a_network_that_never_brings_the_group_is_tried_for_three_seconds() {
    let mut harness = EngineHarness::new(1);
    harness.screens[0].reached = false;
    let (to_group, alone) = harness.sent_in(10);
    assert!((80..=110).contains(&to_group), "{to_group}");
    assert_eq!(alone, [300], "all the time it gets all frames alone");
    assert_eq!(harness.rig.engine.counts().left_groups, 1);
}

#[test]
fn loss_by_multicast_that_stays_high_ends_it_and_less_does_not() {
    let mut harness = EngineHarness::new(2);
    harness.seconds(1);

    for _ in 0..10 {
        harness.bad_second(0, 1, 87);
        // Two high ones in a row are not yet three.
        harness.bad_second(1, 0, 300);
        harness.bad_second(1, 0, 300);
        harness.bad_second(1, 0, 0);
    }

    assert_eq!(harness.rig.engine.in_groups(), 2);
    for _ in 0..3 {
        harness.bad_second(0, 3, 0);
    }

    assert_eq!(
        (
            harness.rig.engine.in_groups(),
            harness.rig.engine.counts().left_groups
        ),
        (1, 1)
    );

    assert_eq!(harness.keep_alive(0, false).group, None);
    assert_eq!(
        harness.sent_in(5),
        (150, vec![150, 0]),
        "what was lost by multicast slows down no unicast"
    );
}

#[test]
fn each_rest_from_the_group_is_twice_as_long_as_the_one_before() {
    let mut harness = EngineHarness::new(1);
    harness.seconds(1);
    harness.screens[0].reached = false;
    let mut rests = Vec::new();

    for _ in 0..3 {
        while harness.screens[0].offered {
            harness.seconds(1);
        }

        let since = harness.rig.now;
        while !harness.screens[0].offered {
            harness.seconds(1);
        }

        rests.push(harness.rig.now.saturating_since(since).as_secs_f64());
    }

    let rounded: Vec<_> = rests.iter().map(|rest| (rest / 10.0).round()).collect();
    assert_eq!(rounded, [3.0, 6.0, 12.0], "{rests:?}");
}

#[test]
fn who_is_paused_or_gets_fewer_frames_or_has_a_socket_of_its_own_is_served_alone() {
    let mut rig = Rig::with(EngineConfig {
        multicast: Some(MULTICAST),
        ..EngineConfig::default()
    });

    rig.frame("cam", 1, 100, 0);
    let session = rig.join(viewer(1), 1).session;
    let said = KeepAlive {
        sent_us: 1,
        newest_sequence: 1,
        group_joined: true,
        group_heard: true,
        ..KeepAlive::default()
    };

    let feedback = |paused| KeepAlive { paused, ..said };
    let offered = |rig: &mut Rig, paused| match only(
        rig.say(viewer(1), &ToRelay::KeepAlive(session, feedback(paused))),
    ) {
        Said::Pulse(_, pulse) => pulse.group.is_some(),
        other => panic!("{other:?}"),
    };

    assert!(
        !offered(&mut rig, false),
        "it has just come, and has a socket of its own"
    );

    assert_eq!(rig.engine.in_groups(), 0);
    for _ in 0..3 {
        rig.pass(SECOND);
        offered(&mut rig, true);
    }

    assert!(!offered(&mut rig, true), "it is paused");
    assert_eq!(
        (rig.engine.in_groups(), rig.engine.dedicated_sockets()),
        (0, 0)
    );

    let mut datagram = Vec::new();
    ToRelay::KeepAlive(session, feedback(false)).encode(&mut datagram);
    rig.engine.on_datagram(
        rig.now,
        Route {
            remote: viewer(1),
            local: None,
        },
        &datagram,
    );

    assert_eq!(rig.engine.in_groups(), 1);
    rig.engine
        .sessions
        .get_mut(viewer(1))
        .unwrap()
        .delivery
        .set_share(0.5);

    rig.outputs();
    assert!(!offered(&mut rig, false), "its way is too narrow");
    assert_eq!(rig.engine.in_groups(), 0);
}

#[test]
fn viewers_that_talk_to_another_address_or_sit_on_the_relays_host_are_not_asked_to_join() {
    let reaches = |multicast: Multicast, remote: [u8; 4], local: Option<[u8; 4]>| {
        let route = Route {
            remote: (remote, 4000).into(),
            local: local.map(Into::into),
        };

        let mut rig = Rig::with(EngineConfig {
            multicast: Some(multicast),
            ..EngineConfig::default()
        });

        rig.frame("cam", 1, 100, 0);
        rig.join(route.remote, 1);
        rig.pass(SECOND);
        let session = rig.engine.sessions.get_mut(route.remote).unwrap();
        session.delivery.end_isolation();
        session.delivery.may_join(rig.now, route, &multicast)
    };

    let own = RELAY.octets();
    assert!(reaches(MULTICAST, [10, 0, 0, 1], None));
    assert!(reaches(MULTICAST, [10, 0, 0, 1], Some(own)));
    assert!(!reaches(MULTICAST, [10, 0, 1, 1], Some([10, 0, 1, 9])));
    assert!(!reaches(MULTICAST, own, Some(own)));
    assert!(reaches(
        Multicast {
            looped: true,
            ..MULTICAST
        },
        own,
        Some(own)
    ));

    assert!(reaches(
        Multicast {
            from: Ipv4Addr::LOCALHOST,
            ..MULTICAST
        },
        [127, 0, 0, 1],
        None
    ));
}

#[test]
fn the_group_gets_the_parity_that_one_of_its_viewers_needs_and_each_of_them_is_told() {
    let mut harness = EngineHarness::new(3);
    harness.seconds(1);
    assert_eq!(harness.keep_alive(0, false).parity_percent, 0);
    harness.bad_second(1, 0, 100);
    let parity = level_count(87, 2);
    let transmit = harness.frame().unwrap();
    assert_eq!(
        (transmit.targets.len(), transmit.targets[0].parity),
        (1, parity)
    );

    assert_eq!(
        harness.keep_alive(0, false).parity_percent,
        u32::from(parity) * 100 / 87
    );
}

#[test]
fn what_is_aborted_for_the_group_is_told_to_each_of_its_viewers() {
    let mut harness = EngineHarness::new(3);
    harness.screens[2].reached = false;
    harness.seconds(1);
    harness.frame();
    harness.rig.engine.on_aborted(GROUP, true);
    harness.rig.engine.on_aborted(GROUP, false);
    let told = |pulse: Pulse| (pulse.frames_aborted, pulse.frames_skipped);
    assert_eq!(
        [0, 1, 2].map(|at| told(harness.keep_alive(at, false))),
        [(1, 1), (1, 1), (0, 0)]
    );
}

#[test]
fn streams_have_groups_of_their_own_and_a_repair_knows_by_which_way_its_frame_came() {
    let mut harness = EngineHarness::new(1);
    harness.rig.frame("other", 7, 1, 0);
    let alias = |harness: &EngineHarness, name: &str| {
        harness.rig.engine.alias(&name.parse().unwrap()).unwrap()
    };
    let other = alias(&harness, "other");
    let slot = harness.rig.engine.streams.by_alias(other).unwrap().slot;
    assert_eq!(MULTICAST.group(slot).to_string(), "239.255.42.1:5005");
    assert_eq!(
        MULTICAST.slot(SocketAddr::V4(MULTICAST.group(slot))),
        Some(slot)
    );

    harness.seconds(1);
    harness.frame();
    let repair = Repair {
        alias: alias(&harness, "cam").into(),
        epoch: 1,
        number: harness.number,
        ranges: vec![0, 2],
    };

    let mut datagram = Vec::new();
    ToRelay::Repair(harness.screens[0].session, repair).encode(&mut datagram);
    harness.rig.engine.on_datagram(
        harness.rig.now,
        Route {
            remote: viewer(0),
            local: None,
        },
        &datagram,
    );

    let outputs = harness.rig.outputs();
    let [Output::Retransmit(retransmit)] = &outputs[..] else {
        panic!("{outputs:?}")
    };

    assert_eq!(
        (retransmit.to.remote, retransmit.first_sent_to.remote),
        (viewer(0), GROUP)
    );
}

#[test]
fn who_falls_behind_gets_a_socket_of_its_own_and_comes_back_to_the_group_as_soon_as_it_shares_again()
 {
    let mut harness = EngineHarness::new(2);
    harness.seconds(1);
    for _ in 0..24 {
        harness.frame();
        harness.keep_alive(1, false);
    }
    assert_eq!(
        (
            harness.rig.engine.dedicated_sockets(),
            harness.rig.engine.in_groups()
        ),
        (1, 1)
    );
    let transmit = harness.frame().unwrap();
    assert_eq!(
        transmit
            .targets
            .iter()
            .filter(|target| target.own_socket)
            .count(),
        1
    );
    harness.seconds(9);
    assert_eq!(
        (
            harness.rig.engine.dedicated_sockets(),
            harness.screens[0].offered
        ),
        (1, false)
    );
    harness.seconds(3);
    assert_eq!(
        (
            harness.rig.engine.dedicated_sockets(),
            harness.rig.engine.in_groups()
        ),
        (0, 2)
    );
    assert_eq!(harness.rig.engine.counts().left_groups, 0);
}

#[test]
fn who_has_a_frame_on_its_way_for_long_is_served_alone_whatever_it_says_and_is_not_slowed_down() {
    let mut harness = EngineHarness::new(1);
    harness.seconds(1);
    harness.screens[0].reached = false;

    for _ in 0..8 {
        harness.frame();
    }

    // Of a slow stream, three intervals without a frame are not over yet.
    harness.screens[0].heard = true;
    let newest = harness.number;
    assert_eq!(harness.keep_alive(0, false).group, None);
    assert!(
        harness.screens[0].whole.contains(&newest),
        "the frame it missed last"
    );

    assert_eq!(harness.sent_in(3), (0, vec![90]));
    assert_eq!(harness.keep_alive(0, true).frames_skipped, 0);
}

#[test]
fn a_group_whose_last_viewer_is_gone_is_sent_nothing_more() {
    let mut harness = EngineHarness::new(2);
    harness.seconds(1);
    let session = harness.screens[0].session;
    harness
        .rig
        .say(viewer(0), &ToRelay::Goodbye(session, Goodbye::default()));
    assert_eq!(harness.frame().unwrap().targets[0].route.remote, GROUP);
    harness.rig.pass(SECOND * 4);
    harness.number += 1;
    harness.rig.frame("cam", 1, harness.number, 0);
    assert_eq!(
        (harness.rig.fans().len(), harness.rig.engine.viewers()),
        (0, 0)
    );
}
