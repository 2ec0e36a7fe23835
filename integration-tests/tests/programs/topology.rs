//! Several relays for a source, several sources for a relay: each scales and fails alone.

use std::time::Duration;

use fanlight_tests::TestEnv;
use fanlight_tests::promise::judge;
use fanlight_tests::viewer_process::{ViewerProcess, hash};
use fanlight_tests::wait::{SOON, pause, until};

const SMALL: &str = "--input ball --size 640x360 --rate 30";

#[track_caller]
fn finish_in_one_session(viewers: impl IntoIterator<Item = ViewerProcess>) {
    for viewer in viewers {
        let (report, _) = viewer.finish();
        report.assert_one_session();
    }
}

#[test]
fn two_relays_serve_the_same_frames_of_one_source_on_ports_of_their_own() {
    let env = TestEnv::new();
    let _source = env.source("cam").flags(SMALL).ready();
    let _relays = [0, 1].map(|number| env.relay(number, &[env.ipc("cam")]).ready());
    let viewers = [0, 0, 1, 1].map(|number| env.viewer(env.relay_address(number), "cam").start());
    viewers.iter().for_each(|viewer| viewer.wait_shown(60));
    let [one, two] = [0, 2].map(|at| viewers[at].shown());
    let common = one.iter().filter(|a| {
        two.iter()
            .any(|b| a.number == b.number && a.hash == b.hash && a.epoch == b.epoch)
    });

    assert!(common.count() > 0);
    finish_in_one_session(viewers);
}

#[test]
fn a_relay_without_settings_finds_every_source_of_its_host_whenever_it_starts() {
    let env = TestEnv::new();
    let source = |stream| env.program("source").flag("stream", stream).flags(SMALL);
    let _early = source("early").ready();
    let listen = env.relay_address(0);
    let _relay = env
        .program("relay")
        .flag("listen", listen.to_string())
        .ready();

    let early = env.viewer(listen, "early").start();
    early.wait_shown(5);
    let late = env.viewer(listen, "late").start();
    let _late = source("late").ready();
    late.wait_shown(5);
    finish_in_one_session([early, late]);
}

#[test]
fn one_relay_serves_two_sources_of_which_one_is_remote_and_lists_both() {
    let env = TestEnv::new();
    let remote = format!("tcp://{}", env.source_address(0));
    let _near = env.source("near").flags(SMALL).ready();
    let flags =
        format!("--stream far --publish {remote} --input pattern --size 1280x720 --rate 15");
    let _far = env.program("source").flags(&flags).ready();
    let relay = env.relay(0, &[env.ipc("near"), remote]).ready();
    let viewers = ["near", "far"].map(|stream| env.viewer(env.relay_address(0), stream).start());
    viewers.iter().for_each(|viewer| viewer.wait_shown(30));
    assert!(
        viewers[1]
            .shown()
            .iter()
            .all(|frame| frame.code == Some(frame.number))
    );

    assert!(viewers[0].shown().iter().all(|frame| frame.code.is_none()));

    let list = env
        .program("viewer")
        .flags("--list")
        .flag("relay", env.relay_address(0).to_string());

    let (exit, list) = list.run();
    assert_eq!(exit.code(), Some(0));
    let near = list.wait_for_line("near").text;
    let far = list.wait_for_line("far").text;
    assert!(near.contains("640x360") && near.contains("live"), "{near}");
    assert!(far.contains("1280x720") && far.contains("live"), "{far}");
    finish_in_one_session(viewers);
    assert!(relay.exits().is_empty());
}

#[test]
fn a_viewer_that_names_no_stream_gets_one() {
    let env = TestEnv::new();
    let _source = env.source("cam").flags(SMALL).ready();
    let _relay = env.relay(0, &[env.ipc("cam")]).ready();
    let launch = env
        .program("viewer")
        .flags("--headless --duration 2s")
        .flag("relay", env.relay_address(0).to_string());

    let report = env.path("any.json");
    let (exit, _) = launch.flag("report", &report).run();
    assert_eq!(exit.code(), Some(0));
    let report: fanlight_tests::viewer_process::Report =
        serde_json::from_slice(&std::fs::read(report).expect("the report is there"))
            .expect("the report is JSON");
    assert_eq!(report.stream.as_deref(), Some("cam"));
    assert!(report.frames.shown > 0, "{report:?}");
}

#[test]
fn a_snapshot_is_the_last_picture_shown_as_the_source_made_it() {
    let env = TestEnv::new();
    let _source = env.source("cam").flags(SMALL).ready();
    let _relay = env.relay(0, &[env.ipc("cam")]).ready();
    let snapshot = env.path("snapshot.jpg");
    let viewer = env
        .viewer(env.relay_address(0), "cam")
        .flag("snapshot", &snapshot)
        .start();

    viewer.wait_shown(10);
    let (_, frames) = viewer.finish();
    let saved = hash(&std::fs::read(snapshot).expect("the snapshot is there"));
    assert_eq!(frames.last().map(|frame| frame.hash), Some(saved));
}

