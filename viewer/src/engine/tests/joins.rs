use super::*;

#[test]
fn the_first_frame_is_there_150_ms_after_the_start() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.run_until(ms(150));
        assert!(!world.frames.is_empty(), "seed {seed}");
        assert_eq!(
            world.link_states.last().map(|(_, link_state)| link_state),
            Some(&LinkState::Live)
        );

        assert_eq!(world.engine.summary(world.now).joins, 1);
    }
}

#[test]
fn a_join_survives_a_link_that_loses_a_third() {
    for seed in 0..200 {
        let mut world = World::new(seed);
        world.link.lost = 333;
        world.run_until(ms(8000));
        assert!(world.engine.summary(world.now).joins >= 1, "seed {seed}");
    }
}

#[test]
fn a_relay_killed_and_restarted_after_250_ms_gives_frames_within_a_second() {
    let mut gaps = Vec::new();
    for seed in 0..100 {
        let mut world = World::new(seed);
        let killed = ms(2000 + seed * 7);
        world.run_until(killed);
        world.relays[0] = None;
        world.run_until(killed + Duration::from_millis(250));
        world.restart_relay(2);
        world.run_until(killed + Duration::from_secs(3));
        gaps.push(
            world
                .first_frame_after(killed + Duration::from_millis(250))
                .saturating_since(killed),
        );

        assert_eq!(world.engine.summary(world.now).joins, 2, "seed {seed}");
    }

    gaps.sort();
    assert!(gaps[50] < Duration::from_millis(600), "{:?}", gaps[50]);
    assert!(gaps[99] < Duration::from_millis(1000), "{:?}", gaps[99]);
}

#[test]
fn a_relay_that_finds_its_sources_a_moment_after_its_start_is_asked_again_soon() {
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.run_until(ms(1000));
        world.relays[0] = None;
        world.run_until(ms(1250));
        world.restart_relay(2);
        world.relay().refusal = Some((Refusal::NoStreams, 0));
        world.run_until(ms(1700));
        world.relay().refusal = None;
        world.run_until(ms(3000));
        assert!(world.first_frame_after(ms(1250)) < ms(2000), "seed {seed}");
    }
}

#[test]
fn a_relay_that_says_goodbye_is_joined_again_at_once() {
    let mut world = World::new(1);
    world.run_until(ms(1000));
    let farewell = world.relay().stop();
    world.carry_all(0, farewell);
    world.run_until(ms(1100));
    assert!(world.first_frame_after(ms(1003)) < ms(1060));
    assert_eq!(world.engine.summary(world.now).joins, 2);
}

#[test]
fn a_healed_link_is_live_within_500_ms() {
    for (away, limit) in [(1000, 500), (4000, 500), (30_000, 1000)] {
        for seed in 0..40 {
            let mut world = World::new(seed);
            world.run_until(ms(1000));
            world.cut[0] = true;
            world.run_until(ms(1000 + away));

            // The relay forgets a session after three seconds.
            if away > 3000 {
                world.relay().session = None;
            }

            world.cut[0] = false;
            world.run_until(ms(3000 + away));
            let healed = world
                .first_frame_after(ms(1000 + away))
                .saturating_since(ms(1000 + away));
            assert!(
                healed < Duration::from_millis(limit),
                "seed {seed}, {away} ms away: {healed:?}"
            );

            let card = world
                .link_states
                .iter()
                .find(|(when, link_state)| *when > ms(1000) && *link_state != LinkState::Live);

            assert!(
                card.is_some_and(|(when, _)| *when <= ms(2500)),
                "seed {seed}: a frozen picture passed for live"
            );

            assert_eq!(world.link_state_at(world.now), LinkState::Live);
        }
    }
}

#[test]
fn a_live_session_is_not_joined_anew() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.link = Link {
            lost: 50,
            doubled: 10,
            reordered: 50,
        };

        world.run_until(ms(20_000));
        assert_eq!(world.engine.summary(world.now).joins, 1, "seed {seed}");
    }
}

