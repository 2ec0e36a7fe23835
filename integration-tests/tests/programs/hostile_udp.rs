//! Hostile datagrams at the relay's port: nothing comes of them, nothing larger goes back, and no viewer notices.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use fanlight_proto::datagram::{DataHeader, ToRelay, ToViewer};
use fanlight_proto::limits::{JOIN_BYTES, MAX_DATAGRAM, MAX_FRAME_BYTES, SHARD_BYTES};
use fanlight_proto::message::{
    Accept, FrameId, Goodbye, Join, KeepAlive, Pulse, Repair, State, Status, StreamInfo,
};
use fanlight_tests::program::Program;
use fanlight_tests::promise::judge;
use fanlight_tests::raw_client::{RawClient, join};
use fanlight_tests::seeded::{Random, seed};
use fanlight_tests::usage::MIB;
use fanlight_tests::viewer_process::ViewerProcess;
use fanlight_tests::wait::{SOON, pause, throughout, until};
use fanlight_tests::{TestEnv, long};

/// Answers that are still on their way after this much silence do not exist.
const QUIET: Duration = Duration::from_millis(300);

/// Datagrams between pauses, so that the relay's socket does not overflow: a flood that drowns the valid viewers'
/// datagrams in the kernel is another matter.
const BURST: usize = 100;
const BURST_PAUSE: Duration = Duration::from_millis(5);

fn show(env: &TestEnv) -> (Program, Program, ViewerProcess) {
    let source = env
        .source("cam")
        .flags("--input ball --size 640x360")
        .ready();

    let relay = env.relay(0, &[env.ipc("cam")]).ready();
    let viewing = env.viewer(env.relay_address(0), "cam").start();
    viewing.wait_shown(10);
    (source, relay, viewing)
}

fn kind(datagram: &[u8]) -> Option<ToViewer<'_>> {
    ToViewer::parse(datagram).ok()
}

/// Messages that are well formed and mean harm: sessions that are not the sender's, tokens that are made up.
fn plausible(random: &mut Random) -> ToRelay<'static> {
    let session = random.number();
    match random.below(6) {
        0 => ToRelay::Join(join("cam")),
        1 => ToRelay::Join(Join {
            token: random.bytes(16).into(),
            ..join("cam")
        }),
        2 => ToRelay::Join(Join {
            list: true,
            ..join("")
        }),
        3 => ToRelay::KeepAlive(
            session.max(1),
            KeepAlive {
                sent_us: 1,
                ..KeepAlive::default()
            },
        ),
        4 => {
            let ranges = (0..128).map(|_| random.number() as u32).collect();
            ToRelay::Repair(
                session.max(1),
                Repair {
                    alias: 1,
                    epoch: random.number(),
                    number: random.number(),
                    ranges,
                },
            )
        }
        _ => ToRelay::Goodbye(
            session.max(1),
            Goodbye {
                reason: "x".repeat(900),
            },
        ),
    }
}

/// Noise, noise behind our first bytes, or a plausible message with some bytes changed or its end cut off.
fn malformed(random: &mut Random) -> Vec<u8> {
    let length = random.below(2 * MAX_DATAGRAM);
    let mut bytes = random.bytes(length);

    match random.below(4) {
        0 => {}
        1 if bytes.len() > 2 => bytes[..2].copy_from_slice(&[0xf1, random.below(20) as u8]),
        _ => {
            plausible(random).encode(&mut bytes);
            for _ in 0..1 + random.below(8) {
                let at = random.below(bytes.len());
                bytes[at] = random.number() as u8;
            }

            if random.below(2) == 0 {
                bytes.truncate(random.below(bytes.len()));
            }
        }
    }

    bytes
}

/// Sends `count` hostile datagrams, with pauses, from all `clients` in turn.
fn flood(clients: &mut [RawClient], random: &mut Random, count: usize) {
    for number in 0..count {
        let client = &mut clients[number % 8];
        if random.below(4) == 0 {
            client.say(&plausible(random));
        } else {
            client.send(&malformed(random));
        }

        if number % BURST == 0 {
            pause(BURST_PAUSE);
            clients
                .iter_mut()
                .for_each(|client| client.drain(Duration::ZERO));
        }
    }
}

#[test]
#[ignore = "./dev promises"]
fn hostile_datagrams_cost_a_viewer_no_frames() {
    judge("P19: hostile datagrams", |measurement| {
        let env = TestEnv::new();
        let (_source, _relay, viewing) = show(&env);
        let mut random = Random::new(seed(11));
        let mut clients: Vec<RawClient> = (0..8)
            .map(|_| RawClient::to(env.relay_address(0)))
            .collect();

        flood(&mut clients, &mut random, 20_000);
        viewing.wait_more(30);
        let (report, _) = viewing.finish();
        report.judge_nearly_lossless("a viewer beside hostile datagrams", measurement);
    });
}

