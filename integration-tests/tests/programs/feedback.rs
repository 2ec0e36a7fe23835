//! The way back: what viewers find and who watches, by a real relay to the source, and what the source makes of it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::datagram::{ToRelay, ToViewer};
use fanlight_proto::detections::encode;
use fanlight_proto::feed::encode_feedback;
use fanlight_proto::keys::FeedKey;
use fanlight_proto::limits::MAX_DETECTIONS;
use fanlight_proto::message::{
    Ball, Demand, Detection, Detections, FeedbackReport, Health, KeepAlive, Verdict,
};
use fanlight_proto::zmtp::{MAX_UPSTREAM, UPSTREAM};
use fanlight_tests::TestEnv;
use fanlight_tests::fake_source::{EPOCH, FakeSource};
use fanlight_tests::promise::judge;
use fanlight_tests::raw_client::{RawClient, join};
use fanlight_tests::usage::MIB;
use fanlight_tests::wait::{Deadline, SOON, pause, until};
use fanlight_tests::zmtp::{claim, connect, greeting, ready};

/// Issue 6: so long after a join the first frame is on its way, also from a source that has to wake up.
const DEMAND_WITHIN: Duration = Duration::from_millis(150);

/// What a program may grow by under a flood: buffers come and go.
const GROWTH: u64 = 24 * MIB;

/// A file with the feed key that has 7 for each of its bytes.
fn key_file(env: &TestEnv) -> PathBuf {
    let path = env.path("feed.key");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .unwrap();

    writeln!(file, "fanlight-feed:{}", "07".repeat(32)).unwrap();
    path
}

fn found(number: u64) -> Detection {
    let ball = Some(Ball {
        x: 100.0,
        y: 50.0,
        radius: 20.0,
    });

    Detection {
        epoch: EPOCH,
        number,
        ball,
        confidence: 0.9,
        transit_us: 400,
        ..Detection::default()
    }
}

fn detections(sent: u64, detections: Vec<Detection>) -> Detections {
    Detections {
        screen: 3,
        detections: detections.into_iter().map(|found| encode(&found)).collect(),
        sent,
        ..Detections::default()
    }
}

/// A viewer that calls itself `name`, in its session.
fn viewer(env: &TestEnv, name: &str) -> (RawClient, u64) {
    let mut client = RawClient::to(env.relay_address(0));
    let accept = client.join_as("cam", name);
    (client, accept.session)
}

