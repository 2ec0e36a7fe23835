//! Promise P7: from the request to the first picture.

use std::time::Duration;

use fanlight_tests::wait::SOON;
use fanlight_tests::{long, wait};

use crate::fixture::{Fixture, Pictures, USUAL, quiet};

/// The request to the first whole frame.
const LIMIT: Duration = Duration::from_millis(150);

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
    let mut took: Vec<Duration> = (0..count).map(join).collect();
    took.sort_unstable();
    eprintln!(
        "measured: request to first frame: median {:?}, worst {:?} of {count}",
        took[count / 2],
        took[count - 1]
    );
    took
}

#[test]
fn the_first_frame_is_there_within_150_ms_of_the_request() {
    let _quiet = quiet();
    let Some(fixture) = Fixture::open(USUAL) else {
        return;
    };
    let took = joins(&fixture, if long() { 100 } else { 20 });
    assert!(took.iter().all(|took| *took <= LIMIT), "{took:?}");
}

#[test]
fn the_first_frame_of_a_slow_stream_does_not_wait_for_the_next_one() {
    let _quiet = quiet();
    let Some(fixture) = Fixture::open(Pictures { rate: 1, ..USUAL }) else {
        return;
    };
    // The relay has a frame as soon as somebody has seen one.
    joins(&fixture, 1);
    let took = joins(&fixture, if long() { 100 } else { 20 });
    assert!(took.iter().all(|took| *took <= LIMIT), "{took:?}");
}

#[test]
fn a_program_that_is_started_shows_within_a_second() {
    let _quiet = quiet();
    let Some(fixture) = Fixture::open(USUAL) else {
        return;
    };
    let host = fixture.lab.host("screen");
    for _ in 0..3 {
        let viewing = fixture.viewer(&host);
        let took = viewing.shown()[0]
            .at
            .saturating_since(viewing.program().started());
        eprintln!("measured: start of the program to first frame shown: {took:?}");
        assert!(took <= Duration::from_secs(1), "{took:?}");
        let (report, _) = viewing.finish();
        report.assert_balanced();
    }
}
