//! What a mouse does to the window of an X server: a double click, the wheel, a drag, and the pointer that is hidden.

use std::time::Duration;

use fanlight_pixels::font::{Font, Layer};
use fanlight_pixels::text::line_height;
use fanlight_tests::wait::{SOON, pause, until};
use x11rb::connection::Connection as _;
use x11rb::protocol::xfixes::ConnectionExt as _;
use x11rb::protocol::xproto::{ChangeWindowAttributesAux, ConnectionExt as _};

use super::display::{DESKTOP, Display, Monitor, Screenshot, installed};
use super::scenes::Scenes;
use super::{BARS, bars_fill, colour_near, eventually};

const WHOLE: Monitor = Monitor {
    x: 0,
    y: 0,
    width: 640,
    height: 480,
};

const WINDOW: Monitor = Monitor {
    x: 100,
    y: 80,
    width: 320,
    height: 240,
};

/// Longer than the time in which the window takes two presses for a double click.
const NO_DOUBLE_CLICK: Duration = Duration::from_millis(500);

/// How often two clicks may be taken for single ones.
const MAX_ATTEMPTS: usize = 20;

/// A display of [`WHOLE`]; None, and said so, where something for it is missing.
fn display() -> Option<Display> {
    installed("xdotool")?;
    Display::single(WHOLE.width, WHOLE.height)
}

#[test]
fn a_double_click_fills_the_screen_and_another_one_brings_the_window_back() {
    let Some(display) = display() else { return };
    let mut scenes = Scenes::start(&display, &["--window", "320x240+100+80"]);
    scenes.show_bars(1, "320x240");

    let beside = (WINDOW.x - 10, WINDOW.y - 10);
    double_click(&display, &mut scenes, WHOLE);
    eventually(&display, "full screen", |shot| {
        bars_fill(shot, WHOLE).map(drop)
    });
    double_click(&display, &mut scenes, WINDOW);
    eventually(&display, "the window again", |shot| {
        bars_fill(shot, WINDOW)?;
        colour_near(shot, beside.0, beside.1, DESKTOP)
    });
    assert!(scenes.close(SOON).success());
}

/// Clicks twice until the window has taken it for a double click and is where it then shall be. A program that gets no processor
/// between the two takes them for single ones.
fn double_click(display: &Display, scenes: &mut Scenes, wanted: Monitor) {
    for _ in 0..MAX_ATTEMPTS {
        display.xdotool("mousemove 200 200 click 1 click 1");
        // After the first picture the window has seen the clicks, after the second the server has seen what it did, and after
        // the third the window has seen that.
        for number in 2..5 {
            scenes.show_bars(number, "320x240");
        }
        if place_of_the_window(display) == [wanted.x, wanted.y, wanted.width, wanted.height] {
            return;
        }
        pause(NO_DOUBLE_CLICK);
    }
    panic!(
        "{:?} is where no double click moves the window",
        place_of_the_window(display)
    );
}

/// Place and size of the largest window on the display.
fn place_of_the_window(display: &Display) -> [u32; 4] {
    let server = display.x11();
    let tree = server.query_tree(display.root()).unwrap().reply().unwrap();
    let places = tree.children.into_iter().map(|window| {
        let it = server.get_geometry(window).unwrap().reply().unwrap();
        [
            it.x.cast_unsigned(),
            it.y.cast_unsigned(),
            it.width,
            it.height,
        ]
        .map(u32::from)
    });
    let largest = places.max_by_key(|[.., width, height]| width * height);
    largest.unwrap()
}

/// Pixels of the screen for one of a picture that is half as large as the screen, after a click of the wheel: two steps, since winit
/// 0.30 tells of a wheel that only clicks at its press and at its release.
const ENLARGED: f64 = 2.0 * 1.25 * 1.25;

/// Where the fourth bar of [`BARS`] ends, in pixels of a picture that is 320 wide.
const EDGE: f64 = 183.0;