#[test]
fn a_hundred_thousand_hostile_datagrams_cost_no_session_no_memory_and_few_log_lines() {
    let env = TestEnv::new();
    let (_source, relay, viewing) = show(&env);
    let mut random = Random::new(seed(11));
    let mut clients: Vec<RawClient> = (0..8)
        .map(|_| RawClient::to(env.relay_address(0)))
        .collect();
    let before = relay.usage();
    let mark = relay.log().mark();
    let began = fanlight_daemon::clock::now();

    flood(
        &mut clients,
        &mut random,
        if long() { 1_000_000 } else { 100_000 },
    );
    clients.iter_mut().for_each(|client| client.drain(QUIET));
    let seconds = fanlight_daemon::clock::now()
        .saturating_since(began)
        .as_secs();
    for RawClient { sent, received, .. } in &clients {
        assert!(
            received.bytes <= sent.bytes && received.datagrams <= sent.datagrams,
            "{sent:?} {received:?}"
        );
    }

    let after = relay.usage();
    assert!(
        after.resident <= before.resident + 2 * MIB,
        "{before:?} {after:?}"
    );

    // A viewer has a socket of its own while it begins; nobody else gets one.
    assert!(
        after.descriptors <= before.descriptors,
        "{before:?} {after:?}"
    );

    assert_eq!(after.threads, before.threads);
    let lines = relay.log().matching(mark, "").len() as u64;
    assert!(
        lines <= 6 * (seconds + 2),
        "{lines} lines in {seconds} s, for six classes of events"
    );

    assert!(relay.exits().is_empty());
    let (report, _) = viewing.finish();
    report.assert_one_session();
    assert_eq!(report.foreign, 0);
}

#[test]
fn nothing_malformed_is_answered() {
    let env = TestEnv::new();
    let (_source, _relay, _viewing) = show(&env);
    let mut random = Random::new(seed(12));
    let mut client = RawClient::to(env.relay_address(0));

    for _ in 0..20 {
        for _ in 0..BURST {
            let length = random.below(2 * MAX_DATAGRAM);
            client.send(
                &random
                    .bytes(length)
                    .into_iter()
                    .map(|byte| byte & 0x7f)
                    .collect::<Vec<_>>(),
            );

            let mut short = Vec::new();
            ToRelay::Join(join("cam")).encode(&mut short);
            client.send(&short[..random.below(JOIN_BYTES)]);
        }

        pause(BURST_PAUSE);
    }

    client.drain(QUIET);
    assert_eq!(client.received.datagrams, 0);
}

#[test]
fn no_answer_to_an_address_that_has_not_proved_itself_is_larger_than_its_question() {
    let env = TestEnv::new();
    let (_source, _relay, _viewing) = show(&env);
    let mut random = Random::new(seed(13));
    let mut client = RawClient::to(env.relay_address(0));

    for _ in 0..500 {
        let mut question = Vec::new();
        plausible(&mut random).encode(&mut question);
        client.send(&question);
        let mut answers = 0;
        while let Some(answer) =
            client.receive(Duration::from_millis(if answers == 0 { 20 } else { 1 }))
        {
            answers += answer.len();
            let kind = kind(&answer);
            assert!(
                matches!(
                    kind,
                    Some(ToViewer::Challenge(_) | ToViewer::Reset(_) | ToViewer::Refuse(_))
                ),
                "{kind:?}"
            );
        }

        assert!(
            answers <= question.len(),
            "{answers} for {}",
            question.len()
        );
    }
}

#[test]
fn a_token_is_good_only_for_the_address_it_was_sent_to() {
    let env = TestEnv::new();
    let (_source, _relay, _viewing) = show(&env);
    let mut honest = RawClient::to(env.relay_address(0));
    let mut thief = RawClient::to(env.relay_address(0));
    let mut wish = join("cam");
    honest.say(&ToRelay::Join(wish.clone()));
    let answer = honest.receive(SOON).expect("a challenge comes");

    let Some(ToViewer::Challenge(challenge)) = kind(&answer) else {
        panic!("{answer:?}")
    };

    wish.token = challenge.token;
    thief.say(&ToRelay::Join(wish.clone()));
    let answer = thief.receive(SOON).expect("the thief is challenged itself");
    assert!(
        matches!(kind(&answer), Some(ToViewer::Challenge(_))),
        "{answer:?}"
    );

    thief.drain(QUIET);
    assert_eq!(thief.received.datagrams, 1, "no session, no media");
    honest.say(&ToRelay::Join(wish));
    let answer = honest.receive(SOON).expect("the honest one is let in");
    assert!(
        matches!(kind(&answer), Some(ToViewer::Accept(_))),
        "{answer:?}"
    );
}

