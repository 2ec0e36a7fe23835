//! What the relay says of sources that are away or in each other's way.

use fanlight_tests::TestEnv;
use fanlight_tests::http::Site;
use fanlight_tests::wait::{SOON, until};
use serde_json::{Value, json};

use super::USAGE;

const BALL: &str = "--input ball --size 320x240 --rate 30";

/// Waits until one of the problems that the relay tells has all these words.
#[track_caller]
fn wait_problem(site: &Site, words: &[&str]) {
    until(&format!("a problem says {words:?}"), SOON, || {
        let told = site.get("/readyz").json()["problems"].clone();
        let mut problems = told.as_array().unwrap().iter().filter_map(Value::as_str);
        problems
            .any(|problem| words.iter().all(|word| problem.contains(word)))
            .then_some(())
    });
}

fn readyz(site: &Site) -> u16 {
    site.get("/readyz").status
}

#[test]
fn sources_that_are_missing_are_listed_and_readiness_asks_for_what_is_set() {
    let env = TestEnv::new();
    let _source = env.source("cam").flags(BALL).ready();
    let endpoints = [
        env.ipc("cam"),
        env.ipc("away"),
        format!("tcp://{}", env.source_address(3)),
        "tcp://no.such.host.invalid:5000".to_owned(),
    ];

    let http = format!("{}:0", env.relay_address(0).ip());
    let start = |number, ready: &str| {
        env.relay(number, &endpoints)
            .flag("http", &http)
            .flag("http-ready", ready)
            .flag("allow-remote-sources", "true")
            .ready()
    };

    let any = start(0, "any");
    let site = Site::of(&any);
    until("any source is enough", SOON, || {
        (readyz(&site) == 200).then_some(())
    });

    wait_problem(&site, &["source 2", "away.ipc", "no such socket"]);
    wait_problem(&site, &["source 3", "nobody answers at this port"]);
    wait_problem(&site, &["source 4", "no.such.host.invalid:5000", "resolve"]);
    any.wait_for_line("no.such.host.invalid");
    let sources = site.get("/api/sources").json()["sources"].clone();
    assert_eq!(sources[0]["problem"], Value::Null, "{sources}");
    assert_eq!(
        (&sources[1]["source"], &sources[1]["heard"]),
        (&json!(2), &json!(false))
    );

    let metrics = String::from_utf8(site.get("/metrics").body).unwrap();
    for line in [
        "fanlight_relay_source_up{source=\"1\"} 1.0",
        "fanlight_relay_source_up{source=\"2\"} 0.0",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }

    let named = start(1, "cam");
    let site = Site::of(&named);
    until("the stream is there", SOON, || {
        (readyz(&site) == 200).then_some(())
    });

    for (number, ready) in [(2, "all"), (3, "cam,gate")] {
        let relay = start(number, ready);
        let site = Site::of(&relay);
        until("the stream is there", SOON, || {
            (site.get("/api/health").status == 200).then_some(())
        });
        assert_eq!(readyz(&site), 503, "{ready}");
    }

    env.relay(4, &endpoints)
        .flag("http", &http)
        .flag("http-ready", "a b")
        .ends_with(USAGE)
        .says(&["http-ready", "stream name"]);
}

#[test]
fn a_name_that_two_sources_have_is_told_everywhere() {
    let env = TestEnv::new();
    let second = env.path("second.ipc");
    let second = format!("ipc://{}", second.display());
    let first = env.source("cam").flags(BALL).ready();
    let relay = env
        .relay(0, &[env.ipc("cam"), second.clone()])
        .flag("http", format!("{}:0", env.relay_address(0).ip()))
        .ready();

    let site = Site::of(&relay);
    until("the first is heard", SOON, || {
        (readyz(&site) == 200).then_some(())
    });

    let refused_source = env
        .program("source")
        .flag("stream", "cam")
        .flag("publish", &second)
        .flags(BALL)
        .ready();

    wait_problem(&site, &["source 2", "stream cam", "source 1 has a stream"]);
    let why = "source 1 has a stream of that name: give one of the two another name";
    refused_source.says(&["a relay does not take a stream", why]);
    until("the service manager is told", SOON, || {
        let started = refused_source.started();
        let notes = refused_source.manager().since(started, "STATUS=");
        notes
            .iter()
            .any(|note| note.text.contains(why))
            .then_some(())
    });
    let status = || env.program("source").flags("status").flag("at", &second);
    let listen = env.relay_address(0).to_string();
    status()
        .ends_with(0)
        .says(&["cam: not taken by the relay", &listen, why]);
    let refused = site.get("/api/sources").json()["sources"][1]["refused"].clone();
    assert!(refused["cam"].is_string(), "{refused}");
    let metrics = String::from_utf8(site.get("/metrics").body).unwrap();
    let line = "fanlight_relay_source_refused_streams{source=\"2\"} ";
    assert!(
        metrics.contains(line) && !metrics.contains(&format!("{line}0.0")),
        "{metrics}"
    );

    first.kill();
    until("the second has the name", SOON, || {
        let sources = site.get("/api/sources").json();
        (sources["sources"][1]["refused"] == json!({})).then_some(())
    });
    until("its source says nothing of that any more", SOON, || {
        let (_, program) = status().run();
        let lines = program.log().matching(0, "");
        let out = lines.iter().filter(|line| line.from == "out");
        let out: String = out.map(|line| line.text.as_str()).collect();
        (out.contains("cam: ") && !out.contains("not taken")).then_some(())
    });
}

#[test]
fn a_filter_that_matches_nothing_is_told_with_the_streams_that_there_are() {
    let env = TestEnv::new();
    let _source = env.source("gate").flags(BALL).ready();
    let http = format!("{}:0", env.relay_address(0).ip());
    let relay = env
        .relay(0, &[env.ipc("gate")])
        .flag("http", http)
        .flag("streams", "cam9")
        .ready();

    let site = Site::of(&relay);
    wait_problem(&site, &["no such stream", "cam9 wanted", "it has gate"]);
    relay.wait_for_line("cam9 wanted, it has gate");
}

#[test]
fn ready_ends_with_what_the_relay_says_and_needs_no_other_program() {
    let env = TestEnv::new();
    let http = env.http_address(0).to_string();
    let ready = |code| {
        let asked = env.program("relay").flag("http", &http).flags("ready");
        asked.ends_with(code)
    };

    ready(1).says(&["no answer from", &http]);
    let _relay = env.relay(0, &[env.ipc("cam")]).flag("http", &http).ready();
    ready(1).says(&["no source has been heard yet"]);
    let _source = env.source("cam").flags("--input ball").ready();
    until("the relay is ready", SOON, || {
        (readyz(&Site(env.http_address(0))) == 200).then_some(())
    });
    ready(0).says(&["\"ready\":true"]);
    env.program("relay")
        .flags("ready")
        .ends_with(64)
        .says(&["`http`"]);
}
