//! A viewer that is told to show another stream.

use super::*;

#[test]
fn another_stream_is_shown_at_once_even_if_its_numbers_are_lower() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.run_until(ms(1000));
        assert_eq!(world.link_state_at(ms(1000)), LinkState::Live);
        let shown = world.frames.len();
        assert!(shown > 10, "seed {seed}");

        world.relay().stream = "gate".into();
        world.number = 3;
        world.engine.watch(ms(1000), Some("gate".parse().unwrap()));
        world.run_until(ms(1500));

        assert_eq!(world.relay().wanted, "gate");
        assert_eq!(world.relay().goodbyes, 1, "seed {seed}");
        assert!(world.frames.len() > shown + 5, "seed {seed}");
        assert_eq!(world.link_state_at(ms(1500)), LinkState::Live);
        let stream = world.engine.summary(world.now).stream;
        assert_eq!(stream.unwrap().as_str(), "gate");
    }
}

#[test]
fn the_former_picture_stands_until_the_other_stream_comes_but_not_for_long() {
    let mut world = World::new(1);
    world.run_until(ms(1000));
    world.relay().stream = "gate".into();
    world.engine.watch(ms(1000), Some("gate".parse().unwrap()));
    world.run_until(ms(1400));
    let changes = world.link_states.iter().filter(|(at, _)| *at >= ms(1000));
    assert_eq!(changes.count(), 0, "no card between two streams");

    world.cut[0] = true;
    world.engine.watch(ms(1400), Some("hall".parse().unwrap()));
    world.run_until(ms(2000));
    assert_eq!(world.link_state_at(ms(1800)), LinkState::Live);
    assert_eq!(world.link_state_at(ms(1950)), LinkState::Connecting);
}

#[test]
fn no_card_flashes_up_between_two_streams_while_one_of_two_relays_is_gone() {
    let config = EngineConfig {
        paths: vec![Carrier::Udp(ViewerAccess::Open); 2],
        redundancy: Redundancy::Both,
        ..config()
    };
    let mut world = World::with(1, config);
    world.run_until(ms(1000));
    assert_eq!(world.link_state_at(ms(1000)), LinkState::Live);

    world.cut[0] = true;
    world.far[1] = Duration::from_millis(20);
    for relay in world.relays.iter_mut().flatten() {
        relay.stream = "gate".into();
    }
    world.engine.watch(ms(1000), Some("gate".parse().unwrap()));
    let why = "nobody listens".to_owned();
    world.engine.on_unreachable(ms(1000), 0, why);
    world.run_until(ms(1400));
    let changes = world.link_states.iter().filter(|(at, _)| *at >= ms(1000));
    assert_eq!(changes.count(), 0);
    let stream = world.engine.summary(world.now).stream;
    assert_eq!(stream.unwrap().as_str(), "gate");
}
