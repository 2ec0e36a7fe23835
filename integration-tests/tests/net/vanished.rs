//! Promise P11: a viewer that is gone costs three seconds of traffic at most.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::lab::Host;
use fanlight_tests::promise::judge;
use fanlight_tests::viewer_process::ViewerProcess;
use fanlight_tests::wait::pause;

use crate::fixture::{Fixture, USUAL};

/// After this nothing may be on the wire.
const COST: Duration = Duration::from_secs(3);

/// Between a clock that is read and a counter that is read lies the start of a process; the relay looks for idle
/// sessions only so often.
const GRACE: Duration = Duration::from_millis(300);

/// How long silence is listened for.
const SILENCE: Duration = Duration::from_secs(2);

/// Who is served for so long is served for ever.
const HOPELESS: Duration = Duration::from_secs(20);

/// Judges how long after `vanish` something is sent to `host`.
#[track_caller]
fn judge_silence(what: &str, vanish: fn(&ViewerProcess, &Host)) {
    let Some(fixture) = Fixture::open(USUAL) else {
        return;
    };

    let host = fixture.lab.host("screen");
    judge(&format!("P11: a viewer that is {what}"), |measurement| {
        let viewing = fixture.viewer(&host);
        assert!(host.traffic_to().bytes > 0, "it is served");
        vanish(&viewing, &host);
        let last = last_packet(&host);
        measurement.at_most("the last packet to it was sent after", COST + GRACE, last);
        host.plug();
    });
}

/// How long from now until the last packet is sent to `host`.
fn last_packet(host: &Host) -> Duration {
    let gone = clock::now();
    let mut traffic = host.traffic_to();
    let mut last = Duration::ZERO;

    while clock::now().saturating_since(gone) < last.max(COST) + SILENCE {
        pause(Duration::from_millis(50));
        let now = host.traffic_to();

        if now != traffic {
            traffic = now;
            last = clock::now().saturating_since(gone);
        }

        assert!(last < HOPELESS, "it is served on and on");
    }

    last
}

#[test]
#[ignore = "./dev promises"]
fn a_viewer_that_is_killed_is_sent_nothing_three_seconds_later() {
    judge_silence("killed", |viewing, _| _ = viewing.program().kill());
}

#[test]
#[ignore = "./dev promises"]
fn a_viewer_that_is_unplugged_is_sent_nothing_three_seconds_later() {
    judge_silence("unplugged", |_, host| host.unplug());
}

#[test]
#[ignore = "./dev promises"]
fn a_viewer_that_stands_still_is_sent_nothing_three_seconds_later() {
    judge_silence("frozen", |viewing, _| viewing.program().freeze());
}