/// How far the colours of two bars run into each other on the screen.
const BLUR: u32 = 16;

#[test]
fn the_wheel_enlarges_at_the_pointer_a_drag_moves_the_picture_and_its_pixel_is_named() {
    let Some(display) = display() else { return };
    let mut scenes = Scenes::start(&display, &["--full-screen"]);
    scenes.show_bars(1, "320x240");
    eventually(&display, "the picture", |shot| {
        bars_fill(shot, WHOLE).map(drop)
    });

    display.xdotool("mousemove 366 240 click 4");
    eventually(&display, "larger, and the edge where it was", |shot| {
        edge_at(shot, 366)
    });

    // What lies where on the screen is known by one point.
    let at_first = Enlarged {
        edge: 366,
        y: 240,
        row: 120.0,
    };
    for (x, y) in [(300, 200), (450, 300)] {
        display.xdotool(&format!("mousemove {x} {y}"));
        eventually(&display, "the pixel", |shot| at_first.names(shot, (x, y)));
    }
    display.screenshot().keep("pixel-under-the-pointer");

    display.xdotool("mousemove 366 100 mousedown 1 mousemove 400 120 mousemove 426 130 mouseup 1");
    eventually(&display, "the picture where it was dragged", |shot| {
        edge_at(shot, 426)
    });
    let dragged = Enlarged {
        edge: 426,
        y: 270,
        row: 120.0,
    };
    // A button that is no longer pressed drags nothing.
    display.xdotool("mousemove 60 400");
    eventually(&display, "the pixel after that", |shot| {
        dragged.names(shot, (60, 400))?;
        edge_at(shot, 426)
    });

    display.xdotool("click 5 click 5");
    eventually(&display, "all of it again, without words", |shot| {
        bars_fill(shot, WHOLE)?;
        colour_near(shot, 20, 460, BARS[0])
    });
    assert!(scenes.close(SOON).success());
}

/// Whether the fourth bar ends at `x`, and this bar and the next are as wide as enlarged ones are.
fn edge_at(shot: &Screenshot, x: u32) -> Result<(), String> {
    let width = (320.0 / 7.0 * ENLARGED) as u32;
    for (at, colour) in [
        (x - width - BLUR, BARS[2]),
        (x - width + BLUR, BARS[3]),
        (x - BLUR, BARS[3]),
        (x + BLUR, BARS[4]),
        (x + width - BLUR, BARS[4]),
        (x + width + BLUR, BARS[5]),
    ] {
        colour_near(shot, at, 60, colour)?;
    }
    Ok(())
}

/// Where an enlarged picture lies on the screen: [`EDGE`] and a row of it, which is seen at `y`.
struct Enlarged {
    edge: u32,
    y: u32,
    row: f64,
}

impl Enlarged {
    /// Whether the words on the screen name the pixel that is seen at this point, with its colour.
    fn names(&self, shot: &Screenshot, (x, y): (u32, u32)) -> Result<(), String> {
        let along =
            |from: f64, at: u32, zero: u32| from + (f64::from(at) - f64::from(zero)) / ENLARGED;
        let column = along(EDGE, x, self.edge) as u32;
        let row = along(self.row, y, self.y) as u32;
        let colour = shot.at(x, y);
        says(shot, &format!("x {column}  y {row}  #{colour:06x}"))
    }
}

/// Whether these words stand in the lower left corner, as the font has them.
fn says(shot: &Screenshot, words: &str) -> Result<(), String> {
    let letters = Letters::of(words);
    let mut places = corner(shot).filter(|place| letters.stand_at(shot, *place));
    let found = places.next();
    found.map(drop).ok_or_else(|| format!("no words {words:?}"))
}

/// Where words in the lower left corner may begin.
fn corner(shot: &Screenshot) -> impl Iterator<Item = (u32, u32)> {
    let size = SIZE as u32;
    let rows = shot.height - 4 * size..shot.height - 2 * size;
    rows.flat_map(move |y| (size / 2..2 * size).map(move |x| (x, y)))
}