#[test]
fn nobody_can_end_repair_or_keep_the_session_of_another() {
    let env = TestEnv::new();
    let (_source, _relay, _viewing) = show(&env);
    let mut victim = RawClient::to(env.relay_address(0));
    let session = victim.join("cam").session;
    let mut thief = RawClient::to(env.relay_address(0));
    thief.say(&ToRelay::Goodbye(session, Goodbye::default()));
    thief.say(&ToRelay::KeepAlive(session, KeepAlive::default()));
    thief.say(&ToRelay::Repair(
        session,
        Repair {
            epoch: 1,
            ranges: vec![0, 64],
            ..Repair::default()
        },
    ));

    let mut answers = 0;
    while let Some(answer) = thief.receive(QUIET) {
        answers += answer.len();
        assert!(
            matches!(kind(&answer), Some(ToViewer::Reset(_))),
            "{answer:?}"
        );
    }

    assert!(answers as u64 <= thief.sent.bytes);
    victim.drain(Duration::ZERO);
    let media = (0..50)
        .filter_map(|_| victim.receive(SOON))
        .filter(|d| matches!(kind(d), Some(ToViewer::Data(..))));
    assert!(media.count() > 0, "the victim is still served");
}

#[test]
#[ignore = "./dev promises"]
fn a_session_that_falls_silent_costs_at_most_three_seconds_of_traffic() {
    judge("P11: a session falls silent", |measurement| {
        let env = TestEnv::new();
        let (_source, _relay, _viewing) = show(&env);
        let mut silent = RawClient::to(env.relay_address(0));
        silent.join("cam");
        let joined = fanlight_daemon::clock::now();
        let mut last = joined;

        while silent.receive(Duration::from_millis(800)).is_some() {
            last = fanlight_daemon::clock::now();
        }

        measurement.at_most(
            "the last datagram to it",
            Duration::from_millis(3300),
            last.saturating_since(joined),
        );
    });
}

/// A relay that lets everyone in and then sends what `datagram` makes, as fast as it can, until the test ends.
fn lying_relay(address: SocketAddr, mut datagram: impl FnMut(u64, &mut Vec<u8>) + Send + 'static) {
    let socket = UdpSocket::bind(address).expect("the env's address is free");
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        let mut out = Vec::new();
        let mut session = 0;

        while let Ok((length, viewer)) = socket.recv_from(&mut buffer) {
            let Ok(ToRelay::Join(join)) = ToRelay::parse(&buffer[..length]) else {
                continue;
            };

            session += 1;
            let status = Status {
                state: State::Live as i32,
                epoch: 1,
                ..Status::default()
            };

            let stream = StreamInfo {
                name: "cam".into(),
                alias: 1,
                epoch: 1,
                status: Some(status),
                ..StreamInfo::default()
            };

            let accept = Accept {
                nonce: join.nonce,
                session,
                stream: Some(stream),
                ..Accept::default()
            };

            ToViewer::Accept(accept).encode(&mut out);
            // The viewer may be gone; then the next one comes.
            for _ in 0..3000 {
                for _ in 0..BURST {
                    let _ = socket.send_to(&out, viewer);
                    datagram(session, &mut out);
                }

                pause(BURST_PAUSE);
            }
        }
    });
}

/// Shards of frames that never become whole, as large as frames may be, and headers that contradict each other.
fn lie(random: &mut Random, session: u64, out: &mut Vec<u8>) {
    let length = 1 + random.below(MAX_FRAME_BYTES);
    let shards = length.div_ceil(SHARD_BYTES);
    let header = DataHeader {
        alias: 1,
        index: random.below(shards) as u16,
        shards: shards as u16,
        length: length as u32,
        id: FrameId {
            epoch: 1 + random.below(2) as u64,
            number: random.number() >> random.below(64),
        },
        received_us: random.number() as u32,
        lost_upstream: random.number() as u16,
        lost_in_relay: random.number() as u16,
        sequence: 1,
        ..DataHeader::default()
    };

    match random.below(8) {
        0 => *out = malformed(random),
        1 => {
            let reason = "?".repeat(random.below(1000));
            let state = random.below(12) as i32;
            let status = Status {
                state,
                reason,
                newest: random.number(),
                ..Status::default()
            };

            let pulse = Pulse {
                echo_us: random.number(),
                status: Some(status),
                ..Pulse::default()
            };

            ToViewer::Pulse(session, pulse).encode(out);
        }
        _ => ToViewer::Data(header, &[0x55; SHARD_BYTES]).encode(out),
    }
}

#[test]
fn a_relay_that_lies_shows_nothing_and_costs_the_viewer_no_more_than_three_large_frames() {
    let env = TestEnv::new();
    let mut random = Random::new(seed(14));
    lying_relay(env.relay_address(0), move |session, out| {
        lie(&mut random, session, out);
    });

    let viewing = env.viewer(env.relay_address(0), "cam").start();
    until("the viewer runs", SOON, || {
        viewing.program().log().matching(0, "fanlight-viewer").pop()
    });

    let mut most = 0;
    throughout(Duration::from_secs(4), Duration::from_millis(20), || {
        most = most.max(viewing.program().usage().resident);
    });

    assert!(most <= 64 * MIB, "{} MiB", most / MIB);
    let lines = viewing
        .program()
        .log()
        .matching(0, "")
        .into_iter()
        .filter(|line| line.from == "err")
        .count();

    assert!(lines <= 16, "{lines} lines in 4 s");
    let (report, frames) = viewing.finish();
    assert!(report.joins > 0 && report.datagrams > 100, "{report:?}");
    assert!(frames.is_empty(), "{frames:?}");
    report.assert_balanced();
}
