use super::*;

fn two(redundancy: Redundancy) -> EngineConfig {
    EngineConfig {
        paths: vec![Carrier::Udp(ViewerAccess::Open); 2],
        redundancy,
        ..config()
    }
}

/// Frames given out after `moment`.
fn numbers_after(world: &World, moment: Time) -> Vec<u64> {
    world
        .frames
        .iter()
        .filter(|(when, _)| *when > moment)
        .map(|(_, id)| id.number)
        .collect()
}

fn assert_none_missing(world: &World, moment: Time) {
    let numbers = numbers_after(world, moment);
    assert!(numbers.len() > 20, "{numbers:?}");
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{numbers:?}"
    );
}

#[test]
fn what_two_relays_send_is_one_stream_and_no_frame_is_given_out_twice() {
    let mut world = World::with(1, two(Redundancy::Both));
    world.run_until(ms(3000));
    assert_none_missing(&world, ms(100));
    let summary = world.engine.summary(world.now);
    assert_eq!((summary.joins, summary.losses.total()), (2, 0));
    assert!(
        summary.counts.duplicates + summary.counts.late > 500,
        "{summary:?}"
    );

    assert!(
        summary.paths.iter().all(|path| path.datagrams > 500),
        "{summary:?}"
    );

    assert_eq!(world.bodies_wrong, 0);
}

#[test]
fn no_frame_is_lost_or_late_when_either_relay_is_killed_cut_off_or_comes_back() {
    for seed in 0..20 {
        let mut world = World::with(seed, two(Redundancy::Both));
        world.run_until(ms(1000));
        let which = seed as usize % 2;

        if seed % 4 < 2 {
            world.relays[which] = None;
        } else {
            world.cut[which] = true;
        }

        world.run_until(ms(2500));
        if world.relays[which].is_none() {
            world.relays[which] = Some(MiniRelay::new(9));
        }

        world.cut[which] = false;
        world.run_until(ms(4000));
        assert_none_missing(&world, ms(200));
        let gaps = world
            .frames
            .windows(2)
            .map(|pair| pair[1].0.saturating_since(pair[0].0));

        assert!(
            gaps.max().unwrap_or_default() < world.interval * 3 / 2,
            "seed {seed}"
        );

        assert_eq!(
            world.engine.summary(world.now).losses.total(),
            0,
            "seed {seed}"
        );

        assert!(
            world
                .link_states
                .iter()
                .filter(|(_, link_state)| *link_state == LinkState::Live)
                .count()
                == 1,
            "{:?}",
            world.link_states
        );

        assert!(
            world.engine.paths.iter().all(Path::is_active),
            "both are there again"
        );
    }
}

#[test]
fn two_lossy_paths_complete_each_others_frames() {
    let mut world = World::with(2, two(Redundancy::Both));
    world.run_until(ms(500));
    world.link.lost = 150;
    world.run_until(ms(10_000));
    let summary = world.engine.summary(world.now);
    let share =
        summary.losses.total() as f64 / (summary.counts.whole + summary.losses.total()) as f64;
    assert!(share < 0.04, "{summary:?}");
}

#[test]
fn frames_that_another_relay_completes_before_the_answer_to_a_join_comes_are_reported_as_whole() {
    let mut world = World::with(7, two(Redundancy::Both));
    world.far[1] = Duration::from_millis(150);
    world.relays[1] = None;
    world.run_until(ms(1000));
    world.relays[1] = Some(MiniRelay::new(9));
    let mut run_until = |happened: fn(&MiniRelay) -> bool| {
        while !world.relays[1].as_ref().is_some_and(happened) {
            world.run_until(world.now + Duration::from_millis(1));
            assert!(world.now < ms(8000), "it happens");
        }

        let relay = world.relays[1].as_ref().unwrap();
        (
            relay.sequence,
            relay.reports.last().map_or(0, |report| report.frames_whole),
        )
    };

    let (before, _) = run_until(|relay| relay.session.is_some());
    let (sent, whole) = run_until(|relay| relay.reports.len() == 2);
    // The newest is on its way to the viewer, or its report to the relay.
    assert!(whole + 1 >= sent - before, "{whole} of {}", sent - before);
}

#[test]
fn of_a_stream_that_no_relay_knows_the_answer_that_tells_most_is_shown() {
    let mut world = World::with(3, two(Redundancy::Both));
    world.relays[1] = None;
    world.relay().refusal = Some((Refusal::NoSuchStream, 0));
    world.run_until(ms(500));
    assert_eq!(
        world.link_state_at(ms(500)),
        LinkState::NoSuchStream {
            wanted: String::new(),
            others: "cam, gate and 7 more".into()
        }
    );

    world.relays[1] = Some(MiniRelay::new(5));
    world.run_until(ms(1500));
    assert_eq!(
        world.link_state_at(ms(1500)),
        LinkState::Live,
        "one that has it is enough"
    );
}

#[test]
fn a_path_that_stands_by_brings_nothing_until_the_first_one_falters() {
    let mut world = World::with(4, two(Redundancy::Standby));
    world.run_until(ms(8000));
    let idle = world.engine.summary(world.now);
    assert!(idle.paths[1].paused && !idle.paths[0].paused, "{idle:?}");
    world.run_until(ms(10_000));
    let media = |world: &World| world.engine.summary(world.now).paths[1].datagrams;
    let before = media(&world);
    assert!(
        before - idle.paths[1].datagrams < 20,
        "keep-alives are answered, and no more"
    );

    world.relays[0] = None;
    world.run_until(ms(10_300));
    assert!(media(&world) > before + 50);
    let missing = numbers_after(&world, ms(9000))
        .windows(2)
        .map(|pair| pair[1] - pair[0] - 1)
        .sum::<u64>();

    assert!(missing <= 2, "{missing} frames were lost");
    assert_eq!(world.link_state_at(ms(10_300)), LinkState::Live);
    // The second one goes on alone; the first comes back and stands by.
    world.restart_relay(7);
    world.run_until(ms(20_000));
    let after = world.engine.summary(world.now);
    assert!(
        after.paths.iter().filter(|path| path.paused).count() == 1,
        "{after:?}"
    );

    assert_none_missing(&world, ms(10_300));
}

#[test]
fn a_relay_that_has_withheld_frames_is_named_as_the_reason() {
    let mut world = World::new(5);
    world.run_until(ms(1000));

    for _ in 0..10 {
        world.relay().withhold_frame();
        let now = world.now;
        world.run_until(now + Duration::from_millis(200));
    }

    world.run_until(ms(4000));
    let losses = world.engine.summary(world.now).losses;
    assert_eq!((losses.skipped, losses.total()), (10, 10), "{losses:?}");
    let unrecovered = world
        .relay()
        .reports
        .last()
        .map(|report| report.frames_unrecovered);

    assert_eq!(
        unrecovered,
        Some(0),
        "what was not sent was not lost on the way"
    );
}

#[test]
fn silence_of_the_media_is_asked_about_before_the_next_keep_alive() {
    let mut world = World::new(6);
    world.run_until(ms(2000));
    let before = world.relay().keep_alives;
    world.capturing = false;
    world.run_until(ms(2200));
    let asked = world.relay().keep_alives - before;
    assert!((1..=2).contains(&asked), "{asked}");
}
