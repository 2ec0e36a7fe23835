//! Promise P7: from the request to the first picture.

use std::time::Duration;

use fanlight_daemon::descriptors;
use fanlight_proto::limits::SESSION_IDLE;
use fanlight_tests::lab::Host;
use fanlight_tests::light_viewers::LightViewers;
use fanlight_tests::promise::{Alone, judge};
use fanlight_tests::wait::SOON;
use fanlight_tests::{long, wait};

use crate::fixture::{Fixture, Pictures, USUAL};

/// The request to the first whole frame.
const LIMIT: Duration = Duration::from_millis(150);

/// The start of the viewer to the first frame shown.
const STARTED: Duration = Duration::from_secs(1);

/// Joins are so far apart, which is no multiple of the time between two frames.
const APART: Duration = Duration::from_millis(71);

fn joins(fixture: &Fixture, count: usize) -> Vec<Duration> {
    let host = fixture.lab.host("screen");
    let join = |_| {
        wait::pause(APART);
        let light_viewers = fixture.light_viewers(&host, 1);
        light_viewers.wait_served(SOON);
        light_viewers.seen()[0].first_whole_after.unwrap()
    };

    (0..count).map(join).collect()
}

#[test]
#[ignore = "./dev promises"]
fn the_first_frame_is_there_within_150_ms_of_the_request() {
    let Some(fixture) = Fixture::open(USUAL) else {
        return;
    };

    judge(
        "P7: joining a stream of 30 frames a second",
        |measurement| {
            let took = joins(&fixture, if long() { 100 } else { 20 });
            measurement.all_at_most("from the request to the first frame", LIMIT, took);
        },
    );
}

#[test]
#[ignore = "./dev promises"]
fn the_first_frame_of_a_slow_stream_does_not_wait_for_the_next_one() {
    let Some(fixture) = Fixture::open(Pictures { rate: 1, ..USUAL }) else {
        return;
    };

    // The relay has a frame as soon as somebody has seen one.
    joins(&fixture, 1);
    judge(
        "P7: joining a stream of one frame a second",
        |measurement| {
            let took = joins(&fixture, if long() { 100 } else { 20 });
            measurement.all_at_most("from the request to the first frame", LIMIT, took);
        },
    );
}

#[test]
#[ignore = "./dev promises"]
fn a_program_that_is_started_shows_within_a_second() {
    let Some(fixture) = Fixture::open(USUAL) else {
        return;
    };

    let host = fixture.lab.host("screen");
    judge("P7: a viewer that is started", |measurement| {
        let took = (0..3).map(|_| {
            let viewing = fixture.viewer(&host);
            let first = viewing.shown()[0].at;
            let took = first.saturating_since(viewing.program().started());
            viewing.finish().0.assert_balanced();
            took
        });

        measurement.all_at_most("from the start to the first frame", STARTED, took);
    });
}

/// All viewers that a relay serves as it comes.
const STORM: usize = 1_000;

/// The first picture of 99 of 100 viewers that ask at the same moment.
const STORM_LIMIT: Duration = Duration::from_secs(1);

/// What a viewer may take of the relay's memory, in bytes.
const MEMORY: u64 = 16 << 10;

/// A second storm may leave so much more memory than the first, in bytes for each viewer.
const GROWTH: u64 = 4 << 10;

/// Ten frames a second of some ten datagrams: a hundred thousand datagrams a second, which one reader of the test can bear.
const SMALL: Pictures = Pictures {
    size: (320, 240),
    rate: 10,
};

/// All ask at once. How long 99 of 100 waited for a whole frame, and bytes of its own that the relay has then.
fn storm(fixture: &Fixture, host: &Host) -> (LightViewers, Duration, u64) {
    let light_viewers = fixture.light_viewers(host, STORM);
    light_viewers.wait_served(SOON);
    let seen = light_viewers.seen();
    let mut took: Vec<_> = seen
        .iter()
        .filter_map(|seen| seen.first_whole_after)
        .collect();
    took.sort_unstable();
    (
        light_viewers,
        took[STORM * 99 / 100],
        fixture.relay.usage().private,
    )
}

#[test]
#[ignore = "./dev promises"]
fn a_thousand_viewers_at_once_have_a_picture_within_a_second_and_take_little_memory() {
    let alone = Alone::wait();
    descriptors::allow(STORM as u64 + 1_000).unwrap();
    alone.judge("P7: a thousand viewers join at once", |measurement| {
        let Some(fixture) = Fixture::open(SMALL) else {
            return;
        };

        let host = fixture.lab.host("screens");
        joins(&fixture, 1);
        let before = fixture.relay.usage().private;
        let (first, took, with_all) = storm(&fixture, &host);
        measurement.at_most("99 of 100 have a whole frame", STORM_LIMIT, took);
        let each = with_all.saturating_sub(before) / STORM as u64;
        measurement.compare(
            "memory of the relay for each viewer",
            format!("<= {MEMORY} bytes"),
            format!("{each} bytes"),
            format!("{before} without any"),
            each <= MEMORY,
        );

        drop(first);
        // Also whose farewell was lost.
        wait::pause(2 * SESSION_IDLE);
        let (_second, took, again) = storm(&fixture, &host);
        measurement.at_most("the same once more", STORM_LIMIT, took);
        let growth = again.saturating_sub(with_all) / STORM as u64;
        measurement.compare(
            "more memory the second time, for each viewer",
            format!("<= {GROWTH} bytes"),
            format!("{growth} bytes"),
            format!("{each} the first time"),
            growth <= GROWTH,
        );
    });
}
