//! A person in front of the screen changes the stream.

use fanlight_tests::TestEnv;
use fanlight_tests::wait::{SOON, until};

use super::window::display::{self, Display};

#[test]
fn arrow_keys_go_through_the_streams_of_the_relay_and_around() {
    let Some(display) = Display::single(640, 360) else {
        return;
    };
    let Some(()) = display::installed("xdotool") else {
        return;
    };

    let env = TestEnv::new();
    let names = ["gate", "hall", "lobby"];
    let _sources = names.map(|name| {
        let source = env.source(name).flags("--input pattern --size 320x240");
        source.ready()
    });
    let endpoints = names.map(|name| env.ipc(name));
    let relay = env.relay(0, &endpoints).ready();
    // A step goes to a stream that the relay knows.
    for name in names {
        relay.wait_for_line(&format!("live stream={name}"));
    }
    let viewer = env
        .program("viewer")
        .flag("relay", env.relay_address(0).to_string())
        .flags("--stream hall --fullscreen")
        .envs(display.variables())
        .start();

    let shows = |name: &str| {
        until(&format!("{name} is shown"), SOON, || {
            let title = display.title_of("fanlight-viewer");
            (title == format!("{name} — Fanlight")).then_some(())
        });
    };

    shows("hall");
    for (key, name) in [
        ("Right", "lobby"),
        ("Right", "gate"),
        ("Left", "lobby"),
        ("Left", "hall"),
    ] {
        display.press(key, (320, 180));
        shows(name);
    }

    let report = viewer.stop();
    assert_eq!(report.0.code(), Some(0));
}