#[test]
fn answers_to_nothing_we_asked_change_nothing() {
    let mut world = World::new(3);
    world.run_until(ms(500));
    let session = world.relay().session.expect("it has joined");
    let before = world.engine.summary(world.now);
    let accept = Accept {
        nonce: 1,
        session: 99,
        ..Accept::default()
    };

    let strangers = [
        ToViewer::Reset(session + 1),
        ToViewer::Goodbye(session + 1, Goodbye::default()),
        ToViewer::Accept(accept),
        ToViewer::Refuse(Refuse {
            nonce: 1,
            ..Refuse::default()
        }),
        ToViewer::Challenge(Challenge {
            nonce: 1,
            token: vec![1].into(),
            ..Challenge::default()
        }),
        ToViewer::Pulse(session + 1, Pulse::default()),
    ];

    for stranger in strangers {
        let mut datagram = Vec::new();
        stranger.encode(&mut datagram);
        world.engine.on_datagram(world.now, 0, &mut datagram);
    }

    world
        .engine
        .on_datagram(world.now, 0, &mut b"GET / HTTP/1.1".to_vec());
    assert_eq!(world.engine.summary(world.now).foreign, before.foreign + 7);
    world.run_until(ms(2000));
    assert_eq!(world.engine.summary(world.now).joins, 1);
}

#[test]
fn no_datagram_however_mangled_panics_the_engine_or_makes_it_talk() {
    let mut world = World::new(10);
    world.run_until(ms(500));
    let id = FrameId {
        epoch: 1,
        number: world.number,
    };

    let mut seeds = world.relay().on_frame(id, &body(id, 9000), 0);
    seeds.extend(world.relay().tell_status(ms(500)));
    seeds.extend(world.relay().stop());
    let mut dice = SplitMix64::new(10);
    let mut sent = 0;
    let mut frames = 0;

    for n in 0..50_000 {
        let mut datagram = seeds[dice.next() as usize % seeds.len()].clone();
        for _ in 0..=dice.next() % 3 {
            let at = dice.next() as usize % datagram.len().min(48);
            datagram[at] = dice.next() as u8;
        }

        datagram.truncate(datagram.len() - (dice.next() % 8 / 7) as usize);
        let now = ms(500) + Duration::from_micros(n);
        world.engine.on_datagram(now, 0, &mut datagram);
        world.engine.on_tick(now);

        while let Some(output) = world.engine.poll_output() {
            sent += u64::from(matches!(output, Output::Send(..)));
            frames += u64::from(matches!(output, Output::Frame(_)));
        }
    }

    assert!(
        sent < 5000 && frames < 5000,
        "{sent} datagrams sent, {frames} frames"
    );

    assert!(world.engine.summary(world.now).foreign > 1000);
}

#[test]
fn a_peer_that_challenges_without_end_is_not_answered_without_end() {
    let mut engine = Engine::new(config(), secret(9));
    engine.on_tick(ms(0));
    let mut sent = 0;

    for n in 0..1000 {
        let challenge = Challenge {
            nonce: engine.paths[0].nonce,
            token: vec![n as u8].into(),
            ..Challenge::default()
        };

        let mut datagram = Vec::new();
        ToViewer::Challenge(challenge).encode(&mut datagram);
        engine.on_datagram(ms(1), 0, &mut datagram);
    }

    while let Some(output) = engine.poll_output() {
        sent += usize::from(matches!(output, Output::Send(..)));
    }

    assert_eq!(sent, 2);
}

#[test]
fn who_may_show_any_stream_stays_with_the_one_it_got() {
    let mut world = World::new(4);
    world.run_until(ms(500));
    world.relays[0] = None;
    world.run_until(ms(700));
    world.restart_relay(2);
    world.relay().refusal = Some((Refusal::NoSuchStream, 0));
    world.run_until(ms(2500));
    assert_eq!(world.relay().wanted, STREAM);
    assert_eq!(
        world.link_state_at(ms(2500)),
        LinkState::NoSuchStream {
            wanted: STREAM.into(),
            others: "cam, gate and 7 more".into()
        }
    );

    world.run_until(ms(5500));
    assert_eq!(
        world.relay().wanted,
        "",
        "after three seconds any stream will do"
    );
}

