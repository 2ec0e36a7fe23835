//! Relays that feed relays: a source, and three levels of real programs below it.

use std::time::Duration;

use fanlight_tests::TestEnv;
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