/// The size of letters on a screen of this height.
const SIZE: usize = 12;

/// Most of the brightness of the ground below letters, and how far a point may be from what is computed.
const GROUND: u32 = 80;
const NEAR: u32 = 12;

/// How much of each point a line of letters covers, of 256.
struct Letters {
    width: usize,
    coverage: Vec<u32>,
}

impl Letters {
    fn of(line: &str) -> Self {
        let mut font = Font::default();
        let width = font.width(line, SIZE);
        let mut coverage = vec![0; width * line_height(SIZE)];
        font.draw(line, SIZE, (0, 0), width, Layer::Ink, |x, y, more| {
            if let Some(part) = coverage.get_mut(y * width + x) {
                *part = 256 - (256 - *part) * (256 - more) / 256;
            }
        });
        Self { width, coverage }
    }

    /// Whether they stand there, white over a ground that is nearly black.
    fn stand_at(&self, shot: &Screenshot, (left, top): (u32, u32)) -> bool {
        (0..).zip(&self.coverage).all(|(at, coverage)| {
            let x = at % self.width as u32;
            let y = at / self.width as u32;
            let least = 255 * coverage / 256;
            let most = least + GROUND * (256 - coverage) / 256;
            let range = least.saturating_sub(NEAR)..=most + NEAR;
            let found = shot.at(left + x, top + y).to_le_bytes();
            found[..3]
                .iter()
                .all(|part| range.contains(&u32::from(*part)))
        })
    }
}

#[test]
fn in_full_screen_the_pointer_is_hidden_until_it_moves_and_in_a_window_it_stays() {
    let (Some(full), Some(windowed)) = (display(), display()) else {
        return;
    };

    let [mut in_full, mut in_window] =
        [(&full, &["--full-screen"][..]), (&windowed, &[])].map(|(display, arguments)| {
            give_pointer(display);
            let mut scenes = Scenes::start(display, arguments);
            scenes.show_bars(1, "320x240");
            scenes
        });
    for display in [&windowed, &full] {
        display.xdotool("mousemove 300 200");
    }
    until("no pointer", SOON, || (!shows_pointer(&full)).then_some(()));
    // It was moved before that of the other.
    assert!(shows_pointer(&windowed));
    full.xdotool("mousemove 310 210");
    until("a pointer", SOON, || shows_pointer(&full).then_some(()));

    for scenes in [&mut in_full, &mut in_window] {
        assert!(scenes.close(SOON).success());
    }
}

/// Gives the desktop a pointer, which windows have that choose none.
fn give_pointer(display: &Display) {
    const ARROW: u16 = 68;
    let server = display.x11();
    let [font, pointer] = [(); 2].map(|()| server.generate_id().unwrap());
    server.open_font(font, b"cursor").unwrap().check().unwrap();
    let white = u16::MAX;
    server
        .create_glyph_cursor(
            pointer,
            font,
            font,
            ARROW,
            ARROW + 1,
            0,
            0,
            0,
            white,
            white,
            white,
        )
        .unwrap()
        .check()
        .unwrap();
    let attributes = ChangeWindowAttributesAux::new().cursor(pointer);
    server
        .change_window_attributes(display.root(), &attributes)
        .unwrap()
        .check()
        .unwrap();
    assert!(shows_pointer(display));
}

/// Whether the pointer on the screen has any pixels.
fn shows_pointer(display: &Display) -> bool {
    let server = display.x11();
    server.xfixes_query_version(5, 0).unwrap().reply().unwrap();
    let pointer = server.xfixes_get_cursor_image().unwrap().reply().unwrap();
    let opacity = |pixel: u32| pixel >> 24;
    pointer
        .cursor_image
        .into_iter()
        .any(|pixel| opacity(pixel) > 0)
}
