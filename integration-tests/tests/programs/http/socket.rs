//! `/ws`: any number of streams, by credit.

use std::collections::BTreeMap;
use std::time::Duration;

use fanlight_proto::limits::MAX_STREAMS;
use fanlight_tests::TestEnv;
use fanlight_tests::http::{Said, Site};
use fanlight_tests::promise::judge;
use fanlight_tests::wait::{SOON, until};
use serde_json::json;

use super::{Fixture, OLD_MS, assert_picture};

/// Something must not come: so long it is waited for.
const NOT: Duration = Duration::from_millis(700);

#[test]
fn frames_come_in_order_with_all_that_is_known_of_them() {
    let fixture = Fixture::new("");
    let mut socket = fixture.site.socket("/ws", &[]).unwrap();
    let hello = socket.words("hello");
    assert_eq!(
        (&hello["version"], &hello["role"]),
        (&json!(1), &json!("admin"))
    );

    assert!(
        hello["server"]
            .as_str()
            .unwrap()
            .starts_with("fanlight-relay ")
    );

    assert_eq!(socket.words("streams")["streams"][0]["name"], "cam");
    socket.subscribe(7, "cam", None);
    let mut last = None;

    for _ in 0..30 {
        let frame = socket.frame().unwrap();
        socket.credit(7);
        assert_eq!(
            (frame.subscription, frame.width, frame.height),
            (7, 320, 240)
        );

        assert_picture(&frame.jpeg, 320, 240);
        assert!(
            frame.captured_us > 0 && frame.captured_utc_us > 1_000_000_000_000_000,
            "{frame:?}"
        );

        assert!(f64::from(frame.age_us) < 1e3 * OLD_MS, "{}", frame.age_us);
        let skipped = last.map_or(0, |last| frame.number - last - 1);
        assert_eq!(u64::from(frame.skipped), skipped);
        last = Some(frame.number);
    }
}

#[test]
fn the_clock_of_the_relay_can_be_asked_and_ages_follow_from_it() {
    let fixture = Fixture::new("");
    let mut socket = fixture.site.socket("/ws", &[]).unwrap();
    socket.say(&json!({ "type": "ping", "t": 12.5 }));
    let pong = socket.words("pong");
    assert_eq!(pong["t"], 12.5);
    socket.subscribe(1, "cam", None);
    let frame = socket.frame().unwrap();
    let age = frame.captured_us - pong["now_us"].as_i64().unwrap();
    assert!(age.abs() < 30_000_000, "captured {age} us after the answer");
}

#[test]
fn without_credit_no_more_comes_and_then_the_newest() {
    let fixture = Fixture::new("");
    let mut socket = fixture.site.socket("/ws", &[]).unwrap();
    socket.subscribe(1, "cam", None);
    let first = socket.frame().unwrap();
    socket.limit(NOT);

    while let Ok(said) = socket.hear() {
        assert!(
            !matches!(said, Said::Frame(_)),
            "a frame came without credit"
        );
    }

    socket.limit(SOON);
    socket.credit(1);
    let second = socket.frame().unwrap();
    assert!(second.skipped > 0, "the newest comes, not the next");
    assert_eq!(u64::from(second.skipped), second.number - first.number - 1);
}

#[test]
fn a_frame_that_is_not_answered_is_followed_by_a_few_bytes_once_the_next_is_there() {
    let fixture = Fixture::new("");
    let mut socket = fixture.site.socket("/ws", &[]).unwrap();
    socket.subscribe(1, "cam", None);
    let mut probes = 0;
    // A list of the streams may come between, which serves as well.
    for _ in 0..10 {
        socket.frame().unwrap();
        match socket.hear().unwrap() {
            Said::TailProbe => probes += 1,
            Said::Words(_) => {}
            other => panic!("without credit: {other:?}"),
        }

        socket.credit(1);
    }

    assert!(probes > 5, "{probes} of 10 frames");
}

#[test]
#[ignore = "./dev promises"]
fn each_subscription_has_its_own_rate_which_may_change() {
    judge("rates of subscriptions", |measurement| {
        let fixture = Fixture::new("");
        let mut socket = fixture.site.socket("/ws", &[]).unwrap();
        socket.subscribe(1, "cam", None);
        socket.subscribe(2, "cam", Some(10.0));
        socket.subscribe(3, "cam", Some(5.0));
        let mut counts = BTreeMap::<u32, u32>::new();
        let mut count_to = |socket: &mut fanlight_tests::http::Socket, all: u32| {
            counts.clear();
            while counts.get(&1).is_none_or(|count| *count < all) {
                let frame = socket.frame().unwrap();
                *counts.entry(frame.subscription).or_default() += 1;
                socket.credit(frame.subscription);
            }

            (counts[&2], counts[&3])
        };

        // Three seconds of the full rate.
        let (ten, five) = count_to(&mut socket, 90);
        measurement.compare(
            "frames of 90 at 10 a second",
            "27 to 33",
            ten.to_string(),
            "30",
            (27..=33).contains(&ten),
        );

        measurement.compare(
            "frames of 90 at 5 a second",
            "13 to 18",
            five.to_string(),
            "15",
            (13..=18).contains(&five),
        );

        socket.say(&json!({ "type": "rate", "id": 3, "fps": null }));
        socket.say(&json!({ "type": "unsubscribe", "id": 2 }));
        let mut all = 0;

        while all < 30 {
            let frame = socket.frame().unwrap();
            all += u32::from(frame.subscription == 1);
            socket.credit(frame.subscription);
        }

        let mut counts = [0_u32; 4];
        while counts[1] < 30 {
            let frame = socket.frame().unwrap();
            counts[frame.subscription as usize] += 1;
            socket.credit(frame.subscription);
        }

        assert_eq!(counts[2], 0, "it was unsubscribed");
        measurement.compare(
            "frames of 30 after the limit was taken back",
            ">= 27",
            counts[3].to_string(),
            "30",
            counts[3] >= 27,
        );
    });
}

