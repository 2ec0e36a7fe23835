//! Whoever reads a window sees one picture at a time, never parts of two.

use fanlight_tests::wait::{Deadline, SOON};

use super::display::{Display, Screenshot};
use super::scenes::Scenes;
use super::{colour_near, eventually};

/// Two pictures, of one colour each.
const COLOURS: [u32; 2] = [0xe0_30_30, 0x30_30_e0];

/// Pictures that come at once, so that the window draws one while the server may still read the one before. The last has another
/// colour than that of the round before.
const AT_ONCE: usize = 3;

#[test]
fn no_screenshot_has_parts_of_two_pictures() {
    for (display, rounds) in Display::each(640, 480).zip([60, 12]) {
        let mut scenes = Scenes::start(&display, &["--full-screen"]);
        let mut pictures = (0..).zip(COLOURS.into_iter().cycle());
        let mut tell = |count: usize| {
            let told = pictures.by_ref().take(count).map(|(number, colour)| {
                scenes.tell_flat(number, colour, "640x480");
                colour
            });
            told.last().unwrap()
        };

        let first = tell(1);
        eventually(&display, "the first picture", |shot| whole(shot, first));
        for _ in 0..rounds {
            let last = tell(AT_ONCE);
            let deadline = Deadline::after(SOON);
            while !is_whole(&display.screenshot(), last) {
                assert!(!deadline.is_over(), "the last picture is not seen");
            }
        }
    }
}

/// Whether all of the screen has this colour.
fn whole(shot: &Screenshot, colour: u32) -> Result<(), String> {
    colour_near(shot, 0, 0, colour)?;
    let first = shot.at(0, 0);
    let other = shot.points().find(|(.., colour)| *colour != first);
    other.map_or(Ok(()), |(x, y, colour)| {
        Err(format!("{first:06x}, but {colour:06x} at {x},{y}"))
    })
}

/// The same of one that has either of [`COLOURS`].
#[track_caller]
fn is_whole(shot: &Screenshot, colour: u32) -> bool {
    let [this, that] = COLOURS.map(|colour| whole(shot, colour));
    if let (Err(this), Err(that)) = (&this, &that) {
        let path = shot.keep("failure-tearing");
        panic!("{this}; {that}; see {}", path.display());
    }
    whole(shot, colour).is_ok()
}
