use fanlight_proto::detections::decode;
use fanlight_proto::handshake::{RelayAccess, SharedKey};
use fanlight_proto::limits::MAX_DETECTIONS;
use fanlight_proto::message::{Ball, CanaryStatus, Detections, Health, Verdict};

use super::*;

const SCREEN: u64 = 77;

fn detection_world(seed: u64, config: EngineConfig) -> World {
    let mut world = World::with(seed, config);
    world.engine.set_screen(SCREEN);
    world.finds = true;
    world
}

fn two(redundancy: Redundancy) -> EngineConfig {
    EngineConfig {
        paths: vec![Carrier::Udp(ViewerAccess::Open); 2],
        redundancy,
        ..config()
    }
}

fn heard(world: &World, at: usize) -> &[Detections] {
    world.relays[at]
        .as_ref()
        .map_or(&[], |relay| &relay.detections)
}

fn numbers(messages: &[Detections]) -> Vec<u64> {
    messages
        .iter()
        .flat_map(|message| &message.detections)
        .map(|bytes| decode(bytes).unwrap().number)
        .collect()
}

fn verdict(error: f32) -> Verdict {
    Verdict {
        health: Health::Right as i32,
        error,
        count: 9,
        ..Verdict::default()
    }
}

#[test]
fn what_is_found_in_each_frame_comes_to_the_relay_once_and_in_order() {
    let mut world = detection_world(1, config());
    world.run_until(ms(3000));
    let (messages, shown) = (
        heard(&world, 0),
        world
            .frames
            .iter()
            .map(|(_, id)| id.number)
            .collect::<Vec<_>>(),
    );

    let told = numbers(messages);
    assert!(
        told.len() + 5 > shown.len() && told == shown[..told.len()],
        "{told:?} of {shown:?}"
    );

    // One at once, and then as many as come in 100 ms.
    assert!((25..=31).contains(&messages.len()), "{}", messages.len());
    assert!(
        messages
            .iter()
            .all(|message| message.screen == SCREEN && message.canary_status.is_none())
    );

    let mut sent = 0;
    for message in messages {
        sent += message.detections.len() as u64;
        assert_eq!((message.sent, message.untracked), (sent, 0));
    }

    let counts = world.engine.summary(world.now).detections;
    assert!(counts.sent >= sent && counts.dropped == 0, "{counts:?}");
}

#[test]
fn of_a_flood_the_newest_are_sent_and_the_others_counted() {
    let mut world = detection_world(2, config());
    world.finds = false;
    world.run_until(ms(1000));

    for number in 0..500 {
        world.engine.on_detection(
            &STREAM.parse().unwrap(),
            detection(FrameId { epoch: 1, number }),
        );
    }

    world.run_until(ms(3000));
    let messages = heard(&world, 0);
    assert_eq!(numbers(messages), (436..500).collect::<Vec<_>>());
    assert!(
        messages
            .iter()
            .all(|message| message.detections.len() <= MAX_DETECTIONS)
    );

    assert_eq!(
        world.engine.summary(world.now).detections,
        DetectionCounts {
            sent: 64,
            dropped: 436
        }
    );
}

#[test]
fn they_go_by_one_path_and_by_the_other_when_it_falters_and_never_twice() {
    for seed in 0..16 {
        let redundancy = if seed % 2 == 0 {
            Redundancy::Both
        } else {
            Redundancy::Standby
        };

        let mut world = detection_world(seed, two(redundancy));
        world.run_until(ms(2000));
        let way = usize::from(heard(&world, 0).is_empty());
        assert!(
            heard(&world, 1 - way).is_empty(),
            "seed {seed}: both were told"
        );

        let before = heard(&world, way).to_vec();
        if seed % 4 < 2 {
            world.relays[way] = None;
        } else {
            world.cut[way] = true;
        }

        world.run_until(ms(4000));
        let after = heard(&world, 1 - way).to_vec();
        let first = numbers(&before);
        let then = numbers(&after);
        assert!(
            first.iter().max() < then.iter().min(),
            "seed {seed}: {first:?} {then:?}"
        );

        let fewest = world
            .frames
            .iter()
            .filter(|(when, _)| *when > ms(2600))
            .count();

        assert!(
            then.len() + 5 > fewest,
            "seed {seed}: {} of {fewest}",
            then.len()
        );

        assert!(
            then.windows(2).all(|pair| pair[0] < pair[1]),
            "seed {seed}: {then:?}"
        );

        assert_eq!(
            after.last().unwrap().sent,
            then.len() as u64,
            "each session counts its own"
        );
    }
}

