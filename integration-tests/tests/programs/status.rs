//! What an operator and a monitor are told of screens: `fanlight-source status` and `verify`, with their exit codes.

use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::feed_connection::{Connection, Resolver};
use fanlight_daemon::{Shutdown, clock};
use fanlight_proto::detections::encode;
use fanlight_proto::feed::encode_feedback;
use fanlight_proto::message::{Ball, Detection, FeedbackReport, ViewerReport, parse_frame, truth};
use fanlight_proto::zmtp::{Event, Security};
use fanlight_tests::TestEnv;
use fanlight_tests::program::{Launch, Program};
use fanlight_tests::wait::{self, SOON};
use serde_json::Value;

/// No source could be asked.
const NO_SOURCE: i32 = 2;

/// Some screen is not right.
const NOT_RIGHT: i32 = 1;

fn ball(env: &TestEnv, flags: &str) -> Launch {
    env.source("cam")
        .flags("--input ball --size 320x240")
        .flags(flags)
}

fn ask(env: &TestEnv, feedback: &str) -> Launch {
    env.program("source")
        .flags(feedback)
        .flag("at", env.ipc("cam"))
}

/// What it wrote on standard output as JSON, once it has ended with `code`.
fn json(launch: Launch, code: i32) -> Value {
    let (exit, program) = launch.flags("--json").run();
    assert_eq!(exit.code(), Some(code));
    // What it wrote may be read a little later than its end.
    wait::until("JSON", SOON, || {
        let lines = program.log().matching(0, "");
        let out: String = lines
            .iter()
            .filter(|line| line.from == "out")
            .map(|line| line.text.as_str())
            .collect();
        serde_json::from_str(&out).ok()
    })
}

fn screen(env: &TestEnv) -> Program {
    let viewer = env
        .program("viewer")
        .flags("--headless --stream cam --track ball --name hall");
    viewer
        .flag("relay", env.relay_address(0).to_string())
        .start()
}

#[test]
fn where_no_source_is_both_say_so_and_end_with_two() {
    let env = TestEnv::new();
    for feedback in [
        "status",
        "status --json",
        "verify --for 1s",
        "verify --for 1s --quiet",
    ] {
        ask(&env, feedback).ends_with(NO_SOURCE).says(&[
            "no source publishes at",
            "cam.ipc",
            "--at",
        ]);
    }
}

#[test]
fn whoever_has_not_the_key_is_told_that_and_learns_nothing() {
    let env = TestEnv::new();
    let key = |name: &str| {
        let path = env.path(name);
        env.program("source")
            .flags("keygen feed")
            .flags(path.to_str().unwrap())
            .ends_with(0);
        path
    };

    let (good, bad) = (key("good"), key("bad"));
    let _source = ball(&env, "").flag("feed-key", &good).ready();
    ask(&env, "status")
        .ends_with(NO_SOURCE)
        .says(&["sealed", "feed_key"]);
    ask(&env, "status")
        .flag("feed-key", &bad)
        .ends_with(NO_SOURCE)
        .says(&["different feed keys"]);

    let told = json(ask(&env, "status").flag("feed-key", &good), 0);
    assert_eq!(told["streams"][0]["name"], "cam");
}

#[test]
fn a_source_without_screens_is_told_of_and_is_not_verified() {
    let env = TestEnv::new();
    let _source = ball(&env, "--canary on").ready();
    let told = json(ask(&env, "status"), 0);
    assert_eq!(
        (&told["streams"][1]["name"], &told["screens"]),
        (&"cam.canary".into(), &Value::Array(Vec::new()))
    );

    let judged = json(ask(&env, "verify --for 1s"), NOT_RIGHT);
    assert_eq!(
        (&judged["right"], &judged["screens_measured"]),
        (&false.into(), &0.into())
    );

    ask(&env, "verify --for 1s --viewers 0").ends_with(0);
}