#[test]
#[ignore = "./dev promises"]
fn one_socket_carries_twelve_streams() {
    judge("twelve streams by one WebSocket", |measurement| {
        let env = TestEnv::new();
        let names: Vec<String> = (0..12).map(|n| format!("cam{n}")).collect();
        let flags = "--input ball --size 160x120 --rate 10";
        let _sources: Vec<_> = names
            .iter()
            .map(|name| env.source(name).flags(flags).ready())
            .collect();

        let endpoints: Vec<_> = names.iter().map(|name| env.ipc(name)).collect();
        let http = format!("{}:0", env.relay_address(0).ip());
        let relay = env.relay(0, &endpoints).flag("http", http).ready();
        let mut socket = Site::of(&relay).socket("/ws", &[]).unwrap();

        for (id, name) in (1..).zip(&names) {
            socket.subscribe(id, name, None);
        }

        let mut counts = BTreeMap::<u32, u32>::new();
        until("each stream has brought twenty frames", SOON, || {
            let frame = socket.frame().unwrap();
            socket.credit(frame.subscription);
            *counts.entry(frame.subscription).or_default() += 1;
            (counts.len() == 12 && counts.values().all(|count| *count >= 20)).then_some(())
        });

        let most = counts.values().max().unwrap();
        measurement.compare(
            "most frames of a stream where each brought twenty",
            "< 40",
            most.to_string(),
            "20",
            *most < 40,
        );
    });
}

#[test]
fn a_stream_that_is_not_there_is_said_once_and_its_frames_come_when_it_is() {
    let fixture = Fixture::new("");
    let mut socket = fixture.site.socket("/ws", &[]).unwrap();
    socket.subscribe(5, "later", None);
    let error = socket.words("error");
    assert_eq!(
        (&error["id"], &error["code"]),
        (&json!(5), &json!("no_such_stream"))
    );

    let ipc = fixture.env.ipc("cam");
    drop(fixture.source);
    let _later = fixture
        .env
        .program("source")
        .flag("publish", ipc)
        .flags("--stream later --input ball --size 160x120")
        .ready();

    let mut came = false;
    let mut listed = false;

    while !came || !listed {
        match socket.hear().unwrap() {
            Said::Frame(frame) => {
                assert_eq!((frame.subscription, frame.width), (5, 160));
                came = true;
            }
            Said::Words(said) if said["type"] == "streams" => {
                listed |= said["streams"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|stream| stream["name"] == "later");
            }
            Said::TailProbe => {}
            said => panic!("it is said once: {said:?}"),
        }
    }
}

#[test]
fn what_becomes_of_a_source_is_told_and_frames_go_on_when_it_is_back() {
    let fixture = Fixture::new("");
    let mut socket = fixture.site.socket("/ws", &[]).unwrap();
    socket.subscribe(1, "cam", None);
    let epoch = socket.frame().unwrap().epoch;
    fixture.source.kill();
    while socket.words("streams")["streams"][0]["source_gone"] != true {}
    fixture.source.start_again();
    socket.credit(1);
    // The credit may have been used by a frame that was on its way.
    let frame = until("a frame of the new run", SOON, || {
        socket.credit(1);
        let frame = socket.frame().unwrap();
        (frame.epoch != epoch).then_some(frame)
    });

    assert_eq!(frame.skipped, 0, "frames of another run were not skipped");
}

#[test]
fn messages_that_make_no_sense_are_answered_by_errors_and_do_no_harm() {
    let fixture = Fixture::new("");
    let mut socket = fixture.site.socket("/ws", &[]).unwrap();

    for (said, code) in [
        ("", "bad_message"),
        ("nonsense", "bad_message"),
        ("[1]", "bad_message"),
        (r#"{"type":"shout"}"#, "bad_message"),
        (
            r#"{"type":"subscribe","id":-1,"stream":"cam"}"#,
            "bad_message",
        ),
        (
            r#"{"type":"subscribe","id":1,"stream":"cam","fps":0}"#,
            "bad_message",
        ),
        (
            r#"{"type":"subscribe","id":1,"stream":"cam","fps":1e300}"#,
            "bad_message",
        ),
        (
            r#"{"type":"subscribe","id":1,"stream":"../cam"}"#,
            "no_such_stream",
        ),
        (r#"{"type":"rate","id":1,"fps":-3}"#, "bad_message"),
    ] {
        socket.send(1, said.as_bytes()).unwrap();
        assert_eq!(socket.words("error")["code"], code, "{said}");
    }

    socket.send(2, b"binary").unwrap();
    assert_eq!(socket.words("error")["code"], "bad_message");
    // What names no subscription may be late, and is no error.
    socket.credit(99);
    socket.say(&json!({ "type": "unsubscribe", "id": 99 }));

    let most = u32::try_from(MAX_STREAMS).unwrap();
    for id in 0..most {
        socket.subscribe(id, "cam", Some(1.0));
    }

    socket.subscribe(most, "cam", None);
    assert_eq!(socket.words("error")["code"], "too_many");
    socket.subscribe(3, "cam", None);
    until(
        "a subscription takes the place of one with its number",
        SOON,
        || (socket.frame().unwrap().subscription == 3).then_some(()),
    );
}
