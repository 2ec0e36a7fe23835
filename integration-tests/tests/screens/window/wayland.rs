//! What only a Wayland compositor does: it scales the outputs, and says when a picture can be seen.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::wait;

use super::display::{Display, Monitor};
use super::scenes::Scenes;
use super::{BARS, bars_fill, colour_near, eventually};

const WHOLE: Monitor = Monitor {
    x: 0,
    y: 0,
    width: 1200,
    height: 900,
};

/// What sway's outputs without a screen refresh by, in hertz.
const REFRESH: f64 = 60.0;

#[test]
fn at_a_fractional_scale_a_picture_fills_all_pixels_of_the_output_and_its_edges_stay_where_they_are()
 {
    let Some(display) = Display::wayland(&[WHOLE]) else {
        return;
    };

    display.sway().tell("output HEADLESS-1 scale 1.5");
    let mut scenes = Scenes::start(&display, &["--full-screen"]);
    scenes.show_bars(1, "1200x900");
    let sharp = |display: &Display, what: &str| {
        eventually(display, what, |shot| {
            bars_fill(shot, WHOLE)?;
            // The third bar begins at 342.9; neither a bar nor a pixel is blurred farther than scaling by a compositor has it.
            colour_near(shot, 339, 450, BARS[1])?;
            colour_near(shot, 346, 450, BARS[2])
        });
    };
    sharp(&display, "bars at one and a half");
    display.screenshot().keep("scaled");

    display.sway().tell("output HEADLESS-1 scale 1");
    sharp(&display, "bars at one");
    assert!(scenes.close(wait::SOON).success());
}

#[test]
fn a_compositor_is_given_no_more_pictures_than_it_shows_and_the_newest() {
    let Some(display) = Display::wayland(&[WHOLE]) else {
        return;
    };

    let mut scenes = Scenes::start(&display, &["--full-screen"]);
    scenes.show_bars(1, "160x120");
    let begun = clock::now();
    for number in 2..400 {
        scenes.tell(&format!("picture {number} 160x120"));
    }
    let presented = scenes.wait_presented(399);
    let lasted = clock::now().saturating_since(begun) + Duration::from_millis(100);
    let most = (lasted.as_secs_f64() * REFRESH).ceil() as usize;
    assert!(presented <= most, "{presented} in {lasted:?}");
}