#[test]
fn a_viewer_that_leaves_says_so_and_stays_away() {
    let mut world = World::new(5);
    world.run_until(ms(500));
    world.engine.leave();
    world.drain();
    world.run_until(ms(1500));
    assert_eq!((world.relay().goodbyes, world.relay().session), (1, None));
    assert_eq!(world.relay().joins_seen, 2);
}

#[test]
fn a_list_is_given_without_a_session() {
    let mut engine = Engine::new(
        EngineConfig {
            request: Request::List,
            ..config()
        },
        secret(6),
    );

    let mut relay = MiniRelay::new(1);
    engine.on_tick(ms(0));
    let mut listed = None;

    while let Some(output) = engine.poll_output() {
        match output {
            Output::Send(_, datagram) => {
                for mut answer in relay.on_datagram(ms(0), &datagram) {
                    engine.on_datagram(ms(1), 0, &mut answer);
                }
            }
            Output::List(streams, total) => listed = Some((streams.len(), total)),
            other => panic!("{other:?}"),
        }
    }

    assert_eq!((listed, relay.session), (Some((1, 1)), None));
}

#[test]
fn each_fourth_keep_alive_reports_what_this_session_saw() {
    let mut world = World::new(7);
    world.run_until(ms(1500));
    world.engine.on_presentation(Presentation {
        shown: 40,
        lost: 1,
        age_us: 4000,
    });

    world.run_until(ms(4900));
    let reports = world.relay().reports.clone();
    assert!((4..=5).contains(&reports.len()), "{}", reports.len());
    let last = reports[reports.len() - 1];
    assert_eq!(
        (last.frames_shown, last.frames_lost, last.age_us),
        (40, 1, 4000)
    );

    assert!(
        last.frames_whole > 100 && last.bytes > 1_000_000,
        "{last:?}"
    );
}

#[test]
fn a_session_for_another_stream_is_not_opened_and_the_next_answer_is_taken() {
    let mut world = World::with(
        21,
        EngineConfig {
            request: Request::Stream(Some(STREAM.parse().unwrap())),
            ..config()
        },
    );

    // Somebody on the way rewrites what is asked for.
    world.relay().stream = "foreign".to_owned();
    world.run_until(ms(3000));
    assert_eq!((world.engine.joins(), world.frames.len()), (0, 0));
    assert_eq!(world.link_state_at(ms(3000)), LinkState::OtherStream);

    world.relay().stream = STREAM.to_owned();
    world.run_until(ms(4000));
    assert_eq!(world.link_state_at(ms(4000)), LinkState::Live);
}

#[test]
fn a_foreign_answer_on_one_path_does_not_harm_the_other() {
    let mut world = World::with(
        22,
        EngineConfig {
            request: Request::Stream(Some(STREAM.parse().unwrap())),
            paths: vec![Carrier::Udp(ViewerAccess::Open); 2],
            ..config()
        },
    );

    world.relays[1].as_mut().unwrap().stream = "foreign".to_owned();
    world.run_until(ms(3000));
    assert_eq!(world.engine.joins(), 1);
    assert_eq!(world.link_state_at(ms(3000)), LinkState::Live);
    assert!(world.frames.len() > 85, "{}", world.frames.len());
    assert_eq!(world.bodies_wrong, 0);
}

#[test]
fn an_attempt_that_nobody_answers_takes_another_nonce_before_a_session_of_its_own_ends() {
    let mut world = World::new(23);
    world.relays[0] = None;
    world.run_until(ms(100));
    let first = world.engine.paths[0].nonce;
    world.run_until(ms(1900));
    // An attempt that the host refuses goes on.
    assert_eq!(world.engine.paths[0].nonce, first);
    world.run_until(ms(2600));
    assert_ne!(world.engine.paths[0].nonce, first);
}
