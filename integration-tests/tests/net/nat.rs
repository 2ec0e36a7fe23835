//! Promise P6: a viewer whose address changes under it, behind a router that hides it.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_tests::lab::{Nat, Traffic};
use fanlight_tests::long;
use fanlight_tests::promise::judge;
use fanlight_tests::viewer_process::ViewerProcess;
use fanlight_tests::wait::{SOON, pause, until};

use crate::fixture::{Fixture, PORT, USUAL};

/// Longest between two frames.
const GAP: Duration = Duration::from_millis(500);

/// The second byte of a datagram tells its kind.
const CHALLENGE: &str = "@th,72,8 2";
const MEDIA: &str = "@th,72,8 16";

/// In this time a session ends whose viewer is not heard.
const SESSION: Duration = Duration::from_secs(4);

fn hidden(fixture: &Fixture) -> (Nat, ViewerProcess) {
    let nat = fixture.lab.nat("router");
    let viewing = fixture.watch().under(&nat.enter()).start();
    viewing.wait_shown(10);
    (nat, viewing)
}

#[test]
#[ignore = "./dev promises"]
fn a_viewer_whose_address_changes_misses_half_a_second_at_most() {
    let Some(fixture) = Fixture::open(USUAL) else {
        return;
    };

    let (nat, viewing) = hidden(&fixture);
    judge("P6: a viewer whose address changes", |measurement| {
        let gaps = (0..if long() { 20 } else { 5 }).map(|_| {
            let forgot = clock::now();
            nat.forget();
            gap_after(&viewing, forgot)
        });

        measurement.all_at_most("between two frames", GAP, gaps);
    });

    let (report, _) = viewing.finish();
    report.assert_balanced();
    assert!(report.joins > 1, "the address did change: {report:?}");
}

/// The longest time between two frames in the second and a half after `since`.
fn gap_after(viewing: &ViewerProcess, since: Time) -> Duration {
    viewing.wait_shown_after(since + 3 * GAP, SOON);
    let shown = viewing.shown();
    let last = shown.iter().rposition(|shown| shown.at <= since).unwrap();
    shown[last..]
        .windows(2)
        .map(|pair| pair[1].at.saturating_since(pair[0].at))
        .max()
        .unwrap()
}

/// Challenges are lost in the switch, so that the address never answers one.
#[test]
fn an_address_that_has_not_answered_a_challenge_gets_no_media_and_no_more_than_it_sent() {
    let Some(fixture) = Fixture::open(USUAL) else {
        return;
    };

    let (nat, viewing) = hidden(&fixture);
    let router = nat.outer().address();
    let old = relay_port_of(&fixture, &nat);

    for name in ["up", "down", "media", "challenges"] {
        fixture.lab.counter(name);
    }

    let up = format!("ip saddr {router} udp dport {PORT} udp sport != {old}");
    let down = format!("ip daddr {router} udp sport {PORT} udp dport != {old}");
    fixture.lab.rule(&format!("{up} counter name up"));
    fixture.lab.rule(&format!("{down} counter name down"));
    fixture
        .lab
        .rule(&format!("{down} {MEDIA} counter name media"));
    fixture
        .lab
        .rule(&format!("{down} {CHALLENGE} counter name challenges drop"));
    nat.forget();
    let silent = clock::now();
    pause(SESSION);
    let [up, down, media, challenges] =
        ["up", "down", "media", "challenges"].map(|name| fixture.lab.counted(name));
    eprintln!(
        "measured: {} bytes to addresses that had sent {}, in {SESSION:?}",
        down.bytes, up.bytes
    );

    assert_eq!(
        media,
        Traffic::default(),
        "no media to an address that has not proved itself"
    );

    assert!(
        challenges.packets > 0 && down.bytes <= up.bytes,
        "{challenges:?} {up:?} {down:?}"
    );

    fixture.lab.forget_rules();
    let shown = viewing.wait_shown_after(silent + SESSION, SOON);
    eprintln!(
        "measured: live {:?} after challenges came through",
        shown.at.saturating_since(silent + SESSION)
    );
}

/// The port at the router that the relay sends media to.
fn relay_port_of(fixture: &Fixture, nat: &Nat) -> u16 {
    let flow = format!(
        "conntrack -L -p udp --dport {PORT} --dst {}",
        fixture.host.address()
    );

    until("the router knows the flow", SOON, || {
        // …src=10.77.0.1 dst=10.77.0.2 sport=5004 dport=12345…: the second dport is where answers go.
        let flows = nat.outer().run(&flow);
        let line = flows.lines().next()?;
        let (_, port) = line.rsplit_once("dport=")?;
        port.split_whitespace().next()?.parse().ok()
    })
}