#[test]
#[ignore = "./dev promises"]
fn a_viewer_of_a_stream_that_comes_later_shows_it_when_it_is_there() {
    judge("a stream comes later than its viewer", |measurement| {
        let env = TestEnv::new();
        let _source = env.source("cam").flags(SMALL).ready();
        let _relay = env.relay(0, &[env.ipc("cam"), env.ipc("late")]).ready();
        let viewer = env.viewer(env.relay_address(0), "late").start();
        pause(Duration::from_secs(1));
        assert_eq!(viewer.count(), 0, "it does not show another one instead");
        let late = env.source("late").flags(SMALL).ready();
        let shown = viewer.wait_shown_after(late.started(), SOON);
        measurement.at_most(
            "the first frame after the source was ready",
            Duration::from_millis(1500),
            shown.at.saturating_since(late.wait_ready()),
        );

        let (report, _) = viewer.finish();
        assert!(
            report
                .signals
                .iter()
                .any(|change| change.state == "no-such-stream"),
            "{:?}",
            report.signals
        );
    });
}

#[test]
#[ignore = "./dev promises"]
fn a_relay_that_stands_still_or_dies_does_not_harm_the_other() {
    judge("a relay stands still beside another", |measurement| {
        let env = TestEnv::new();
        let source = env.source("cam").flags(SMALL).ready();
        let [still, well] = [0, 1].map(|number| env.relay(number, &[env.ipc("cam")]).ready());
        let viewer = env.viewer(env.relay_address(1), "cam").start();
        viewer.wait_shown(10);
        still.freeze();
        viewer.wait_more(120);
        still.kill();
        viewer.wait_more(30);
        let (report, _) = viewer.finish();
        report.judge_nearly_lossless("the other viewer", measurement);
        assert!(well.exits().is_empty() && source.exits().is_empty());
    });
}

#[test]
#[ignore = "./dev promises"]
fn a_viewer_that_stands_still_does_not_harm_the_others() {
    judge("P8: a viewer stands still beside another", |measurement| {
        let env = TestEnv::new();
        let _source = env.source("cam").flags(SMALL).ready();
        let _relay = env.relay(0, &[env.ipc("cam")]).ready();
        let [still, well] = [0, 1].map(|_| env.viewer(env.relay_address(0), "cam").start());
        still.wait_shown(10);
        well.wait_shown(10);
        still.program().freeze();
        well.wait_more(150);
        let thawed = still.program().thaw();
        let shown = still.wait_shown_after(thawed, SOON);
        measurement.at_most(
            "the viewer that went on shows",
            Duration::from_secs(1),
            shown.at.saturating_since(thawed),
        );

        let (report, _) = well.finish();
        report.judge_nearly_lossless("the other viewer", measurement);
        let (report, _) = still.finish();
        report.assert_balanced();
    });
}

#[test]
fn a_relay_that_is_full_says_so_and_takes_the_next_viewer_when_one_leaves() {
    let env = TestEnv::new();
    let _source = env.source("cam").flags(SMALL).ready();
    let _relay = env
        .relay(0, &[env.ipc("cam")])
        .flags("--max-viewers 2")
        .ready();

    let [one, two] = [0, 1].map(|_| env.viewer(env.relay_address(0), "cam").start());
    one.wait_shown(5);
    two.wait_shown(5);
    let third = env.viewer(env.relay_address(0), "cam").start();
    pause(Duration::from_secs(1));
    assert_eq!(third.count(), 0);
    let (_, _) = one.finish();
    third.wait_shown(5);
    let (report, _) = third.finish();
    assert!(
        report.signals.iter().any(|change| change.state == "busy"),
        "{:?}",
        report.signals
    );
}

#[test]
#[ignore = "./dev promises"]
fn a_second_source_of_the_same_name_changes_nothing_until_the_first_is_gone_and_then_takes_over() {
    judge("a second source takes over", |measurement| {
        let env = TestEnv::new();
        let second_endpoint = format!("ipc://{}", env.path("second.ipc").display());
        let first = env.source("cam").flags(SMALL).ready();
        let relay = env
            .relay(0, &[env.ipc("cam"), second_endpoint.clone()])
            .ready();
        let viewer = env.viewer(env.relay_address(0), "cam").start();
        viewer.wait_shown(10);
        let second = env
            .program("source")
            .flags("--stream cam")
            .flag("publish", second_endpoint)
            .flags(SMALL)
            .ready();

        relay.wait_for_line("source 1 has a stream of that name");
        viewer.wait_more(60);
        let shown = viewer.shown();
        assert!(shown.iter().all(|frame| frame.epoch == shown[0].epoch));
        let killed = first.kill();
        let other = until("the second takes over", SOON, || {
            viewer
                .shown()
                .into_iter()
                .find(|s| s.epoch != shown[0].epoch)
        });

        measurement.at_most(
            "the first frame of the second source",
            Duration::from_millis(1500),
            other.at.saturating_since(killed),
        );

        let (report, _) = viewer.finish();
        report.assert_balanced();
        assert!(second.exits().is_empty());
    });
}

#[test]
fn a_screen_with_a_delay_shows_each_frame_so_long_after_its_capture() {
    let env = TestEnv::new();
    let _source = env.source("ball").flags("--input ball --rate 30").ready();
    let _relay = env.relay(0, &[env.ipc("ball")]).ready();
    let viewer = env.viewer(env.relay_address(0), "ball");
    let viewer = viewer.flags("--delay 300ms").start();
    viewer.wait_shown(20);
    let (report, shown) = viewer.finish();
    report.assert_balanced();
    for frame in shown {
        let age = frame.at.saturating_since(frame.captured);
        assert!(age >= Duration::from_millis(300), "{age:?}");
    }
}
