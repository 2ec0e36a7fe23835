use fanlight_proto::handshake::{PrivateKey, RelayAccess, SharedKey};

use super::*;

const KEY: [u8; 32] = [5; 32];

fn shared(key: [u8; 32]) -> EngineConfig {
    EngineConfig {
        paths: vec![Carrier::Udp(ViewerAccess::Psk(SharedKey::new(key)))],
        ..config()
    }
}

/// A viewer with `config`, and a relay that lets in whom `access` says.
fn world(seed: u64, config: EngineConfig, access: RelayAccess) -> World {
    let mut world = World::with(seed, config);
    world.relay().access = access;
    world
}

fn psk_world(seed: u64) -> World {
    world(seed, shared(KEY), RelayAccess::Psk(SharedKey::new(KEY)))
}

fn encoded(message: &ToViewer<'_>) -> Vec<u8> {
    let mut datagram = Vec::new();
    message.encode(&mut datagram);
    datagram
}

#[test]
fn who_has_the_key_sees_every_frame() {
    let mut world = psk_world(1);
    world.run_until(ms(3000));
    assert!(world.frames.len() > 85, "{}", world.frames.len());
    assert_eq!(
        (world.bodies_wrong, world.link_state_at(ms(3000))),
        (0, LinkState::Live)
    );

    assert_eq!(world.engine.summary(world.now).foreign, 0);
    assert!(
        world.relay().reports.len() >= 2,
        "its keep-alives are opened"
    );

    world.engine.leave();
    world.drain();
    world.run_until(ms(3100));
    assert_eq!(world.relay().goodbyes, 1);
}

#[test]
fn which_streams_a_relay_with_a_key_has_is_told_sealed() {
    let mut world = psk_world(7);
    world.relay().refusal = Some((Refusal::NoSuchStream, 0));
    world.run_until(ms(500));
    let told = world.link_state_at(ms(500)).to_string();
    assert!(told.ends_with("; it has cam, gate and 7 more"), "{told}");
}

#[test]
fn a_viewer_with_a_key_of_its_own_joins_the_relay_it_knows_and_no_other() {
    let own = PrivateKey::new([3; 32]);
    let relay = PrivateKey::new([4; 32]);
    let access = |relay: &PrivateKey| ViewerAccess::Keys {
        own: own.clone(),
        relay: relay.public(),
    };

    let lets_in = || RelayAccess::Keys {
        own: relay.clone(),
        viewers: vec![(own.public(), "hall".into())],
    };

    let mut good = world(
        2,
        EngineConfig {
            paths: vec![Carrier::Udp(access(&relay))],
            ..config()
        },
        lets_in(),
    );

    good.run_until(ms(1000));
    assert_eq!(good.link_state_at(ms(1000)), LinkState::Live);
    let other = PrivateKey::new([6; 32]);
    let mut wrong = world(
        2,
        EngineConfig {
            paths: vec![Carrier::Udp(access(&other))],
            ..config()
        },
        lets_in(),
    );

    wrong.run_until(ms(1000));
    assert_eq!(
        (wrong.link_state_at(ms(1000)).word(), wrong.frames.len()),
        ("no-key", 0)
    );
}

#[test]
fn another_key_of_a_viewers_own_takes_over_without_a_lost_frame() {
    let [former, newer, relay] = [3, 7, 4].map(|byte| PrivateKey::new([byte; 32]));
    let access = |own: &PrivateKey| ViewerAccess::Keys {
        own: own.clone(),
        relay: relay.public(),
    };
    let lets_in = |viewers: &[&PrivateKey]| RelayAccess::Keys {
        own: relay.clone(),
        viewers: viewers
            .iter()
            .map(|key| (key.public(), "hall".into()))
            .collect(),
    };

    let paths = vec![Carrier::Udp(access(&former))];
    let config = EngineConfig { paths, ..config() };
    let mut world = world(3, config, lets_in(&[&former]));
    world.run_until(ms(1000));
    world.engine.set_accesses(world.now, vec![access(&newer)]);
    world.run_until(ms(2000));
    let summary = world.engine.summary(world.now);
    assert_eq!(
        summary.paths[0].renewals, 0,
        "the relay does not know it yet"
    );

    world.relay().access = lets_in(&[&newer]);
    world.run_until(ms(3000));
    let summary = world.engine.summary(world.now);
    assert_eq!((summary.joins, summary.paths[0].renewals), (1, 1));
    assert_eq!((summary.losses.total(), world.bodies_wrong), (0, 0));
    assert!(world.frames.len() > 85, "{}", world.frames.len());
    assert_eq!(world.link_state_at(world.now), LinkState::Live);
}

#[test]
fn who_has_another_key_or_none_or_one_too_many_is_told_so() {
    let psk = || RelayAccess::Psk(SharedKey::new(KEY));
    let cases = [
        (
            shared([6; 32]),
            psk(),
            "the relay does not know this viewer's key",
        ),
        (
            config(),
            psk(),
            "the relay asks for a key, and this viewer has none (key_file)",
        ),
        (
            shared(KEY),
            RelayAccess::Open,
            "this viewer has a key, but the relay lets everyone in",
        ),
    ];

    for (config, access, why) in cases {
        let mut world = world(3, config, access);
        world.run_until(ms(1000));
        assert_eq!(world.link_state_at(ms(1000)), LinkState::NoKey(why));
        assert!(world.frames.is_empty());
    }
}

