use std::net::Ipv4Addr;

use super::*;

const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 42, 0), 5005);

/// One second in the group of a relay.
fn in_group(seed: u64) -> World {
    let mut world = World::new(seed);
    world.relay().group = Some(GROUP);
    world.run_until(ms(1000));
    assert_eq!(
        (
            world.groups[0],
            world.relay().joined,
            world.relay().group_heard
        ),
        (Some(GROUP), true, true)
    );

    world
}

fn by_multicast(world: &World) -> u64 {
    world.engine.summary(world.now).paths[0].by_multicast
}

#[test]
fn a_group_that_is_offered_is_joined_and_the_relay_told_as_soon_as_it_is_heard() {
    let mut world = World::new(1);
    world.run_until(ms(1000));
    assert_eq!(world.groups[0], None);
    world.relay().group = Some(GROUP);
    world.run_until(ms(1310));
    assert!(
        world.relay().group_heard,
        "a keep-alive, its answer, a frame, another keep-alive"
    );

    let keep_alives = world.relay().keep_alives;
    world.run_until(ms(5310));
    let sent = world.relay().keep_alives - keep_alives;
    assert!(
        (14..=18).contains(&sent),
        "{sent} keep-alives in 4 s: nothing more to say"
    );

    let summary = world.engine.summary(world.now);
    assert_eq!(
        (summary.losses.total(), summary.foreign, summary.joins),
        (0, 0, 1)
    );

    assert!(summary.paths[0].by_multicast > 100 * 11, "{summary:?}");
}

#[test]
fn a_group_that_falls_silent_is_told_within_three_frames_and_costs_no_more() {
    for seed in 0..20 {
        let mut world = in_group(seed);
        let cut = ms(1500 + seed * 13);
        world.run_until(cut);
        world.groups_cut = true;
        world.run_until(cut + Duration::from_millis(160));
        assert!(world.relay().joined && !world.relay().group_heard);
        world.run_until(cut + Duration::from_secs(3));
        let lost = world.engine.summary(world.now).losses.total();
        assert!((3..=5).contains(&lost), "{lost} frames");
        assert_eq!(
            world
                .link_states
                .iter()
                .filter(|(_, link_state)| *link_state == LinkState::Live)
                .count(),
            1
        );

        world.groups_cut = false;
        world.run_until(cut + Duration::from_secs(4));
        assert!(world.relay().group_heard, "it is heard again");
        assert_eq!(world.engine.summary(world.now).losses.total(), lost);
    }
}

#[test]
fn what_the_group_loses_comes_again_by_unicast() {
    let mut world = in_group(2);
    world.link.lost = 20;
    world.run_until(ms(6000));
    world.link.lost = 0;
    world.run_until(ms(6200));
    let summary = world.engine.summary(world.now);
    assert!(summary.counts.repairs_received > 20, "{summary:?}");
    assert!(summary.losses.total() <= 2, "{summary:?}");
    assert_eq!(world.bodies_wrong, 0);
}

#[test]
fn a_group_that_is_no_longer_offered_is_left_and_another_one_joined_in_its_place() {
    let mut world = in_group(3);
    let other = SocketAddrV4::new(*GROUP.ip(), 5006);
    world.relay().group = Some(other);
    world.run_until(ms(1600));
    assert_eq!(
        (world.groups[0], world.relay().group_heard),
        (Some(other), true)
    );

    world.relay().group = None;
    world.run_until(ms(2200));
    assert_eq!(
        (
            world.groups[0],
            world.relay().joined,
            world.relay().group_heard
        ),
        (None, false, false)
    );

    let before = by_multicast(&world);
    world.run_until(ms(3000));
    assert_eq!(
        (
            by_multicast(&world),
            world.engine.summary(world.now).losses.total()
        ),
        (before, 0)
    );
}

#[test]
fn a_session_that_ends_ends_the_stay_in_its_group() {
    let mut world = in_group(4);
    let farewell = world.relay().stop();
    world.relay().refusal = Some((Refusal::Busy, 1000));
    world.carry_all(0, farewell);
    world.run_until(ms(1100));
    assert_eq!(world.groups[0], None);
    world.relay().refusal = None;
    world.run_until(ms(4000));
    assert_eq!(
        (world.groups[0], world.relay().group_heard),
        (Some(GROUP), true)
    );

    world.engine.leave();
    world.drain();
    assert_eq!(world.groups[0], None);
}

#[test]
fn nothing_but_media_of_the_session_is_taken_from_a_group_and_no_group_that_is_none_is_joined() {
    let mut world = in_group(5);
    world.relay().group = Some(SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5353));
    world.run_until(ms(1500));
    assert_eq!(world.groups[0], None);
    let session = world.relay().session.unwrap();
    let mut datagram = Vec::new();
    ToViewer::Reset(session).encode(&mut datagram);
    world.engine.on_group_datagram(world.now, 0, &mut datagram);
    let header = DataHeader {
        alias: 99,
        shards: 1,
        length: 5,
        sequence: 1,
        ..DataHeader::default()
    };

    let header = DataHeader {
        id: FrameId {
            epoch: 1,
            number: 1,
        },
        ..header
    };

    ToViewer::Data(header, &[1; 5]).encode(&mut datagram);
    world.engine.on_group_datagram(world.now, 0, &mut datagram);
    let summary = world.engine.summary(world.now);
    assert_eq!((summary.foreign, summary.joins), (2, 1));
    world.run_until(ms(2500));
    assert_eq!(
        world.engine.summary(world.now).joins,
        1,
        "a RESET by multicast ends nothing"
    );
}

#[test]
fn each_of_two_paths_has_its_own_group() {
    let mut world = World::with(
        6,
        EngineConfig {
            paths: vec![Carrier::Udp(ViewerAccess::Open); 2],
            ..config()
        },
    );

    let groups = [0, 64].map(|last| SocketAddrV4::new(Ipv4Addr::new(239, 255, 42, last), 5005));
    for (relay, group) in world.relays.iter_mut().zip(groups) {
        relay.as_mut().unwrap().group = Some(group);
    }

    world.run_until(ms(3000));
    assert_eq!(world.groups, groups.map(Some));
    let summary = world.engine.summary(world.now);
    assert!(
        summary.paths.iter().all(|path| path.by_multicast > 500),
        "{summary:?}"
    );

    assert_eq!(summary.losses.total(), 0);
}

#[test]
fn a_relay_that_changes_its_group_all_the_time_has_it_joined_once_a_second() {
    let mut world = World::new(31);
    world.run_until(ms(1000));
    let session = world.relay().session.unwrap();
    let mut joined = 0;

    for change in 0..10_000_u32 {
        world.now = world.now + Duration::from_micros(500);
        let group = SocketAddrV4::new([239, 0, (change % 3) as u8, 1].into(), 5004);
        let pulse = Pulse {
            group: (!change.is_multiple_of(5)).then(|| group.into()),
            ..Pulse::default()
        };
        let mut datagram = Vec::new();
        ToViewer::Pulse(session, pulse).encode(&mut datagram);
        world.engine.on_datagram(world.now, 0, &mut datagram);
        while let Some(output) = world.engine.poll_output() {
            joined += u32::from(matches!(output, Output::JoinGroup(..)));
        }
    }

    assert!((4..=6).contains(&joined), "{joined} in 5 s");
}

#[test]
fn each_keep_alive_returns_what_the_last_answer_said() {
    let mut world = World::new(32);
    world.run_until(ms(3000));
    let now = world.now;
    let returned = Time::from_nanos(world.relay().consent * 1000);
    assert!(now.saturating_since(returned) <= Duration::from_millis(600));
}
