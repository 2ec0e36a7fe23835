//! A screen that an admin of the relay directs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fanlight_tests::TestEnv;
use fanlight_tests::http::Site;
use fanlight_tests::program::Launch;
use fanlight_tests::wait::{SOON, until};
use serde_json::Value;

use super::grid::{BLUE, CARD, RED, SIZE, is_near, shows, source};
use super::window::display::{Display, Screenshot};

/// A point of the picture, and another one.
const POINTS: [(u32, u32); 2] = [(160, 60), (40, 200)];

/// The frame around a picture that is not live.
const FRAME: u32 = 0xff_a0_00;

fn viewer(env: &TestEnv, display: &Display) -> Launch {
    env.program("viewer")
        .flag("relay", env.relay_address(0).to_string())
        .flag("state-dir", env.path("state"))
        .flags("--stream red --name wall --directed --fullscreen")
        .envs(display.variables())
}

fn relay(env: &TestEnv) -> Launch {
    env.relay(0, &[env.ipc("red"), env.ipc("blue")])
        .flag("http", env.http_address(0).to_string())
}

/// Waits until the relay knows that the screen takes directions.
fn wait_known(site: &Site) {
    until("the relay knows the screen", SOON, || {
        let screens = site.get("/api/screens").json();
        let rows = screens["screens"].as_array()?;
        let wall = rows.iter().find(|row| row["name"] == "wall")?;
        (wall["takes_directions"] == Value::Bool(true)).then_some(())
    });
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

#[track_caller]
fn notify(site: &Site, what: &str, notice: &str) {
    let json = [("Content-Type", "application/json")];
    let path = format!("/api/screens/wall/{what}");
    let answer = site.ask("POST", &path, &json, notice);
    assert_eq!(
        answer.status,
        202,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
}

/// The share of points that are as light as letters.
fn letters(shot: &Screenshot) -> f64 {
    let is_light = |colour: u32| colour.to_le_bytes()[..3].iter().all(|part| *part > 0xe0);
    let light = shot.points().filter(|(.., colour)| is_light(*colour));
    light.count() as f64 / shot.points().count() as f64
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
    wait_known(&site);

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

#[test]
fn a_screen_says_who_it_is_shows_words_stops_and_has_tiles_when_it_is_told_to() {
    let Some(display) = Display::single(640, 360) else {
        return;
    };

    let env = TestEnv::new();
    let _sources = [
        source(&env, "red", RED, (640, 360)),
        source(&env, "blue", BLUE, (640, 360)),
    ];
    let served = relay(&env).ready();
    let site = Site::of(&served);
    let _program = viewer(&env, &display).start();
    let plain = |colour| {
        [
            ((20, 20), colour),
            ((600, 340), colour),
            ((320, 180), colour),
        ]
    };
    shows(&display, "its own stream", &plain(RED));
    wait_known(&site);

    let words = |what: &str, least: f64| {
        let shot = until(what, SOON, || {
            let shot = display.screenshot();
            (letters(&shot) > least).then_some(shot)
        });
        shot.keep(what);
    };
    notify(&site, "identify", r#"{"seconds":1}"#);
    words("directed-identify", 0.02);
    shows(&display, "the picture alone", &plain(RED));
    notify(
        &site,
        "popup",
        r#"{"seconds":1,"text":"Dinner is served in the hall"}"#,
    );
    words("directed-text", 0.005);
    shows(&display, "the picture alone again", &plain(RED));
    notify(&site, "popup", r#"{"seconds":1,"stream":"blue"}"#);
    shows(&display, "the stream of a notice", &plain(BLUE));
    shows(&display, "its own again", &plain(RED));

    direct(&site, r#"{"card":"Closed until Monday"}"#);
    shows(&display, "a card", &[((5, 5), CARD)]);
    words("directed-card", 0.002);
    direct(&site, r#"{"streams":["blue"],"frozen":true}"#);
    let stopped = [((600, 100), BLUE), ((1, 100), FRAME), ((638, 100), FRAME)];
    shows(&display, "a picture that is marked as stopped", &stopped);
    display.screenshot().keep("directed-frozen");
    direct(&site, r#"{"streams":["red","blue"]}"#);
    let both = [((40, 180), RED), ((600, 180), BLUE)];
    shows(&display, "two tiles", &both);
    display.screenshot().keep("directed-tiles");
    direct(&site, r#"{"streams":["blue"],"overlay":"statistics"}"#);
    words("directed-overlay", 0.002);
    direct(&site, r#"{"streams":["blue"],"overlay":"none"}"#);
    shows(&display, "one of them alone", &plain(BLUE));
    until("no letters", SOON, || {
        (letters(&display.screenshot()) == 0.0).then_some(())
    });
    direct(&site, "{}");
    shows(&display, "its own stream again", &plain(RED));
}
