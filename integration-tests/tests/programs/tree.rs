//! Relays that feed relays: a source, and three levels of real programs below it.

use std::time::Duration;

use fanlight_tests::TestEnv;
use fanlight_tests::http::Site;
use fanlight_tests::program::Program;
use fanlight_tests::promise::judge;
use fanlight_tests::viewer_process::Shown;
use fanlight_tests::wait::{SOON, until};

const IDLE: &str = "state=\"idle\"";

const SLEEPS: &str = "--input ball --size 640x360 --rate 30 --idle close --idle-after 1s";

/// Relays 0, 1 and 2: each has its streams from the one before, and the first from the source of `cam`.
fn levels(env: &TestEnv) -> [Program; 3] {
    let names = ["cam", "root", "middle", "leaf"];
    [0, 1, 2].map(|level: u16| {
        let [above, own] = [0, 1].map(|at| env.ipc(names[usize::from(level) + at]));
        env.relay(level, &[above]).flag("publish", own).ready()
    })
}

/// Whether two viewers were shown some frame, and no frame differently.
fn agree(one: &[Shown], other: &[Shown]) -> bool {
    let mut common = one.iter().flat_map(|a| {
        let same = |b: &&Shown| (a.epoch, a.number) == (b.epoch, b.number);
        other.iter().filter(same).map(|b| a.hash == b.hash)
    });
    let first = common.next();
    first == Some(true) && common.all(|same| same)
}

#[test]
fn a_viewer_at_the_third_relay_wakes_the_camera_sees_its_frames_and_is_judged_by_the_source() {
    let env = TestEnv::new();
    let source = env.source("cam").flags(SLEEPS).ready();
    let relays = levels(&env);
    source.wait_for_line(IDLE);

    let viewer = |level, name: &str| {
        let viewer = env.viewer(env.relay_address(level), "cam");
        viewer.flags("--track ball").flag("name", name).start()
    };
    let leaf = viewer(2, "leaf");
    leaf.wait_shown(30);
    let root = viewer(0, "root");
    root.wait_shown(30);
    until("both are shown the same", SOON, || {
        agree(&leaf.shown(), &root.shown()).then_some(())
    });
    let judged = until("the source judges the screen at the leaf", SOON, || {
        leaf.judged().into_iter().find(|it| it.verdict.count > 10)
    });
    assert_eq!(judged.verdict.health, "right");

    drop(root);
    relays[1].kill();
    relays[1].start_again();
    leaf.wait_more(30);
    let mark = source.log().mark();
    let (report, _) = leaf.finish();
    report.assert_balanced();
    source.wait_for_line_from(mark, IDLE, SOON);
}

#[test]
fn two_relays_that_take_streams_from_each_other_say_so_and_serve() {
    let env = TestEnv::new();
    let _source = env
        .source("cam")
        .flags("--input ball --size 320x240 --rate 30")
        .ready();
    let one = env
        .relay(0, &[env.ipc("cam"), env.ipc("two")])
        .flag("publish", env.ipc("one"))
        .ready();
    let _two = env
        .relay(1, &[env.ipc("one")])
        .flag("publish", env.ipc("two"))
        .ready();

    one.wait_for_line("two relays take streams from each other");
    for relay in [0, 1] {
        let viewer = env.viewer(env.relay_address(relay), "cam").start();
        viewer.wait_shown(10);
        viewer.finish().0.assert_one_session();
    }
}

/// A relay with two relays above it, both with the stream of one source.
fn two_above(env: &TestEnv) -> ([Program; 2], Program) {
    let names = ["one", "two"];
    let above = [0, 1].map(|at: u16| {
        let own = env.ipc(names[usize::from(at)]);
        env.relay(at, &[env.ipc("cam")])
            .flag("publish", own)
            .ready()
    });
    let http = format!("{}:0", env.relay_address(2).ip());
    let leaf = env.relay(2, &names.map(|name| env.ipc(name)));
    (above, leaf.flag("http", http).ready())
}

#[test]
fn of_two_relays_above_either_may_die_and_neither_is_refused() {
    let env = TestEnv::new();
    let _source = env
        .source("cam")
        .flags("--input ball --size 320x240 --rate 30")
        .ready();
    let (above, leaf) = two_above(&env);
    let viewer = env.viewer(env.relay_address(2), "cam").start();
    viewer.wait_shown(10);
    leaf.wait_for_line("this one brings the stream too");

    let refused = until("the lower relay lists the stream", SOON, || {
        let refused = Site::of(&leaf).get("/api/streams/cam/controls");
        (refused.status == 409).then_some(refused)
    });
    let says = refused.json()["message"].to_string();
    assert!(
        says.contains("at the relay that has it from the source"),
        "{says}"
    );

    // One of them has the stream, so that its death is a change.
    for dies in &above {
        dies.kill();
        viewer.wait_more(45);
        let mark = leaf.log().mark();
        dies.start_again();
        leaf.wait_for_line_from(mark, "this one brings the stream too", SOON);
    }
    leaf.wait_for_line("the stream comes from another source now");
    assert_eq!(leaf.log().matching(0, "frames refused").len(), 0);
    let (report, _) = viewer.finish();
    report.assert_balanced();
    report.assert_one_session();
}

#[test]
#[ignore = "./dev promises"]
fn of_two_relays_above_one_dies_without_a_gap() {
    judge("a relay with two relays above it", |measurement| {
        let env = TestEnv::new();
        let _source = env
            .source("cam")
            .flags("--input ball --size 320x240 --rate 30")
            .ready();
        let (above, _leaf) = two_above(&env);
        let viewer = env.viewer(env.relay_address(2), "cam").start();
        viewer.wait_shown(30);
        for dies in &above {
            dies.kill();
            viewer.wait_more(60);
            dies.start_again();
            viewer.wait_more(60);
        }
        let (_, shown) = viewer.finish();
        let gaps = shown
            .windows(2)
            .map(|pair| pair[1].at.saturating_since(pair[0].at));
        // Three frames of 33 ms.
        let limit = Duration::from_millis(100);
        measurement.all_at_most("between two pictures while either dies", limit, gaps);
    });
}

#[test]
#[ignore = "./dev promises"]
fn each_level_of_relays_adds_less_than_a_third_of_a_millisecond() {
    judge("a tree of three relays", |measurement| {
        let env = TestEnv::new();
        let _source = env
            .source("cam")
            .flags("--input ball --size 1280x720 --rate 30 --quality 90")
            .ready();
        let _relays = levels(&env);
        let viewers = [0, 2].map(|level| env.viewer(env.relay_address(level), "cam").start());
        let [root, leaf] = viewers.map(|viewer| {
            viewer.wait_shown(300);
            let (report, _) = viewer.finish();
            Duration::from_secs_f64(report.age_ms.p50.unwrap_or(f64::MAX) / 1e3)
        });
        measurement.at_most(
            "age p50 behind the third relay, less that behind the first, for each level",
            Duration::from_micros(300),
            leaf.saturating_sub(root) / 2,
        );
    });
}
