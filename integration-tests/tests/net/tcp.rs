//! A relay that can be reached by UDP and by TCP, and a network that lets only one of them through.

use std::net::SocketAddr;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_tests::lab::Host;
use fanlight_tests::long;
use fanlight_tests::promise::judge;
use fanlight_tests::viewer_process::{Report, Shown, ViewerProcess};
use fanlight_tests::wait::{SOON, pause};

use crate::fixture::{Fixture, USUAL};

/// The relay's HTTP port.
const HTTP: u16 = 8080;

/// Pictures by the other way, and back by UDP, so long after the network has changed.
const CHANGED: Duration = Duration::from_secs(2);

/// As [`CHANGED`], for a link that heals for a viewer over TCP: silence is noticed after 1.5 s, and one attempt to connect
/// may be under way.
const HEALED: Duration = Duration::from_secs(2);

fn open() -> Option<Fixture> {
    Fixture::with(USUAL, |relay| {
        relay
            .flags("--http-access open --http")
            .flags(&format!("0.0.0.0:{HTTP}"))
    })
}

/// A viewer on `host` that may use both ways.
fn watch(fixture: &Fixture, host: &Host) -> ViewerProcess {
    fixture
        .watch()
        .flag("relay", url(fixture))
        .under(&host.enter())
        .start()
}

fn url(fixture: &Fixture) -> String {
    format!("ws://{}", SocketAddr::from((fixture.host.address(), HTTP)))
}

/// From now on no UDP passes to or from `host`.
fn block_udp(fixture: &Fixture, host: &Host) {
    for side in ["saddr", "daddr"] {
        fixture.lab.rule(&format!(
            "ip {side} {} meta l4proto udp drop",
            host.address()
        ));
    }
}

#[track_caller]
fn assert_genuine(report: &Report, frames: &[Shown]) {
    report.assert_balanced();
    assert_eq!(report.decode.errors, 0, "{report:?}");
    assert!(
        frames.is_sorted_by(|a, b| a.number < b.number),
        "no frame is shown twice or behind a newer one"
    );
}

#[test]
fn where_udp_is_blocked_pictures_come_by_tcp_and_again_by_udp_when_it_opens() {
    let Some(fixture) = open() else { return };
    let host = fixture.lab.host("screen");
    block_udp(&fixture, &host);
    let viewing = watch(&fixture, &host);
    let says = |mark, words: &str| {
        viewing.program().wait_for_line_from(mark, words, SOON);
    };

    says(0, "UDP brings no pictures: pictures by tcp");
    viewing.wait_more(10);

    let mark = viewing.program().log().mark();
    fixture.lab.forget_rules();
    says(mark, "UDP works again: pictures by udp");
    viewing.wait_more(10);

    let mark = viewing.program().log().mark();
    block_udp(&fixture, &host);
    says(mark, "UDP brings no pictures: pictures by tcp");
    viewing.wait_more(10);

    let (report, frames) = viewing.finish();
    assert_genuine(&report, &frames);
    let words: Vec<_> = report
        .transport_changes
        .iter()
        .map(|it| it.to.as_str())
        .collect();
    assert_eq!(words, ["tcp", "udp", "tcp"]);
}

/// As a tunnel does whose packets are shorter than ours: what keeps the session passes, and media does not.
#[test]
fn where_only_short_datagrams_pass_pictures_come_by_tcp() {
    let Some(fixture) = open() else { return };
    let host = fixture.lab.host("screen");
    let long = format!(
        "ip daddr {} meta l4proto udp meta length > 1000 drop",
        host.address()
    );
    fixture.lab.rule(&long);
    let viewing = watch(&fixture, &host);
    viewing.wait_shown(30);
    let (report, frames) = viewing.finish();
    assert_genuine(&report, &frames);
    assert_eq!(report.transport, "tcp");
    assert!(report.joins >= 2, "both have sessions: {report:?}");
}

#[test]
#[ignore = "./dev promises"]
fn pictures_come_by_the_other_way_within_two_seconds() {
    let Some(fixture) = open() else { return };
    judge("P42: UDP is blocked and opened", |measurement| {
        let host = fixture.lab.host("screen");
        let viewing = watch(&fixture, &host);
        viewing.wait_shown(30);
        let born = viewing.program().started();
        let rounds = if long() { 10 } else { 3 };
        let (mut blocked, mut opened, mut gaps) = (Vec::new(), Vec::new(), Vec::new());

        for _ in 0..rounds {
            blocked.push(clock::now());
            block_udp(&fixture, &host);
            pause(Duration::from_secs(4));
            opened.push(clock::now());
            fixture.lab.forget_rules();
            pause(Duration::from_secs(4));
        }

        let (report, frames) = viewing.finish();
        assert_genuine(&report, &frames);
        let changes = |to: &str| -> Vec<Time> {
            let changes = report.transport_changes.iter().filter(|it| it.to == to);
            changes
                .map(|it| born + Duration::from_secs_f64(it.at_ms / 1e3))
                .collect()
        };
        assert_eq!(
            (changes("tcp").len(), changes("udp").len()),
            (rounds, rounds)
        );

        for at in blocked.iter().chain(&opened) {
            let around = frames
                .windows(2)
                .filter(|pair| pair[1].at > *at && pair[0].at < *at + Duration::from_secs(3));
            let longest = around
                .map(|pair| pair[1].at.saturating_since(pair[0].at))
                .max();
            gaps.push(longest.unwrap_or(SOON));
        }

        let after = |moments: &[Time], changes: Vec<Time>| -> Vec<Duration> {
            let pairs = moments.iter().zip(changes);
            pairs
                .map(|(moment, change)| change.saturating_since(*moment))
                .collect()
        };
        let (to_tcp, to_udp) = (
            after(&blocked, changes("tcp")),
            after(&opened, changes("udp")),
        );
        let (at_block, at_open) = gaps.split_at(rounds);
        measurement.all_at_most("blocked: by TCP after", CHANGED, to_tcp);
        measurement.all_at_most(
            "blocked: longest without a picture",
            CHANGED,
            at_block.to_vec(),
        );
        measurement.all_at_most("opened: by UDP after", CHANGED, to_udp);
        let usual = Duration::from_millis(250);
        measurement.all_at_most("opened: longest without a picture", usual, at_open.to_vec());
    });
}

/// Beside P5, for a viewer over TCP alone.
#[test]
#[ignore = "./dev promises"]
fn a_viewer_over_tcp_that_was_cut_off_is_live_again_soon() {
    let Some(fixture) = open() else { return };
    judge(
        "P5 by TCP: a network that comes apart and heals",
        |measurement| {
            let host = fixture.lab.host("screen");
            let viewing = fixture
                .env
                .viewer_at(&url(&fixture), "cam")
                .under(&host.enter())
                .start();
            viewing.wait_shown(30);
            let cuts: &[u64] = if long() { &[1, 4, 1, 4, 30] } else { &[1, 4] };

            for length in cuts.iter().map(|seconds| Duration::from_secs(*seconds)) {
                host.unplug();
                pause(length);
                let healed = clock::now();
                host.plug();
                let shown = viewing.wait_shown_after(healed, SOON);
                let took = shown.at.saturating_since(healed);
                measurement.at_most(format!("frames again after {length:?} apart"), HEALED, took);
                viewing.wait_more(30);
            }

            let (report, frames) = viewing.finish();
            assert_genuine(&report, &frames);
        },
    );
}