#[test]
fn a_screen_that_shows_the_right_picture_is_verified_and_one_that_stands_still_is_not() {
    let env = TestEnv::new();
    let _source = ball(&env, "--canary on").ready();
    let _relay = env.relay(0, &[env.ipc("cam")]).ready();
    let viewer = screen(&env);
    viewer.wait_for_line("watching the canary");
    let judged = json(ask(&env, "verify --for 4s --max-age 2s"), 0);
    assert_eq!(
        (&judged["screens_measured"], &judged["screens_right"]),
        (&1.into(), &1.into()),
        "{judged}"
    );

    assert_eq!(
        judged["screens"].as_array().unwrap().len(),
        1,
        "its picture and its canary are one row: {judged}"
    );

    viewer.freeze();
    let judged = json(ask(&env, "verify --for 5s"), NOT_RIGHT);
    assert_eq!(judged["screens"][0]["verdict"], "blind", "{judged}");
}

/// A relay whose viewer finds the ball `offset` pixels from where it is.
fn lie(endpoint: &str, offset: f32, length: Duration) {
    let shutdown = Shutdown::new();
    let endpoint = endpoint.parse().expect("an endpoint");
    let resolver = &mut Resolver::default();
    let mut connection = Connection::open(&endpoint, &Security::Null, resolver, &shutdown)
        .expect("a source listens there");
    let deadline = clock::now() + length;
    connection
        .send(|encoder| encoder.subscribe(b"cam/"), deadline, &shutdown)
        .expect("a subscription");
    while clock::now() < deadline {
        let event = connection.next().expect("the source breaks no rule");
        let Some(Event::Message { topic, body }) = event else {
            connection
                .wait(None, deadline, &shutdown)
                .expect("the source stays");
            continue;
        };

        let Some(detections) = found(&topic, body, offset) else {
            continue;
        };

        let viewers = vec![ViewerReport {
            stream: "cam".into(),
            viewer: 1,
            screen: 1,
            name: "liar".into(),
            detections,
            ..ViewerReport::default()
        }];

        let report = encode_feedback(FeedbackReport {
            relay: 5,
            viewers,
            ..FeedbackReport::default()
        });

        connection
            .send(|encoder| encoder.upstream(&report), deadline, &shutdown)
            .expect("feedback");
    }
}

fn found(topic: &[u8], body: Bytes, offset: f32) -> Option<Vec<Bytes>> {
    let frame = parse_frame(topic, body, usize::MAX).ok()?;
    let truth::Kind::Ball(ball) = frame.header.truth?.kind?;
    let ball = Some(Ball {
        x: ball.x + offset,
        ..ball
    });

    Some(vec![encode(&Detection {
        epoch: frame.id.epoch,
        number: frame.id.number,
        ball,
        ..Detection::default()
    })])
}

#[test]
fn a_screen_is_wrong_by_the_distance_to_the_truth_of_that_very_frame() {
    for (offset, code, verdict) in [(1.5, 0, "right picture"), (2.5, NOT_RIGHT, "wrong")] {
        let env = TestEnv::new();
        let _source = ball(&env, "--rate 5").ready();
        let endpoint = env.ipc("cam");
        let liar = std::thread::spawn(move || lie(&endpoint, offset, Duration::from_secs(7)));
        let judged = json(ask(&env, "verify --for 3s --max-age 1s"), code);
        liar.join().unwrap();
        let screen = &judged["screens"][0];
        assert_eq!(screen["verdict"], verdict, "{judged}");
        assert!(
            (screen["worst_px"].as_f64().unwrap() - f64::from(offset)).abs() < 0.01,
            "{judged}"
        );
    }
}

#[test]
fn a_watch_goes_on_when_the_source_is_started_again() {
    let env = TestEnv::new();
    let source = ball(&env, "").ready();
    let watch = ask(&env, "status --watch").start();
    watch.wait_for_line("No screen is known");
    source.stop();
    let gone = watch.wait_for_line("no source publishes");
    source.start_again();
    let mark = watch
        .log()
        .matching(0, "")
        .iter()
        .position(|line| line.time == gone.time)
        .unwrap();

    watch.wait_for_line_from(mark, "No screen is known", SOON);
    assert_eq!(watch.stop().0.code(), Some(0));
}