/// Says that it is there until `pick` finds something in an answer.
fn told<T>(viewer: &mut (RawClient, u64), pick: impl Fn(&ToViewer<'_>) -> Option<T>) -> T {
    let deadline = Deadline::after(SOON);
    while !deadline.is_over() {
        viewer.0.say(&ToRelay::KeepAlive(
            viewer.1,
            KeepAlive {
                sent_us: 1,
                ..KeepAlive::default()
            },
        ));

        let pause = Deadline::after(Duration::from_millis(200));
        while let Some(datagram) = viewer.0.receive(pause.left()) {
            if let Some(found) = ToViewer::parse(&datagram).ok().as_ref().and_then(&pick) {
                return found;
            }
        }
    }

    panic!("not told within {SOON:?}");
}

#[test]
#[ignore = "./dev promises"]
fn who_watches_and_what_they_find_comes_to_the_source_and_its_verdict_to_them() {
    judge("demand at the source", |measurement| {
        for sealed in [false, true] {
            let env = TestEnv::new();
            let source = FakeSource::start("cam", sealed.then(|| FeedKey::new([7; 32])));
            let relay = env.relay(0, &[source.endpoint()]);
            let relay = if sealed {
                relay.flag("feed-key", key_file(&env))
            } else {
                relay
            }
            .ready();

            let demand = |feedback: &FeedbackReport| {
                feedback
                    .demand
                    .first()
                    .map(|demand| (demand.stream.clone(), demand.viewers))
            };

            let first = |viewers| {
                let known = source.feedback();
                known
                    .into_iter()
                    .find(|(_, feedback)| demand(feedback) == Some(("cam".into(), viewers)))
            };

            until("the source knows that nobody watches", SOON, || first(0));
            let asked = clock::now();
            let mut lobby = viewer(&env, "lobby");
            let (at, _) = until("the source knows that somebody watches", SOON, || first(1));
            measurement.at_most(
                "from the first datagram to the source",
                DEMAND_WITHIN,
                at.saturating_since(asked),
            );

            source.judge(Verdict {
                health: Health::Right as i32,
                error: 0.25,
                count: 3,
                ..Verdict::default()
            });

            for number in 0..5 {
                lobby.0.say(&ToRelay::Detections(
                    lobby.1,
                    detections(
                        2 * number + 2,
                        vec![found(2 * number), found(2 * number + 1)],
                    ),
                ));

                pause(Duration::from_millis(100));
            }

            until("all detections have come", SOON, || {
                (source.detections("lobby").len() == 10).then_some(())
            });
            let numbers = source
                .detections("lobby")
                .iter()
                .map(|detection| detection.number)
                .collect::<Vec<_>>();

            assert_eq!(numbers, (0..10).collect::<Vec<_>>());
            let verdict = told(&mut lobby, |said| match said {
                ToViewer::Pulse(_, pulse) => pulse.verdict,
                _ => None,
            });

            assert_eq!((verdict.error, verdict.count), (0.25, 3));
            lobby.0.say(&ToRelay::Goodbye(lobby.1, Default::default()));
            until("the source knows that it has gone", SOON, || {
                source.seen().iter().any(|seen| seen.left).then_some(())
            });
            let feedback = source.feedback();
            until("the source knows that nobody watches again", SOON, || {
                (demand(&source.feedback().last()?.1) == Some(("cam".into(), 0))).then_some(())
            });
            assert!(
                feedback
                    .windows(2)
                    .all(|pair| pair[0].1.sequence < pair[1].1.sequence)
            );

            assert!(source.refused().is_empty(), "{:?}", source.refused());
            assert!(relay.exits().is_empty());
        }
    });
}

#[test]
fn a_flood_of_detections_and_lies_takes_nothing_from_other_viewers_and_harms_neither_relay_nor_source()
 {
    let env = TestEnv::new();
    let source = FakeSource::start("cam", None);
    let relay = env.relay(0, &[source.endpoint()]).ready();
    let viewing = env.viewer(env.relay_address(0), "cam").start();
    viewing.wait_shown(10);
    let mut honest = viewer(&env, "honest");
    let mut liars: Vec<_> = (0..3).map(|n| viewer(&env, &format!("liar-{n}"))).collect();
    let before = relay.usage();
    let nan = Detection {
        ball: Some(Ball {
            x: f32::NAN,
            ..Ball::default()
        }),
        ..found(1)
    };
    let far = Detection {
        ball: Some(Ball {
            x: 1e30,
            ..Ball::default()
        }),
        ..found(1)
    };
    let lies = [
        vec![found(1); MAX_DETECTIONS],
        vec![nan],
        vec![far],
        vec![Detection {
            epoch: 1,
            ..found(1)
        }],
    ];
    let mut sent = 0;
    for round in 0..300_u64 {
        for (client, session) in &mut liars {
            for lie in &lies {
                for _ in 0..10 {
                    sent += 16;
                    client.say(&ToRelay::Detections(
                        *session,
                        detections(sent, lie.clone()),
                    ));
                }
            }

            client.drain(Duration::ZERO);
        }

        if round.is_multiple_of(10) {
            let number = round / 10;
            honest.0.say(&ToRelay::Detections(
                honest.1,
                detections(number + 1, vec![found(number)]),
            ));
            honest.0.drain(Duration::ZERO);
        }

        pause(Duration::from_millis(10));
    }
    until("the honest one's detections have come", SOON, || {
        (source.detections("honest").len() == 30).then_some(())
    });
    let after = relay.usage();
    assert!(
        after.resident <= before.resident + GROWTH,
        "{before:?} {after:?}"
    );
    assert!(relay.exits().is_empty());
    let feedback = source.feedback();
    let span = feedback
        .last()
        .unwrap()
        .0
        .saturating_since(feedback[0].0)
        .as_secs()
        + 2;
    assert!(
        feedback.len() as u64 <= 12 * span + 40,
        "{} feedback in {span} s",
        feedback.len()
    );
    for n in 0..3 {
        let told = source.detections(&format!("liar-{n}"));
        assert!(
            told.len() as u64 <= 120 * (span + 1),
            "{} detections of a liar",
            told.len()
        );

        // That of another epoch too: what it is good for is the source's to know.
        assert!(told.iter().all(|detection| detection.number == 1));
        let dropped = source
            .seen()
            .iter()
            .filter(|seen| seen.name == format!("liar-{n}"))
            .map(|seen| seen.dropped)
            .max();

        assert!(dropped > Some(1000), "{dropped:?}");
    }
    let (report, _) = viewing.finish();
    report.assert_one_session();
}

/// Writes `bytes` to the source over and over for a while, as a subscriber that has shaken hands, and reads what comes.
fn assail(address: SocketAddr, bytes: &[u8], length: Duration) {
    let mut stream = connect(address).unwrap();
    stream
        .write_all(&[greeting(), ready("SUB")].concat())
        .unwrap();
    let mut reader = stream.try_clone().unwrap();
    let drain = std::thread::spawn(move || drop(std::io::copy(&mut reader, &mut std::io::sink())));
    let deadline = Deadline::after(length);

    while !deadline.is_over() {
        if stream.write_all(bytes).is_err() {
            break;
        }
    }

    let _ = stream.shutdown(std::net::Shutdown::Both);
    drain.join().unwrap();
}

/// A user message of a relay.
fn upstream(message: &[u8]) -> Vec<u8> {
    [&claim(1 + message.len() as u64)[..], &[UPSTREAM], message].concat()
}

#[test]
fn words_that_are_forged_or_come_in_floods_are_refused_and_every_viewer_is_served_all_the_same() {
    for sealed in [false, true] {
        let env = TestEnv::new();
        let key = key_file(&env);
        let address = env.source_address(0);
        let endpoints = format!("{},tcp://{address}", env.ipc("cam"));
        let source = env
            .program("source")
            .flags("--stream cam --input ball --size 640x360");
        let source = source.flag("publish", endpoints);
        let relay = env.relay(0, &[env.ipc("cam")]);
        let (source, relay) = match sealed {
            false => (source.ready(), relay.ready()),
            true => (
                source.flag("feed-key", &key).ready(),
                relay.flag("feed-key", &key).ready(),
            ),
        };

        let viewing = env.viewer(env.relay_address(0), "cam").start();
        viewing.wait_shown(10);
        let before = source.usage();
        let lie = FeedbackReport {
            demand: vec![Demand {
                stream: "cam".into(),
                ..Demand::default()
            }],
            ..FeedbackReport::default()
        };

        let forged = upstream(&encode_feedback(lie)).repeat(100);
        let long = upstream(&[0xff; MAX_UPSTREAM - 1]);
        for flood in [forged, long, upstream(b"no protobuf").repeat(100)] {
            assail(address, &flood, Duration::from_secs(1));
        }

        // Who has not the key does not come as far as to say something.
        let told = if sealed {
            "subscriber refused"
        } else {
            "feedback of a relay dropped"
        };

        source.wait_for_line(told);
        let lines = source.log().matching(0, told).len();
        assert!(lines <= 8, "{lines} lines");
        let after = source.usage();
        assert!(
            after.resident <= before.resident + GROWTH,
            "{before:?} {after:?}"
        );

        assert!(source.exits().is_empty() && relay.exits().is_empty());
        viewing.wait_more(10);
        let (report, _) = viewing.finish();
        report.assert_one_session();
    }
}

#[test]
fn what_a_client_without_a_session_reports_is_not_told() {
    let env = TestEnv::new();
    let source = FakeSource::start("cam", None);
    let _relay = env.relay(0, &[source.endpoint()]).ready();
    let mut honest = viewer(&env, "honest");
    let mut client = RawClient::to(env.relay_address(0));
    client.say(&ToRelay::Join(join("cam")));

    for _ in 0..10 {
        client.say(&ToRelay::Detections(
            honest.1,
            detections(1, vec![found(666)]),
        ));
    }

    honest.0.say(&ToRelay::Detections(
        honest.1,
        detections(1, vec![found(1)]),
    ));

    until("the detection has come", SOON, || {
        (!source.detections("honest").is_empty()).then_some(())
    });
    assert!(source.seen().iter().all(|seen| {
        seen.detections
            .iter()
            .all(|bytes| *bytes == encode(&found(1)))
    }));
}
