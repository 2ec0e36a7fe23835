//! `fanlight-load`: many viewers in one process, at a real relay.

use std::path::PathBuf;

use fanlight_tests::TestEnv;
use fanlight_tests::program::{Launch, Program, RESTART_DELAY};
use fanlight_tests::promise::Alone;
use fanlight_tests::wait::{SOON, until};
use serde_json::Value;

/// Of a hundred frames, how many may be lost on the way or skipped.
const LOST_PERCENT: f64 = 15.0;

/// EX_USAGE of sysexits.h.
const USAGE: i32 = 64;

/// A relay with a source behind it.
struct Fixture {
    env: TestEnv,
    relay: Program,
    _source: Program,
}

impl Fixture {
    fn new(relay_flags: &str) -> Self {
        let env = TestEnv::new();
        let source = env
            .source("cam")
            .flags("--input ball --size 320x240 --rate 30")
            .ready();

        let relay = env.relay(0, &[env.ipc("cam")]).flags(relay_flags).ready();
        Self {
            env,
            relay,
            _source: source,
        }
    }

    /// A load of so many viewers, which leaves its report in [`Fixture::report`].
    fn load(&self, viewers: u32, duration: &str) -> Launch {
        let load = load(&self.env, viewers, duration).flag("json", self.path());
        load.flag("relay", self.env.relay_address(0).to_string())
            .flags("--stream cam")
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path()).unwrap()).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.env.path("load.json")
    }
}

fn load(env: &TestEnv, viewers: u32, duration: &str) -> Launch {
    env.program("load")
        .flag("viewers", viewers.to_string())
        .flag("duration", duration)
}

/// The number at `path`, such as `/frames/lost/total`.
#[track_caller]
fn number(report: &Value, path: &str) -> f64 {
    let value = report.pointer(path).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("{path} is no number in {report:#}"))
}

/// Asserts that all were served, that delivered and lost frames add up, and that the relay's time is known.
#[track_caller]
fn assert_good(report: &Value, viewers: u32, relay: &Program) {
    for sessions in ["asked", "joined", "served"] {
        assert_eq!(
            number(report, &format!("/sessions/{sessions}")),
            f64::from(viewers),
            "{report:#}"
        );
    }

    assert_eq!(report["sessions"]["refused"], serde_json::json!({}));
    assert!(number(report, "/sessions/all_joined_ms") > 0.0);
    let frames = |what| number(report, &format!("/frames/{what}"));
    assert_eq!(
        frames("expected"),
        frames("delivered") + frames("lost/total")
    );

    assert!(frames("delivered") > f64::from(viewers), "{report:#}");
    assert!(frames("least_delivered_percent") > 0.0, "{report:#}");
    let age = |who: &str| number(report, &format!("/age_ms/{who}/p50"));
    assert!(
        age("first") > 0.0 && age("first") <= age("all") && age("all") <= age("last"),
        "{report:#}"
    );

    assert_eq!(report["clock"], "monotonic");
    assert_eq!(
        report["cpu"]["relays"][0]["pid"].as_u64(),
        relay.pid().map(u64::from)
    );

    assert!(
        number(report, "/cpu/relays_ms_per_gigabit") > 0.0
            && number(report, "/cpu/own/ms_per_gigabit") > 0.0
    );

    assert!(number(report, "/cpu/relays/0/cores") > 0.0, "{report:#}");
}

#[test]
#[ignore = "./dev promises"]
fn twenty_viewers_lose_hardly_a_frame() {
    Alone::wait().judge("twenty viewers at one relay", |measurement| {
        let fixture = Fixture::new("");
        fixture.load(20, "3s").ends_with(0);
        let report = fixture.report();
        assert_good(&report, 20, &fixture.relay);
        let lost = number(&report, "/frames/lost/total");
        let expected = number(&report, "/frames/expected");

        measurement.compare(
            format!("of {expected} frames lost"),
            format!("<= {LOST_PERCENT} %"),
            lost.to_string(),
            "",
            lost * 100.0 <= expected * LOST_PERCENT,
        );
    });
}

#[test]
fn fifty_viewers_in_one_process_get_all_frames_and_the_relays_time_is_told() {
    let fixture = Fixture::new("");
    // More sockets than the soft limit lets it have at first.
    let limited = ["sh", "-c", "ulimit -Sn 40 && exec \"$@\"", "sh"];
    let load = load(&fixture.env, 50, "3s").flag("relay", fixture.env.relay_address(0).to_string());
    let ended = load
        .flags("--stream cam --threads 2 --json -")
        .under(&limited)
        .ends_with(0);

    // Nothing but the report is on standard output.
    let report: Value = until("the report is whole", SOON, || {
        let lines = ended.log().matching(0, "");
        let text: String = lines
            .iter()
            .filter(|line| line.from == "out")
            .map(|line| line.text.as_str())
            .collect();
        serde_json::from_str(&text).ok()
    });

    assert_good(&report, 50, &fixture.relay);
    assert_eq!(report["stream"], "cam");
    ended.says(&["50 of 50 live", "frames/s", "Gbit/s", "relay", "cores"]);
    ended.says(&["processor", "ms for each gigabit delivered"]);
    // Each viewer came from an address of its own.
    fixture.relay.says(&["viewers joined", "127.1.0."]);
    fixture.relay.stop();
    fixture.relay.says(&["stopping", "viewers=0"]);
}

