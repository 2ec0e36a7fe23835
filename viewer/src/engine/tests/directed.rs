//! A screen that takes directions.

use std::sync::Arc;

use fanlight_proto::handshake::{RelayAccess, SharedKey};
use fanlight_proto::message::{Direction, ScreenReport};

use super::*;

const SCREEN: u64 = 77;

fn direction(version: u64) -> Direction {
    Direction {
        version,
        origin: 5,
        streams: vec![STREAM.into()],
        ..Direction::default()
    }
}

fn direct(version: u64) -> Direct {
    Direct {
        direction: Some(direction(version)),
        notice: None,
    }
}

/// What a screen says that shows frame `number` of `stream`.
fn state(stream: &str, epoch: u64, number: u64) -> ScreenState {
    ScreenState {
        shown: Some((stream.parse().unwrap(), FrameId { epoch, number })),
        tiles: 1,
        ..ScreenState::default()
    }
}

fn directed_world(config: EngineConfig) -> World {
    let mut world = World::with(1, config);
    world.engine.set_screen(SCREEN);
    world.engine.on_screen(ScreenState::default());
    world
}

fn reports(world: &mut World) -> Vec<ScreenReport> {
    std::mem::take(&mut world.relay().screen_reports)
}

/// The relay says it now.
fn say(world: &mut World, direct: Direct) {
    for datagram in world.relay().direct(direct) {
        let now = world.now;
        world.engine.on_datagram(now, 0, &mut datagram.clone());
    }
    world.drain();
}

#[test]
fn what_a_screen_shows_is_told_at_once_each_second_and_when_it_changes() {
    let mut world = directed_world(config());
    world.run_until(ms(100));
    let first = reports(&mut world);
    assert_eq!(first.len(), 1, "at once");
    assert_eq!(
        (first[0].screen, first[0].epoch, first[0].tiles),
        (SCREEN, 0, 1)
    );

    world.run_until(ms(3050));
    assert_eq!(reports(&mut world).len(), 3, "each second");

    for number in 0..20 {
        world.engine.on_screen(state(STREAM, 9, number));
        world.run_until(ms(3050 + 5 * number));
    }
    let shown = reports(&mut world);
    assert_eq!(shown.len(), 1, "a number is no change");
    assert_eq!(shown[0].epoch, 9);

    world.run_until(ms(4200));
    let later = reports(&mut world);
    assert_eq!((later.len(), later[0].number), (1, 19));

    world.engine.on_screen(state("another", 9, 20));
    world.run_until(ms(4300));
    assert_eq!(
        reports(&mut world)[0].epoch,
        0,
        "not of this session's stream"
    );
}

#[test]
fn a_screen_that_changes_all_the_time_is_told_less_often_than_a_relay_takes() {
    let mut world = directed_world(config());
    world.run_until(ms(1000));
    reports(&mut world);
    for n in 0..1000 {
        world.engine.on_screen(state(STREAM, n, 1));
        world.run_until(ms(1000 + n));
    }

    let told = reports(&mut world).len();
    assert!((10..=20).contains(&told), "{told}");
}

#[test]
fn a_direction_comes_out_and_is_answered_each_time_that_it_comes() {
    let mut world = directed_world(config());
    world.run_until(ms(1000));
    reports(&mut world);
    say(&mut world, direct(3));
    assert_eq!(world.directs.len(), 1);
    assert_eq!(world.directs[0].1, direct(3));

    world.engine.on_screen(ScreenState {
        direction: Some(Arc::new(direction(3))),
        in_force: true,
        notice: 8,
        tiles: 1,
        ..ScreenState::default()
    });
    world.run_until(ms(1100));
    let told = reports(&mut world);
    let last = told.last().unwrap();
    assert_eq!(last.direction, Some(direction(3)));
    assert!(last.in_force && last.notice == 8);

    // The answer was lost.
    say(&mut world, direct(3));
    world.run_until(ms(1200));
    assert_eq!(reports(&mut world).len(), 1);
    assert_eq!(world.directs.len(), 2);
}

#[test]
fn a_screen_that_takes_no_directions_says_nothing_and_obeys_nothing() {
    let mut world = World::with(1, config());
    world.engine.set_screen(SCREEN);
    world.run_until(ms(1000));
    say(&mut world, direct(1));
    world.run_until(ms(2000));
    assert!(world.directs.is_empty() && reports(&mut world).is_empty());
}

#[test]
fn a_sealed_session_takes_no_direction_that_is_not_sealed() {
    let key = SharedKey::new([7; 32]);
    let mut world = directed_world(EngineConfig {
        paths: vec![Carrier::Udp(ViewerAccess::Psk(key.clone()))],
        ..config()
    });
    world.relay().access = RelayAccess::Psk(key);
    world.run_until(ms(1000));
    assert!(!reports(&mut world).is_empty(), "the report was sealed");

    let session = world.relay().session.unwrap();
    let mut forged = Vec::new();
    ToViewer::Direct(session, direct(9)).encode(&mut forged);
    world.engine.on_datagram(ms(1000), 0, &mut forged);
    world.drain();
    assert!(world.directs.is_empty());

    say(&mut world, direct(2));
    assert_eq!(world.directs[0].1, direct(2));
}

#[test]
fn each_relay_is_told_also_one_that_stands_by() {
    let mut world = directed_world(EngineConfig {
        paths: vec![Carrier::Udp(ViewerAccess::Open); 2],
        redundancy: Redundancy::Standby,
        ..config()
    });
    world.run_until(ms(500));
    for relay in world.relays.iter().flatten() {
        assert!(!relay.screen_reports.is_empty());
    }
}

#[test]
fn the_stream_that_is_shown_already_is_not_joined_again() {
    let mut world = World::with(1, config());
    world.run_until(ms(1000));
    let joins = world.engine.joins();
    world.engine.watch(ms(1000), Some(STREAM.parse().unwrap()));
    world.run_until(ms(2000));
    assert_eq!((world.engine.joins(), world.relay().goodbyes), (joins, 0));
    world.engine.watch(ms(2000), None);
    world.run_until(ms(3000));
    assert_eq!(world.engine.joins(), joins + 1);
    assert_eq!(world.relay().wanted, "");
}
