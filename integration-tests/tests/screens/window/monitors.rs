//! Monitors that come, go and change while the window is there, and displays that would go dark.

use std::time::Duration;

use fanlight_tests::wait::{self, until};
use x11rb::connection::Connection as _;
use x11rb::protocol::screensaver::{ConnectionExt as _, State};
use x11rb::protocol::xproto::{Blanking, ConnectionExt as _, Exposures};

use super::display::{DESKTOP, Display, Monitor, run};
use super::scenes::Scenes;
use super::{THREE, bars_fill, eventually, only};

/// As an X server has it after which time without input it goes dark.
const DARK_AFTER: u8 = 1;

#[test]
fn a_screen_whose_resolution_changes_is_filled_again() {
    let small = Monitor {
        width: 800,
        height: 600,
        ..THREE[0]
    };

    for (display, change) in [
        (Display::several(&THREE[..1]), None),
        (
            Display::wayland(&THREE[..1]),
            Some("output HEADLESS-1 mode 800x600"),
        ),
    ] {
        let Some(display) = display else { return };
        let mut scenes = Scenes::start(&display, &["--full-screen"]);
        scenes.show_bars(1, "800x600");
        eventually(&display, "all of it", |shot| {
            bars_fill(
                shot,
                Monitor {
                    x: 240,
                    width: 1440,
                    ..THREE[0]
                },
            )
            .map(drop)
        });

        match change {
            Some(words) => display.sway().tell(words),
            None => {
                run(display
                    .command("xrandr")
                    .args(["--addmode", "DUMMY0", "800x600"]));
                run(display
                    .command("xrandr")
                    .args(["--output", "DUMMY0", "--mode", "800x600"]));
            }
        }
        eventually(&display, "all of less", |shot| {
            bars_fill(shot, small).map(drop)
        });
        assert!(scenes.close(wait::SOON).success());
    }
}

#[test]
fn the_second_of_three_monitors_is_filled_again_after_it_was_unplugged_and_lies_elsewhere() {
    let alone = Display::several(&THREE);
    let managed = Display::several(&THREE).and_then(Display::with_window_manager);
    let wayland = Display::wayland(&THREE).filter(|display| display.sway().can_unplug());

    for display in [alone, managed, wayland].into_iter().flatten() {
        let is_wayland = display.kind() == "wayland";
        let name = if is_wayland { "HEADLESS-2" } else { "2" };
        let mut scenes = Scenes::start(&display, &["--full-screen", "--monitor", name]);
        scenes.show_bars(1, "1280x720");
        let fills_alone = |what: &str, monitor: Monitor| {
            eventually(&display, what, |shot| {
                bars_fill(shot, monitor)?;
                // Versions of sway differ in it.
                let empty = if is_wayland { shot.at(0, 0) } else { DESKTOP };
                only(shot, THREE[0], empty)?;
                only(shot, THREE[2], empty)
            });
        };
        fills_alone("the second", THREE[1]);

        if is_wayland {
            unplug_and_plug(&display);
        } else {
            let xrandr = |words: &str| run(display.command("xrandr").args(words.split(' ')));
            xrandr("--output DUMMY1 --off");
            xrandr("--output DUMMY1 --mode 1280x720 --pos 0x1080");
        }
        let elsewhere = Monitor {
            x: 0,
            y: 1080,
            ..THREE[1]
        };
        fills_alone("the second again", elsewhere);
        assert!(scenes.close(wait::SOON).success());
    }
}

fn unplug_and_plug(display: &Display) {
    display.sway().tell("output HEADLESS-2 disable");
    until("the window is where it can be seen", wait::SOON, || {
        let window = display.sway().window()?;
        (window["rect"]["width"] != THREE[1].width).then_some(())
    });
    display.sway().tell("output HEADLESS-2 pos 0 1080 enable");
}

#[test]
fn an_x_server_does_not_go_dark_while_it_shows_pictures() {
    let Some(display) = Display::single(640, 480) else {
        return;
    };

    let server = display.x11();
    let idle = || {
        let root = server.setup().roots[0].root;
        let info = server
            .screensaver_query_info(root)
            .unwrap()
            .reply()
            .unwrap();
        let is_dark = u8::from(State::ON) == info.state;
        (
            is_dark,
            Duration::from_millis(info.ms_since_user_input.into()),
        )
    };
    let dark_after = |seconds| {
        let _ = server
            .set_screen_saver(seconds, 0, Blanking::PREFERRED, Exposures::ALLOWED)
            .unwrap()
            .check();
    };

    let mut scenes = Scenes::start(&display, &[]);
    scenes.show_bars(1, "640x480");
    dark_after(DARK_AFTER.into());
    let long = 2 * Duration::from_secs(DARK_AFTER.into());
    until("a time without input", wait::SOON, || {
        let (is_dark, length) = idle();
        assert!(!is_dark);
        (length > long).then_some(())
    });

    scenes.tell("message no signal|the camera is unplugged");
    until("dark, with a card in a window", wait::SOON, || {
        idle().0.then_some(())
    });
    assert!(scenes.close(wait::SOON).success());
}

#[test]
fn a_compositor_does_not_idle_while_pictures_are_shown_or_in_full_screen() {
    let Some(display) = Display::wayland(&THREE[..1]) else {
        return;
    };

    let keeps = |what: &str, wanted: bool| {
        until(what, wait::SOON, || {
            let window = display.sway().window()?;
            (window["inhibit_idle"] == wanted).then_some(())
        });
    };
    let card = "message no signal|the camera is unplugged";

    let mut scenes = Scenes::start(&display, &[]);
    scenes.show_bars(1, "640x480");
    keeps("awake while there is a picture", true);
    scenes.tell(card);
    keeps("idle with a card in a window", false);
    scenes.show_bars(2, "640x480");
    keeps("awake again", true);
    assert!(scenes.close(wait::SOON).success());

    let mut scenes = Scenes::start(&display, &["--full-screen"]);
    scenes.tell(card);
    keeps("awake with a card in full screen", true);
    assert!(scenes.close(wait::SOON).success());
}
