use fanlight_proto::message::NotShown;

use super::*;

/// Lets the time pass with a screen that shows each frame given out while `shows`, or else rejects it.
fn run(world: &mut World, millis: u64, reason: Option<NotShown>) {
    for _ in 0..millis / 100 {
        let next = world.now + Duration::from_millis(100);
        world.run_until(next);
        let frames = world.frames.len() as u64;
        if reason.is_none() && frames > world.shown.0 {
            world.shown = (frames, Some(next));
        }
        world.engine.on_display(next, world.shown.1, reason);
        world.drain();
    }
}

#[test]
fn frames_that_cannot_be_decoded_end_the_live_picture_within_the_usual_time() {
    let mut world = World::new(1);
    run(&mut world, 2000, None);
    assert_eq!(world.link_state_at(world.now), LinkState::Live);

    run(&mut world, 1000, Some(NotShown::Damaged));
    assert_eq!(world.link_state_at(world.now), LinkState::Live);
    run(&mut world, 500, Some(NotShown::Damaged));
    let state = world.link_state_at(world.now);
    assert_eq!(state, LinkState::NotShown(NotShown::Damaged));
    assert_eq!(
        state.to_string(),
        "pictures come but cannot be decoded: damaged JPEG"
    );

    run(&mut world, 10_000, Some(NotShown::Damaged));
    assert_eq!(world.link_state_at(world.now), state);

    run(&mut world, 100, None);
    assert_eq!(world.link_state_at(world.now), LinkState::Live);
}

#[test]
fn when_no_frame_was_ever_decoded_the_reason_is_said_at_once() {
    let mut world = World::new(2);
    run(&mut world, 300, Some(NotShown::Progressive));
    assert_eq!(
        world.link_state_at(world.now),
        LinkState::NotShown(NotShown::Progressive)
    );
}

#[test]
fn a_display_that_takes_no_pictures_is_not_live() {
    let mut world = World::new(3);
    run(&mut world, 1000, None);

    for _ in 0..20 {
        let next = world.now + Duration::from_millis(100);
        world.run_until(next);
        world.engine.on_display(next, world.shown.1, None);
        world.drain();
    }

    let states: Vec<_> = world
        .link_states
        .iter()
        .map(|(_, state)| state)
        .skip_while(|state| **state != LinkState::Live)
        .collect();
    assert_eq!(
        states,
        [&LinkState::Live, &LinkState::NotShown(NotShown::Display)],
        "frames come all the while"
    );
}

#[test]
fn a_stream_that_pauses_and_comes_back_is_live_with_its_first_frame() {
    let mut world = World::new(4);
    run(&mut world, 1000, None);
    world.capturing = false;
    run(&mut world, 5000, None);
    assert_eq!(world.link_state_at(world.now), LinkState::NoFrames);

    world.capturing = true;
    let back = world.now;
    run(&mut world, 2000, None);
    let states: Vec<_> = world
        .link_states
        .iter()
        .filter(|(at, _)| *at > back)
        .collect();

    assert!(matches!(states[..], [(_, LinkState::Live)]), "{states:?}");
}

#[test]
fn the_relay_is_told_why_and_since_when_nothing_is_shown() {
    let mut world = World::new(5);
    run(&mut world, 1000, None);
    run(&mut world, 3000, Some(NotShown::Damaged));
    let report = world.engine.total_report(world.now);
    assert_eq!(report.not_shown(), NotShown::Damaged);
    assert!((2900..=3100).contains(&report.last_shown_ms), "{report:?}");
}