#[test]
fn loss_doubling_and_reordering_cost_no_session_and_no_frame_is_wrong() {
    for seed in 0..10 {
        let mut world = psk_world(seed);
        world.link = Link {
            lost: 20,
            doubled: 50,
            reordered: 50,
        };

        world.run_until(ms(10_000));
        let summary = world.engine.summary(world.now);
        assert_eq!((summary.joins, world.bodies_wrong), (1, 0), "seed {seed}");
        assert!(
            world.frames.len() > 280,
            "seed {seed}: {}",
            world.frames.len()
        );
    }
}

#[test]
fn a_hundred_new_keys_at_two_per_cent_loss_cost_no_frame() {
    let mut world = psk_world(4);
    world.run_until(ms(200));
    world.link.lost = 20;

    for round in 1..=100 {
        world.relay().announce_key();
        let now = world.now;
        world.run_until(now + Duration::from_millis(800));
        assert_eq!(
            world.relay().acknowledged,
            round + 1,
            "three keep-alives have brought it"
        );

        world.relay().switch_key();
    }

    world.link.lost = 0;
    let now = world.now;
    world.run_until(now + Duration::from_millis(200));
    let summary = world.engine.summary(world.now);
    assert_eq!(
        (summary.joins, summary.losses.total()),
        (1, 0),
        "{summary:?}"
    );
}

#[test]
fn nothing_that_is_not_sealed_or_is_sealed_twice_changes_a_sealed_session() {
    let mut world = psk_world(5);
    world.run_until(ms(1000));
    let session = world.relay().session.expect("it has joined");
    let unplugged = Status {
        state: State::Unplugged as i32,
        ..Status::default()
    };

    let forged = [
        encoded(&ToViewer::Goodbye(session, Goodbye::default())),
        encoded(&ToViewer::Pulse(
            session,
            Pulse {
                status: Some(unplugged),
                ..Pulse::default()
            },
        )),
        encoded(&ToViewer::Sealed(session, 9999, &[7; 60])),
    ];

    let before = world.engine.summary(world.now);
    for mut datagram in forged {
        world.engine.on_datagram(world.now, 0, &mut datagram);
    }

    let after = world.engine.summary(world.now);
    assert_eq!(after.foreign, before.foreign + 3);
    // Nobody can prove that a session is unknown: it goes on, and a new one takes its place.
    world
        .engine
        .on_datagram(world.now, 0, &mut encoded(&ToViewer::Reset(session)));
    world.run_until(ms(2000));
    let summary = world.engine.summary(world.now);
    assert_eq!(
        (summary.joins, summary.losses.total()),
        (2, 0),
        "{summary:?}"
    );

    assert_eq!(world.link_state_at(ms(2000)), LinkState::Live);
}

#[test]
fn a_recorded_minute_played_back_changes_nothing() {
    let mut world = psk_world(6);
    world.record = Some(Vec::new());
    world.run_until(ms(60_000));
    let recorded = world.record.take().expect("it has been recorded");
    let before = world.engine.summary(world.now);
    let frames = world.frames.len();

    for (at, mut datagram) in recorded {
        world.engine.on_datagram(world.now, at, &mut datagram);
        world.engine.on_tick(world.now);
        world.drain();
    }

    let after = world.engine.summary(world.now);
    assert_eq!(world.frames.len(), frames, "no frame is given out again");
    assert_eq!(
        (after.joins, after.losses, after.counts.whole),
        (before.joins, before.losses, before.counts.whole)
    );

    world.run_until(ms(62_000));
    let summary = world.engine.summary(world.now);
    assert_eq!(
        (summary.joins, summary.losses.total()),
        (1, 0),
        "{summary:?}"
    );
}

#[test]
fn damaged_media_of_a_sealed_session_is_no_media() {
    let mut world = psk_world(7);
    world.run_until(ms(500));
    let id = FrameId {
        epoch: 1,
        number: world.number,
    };

    let mut datagrams = world.relay().on_frame(id, &body(id, 9000), 0);
    let before = world.engine.summary(world.now);

    for datagram in &mut datagrams {
        let last = datagram.len() - 1;
        datagram[last] ^= 1;
        world.engine.on_datagram(world.now, 0, datagram);
    }

    let after = world.engine.summary(world.now);
    assert_eq!(after.foreign, before.foreign + datagrams.len() as u64);
    assert_eq!(after.counts, before.counts);
}

#[test]
fn a_sealed_session_has_a_new_handshake_every_two_minutes_and_loses_no_frame() {
    let mut world = psk_world(8);
    world.run_until(ms(600_000));
    let summary = world.engine.summary(world.now);
    assert!(
        (5..=7).contains(&summary.paths[0].renewals),
        "{:?}",
        summary.paths
    );
    assert_eq!(
        (summary.joins, summary.losses.total(), summary.foreign),
        (1, 0, 0),
        "{summary:?}"
    );
}

#[test]
fn a_renewal_that_a_relay_refuses_or_does_not_answer_costs_no_frame() {
    let mut config = shared(KEY);
    config.rekey_interval = Duration::from_secs(1);
    let mut world = world(9, config, RelayAccess::Psk(SharedKey::new(KEY)));
    world.run_until(ms(500));
    world.relay().refusal = Some((Refusal::Busy, 300));
    world.run_until(ms(20_000));
    let summary = world.engine.summary(world.now);
    assert_eq!((summary.joins, summary.paths[0].renewals), (1, 0));
    assert_eq!(summary.losses.total(), 0);

    world.relay().refusal = None;
    world.run_until(ms(30_000));
    let summary = world.engine.summary(world.now);
    assert!(summary.paths[0].renewals >= 8, "{:?}", summary.paths);
    assert_eq!((summary.joins, summary.losses.total()), (1, 0));
}
