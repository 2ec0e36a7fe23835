//! Multicast as a second way from the relay to its viewers: what it costs, who gets it, and how it ends.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::handshake::SharedKey;
use fanlight_tests::TestEnv;
use fanlight_tests::lab::{Host, Lab};
use fanlight_tests::program::Program;
use fanlight_tests::promise::{Measurement, judge};
use fanlight_tests::viewer_process::{Report, Shown, ViewerProcess};
use fanlight_tests::wait::{SOON, until};

use crate::fixture::{Fixture, PORT, USUAL, relay, source};

const GROUP: &str = "239.255.42.0:5005";

/// Of a second copy to everyone, what the traffic of keep-alives, repairs and a busy machine may come to.
const SOME: f64 = 0.15;

/// Within this a viewer that hears nothing by multicast any more must be served by unicast.
const RETURN: Duration = Duration::from_secs(2);

/// Frames that programs skip which are not given the processor in time, whatever the network does.
const SKIPPED: [&str; 3] = ["upstream", "relay", "superseded"];

fn open() -> Option<Fixture> {
    Fixture::with(USUAL, |relay| relay.flag("multicast", GROUP))
}

/// Waits until the relay says that it serves so many viewers by multicast.
#[track_caller]
fn wait_by_multicast(relay: &Program, viewers: usize) {
    let since = clock::now();
    let words = format!(" {viewers} by multicast");
    until(&format!("{words} at the relay"), SOON, || {
        let notes = relay.manager().since(since, "STATUS=");
        notes
            .iter()
            .any(|note| note.text.contains(&words))
            .then_some(())
    });
}

/// Bytes that leave the relay's host for each frame that `viewing` shows.
fn cost(fixture: &Fixture, viewing: &ViewerProcess) -> f64 {
    let traffic = fixture.host.traffic_from();
    let shown = viewing.count();
    viewing.wait_more(120);
    let traffic = fixture.host.traffic_from().since(traffic);
    let shown = viewing.count() - shown;
    traffic.bytes as f64 / shown as f64
}

/// Frames of the stream that were not shown from `since` on, though source and relay did not skip them: at least.
fn missing(report: &Report, frames: &[Shown], since: Time) -> u64 {
    let numbers: Vec<u64> = frames
        .iter()
        .filter(|frame| frame.captured >= since)
        .map(|frame| frame.number)
        .collect();

    assert!(
        numbers.len() > 60,
        "frames are shown to the end: {}",
        numbers.len()
    );

    let gaps = numbers
        .windows(2)
        .map(|pair| pair[1] - pair[0] - 1)
        .sum::<u64>();

    gaps.saturating_sub(
        SKIPPED
            .iter()
            .map(|reason| report.frames.lost.by_reason[*reason])
            .sum(),
    )
}

#[test]
#[ignore = "./dev promises"]
fn any_number_of_viewers_costs_one_copy_and_one_that_wants_none_a_second() {
    judge("multicast: bytes a frame", |measurement| {
        let Some(fixture) = open() else { return };
        compare_costs(&fixture, measurement);
    });
}

fn compare_costs(fixture: &Fixture, measurement: &mut Measurement) {
    let hosts: Vec<Host> = (0..4)
        .map(|n| fixture.lab.host(&format!("screen{n}")))
        .collect();
    let mut viewers = vec![fixture.viewer(&hosts[0])];
    wait_by_multicast(&fixture.relay, 1);
    let one = cost(fixture, &viewers[0]);

    // Two of them on one host.
    viewers.extend([1, 2, 2, 3].map(|at: usize| fixture.viewer(&hosts[at])));
    wait_by_multicast(&fixture.relay, 5);
    let five = cost(fixture, &viewers[0]);

    let unicast = fixture
        .watch()
        .flags("--multicast off")
        .under(&hosts[0].enter())
        .start();

    unicast.wait_shown(60);
    let six = cost(fixture, &viewers[0]);

    let mut compare = |what: &str, measured: f64, copies: f64, more: f64| {
        let bounds = one * (copies - SOME)..one * (copies + more);
        measurement.compare(
            what,
            format!("{copies} x, +- {more}"),
            format!("{measured:.0} bytes"),
            format!("{one:.0} bytes"),
            bounds.contains(&measured),
        );
    };

    compare("to five viewers, beside one", five, 1.0, SOME);
    compare("with one more by unicast", six, 2.0, 2.0 * SOME);

    for viewing in viewers {
        let (report, _) = viewing.finish();
        report.assert_one_session();
        let path = &report.paths[0];
        assert!(path.by_multicast * 2 > path.datagrams, "{report:?}");
        assert_eq!(report.foreign, 0);
    }

    let (report, _) = unicast.finish();
    report.assert_one_session();
    assert_eq!(report.paths[0].by_multicast, 0);
}

