//! The panels over a picture at three sizes: they are legible, the picture shows beside them, and keys show and hide them.
//! The pictures are left below target/ to be looked at.

use super::{BARS, Display, Scenes, Screenshot, display, eventually};

const SIZES: [(u32, u32); 3] = [(320, 240), (1280, 720), (3840, 2160)];

const STATISTICS: &str = "statistics 30.0 fps  age 4.7 ms (p50 4.3, p99 8.2); 25.6 Mbit/s  \
                          repaired 4 of 5 parts; lost 12: link 9, superseded 3; 192.168.1.10:5004; \
                          udp, 9131 frames, 0.4 ms there and back";

fn count(shot: &Screenshot, wanted: impl Fn(u32, u32, u32) -> bool) -> usize {
    shot.points()
        .filter(|&(x, y, colour)| wanted(x, y, colour))
        .count()
}

fn white(shot: &Screenshot) -> usize {
    count(shot, |_, _, colour| colour == 0xff_ff_ff)
}

/// Points of light letters on the plate of the name, in the lower left corner.
fn name(shot: &Screenshot) -> usize {
    let size = (shot.height / 40).max(12);
    let plate = shot.height - size / 2 - 2 * size..shot.height - size;
    let is_light = |colour: u32| colour.to_le_bytes()[..3].iter().all(|value| *value > 0xa0);
    count(shot, |x, y, colour| {
        (size..8 * size).contains(&x) && plate.contains(&y) && is_light(colour)
    })
}

/// Points of the part of the bar that is decoding.
fn green(shot: &Screenshot) -> usize {
    count(shot, |_, _, colour| colour == 0x7d_e0_8a)
}

fn at_least(count: usize, least: usize) -> Result<(), String> {
    (count >= least)
        .then_some(())
        .ok_or_else(|| format!("{count} of {least} points"))
}

#[test]
fn panels_are_legible_beside_the_picture_on_small_usual_and_large_screens() {
    for (width, height) in SIZES {
        Display::each(width, height).for_each(|display| shows_panels(&display, (width, height)));
    }
}

fn shows_panels(display: &Display, (width, height): (u32, u32)) {
    let panels = [
        "--full-screen",
        "--overlay",
        "name",
        "--overlay",
        "statistics",
    ];
    let mut scenes = Scenes::start(display, &panels);
    scenes.tell(STATISTICS);
    scenes.show_bars(1, &format!("{width}x{height}"));
    eventually(display, "letters, bar and picture", |shot| {
        at_least(name(shot), 100)?;
        at_least(green(shot), 40)?;
        let picture = count(shot, |_, _, colour| BARS.contains(&colour));
        at_least(picture, (width * height / 50) as usize)
    });

    let kind = display.kind();
    let path = display
        .screenshot()
        .keep(&format!("panels-{kind}-{width}x{height}"));
    println!("{}", path.display());
}

#[test]
fn keys_show_and_hide_each_panel_and_say_which_screen_this_is() {
    let Some(display) = Display::single(1280, 720) else {
        return;
    };

    let Some(()) = display::installed("xdotool") else {
        return;
    };

    let middle = (640, 360);
    let mut scenes = Scenes::start(&display, &["--full-screen"]);
    scenes.tell(STATISTICS);
    scenes.show_bars(1, "1280x720");
    eventually(&display, "no panel", |shot| at_least(1, 1 + white(shot)));

    for key in ["t", "n", "i", "h", "question"] {
        display.press(key, middle);
        eventually(&display, key, |shot| at_least(white(shot), 100));
        if key == "h" {
            display.screenshot().keep("help");
        }
        display.press(key, middle);
        eventually(&display, "hidden again", |shot| {
            at_least(1, 1 + white(shot))
        });
    }

    for key in ["t", "n", "i", "h"] {
        display.press(key, middle);
    }
    eventually(&display, "all panels", |shot| at_least(white(shot), 1500));
    display.screenshot().keep("panels-all");

    display.press("w", middle);
    eventually(&display, "the name of the screen", identifies);
}

#[test]
fn a_screen_that_is_told_to_shows_its_name_in_large_letters() {
    for display in Display::each(1280, 720) {
        let mut scenes = Scenes::start(&display, &["--full-screen"]);
        scenes.tell(STATISTICS);
        scenes.show_bars(1, "1280x720");
        scenes.tell("identify now");
        eventually(&display, "the name of the screen", identifies);
        display
            .screenshot()
            .keep(&format!("identity-{}", display.kind()));
    }
}

fn identifies(shot: &Screenshot) -> Result<(), String> {
    let is_letter = |y, colour| (300..420).contains(&y) && colour == 0xff_ff_ff;
    at_least(count(shot, |_, y, colour| is_letter(y, colour)), 3000)
}
