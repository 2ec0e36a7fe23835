//! Promise P5: a network that comes apart and heals.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::long;
use fanlight_tests::promise::{Measurement, judge};
use fanlight_tests::viewer_process::Report;
use fanlight_tests::wait::{SOON, pause};

use crate::fixture::{Fixture, USUAL};

/// A picture may pass for live so long after the network came apart.
const SAID: Duration = Duration::from_millis(1500);

/// Frames again so long after healing, and after a long while apart.
const HEALED: Duration = Duration::from_millis(500);
const HEALED_AFTER_LONG: Duration = Duration::from_secs(1);

/// Apart for so long, a session has long ended and both sides have forgotten much.
const LONG: Duration = Duration::from_secs(30);

#[test]
#[ignore = "./dev promises"]
fn a_viewer_that_was_cut_off_is_soon_live_again_and_says_meanwhile_that_it_is_not() {
    let Some(fixture) = Fixture::open(USUAL) else {
        return;
    };

    judge("P5: a network that comes apart and heals", |measurement| {
        cut_off(&fixture, measurement);
    });
}

fn cut_off(fixture: &Fixture, measurement: &mut Measurement) {
    let host = fixture.lab.host("screen");
    let viewing = fixture.viewer(&host);
    let cuts: &[u64] = if long() {
        &[1, 4, 1, 4, 30, 1, 4, 30, 1, 4, 1, 4, 1, 4, 1, 4]
    } else {
        &[1, 4, 1]
    };

    let mut apart = Vec::new();
    for length in cuts.iter().map(|seconds| Duration::from_secs(*seconds)) {
        let cut = clock::now();
        host.unplug();
        pause(length);
        let healed = clock::now();
        host.plug();

        let shown = viewing.wait_shown_after(healed, SOON);
        let limit = if length < LONG {
            HEALED
        } else {
            HEALED_AFTER_LONG
        };

        measurement.at_most(
            format!("frames again after {length:?} apart"),
            limit,
            shown.at.saturating_since(healed),
        );

        apart.push((cut, length));
        viewing.wait_more(30);
    }

    let born = viewing.program().started();
    let (report, frames) = viewing.finish();
    report.assert_balanced();

    for (cut, length) in apart.into_iter().filter(|(_, length)| *length > SAID) {
        let said = said_after(&report, cut.saturating_since(born), length);
        measurement.at_most("the viewer says that it is not live", SAID, said);
        let last = frames
            .iter()
            .filter(|shown| shown.at > cut && shown.at < cut + length)
            .map(|shown| shown.at.saturating_since(cut))
            .max();

        measurement.at_most(
            "the last frame after the cut",
            SAID,
            last.unwrap_or_default(),
        );
    }
}

/// How long after the cut the viewer said that it is not live. Asserts that it did not say that it is before the network
/// had healed.
#[track_caller]
fn said_after(report: &Report, cut: Duration, length: Duration) -> Duration {
    let during: Vec<_> = report
        .signals
        .iter()
        .filter(|change| change.at() > cut && change.at() < cut + length)
        .collect();

    assert!(
        !during.is_empty() && during.iter().all(|change| change.state != "live"),
        "cut off at {cut:?}: {:?}",
        report.signals
    );

    during[0].at().saturating_sub(cut)
}
