//! Clocks that differ between hosts, and wall clocks that jump (promise P15).

use std::path::{Path, PathBuf};
use std::time::Duration;

use fanlight_tests::lab::permitted;
use fanlight_tests::promise::{Measurement, judge};
use fanlight_tests::viewer_process::Report;
use fanlight_tests::wait::pause;
use fanlight_tests::{TestEnv, long, skip};

use crate::fixture::{USUAL, source};

/// So far ahead is the clock of the source's host, in seconds.
const AHEAD: &str = "1000";

/// And that of the relay's, when it is on a third one.
const BEHIND: &str = "400";

/// Two viewers of one relay on one host see the same ages, within this: the promise, and as much for two medians of the
/// same frames.
const SAME: Duration = Duration::from_millis(2);

/// What reaches the wall clock of a program: Debian package libfaketime.
const FAKETIME: &str = "faketime/libfaketimeMT.so.1";

/// Frames shown between two jumps of the clock.
const FRAMES: usize = 60;

#[test]
#[ignore = "./dev promises"]
fn ages_are_true_between_hosts_whose_clocks_differ() {
    let Some(()) = permitted(&["unshare", "--time", "--monotonic", AHEAD, "true"]) else {
        return;
    };

    // The relay on the host of the far viewer, and on a third one.
    for relay in [&[][..], &["unshare", "--time", "--monotonic", BEHIND]] {
        judge(
            "P15: ages between hosts whose clocks differ",
            |measurement| {
                compare_ages(relay, measurement);
            },
        );
    }
}

/// Compares what two viewers say of one stream: one shares the source's clock, one does not.
fn compare_ages(relay: &[&str], measurement: &mut Measurement) {
    let env = TestEnv::new();
    let source = source(&env, USUAL)
        .under(&["unshare", "--time", "--monotonic", AHEAD])
        .ready();
    let namespace = format!("--time=/proc/{}/ns/time", source.pid().unwrap());
    let _relay = env.relay(0, &[env.ipc("cam")]).under(relay).ready();
    let viewer = || env.viewer(env.relay_address(0), "cam");
    let near = viewer().under(&["nsenter", &namespace]).start();
    let far = viewer().start();

    for viewing in [&near, &far] {
        viewing.wait_shown(if long() { 3000 } else { 200 });
    }

    let [near, far] = [near, far].map(|viewing| viewing.finish().0);
    let [truth, told] = [&near, &far].map(|report: &Report| report.age_ms.p50.unwrap());
    assert_eq!(
        (near.clock.as_str(), far.clock.as_str()),
        ("monotonic", "exchange")
    );

    measurement.at_most(
        format!("difference of the median ages {truth:.2} and {told:.2} ms"),
        SAME,
        Duration::from_secs_f64((truth - told).abs() / 1e3),
    );
}

#[test]
fn a_wall_clock_that_jumps_ten_years_costs_no_session() {
    let Some(library) = faketime() else {
        return skip("not installed: libfaketime");
    };

    let env = TestEnv::new();
    let wall = env.path("wall-clock");
    set(&wall, 2026);
    let fake = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", wall.clone()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ];

    let source = fake
        .iter()
        .fold(source(&env, USUAL), |launch, (name, value)| {
            launch.env(name, value)
        })
        .ready();

    let relay = env.relay(0, &[env.ipc("cam")]);
    let relay = fake
        .iter()
        .fold(relay, |launch, (name, value)| launch.env(name, value))
        .ready();

    let viewer = env.viewer(env.relay_address(0), "cam");
    let viewer = fake
        .iter()
        .fold(viewer, |watch, (name, value)| watch.env(name, value))
        .start();

    viewer.wait_shown(FRAMES);
    for year in [2036, 2026, 2016, 2026] {
        set(&wall, year);
        viewer.wait_more(FRAMES);
        pause(Duration::from_millis(250));
    }

    set(&wall, 2036);
    let (report, _) = viewer.finish();
    // That the clock did jump is seen where it is told to people: in the log.
    assert!(
        [&source, &relay]
            .iter()
            .all(|program| program.stop().0.code() == Some(0))
    );

    assert!(
        !relay.log().matching(0, "2026-").is_empty()
            && !relay.log().matching(0, "2036-").is_empty()
    );

    report.assert_one_session();
    let live = report
        .signals
        .iter()
        .skip_while(|change| change.state != "live");

    assert_eq!(
        live.count(),
        1,
        "no change after it was live: {:?}",
        report.signals
    );
}

fn set(wall: &Path, year: u32) {
    // In one step: it is read at every look at the clock.
    let next = wall.with_extension("next");
    std::fs::write(&next, format!("{year}-06-01 12:00:00\n")).unwrap();
    std::fs::rename(next, wall).unwrap();
}

/// Where the library is, below the folder of the machine's architecture.
fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    folders
        .map(|folder| folder.path().join(FAKETIME))
        .find(|library| library.is_file())
}
