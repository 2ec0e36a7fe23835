//! Frames that take a core as long to decode as they are on the screen.

use std::time::Duration;

use fanlight_tests::TestEnv;
use fanlight_tests::jpeg::with_noise;
use fanlight_tests::promise::judge;
use fanlight_tests::wait::pause;

/// How long is counted.
const LENGTH: Duration = Duration::from_secs(6);

/// Levels of noise that make a picture of 3840x2160 about 3.1 MB large.
const LEVELS: usize = 68;

/// Frames shown of those captured meanwhile, and of those the ones that were lost.
fn shown_and_lost(cores: &str) -> (u64, u64) {
    let env = TestEnv::new();
    let pictures = env.path("pictures");
    std::fs::create_dir(&pictures).unwrap();
    for number in 0..4 {
        let jpeg = with_noise(number, 3840, 2160, LEVELS);
        std::fs::write(pictures.join(format!("{number}.jpg")), jpeg).unwrap();
    }

    let source = env.source("cam").flags("--input files --rate 30");
    let _source = source.flag("path", &pictures).ready();
    let _relay = env.relay(0, &[env.ipc("cam")]).ready();
    let viewer = env.viewer(env.relay_address(0), "cam");
    let viewer = viewer.under(&["taskset", "-c", cores]).start();
    viewer.wait_shown(5);
    pause(LENGTH);
    let (report, _) = viewer.finish();
    (report.frames.shown, report.frames.lost.total)
}

#[test]
#[ignore = "./dev promises"]
fn frames_of_4k_at_30_a_second_are_shown_on_two_cores() {
    judge("4K at 30 frames a second", |measurement| {
        let (one, lost_by_one) = shown_and_lost("0");
        let (two, lost_by_two) = shown_and_lost("0,1");
        measurement.compare(
            "3840x2160, 3.1 MB, a viewer on two cores; control: on one",
            "1 % lost",
            format!("{lost_by_two} of {} lost", two + lost_by_two),
            format!("{lost_by_one} of {} lost", one + lost_by_one),
            lost_by_two * 100 <= two + lost_by_two,
        );
    });
}
