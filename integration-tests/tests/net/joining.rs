//! Promise P7: from the request to the first picture.

use std::time::Duration;

use fanlight_tests::promise::judge;
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