#[test]
fn what_waits_for_a_relay_is_bounded_and_goes_out_when_it_is_back() {
    let mut world = detection_world(5, config());
    world.run_until(ms(1000));
    world.relays[0] = None;
    world.run_until(ms(1500));

    for number in 1000..1100 {
        world.engine.on_detection(
            &STREAM.parse().unwrap(),
            detection(FrameId { epoch: 1, number }),
        );
    }

    world.restart_relay(2);
    world.capturing = false;
    world.run_until(ms(4000));
    assert_eq!(numbers(heard(&world, 0)), (1036..1100).collect::<Vec<_>>());
}

#[test]
fn what_belongs_to_another_stream_or_cannot_be_is_not_told() {
    let mut world = detection_world(6, config());
    world.finds = false;
    world.run_until(ms(1000));
    let id = FrameId {
        epoch: 1,
        number: 1,
    };

    world
        .engine
        .on_detection(&"other".parse().unwrap(), detection(id));
    world.run_until(ms(1200));
    let stream = STREAM.parse().unwrap();
    let ball = Some(Ball {
        x: f32::NAN,
        y: 0.0,
        radius: 1.0,
    });

    world.engine.on_detection(
        &stream,
        Detection {
            ball,
            ..detection(id)
        },
    );

    world.engine.on_detection(
        &stream,
        Detection {
            ball: Some(Ball {
                x: 1e6,
                y: 0.0,
                radius: 1.0,
            }),
            ..detection(id)
        },
    );

    world.engine.on_detection(&stream, detection(id));
    world.run_until(ms(1500));
    assert_eq!(numbers(heard(&world, 0)), [1]);
    assert_eq!(
        world.engine.summary(world.now).detections,
        DetectionCounts {
            sent: 1,
            dropped: 3
        }
    );
}

#[test]
fn frames_that_no_tracker_looked_at_are_told_in_one_session_only() {
    let mut world = detection_world(7, two(Redundancy::Both));
    world.engine.on_untracked(4);
    world.run_until(ms(1000));
    world.engine.on_untracked(6);
    world.run_until(ms(2000));
    let way = usize::from(heard(&world, 0).is_empty());
    assert_eq!(heard(&world, way).last().unwrap().untracked, 6);
    world.relays[way] = None;
    world.engine.on_untracked(9);
    world.run_until(ms(4000));
    let rest = heard(&world, 1 - way).last().unwrap().untracked;
    assert!(rest <= 3, "{rest}: those told before are not told again");
}

#[test]
fn a_canary_tells_how_its_neighbour_fares_and_sealed_sessions_carry_it() {
    let access = vec![Carrier::Udp(ViewerAccess::Psk(SharedKey::new([5; 32])))];
    let mut world = detection_world(
        8,
        EngineConfig {
            paths: access,
            ..config()
        },
    );

    world.relay().access = RelayAccess::Psk(SharedKey::new([5; 32]));
    let canary_status = CanaryStatus {
        stream: "cam".into(),
        shown: 5,
        silent_ms: 40,
        ..CanaryStatus::default()
    };

    world.engine.on_canary_status(canary_status.clone());
    world.run_until(ms(1000));
    let messages = heard(&world, 0);
    assert!(numbers(messages).len() > 20);
    assert!(
        messages
            .iter()
            .all(|message| message.canary_status.as_ref() == Some(&canary_status))
    );
}

#[test]
fn who_is_no_screen_tells_nothing_and_needs_no_time_for_it() {
    let mut world = World::new(9);
    world.finds = true;
    world.run_until(ms(1000));
    assert!(heard(&world, 0).is_empty());
}

#[test]
fn the_sources_word_is_known_until_it_is_taken_back_or_old() {
    let mut world = detection_world(10, config());
    world.relay().verdict = Some(verdict(0.25));
    world.run_until(ms(2000));
    assert_eq!(world.engine.summary(world.now).verdict, Some(verdict(0.25)));
    world.relay().verdict = None;
    world.run_until(ms(2600));
    assert_eq!(world.engine.summary(world.now).verdict, None);
    world.relay().verdict = Some(verdict(0.5));
    world.run_until(ms(3000));
    assert_eq!(world.engine.summary(world.now).verdict, Some(verdict(0.5)));
    world.relays[0] = None;
    world.run_until(ms(7000));
    assert_eq!(
        world.engine.summary(world.now).verdict,
        None,
        "nobody has said so for seconds"
    );
}

#[test]
fn the_word_of_a_relay_that_was_told_nothing_is_not_believed() {
    let mut world = detection_world(11, two(Redundancy::Both));
    world.run_until(ms(1000));
    let way = usize::from(heard(&world, 0).is_empty());

    for (at, error) in [(way, 0.25), (1 - way, 9.0)] {
        world.relays[at].as_mut().unwrap().verdict = Some(verdict(error));
    }

    world.run_until(ms(3000));
    assert_eq!(world.engine.summary(world.now).verdict, Some(verdict(0.25)));
}
