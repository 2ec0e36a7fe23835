//! A screen that an admin of the relay directs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fanlight_tests::TestEnv;
use fanlight_tests::http::Site;
use fanlight_tests::program::Launch;
use fanlight_tests::wait::{SOON, until};
use serde_json::Value;

use super::grid::{BLUE, CARD, RED, SIZE, is_near, shows, source};
use super::window::display::Display;

/// A point of the picture, and another one.
const POINTS: [(u32, u32); 2] = [(160, 60), (40, 200)];

fn viewer(env: &TestEnv, display: &Display) -> Launch {
    env.program("viewer")
        .flag("relay", env.relay_address(0).to_string())
        .flag("state-dir", env.path("state"))
        .flags("--stream red --name wall --directed --fullscreen")
        .env("DISPLAY", display.name())
        .env("WAYLAND_DISPLAY", "")
}

fn relay(env: &TestEnv) -> Launch {
    env.relay(0, &[env.ipc("red"), env.ipc("blue")])
        .flag("http", env.http_address(0).to_string())
}

/// Has the screen show what `wanted` says, and waits for the proof.
#[track_caller]
fn direct(site: &Site, wanted: &str) {
    let json = [("Content-Type", "application/json")];
    let answer = site.ask("PUT", "/api/screens/wall?wait_ms=30000", &json, wanted);
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
}

#[test]
fn a_screen_goes_from_stream_to_stream_without_a_gap_and_goes_on_after_a_restart() {
    let Some(display) = Display::single(320, 240) else {
        return;
    };

    let env = TestEnv::new();
    let _sources = [
        source(&env, "red", RED, SIZE),
        source(&env, "blue", BLUE, SIZE),
    ];
    let served = relay(&env).ready();
    let site = Site::of(&served);
    let program = viewer(&env, &display).start();
    let all = |colour| POINTS.map(|at| (at, colour));
    shows(&display, "its own stream", &all(RED));
    until("the relay knows the screen", SOON, || {
        let screens = site.get("/api/screens").json();
        let rows = screens["screens"].as_array()?;
        let wall = rows.iter().find(|row| row["name"] == "wall")?;
        (wall["takes_directions"] == Value::Bool(true)).then_some(())
    });

    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut shots = 0;
            while !done.load(Ordering::Relaxed) {
                let shot = display.screenshot();
                let is = |colour| POINTS.iter().all(|at| is_near(&shot, *at, colour));
                assert!(is(RED) || is(BLUE), "something else is on the screen");
                shots += 1;
            }
            shots
        });
        for stream in ["blue", "red", "blue"] {
            direct(&site, &format!(r#"{{"streams":["{stream}"]}}"#));
        }
        done.store(true, Ordering::Relaxed);
        assert!(watcher.join().unwrap() > 0);
    });
    shows(&display, "the directed stream", &all(BLUE));

    served.kill();
    program.kill();
    let program = viewer(&env, &display).start();
    shows(&display, "a card without a relay", &[((5, 5), CARD)]);
    let served = relay(&env).ready();
    shows(&display, "the directed stream again", &all(BLUE));
    direct(&Site::of(&served), "{}");
    shows(&display, "its own stream again", &all(RED));
    assert_eq!(program.stop().0.code(), Some(0));
}
