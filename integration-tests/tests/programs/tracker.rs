//! Trackers beside real viewers: where they find the ball, in which frames, and what becomes of the picture when they fail.

use fanlight_tests::promise::judge;
use fanlight_tests::tracking::{Fixture, TrackingResult};
use fanlight_tests::viewer_process::{Tracking, ViewerProcess};
use fanlight_tests::wait::{self, SOON};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const MANIFEST: &str = env!("CARGO_MANIFEST_DIR");

/// Frames that a viewer shows at least.
const FRAMES: usize = 150;

/// The number of the tracker that was started last, of those told after `mark`.
#[track_caller]
fn tracker_pid(viewing: &ViewerProcess, mark: usize) -> Pid {
    let line = viewing
        .program()
        .wait_for_line_from(mark, "a tracker runs", SOON)
        .text;
    let digits = line.rsplit_once("pid=").unwrap().1;
    Pid::from_raw(digits.trim().parse().unwrap()).unwrap()
}

#[track_caller]
fn wait_answers(viewing: &ViewerProcess, count: usize) {
    // Several answers a second even where the machine is busy.
    wait::until("trackers answer", 5 * SOON, || {
        (viewing.tracked().len() >= count).then_some(())
    });
}

#[test]
fn the_ball_is_found_in_the_frame_that_was_shown() {
    for (size, quality) in [
        ("640x480", 50),
        ("640x480", 90),
        ("1280x720", 50),
        ("1280x720", 90),
    ] {
        let fixture = Fixture::new(&format!(
            "--input ball --size {size} --rate 30 --quality {quality} --overlay=true"
        ));
        let viewing = fixture.viewer("--track ball");
        wait_answers(&viewing, FRAMES);
        let seen = TrackingResult::of(viewing);
        seen.report.assert_one_session();
        seen.assert_right(&format!("{size} quality {quality}"), 0.5, 2.0);
        let Tracking {
            found,
            none,
            malformed,
            unknown,
            last,
            ..
        } = &seen.tracking;
        assert!(found * 100 >= (found + none) * 98, "{:?}", seen.tracking);
        assert_eq!((*malformed, *unknown), (0, 0));
        let last = last.as_ref().unwrap();
        let detected = seen
            .tracked
            .iter()
            .rfind(|one| one.detection.is_some())
            .unwrap();
        assert_eq!(
            (last.stream.as_str(), last.number, last.x),
            ("cam", detected.number, detected.detection.unwrap().x)
        );
    }
}

#[test]
fn where_there_is_no_ball_there_is_no_detection() {
    let fixture = Fixture::new("--input pattern --size 640x480 --rate 30");
    let viewing = fixture.viewer("--track ball");
    wait_answers(&viewing, 60);
    let seen = TrackingResult::of(viewing);
    assert_eq!(
        (seen.tracking.found, seen.tracking.detection_rate),
        (0, Some(0.0)),
        "{:?}",
        seen.tracking
    );
}

#[test]
#[ignore = "./dev promises"]
fn four_trackers_cost_no_picture() {
    judge("four trackers", |measurement| {
        for format in ["jpeg", "grey", "rgb"] {
            let fixture = Fixture::new("--input ball --size 640x480 --rate 30");
            let viewing = fixture.viewer(&format!(
                "--track ball --trackers 4 --tracker-format {format}"
            ));
            wait_answers(&viewing, FRAMES);
            let seen = TrackingResult::of(viewing);
            seen.assert_right(&format!("four trackers, {format}"), 0.5, 2.0);
            assert_eq!(seen.tracking.trackers, 4);
            let Tracking {
                missing, offered, ..
            } = seen.tracking;
            measurement.compare(
                format!("{format}: frames of {offered} without an answer"),
                "<= 5 %",
                missing.to_string(),
                "",
                missing * 20 <= offered,
            );

            seen.report.judge_nearly_lossless(format, measurement);
        }
    });
}