#[test]
#[ignore = "./dev promises"]
fn what_one_viewer_loses_of_the_multicast_is_repaired_by_unicast() {
    judge("multicast: 1 % lost", |measurement| {
        let Some(fixture) = open() else { return };
        repair(&fixture, measurement);
    });
}

fn repair(fixture: &Fixture, measurement: &mut Measurement) {
    let hosts = ["lossy", "clean"].map(|name| fixture.lab.host(name));
    let [lossy, clean] = hosts.each_ref().map(|host| fixture.viewer(host));
    wait_by_multicast(&fixture.relay, 2);
    let began = clock::now();
    hosts[0].lose_multicast(1.0);
    lossy.wait_more(300);
    wait_by_multicast(&fixture.relay, 2);
    let (report, frames) = lossy.finish();
    report.assert_balanced();
    let missed = missing(&report, &frames, began);
    assert!(report.repairs.received > 0, "{report:?}");
    let (clean, _) = clean.finish();
    clean.assert_one_session();
    measurement.compare(
        "frames missed of 300",
        "<= 3",
        missed.to_string(),
        clean.frames.lost.total.to_string(),
        missed <= 3,
    );

    measurement.compare(
        "repairs asked by the viewer that loses nothing",
        "0",
        clean.repairs.asked.to_string(),
        report.repairs.asked.to_string(),
        clean.repairs.asked == 0,
    );
}

#[test]
#[ignore = "./dev promises"]
fn who_is_cut_off_from_the_group_is_on_unicast_within_two_seconds_and_loses_nothing_after() {
    judge("multicast: the group does not come", |measurement| {
        let Some(fixture) = open() else { return };
        cut_off(&fixture, measurement);
    });
}

fn cut_off(fixture: &Fixture, measurement: &mut Measurement) {
    let hosts = ["cut", "clean"].map(|name| fixture.lab.host(name));
    let [cut, clean] = hosts.each_ref().map(|host| fixture.viewer(host));
    wait_by_multicast(&fixture.relay, 2);
    let before = clock::now();
    cut.wait_more(5);
    hosts[0].lose_multicast(100.0);
    let since = clock::now();
    let back = until("it shows a frame by unicast", SOON, || {
        let late = |shown: &&Shown| shown.captured > since + Duration::from_millis(20);
        cut.shown()
            .iter()
            .find(late)
            .map(|shown| shown.at.saturating_since(since))
    });

    wait_by_multicast(&fixture.relay, 1);
    cut.wait_more(300);
    let (report, frames) = cut.finish();
    report.assert_balanced();
    let missed = [before, since + RETURN].map(|since| missing(&report, &frames, since));
    measurement.at_most("shown by unicast", RETURN, back);
    measurement.compare(
        format!("of {} frames missed, later than {RETURN:?}", missed[0]),
        "0",
        missed[1].to_string(),
        "",
        missed[1] == 0,
    );

    assert_eq!(
        (report.joins, report.frames.lost.by_reason["skipped"]),
        (1, 0),
        "{report:?}"
    );

    clean.finish().0.assert_one_session();
}

#[test]
#[ignore = "./dev promises"]
fn who_loses_much_of_the_multicast_is_taken_back_to_unicast_and_the_others_stay() {
    judge("multicast: 20 % lost", |measurement| {
        let Some(fixture) = open() else { return };
        lose_much(&fixture, measurement);
    });
}

