//! Promise P11: a viewer that is gone costs three seconds of traffic at most.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::lab::Host;
use fanlight_tests::wait::pause;

use crate::fixture::{Fixture, USUAL, beside};

/// After this nothing may be on the wire.
const COST: Duration = Duration::from_secs(3);

/// Between a clock that is read and a counter that is read lies the start of a process; the relay looks for idle
/// sessions only so often.
const GRACE: Duration = Duration::from_millis(300);

/// How long silence is listened for.
const SILENCE: Duration = Duration::from_secs(2);

/// Asserts that, from [`COST`] on, nothing is sent to `host`.
#[track_caller]
fn assert_silence(what: &str, host: &Host) {
    let gone = clock::now();
    let mut last = (host.traffic_to(), Duration::ZERO);
    while clock::now().saturating_since(gone) < COST + GRACE {
        pause(Duration::from_millis(50));
        let (traffic, after) = (host.traffic_to(), clock::now().saturating_since(gone));
        if traffic != last.0 {
            last = (traffic, after);
        }
    }
    pause(SILENCE);
    let traffic = host.traffic_to();
    eprintln!(
        "measured: {what}: the last packet to it was sent {:?} later",
        last.1
    );
    assert_eq!(
        traffic.since(last.0).bytes,
        0,
        "{what}: {traffic:?} after {last:?}"
    );
}

#[test]
fn a_viewer_that_is_killed_is_sent_nothing_three_seconds_later() {
    let _beside = beside();
    let Some(fixture) = Fixture::open(USUAL) else {
        return;
    };
    let host = fixture.lab.host("screen");
    let viewing = fixture.viewer(&host);
    assert!(host.traffic_to().bytes > 0);
    viewing.program().kill();
    assert_silence("killed", &host);
}

#[test]
fn a_viewer_that_is_unplugged_is_sent_nothing_three_seconds_later() {
    let _beside = beside();
    let Some(fixture) = Fixture::open(USUAL) else {
        return;
    };
    let host = fixture.lab.host("screen");
    let _viewing = fixture.viewer(&host);
    host.unplug();
    assert_silence("unplugged", &host);
}

#[test]
fn a_viewer_that_stands_still_is_sent_nothing_three_seconds_later() {
    let _beside = beside();
    let Some(fixture) = Fixture::open(USUAL) else {
        return;
    };
    let host = fixture.lab.host("screen");
    let viewing = fixture.viewer(&host);
    viewing.program().freeze();
    assert_silence("frozen", &host);
}