#[test]
fn viewers_with_the_key_are_let_in_and_those_without_are_told_what_they_lack() {
    let env = TestEnv::new();
    let key = env.path("wall.psk");
    env.program("relay")
        .flags("keygen psk")
        .flags(&key.display().to_string())
        .ends_with(0);

    let fixture = Fixture::new(&format!("--access psk --key-file {}", key.display()));
    fixture.load(20, "2s").flag("key-file", &key).ends_with(0);
    assert_good(&fixture.report(), 20, &fixture.relay);
    let refused = fixture.load(20, "2s").ends_with(1);
    refused.says(&["no viewer was let in at", "the relay asks for a key"]);
    let report = fixture.report();
    assert_eq!(
        report["sessions"]["refused"],
        serde_json::json!({ "no-key": 20 })
    );

    assert_eq!(
        (
            number(&report, "/sessions/joined"),
            number(&report, "/frames/expected")
        ),
        (0.0, 0.0)
    );
}

#[test]
fn a_relay_that_is_not_there_is_named() {
    let env = TestEnv::new();
    let relay = env.relay_address(0).to_string();
    let ended = load(&env, 5, "2s").flag("relay", &relay).ends_with(1);
    ended.says(&["no relay answers at", "nobody listens at", &relay]);

    let ended = load(&env, 5, "2s")
        .flags("--relay no-such-host.invalid:5004")
        .ends_with(1);
    ended.says(&["no-such-host.invalid:5004"]);
}

#[test]
fn viewers_that_a_full_relay_refuses_are_counted_and_the_others_measured() {
    let fixture = Fixture::new("--max-viewers 10");
    let ended = fixture.load(15, "1s").ends_with(1);
    ended.says(&["5 of 15 viewers got no frame", "as many viewers as it may"]);
    let report = fixture.report();
    assert_eq!(
        report["sessions"]["refused"],
        serde_json::json!({ "busy": 5 })
    );

    assert_eq!(
        (
            number(&report, "/sessions/joined"),
            number(&report, "/sessions/served")
        ),
        (10.0, 10.0)
    );

    assert!(number(&report, "/frames/delivered") >= 10.0, "{report:#}");
}

#[test]
fn a_relay_that_is_killed_leaves_a_gap_at_every_viewer() {
    let fixture = Fixture::new("");
    let load = fixture.load(10, "8s").start();
    load.wait_for_line("10 of 10 live");
    fixture.relay.keep();
    let killed = fixture.relay.kill();
    let exit = load.wait_exit(SOON);
    assert_eq!(exit.code(), Some(0), "all had frames");
    assert!(exit.time.saturating_since(killed) > RESTART_DELAY);
    let report = fixture.report();
    assert_eq!(number(&report, "/gaps/viewers"), 10.0, "{report:#}");
    assert!(
        number(&report, "/gaps/count") >= 10.0 && number(&report, "/gaps/longest_frames") >= 1.0,
        "{report:#}"
    );

    assert!(
        number(&report, "/gaps/longest_ms") >= RESTART_DELAY.as_millis() as f64,
        "{report:#}"
    );

    assert_eq!(number(&report, "/sessions/rejoins"), 10.0, "{report:#}");
    assert!(number(&report, "/frames/lost/away") >= 10.0, "{report:#}");
    // The process that had the socket is gone.
    assert_eq!(report["cpu"]["relays_ms_per_gigabit"], Value::Null);
    load.says(&["not known: its process ended while it was measured"]);
}

#[test]
fn a_signal_ends_it_with_the_report_of_what_was_measured() {
    let fixture = Fixture::new("");
    let load = fixture.load(5, "1h").start();
    load.wait_for_line("5 of 5 live");
    let (exit, _) = load.stop();
    assert_eq!(exit.code(), Some(0));
    assert!(number(&fixture.report(), "/frames/delivered") > 0.0);
}

#[test]
fn flags_that_cannot_be_are_refused_and_named() {
    let env = TestEnv::new();
    for (flags, code, words) in [
        ("", USAGE, ["--viewers <N>", ""]),
        ("--viewers 0", USAGE, ["--viewers", "1..=10000"]),
        ("--viewers 5 --duration 10", USAGE, ["--duration", "10s"]),
        ("--viewers 5 --duration 0s", USAGE, ["--duration", "is 0"]),
        ("--viewers 5 --relay nowhere", USAGE, ["relay", "host:port"]),
        (
            "--viewers 5 --relay-pid 7,8",
            USAGE,
            ["--relay-pid", "one each"],
        ),
        (
            "--viewers 5 --key-file /nowhere/at-all.psk",
            1,
            ["/nowhere/at-all.psk", ""],
        ),
    ] {
        env.program("load")
            .flags(flags)
            .ends_with(code)
            .says(&words);
    }

    let few = ["sh", "-c", "ulimit -n 100 && exec \"$@\"", "sh"];
    let refused = load(&env, 200, "1s").under(&few).ends_with(1);
    refused.says(&[
        "200 viewers",
        "264 open files",
        "at most 100",
        "LimitNOFILE=264",
    ]);

    let help = env.program("load").flags("--help").ends_with(0);
    help.says(&["Is many viewers at once"]);
    help.says(&["the memory of one frame"]);
}
