//! Promise P5: a network that comes apart and heals.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::long;
use fanlight_tests::viewer_process::{Report, Shown};
use fanlight_tests::wait::{SOON, pause};

use crate::fixture::{Fixture, USUAL, beside};

/// A picture may pass for live so long after the network came apart.
const SAID: Duration = Duration::from_millis(1500);

/// Frames again so long after healing, and after a long while apart.
const HEALED: Duration = Duration::from_millis(500);
const HEALED_AFTER_LONG: Duration = Duration::from_secs(1);

/// Apart for so long, a session has long ended and both sides have forgotten much.
const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_viewer_that_was_cut_off_is_live_again_within_half_a_second_and_never_shows_a_frozen_picture_as_live()
 {
    let _beside = beside();
    let Some(fixture) = Fixture::open(USUAL) else {
        return;
    };
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
        let took = shown.at.saturating_since(healed);
        eprintln!("measured: apart for {length:?}, frames again after {took:?}");
        assert!(
            took <= if length < LONG {
                HEALED
            } else {
                HEALED_AFTER_LONG
            },
            "{took:?} after {length:?}"
        );
        apart.push((cut, length));
        viewing.wait_more(30);
    }
    let born = viewing.program().started();
    let (report, frames) = viewing.finish();
    report.assert_balanced();
    for (cut, length) in apart.into_iter().filter(|(_, length)| *length > SAID) {
        let since = cut.saturating_since(born);
        assert_said(&report, since, length);
        let frozen = |shown: &&Shown| shown.at > cut + SAID && shown.at < cut + length;
        assert_eq!(frames.iter().filter(frozen).count(), 0);
    }
}

/// Asserts that the viewer said in time that it is not live, and not that it is before the network had healed.
#[track_caller]
fn assert_said(report: &Report, cut: Duration, length: Duration) {
    let during: Vec<_> = report
        .signals
        .iter()
        .filter(|change| change.at() > cut && change.at() < cut + length)
        .collect();
    let said = during.iter().find(|change| change.state != "live");
    let said = said
        .unwrap_or_else(|| panic!("cut off at {cut:?}, it never said so: {:?}", report.signals));
    eprintln!(
        "measured: \"{}\" {:?} after the cut",
        said.state,
        said.at().saturating_sub(cut)
    );
    assert!(
        said.at() <= cut + SAID && during.iter().all(|change| change.state != "live"),
        "{:?}",
        report.signals
    );
}
