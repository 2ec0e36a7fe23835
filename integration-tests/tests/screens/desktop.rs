//! The desktop as an input.

use fanlight_tests::{TestEnv, skip};

use super::window::display::Display;

#[test]
fn the_desktop_of_x11_is_an_input() {
    let Some(display) = Display::single(640, 360) else {
        return;
    };
    if std::process::Command::new("ffmpeg")
        .arg("-version")
        .output()
        .is_err()
    {
        return skip("ffmpeg is not installed");
    }

    let env = TestEnv::new();
    let source = env.source("desk").flags("--input screen --rate 10");
    let _source = source.envs(display.variables()).ready();
    let relay = env.relay(0, &[env.ipc("desk")]).ready();
    let viewer = env.viewer(env.relay_address(0), "desk").start();
    viewer.wait_shown(5);
    relay.wait_for_line("live stream=desk");
    let (report, _) = viewer.finish();
    report.assert_balanced();

    let none = env
        .source("none")
        .flags("--input screen")
        .env("DISPLAY", ":65000");
    none.ready()
        .wait_for_line("the desktop :65000 cannot be taken");
}