fn lose_much(fixture: &Fixture, measurement: &mut Measurement) {
    let hosts = ["lossy", "clean"].map(|name| fixture.lab.host(name));
    let [lossy, clean] = hosts.each_ref().map(|host| fixture.viewer(host));
    wait_by_multicast(&fixture.relay, 2);
    hosts[0].lose_multicast(20.0);
    let lost_since = clock::now();
    fixture
        .relay
        .wait_for_line("viewers that multicast serves badly get unicast");
    let since = clock::now();
    lossy
        .program()
        .wait_for_line("left the relay's multicast group");
    wait_by_multicast(&fixture.relay, 1);
    lossy.wait_more(300);
    let (report, frames) = lossy.finish();
    report.assert_balanced();
    let missed = [lost_since, since + RETURN].map(|since| missing(&report, &frames, since));
    let after = since.saturating_since(lost_since);
    measurement.compare(
        format!(
            "unicast after {after:.1?}; of {} frames missed, later than {RETURN:?}",
            missed[0]
        ),
        "0",
        missed[1].to_string(),
        "",
        missed[1] == 0,
    );

    assert_eq!(report.frames.lost.by_reason["skipped"], 0, "{report:?}");
    clean.finish().0.assert_one_session();
}

#[test]
fn with_a_key_it_is_the_same_and_viewers_on_the_relays_own_host_can_be_among_them() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("viewers.psk");
    fanlight_daemon::keys::write(&key, &SharedKey::new([7; 32]).to_text()).unwrap();
    let sealed = |relay: fanlight_tests::program::Launch| {
        relay
            .flag("multicast", GROUP)
            .flags("--multicast-loop true")
            .flag("key-file", &key)
    };

    let Some(fixture) = Fixture::with_access(USUAL, "psk", sealed) else {
        return;
    };

    let other = fixture.lab.host("screen");
    let viewers = [&other, &fixture.host, &other].map(|host| {
        let viewing = fixture
            .watch()
            .flag("key-file", &key)
            .under(&host.enter())
            .start();
        viewing.wait_shown(5);
        viewing
    });

    wait_by_multicast(&fixture.relay, 3);
    viewers[0].wait_more(90);

    for viewing in viewers {
        let (report, _) = viewing.finish();
        report.assert_one_session();
        assert!(report.paths[0].by_multicast > 0);
        assert_eq!((report.decode.errors, report.foreign), (0, 0));
    }
}

#[test]
#[ignore = "./dev promises"]
fn two_relays_that_use_the_same_group_serve_one_viewer_and_either_may_end() {
    judge(
        "multicast: one of two relays of a group ends",
        |measurement| {
            let Some(lab) = Lab::open() else { return };
            end_one_of_two(&lab, measurement);
        },
    );
}

fn end_one_of_two(lab: &Lab, measurement: &mut Measurement) {
    let env = TestEnv::new();
    let screen = lab.host("screen");
    let _source = source(&env, USUAL).ready();
    let hosts = ["left", "right"].map(|name| lab.host(name));
    let relays = hosts
        .each_ref()
        .map(|host| relay(&env, host).flag("multicast", GROUP).ready());
    let [first, second] = hosts
        .each_ref()
        .map(|host| std::net::SocketAddr::from((host.address(), PORT)));
    let watch = env.viewer(first, "cam").flag("relay", second.to_string());
    let viewing = watch
        .flags("--redundancy both")
        .under(&screen.enter())
        .start();

    relays.iter().for_each(|relay| wait_by_multicast(relay, 1));
    let since = clock::now();
    viewing.wait_more(60);
    relays[0].kill();
    viewing.wait_more(90);
    let (report, frames) = viewing.finish();
    report.assert_balanced();
    let missed = missing(&report, &frames, since);
    measurement.compare("frames missed", "0", missed.to_string(), "", missed == 0);
    assert!(
        report.paths.iter().all(|path| path.by_multicast > 60),
        "{report:?}"
    );

    assert_eq!(report.foreign, 0);
}
