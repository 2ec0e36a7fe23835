//! The whole path, from a source to what stands on the glass: the code that the pattern paints is read back from
//! screenshots of the viewer's window.

use std::cell::Cell;
use std::ops::Range;

use fanlight_tests::program::Program;
use fanlight_tests::{TestEnv, wait};

use super::display::{Display, Screenshot, installed};
use super::{Monitor, THREE, eventually, is_card};

const WHOLE: Monitor = Monitor {
    x: 0,
    y: 0,
    width: 1280,
    height: 720,
};

#[test]
fn the_screen_shows_the_sources_frames_says_when_it_is_gone_and_goes_on_when_it_is_back() {
    let Some(display) = Display::single(WHOLE.width, WHOLE.height) else {
        return;
    };

    let env = TestEnv::new();
    let (source, _relay, viewer) = live(&env, &display, PATTERN, "");
    watch_frames(&display, WHOLE, 10);
    display.screenshot().keep("whole");

    for _ in 0..2 {
        source.kill();
        eventually(&display, "a card instead of the last picture", is_card);
        source.start_again();
        watch_frames(&display, WHOLE, 10);
    }

    let (exit, _) = viewer.stop();
    assert_eq!(exit.code(), Some(0));
}

#[test]
fn the_viewer_fills_the_monitor_it_was_given_and_ends_at_a_key() {
    let (Some(display), Some(())) = (Display::several(&THREE), installed("xdotool")) else {
        return;
    };

    let env = TestEnv::new();
    let (_source, _relay, viewer) = live(&env, &display, PATTERN, "--monitor DUMMY1");
    watch_frames(&display, THREE[1], 10);
    display.press("q", (THREE[1].x + 600, THREE[1].y + 300));
    assert_eq!(viewer.wait_exit(wait::SOON).code(), Some(0));
}

#[test]
fn a_ring_and_a_cross_show_where_the_ball_was_found_and_go_with_the_tracker() {
    let Some(display) = Display::single(WHOLE.width, WHOLE.height) else {
        return;
    };

    let env = TestEnv::new();
    let ball = "--input ball --size 1280x720 --rate 30";
    let (source, _relay, viewer) = live(&env, &display, ball, "--track ball --show-track");
    eventually(&display, "a ring", |shot| match marked(shot) {
        200.. => Ok(()),
        few => Err(format!("{few} pixels have its colour")),
    });

    display.screenshot().keep("track");
    source.kill();
    eventually(&display, "a card without a ring", |shot| {
        match marked(shot) {
            0 => is_card(shot),
            some => Err(format!("{some} pixels have its colour")),
        }
    });

    let (exit, _) = viewer.stop();
    assert_eq!(exit.code(), Some(0));
}

#[test]
fn figures_stand_in_the_corner_with_the_sources_verdict_and_go_and_come_at_a_key() {
    let (Some(display), Some(())) = (
        Display::single(WHOLE.width, WHOLE.height),
        installed("xdotool"),
    ) else {
        return;
    };

    let env = TestEnv::new();
    let (_source, _relay, viewer) = live(
        &env,
        &display,
        "--input ball --size 1280x720 --rate 30",
        "--overlay figures --track ball --show-track",
    );

    let figures = |shot: &Screenshot| match in_the_corner(shot) {
        200.. => Ok(()),
        few => Err(format!("{few} pixels of letters")),
    };

    eventually(&display, "figures", figures);
    eventually(&display, "a third line, and the ring", |shot| {
        let ring = marked(shot);
        let verdict = letters(shot, VERDICT);
        (verdict >= 50 && ring >= 200)
            .then_some(())
            .ok_or_else(|| format!("{verdict} pixels of letters, {ring} of the ring"))
    });
    display.screenshot().keep("figures");
    display.press("n", (600, 600));
    eventually(&display, "no figures", |shot| match in_the_corner(shot) {
        0 => Ok(()),
        some => Err(format!("{some} pixels of letters")),
    });

    display.press("n", (600, 600));
    eventually(&display, "figures again", figures);
    let (exit, _) = viewer.stop();
    assert_eq!(exit.code(), Some(0));
}

/// The rows of the third line of figures.
const VERDICT: Range<u32> = 64..86;

/// How many pixels in the upper right corner have the colour of letters, which no ball has.
fn in_the_corner(shot: &Screenshot) -> usize {
    letters(shot, 0..160)
}

fn letters(shot: &Screenshot, rows: Range<u32>) -> usize {
    shot.points()
        .filter(|(x, y, pixel)| *x > 760 && rows.contains(y) && *pixel == 0xff_ff_ff)
        .count()
}

/// How many pixels have the colour of the ring.
fn marked(shot: &Screenshot) -> usize {
    let is_marked = |pixel: u32| {
        let [_, red, green, blue] = pixel.to_be_bytes();
        red > 215 && (60..115).contains(&green) && (25..80).contains(&blue)
    };

    shot.points()
        .filter(|(_, _, pixel)| is_marked(*pixel))
        .count()
}

const PATTERN: &str = "--input pattern --size 1280x720 --rate 30";

/// The three programs, the viewer in full screen on `display`.
fn live(env: &TestEnv, display: &Display, input: &str, flags: &str) -> (Program, Program, Program) {
    let source = env.source("cam").flags(input).ready();
    let relay = env.relay(0, &[env.ipc("cam")]).ready();
    let viewer = env
        .program("viewer")
        .flag("relay", env.relay_address(0).to_string())
        .flags("--stream cam --fullscreen")
        .flags(flags)
        .envs(display.variables())
        .start();

    (source, relay, viewer)
}

/// Waits until `count` different frames were seen on the monitor, each newer than the one before.
fn watch_frames(display: &Display, monitor: Monitor, count: usize) {
    let newest = Cell::new(None);
    for _ in 0..count {
        eventually(display, "a newer frame", |shot| {
            let code = shot.code(monitor).ok_or("no code can be read")?;
            if newest
                .get()
                .is_some_and(|newest| code.captured_ns <= newest)
            {
                return Err(format!("frame {} still, or again", code.number));
            }

            newest.set(Some(code.captured_ns));
            Ok(())
        });
    }
}