#[test]
fn a_tracker_that_is_killed_or_hangs_is_replaced_and_the_picture_goes_on() {
    let fixture = Fixture::new("--input ball --size 640x480 --rate 30");
    let viewing = fixture.viewer("--track ball");
    wait_answers(&viewing, 10);

    for (signal, reason) in [
        (Signal::KILL, "it "),
        (Signal::STOP, "it did not answer within 1s"),
    ] {
        let pids = viewing.program().log().matching(0, "a tracker runs").len();
        let pid = tracker_pid(&viewing, last_start(&viewing));
        let mark = viewing.program().log().mark();
        kill_process(pid, signal).unwrap();
        viewing.program().wait_for_line_from(
            mark,
            &format!("a tracker is replaced: {reason}"),
            SOON,
        );
        tracker_pid(&viewing, mark);
        assert!(viewing.program().log().matching(0, "a tracker runs").len() > pids);
        wait::until("the process is gone", SOON, || {
            test_kill_process(pid).is_err().then_some(())
        });

        wait_answers(&viewing, viewing.tracked().len() + 10);
    }

    let seen = TrackingResult::of(viewing);
    seen.report.assert_one_session();
    seen.assert_right("killed and hung", 0.5, 2.0);
    // A busy machine may make a tracker too late once more.
    assert!(
        seen.tracking.restarts >= 2 && seen.tracking.timeouts >= 1,
        "{:?}",
        seen.tracking
    );
}

/// Where in the log the newest start of a tracker is told.
fn last_start(viewing: &ViewerProcess) -> usize {
    let log = viewing.program().log();
    (0..log.mark())
        .rev()
        .find(|mark| !log.matching(*mark, "a tracker runs").is_empty())
        .unwrap()
}

#[test]
fn a_tracker_leaves_with_its_viewer_however_that_ends() {
    let fixture = Fixture::new("--input ball --size 640x480 --rate 30");
    for signal in [Signal::TERM, Signal::KILL] {
        let viewing = fixture.viewer("--track ball");
        wait_answers(&viewing, 1);
        let pid = tracker_pid(&viewing, 0);
        // One that stands still sees no end of its input.
        kill_process(pid, Signal::STOP).unwrap();
        viewing.program().signal(signal);
        viewing.program().wait_exit(SOON);
        wait::until("the tracker is gone", SOON, || {
            test_kill_process(pid).is_err().then_some(())
        });
    }
}

#[test]
fn a_command_that_prints_rubbish_harms_nobody() {
    let fixture = Fixture::new("--input ball --size 640x480 --rate 30");
    let viewing = fixture
        .env
        .viewer(fixture.env.relay_address(0), "cam")
        .flag("tracker-command", "yes rubbish")
        .start();

    viewing.wait_shown(FRAMES);
    viewing
        .program()
        .wait_for_line("a tracker is replaced: it talks rubbish");
    let seen = TrackingResult::of(viewing);
    seen.report.assert_one_session();
    assert!(
        seen.tracking.malformed >= 100 && seen.tracking.restarts >= 1,
        "{:?}",
        seen.tracking
    );

    assert_eq!((seen.tracking.found, seen.tracking.none), (0, 0));
}

#[test]
fn the_example_in_python_finds_the_ball() {
    let Some(python) = fanlight_tests::python::python() else {
        return;
    };

    let command = format!(
        "exec '{}' '{MANIFEST}/../viewer/examples/opencv_ball.py'",
        python.display()
    );

    for (format, overlay) in [("jpeg", true), ("grey", false), ("rgb", false)] {
        let fixture = Fixture::new(&format!(
            "--input ball --size 640x480 --rate 30 --quality 80 --overlay={overlay}"
        ));
        let viewer = fixture
            .env
            .viewer(fixture.env.relay_address(0), "cam")
            .flag("tracker-command", &command);

        let viewing = viewer.flags(&format!("--tracker-format {format}")).start();
        wait_answers(&viewing, 60);
        let seen = TrackingResult::of(viewing);
        // Where text crosses the ball, an example may be further off.
        seen.assert_right(
            &format!("Python, {format}, overlay {overlay}"),
            1.0,
            if overlay { 20.0 } else { 2.0 },
        );

        let Tracking {
            found,
            none,
            malformed,
            unknown,
            ..
        } = seen.tracking;

        assert!(
            found * 10 >= (found + none) * 9 && malformed + unknown == 0,
            "{:?}",
            seen.tracking
        );
    }
}
