//! Several streams on one screen.

use fanlight_tests::TestEnv;
use fanlight_tests::program::Program;
use fanlight_tests::wait::{SOON, until};

use super::window::display::{Display, Screenshot};

pub(crate) const RED: u32 = 0xc0_20_20;
const GREEN: u32 = 0x20_c0_20;
pub(crate) const BLUE: u32 = 0x20_20_c0;

/// The size of each source's pictures.
pub(crate) const SIZE: (usize, usize) = (320, 240);

/// The ground of a card.
pub(crate) const CARD: u32 = 0x11_15_1c;

/// The frame of a picture that is stopped.
const AMBER: u32 = 0xff_a0_00;

/// A source whose pictures have one colour.
pub(crate) fn source(
    env: &TestEnv,
    stream: &str,
    colour: u32,
    (width, height): (usize, usize),
) -> Program {
    let pixels: Vec<u8> = (0..width * height)
        .flat_map(|_| colour.to_le_bytes())
        .collect();
    let image = turbojpeg::Image {
        pixels: &pixels[..],
        width,
        pitch: 4 * width,
        height,
        format: turbojpeg::PixelFormat::BGRX,
    };

    let jpeg = turbojpeg::compress(image, 90, turbojpeg::Subsamp::None).unwrap();
    let folder = env.path(&format!("{stream}-pictures"));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("0.jpg"), &*jpeg).unwrap();
    let source = env.source(stream).flags("--input files --rate 20");
    source.flag("path", &folder).ready()
}

pub(crate) fn is_near(shot: &Screenshot, (x, y): (u32, u32), wanted: u32) -> bool {
    let (found, wanted) = (shot.at(x, y).to_le_bytes(), wanted.to_le_bytes());
    found
        .into_iter()
        .zip(wanted)
        .all(|(a, b)| a.abs_diff(b) < 16)
}

/// Waits until the screen has these colours there.
pub(crate) fn shows(display: &Display, what: &str, colours: &[((u32, u32), u32)]) {
    until(what, SOON, || {
        let shot = display.screenshot();
        let all = colours.iter();
        all.clone()
            .all(|(at, colour)| is_near(&shot, *at, *colour))
            .then_some(())
    });
}

#[test]
fn each_stream_of_a_grid_has_its_tile_and_a_lost_one_keeps_its_place() {
    Display::each(640, 480)
        .filter_map(Display::with_keyboard)
        .for_each(|display| shows_a_grid(&display));
}

fn shows_a_grid(display: &Display) {
    let env = TestEnv::new();
    let _red = source(&env, "red", RED, SIZE);
    let green = source(&env, "green", GREEN, SIZE);
    let _blue = source(&env, "blue", BLUE, SIZE);
    let endpoints = ["red", "green", "blue"].map(|name| env.ipc(name));
    let _relay = env.relay(0, &endpoints).ready();
    let viewer = env
        .program("viewer")
        .flag("relay", env.relay_address(0).to_string())
        .flags("--grid 2x2 --stream red,green --stream blue --fullscreen")
        .envs(display.variables())
        .start();

    let tiles = [(159, 80), (480, 80), (159, 320), (480, 360)];
    let all = [RED, GREEN, BLUE, 0];
    let each = |colours: [u32; 4]| {
        let each: Vec<_> = tiles.into_iter().zip(colours).collect();
        each
    };
    shows(display, "three tiles, and none", &each(all));

    display.press("3", (320, 240));
    let fills = [((320, 20), BLUE), ((10, 10), BLUE), ((630, 240), BLUE)];
    shows(display, "the third alone", &fills);
    display.press("0", (320, 240));
    shows(display, "all of them again", &each(all));

    green.kill();
    let corner = ((325, 5), CARD);
    let others = [(tiles[0], RED), corner, (tiles[2], BLUE)];
    shows(display, "a card in place of the second", &others);
    until(
        "nothing over the card that may still say live",
        SOON,
        || {
            let shot = display.screenshot();
            let is_darker = |colour: u32| {
                let parts = colour.to_le_bytes().into_iter().zip(CARD.to_le_bytes());
                parts.take(3).any(|(part, card)| part + 4 < card)
            };
            let mut card = shot
                .points()
                .filter(|(x, y, _)| (330..635).contains(x) && (5..235).contains(y));
            (!card.any(|(.., colour)| is_darker(colour))).then_some(())
        },
    );
    display
        .screenshot()
        .keep(&format!("grid-{}", display.kind()));

    let (exit, _) = viewer.stop();
    assert_eq!(exit.code(), Some(0));
}

#[test]
fn streams_that_are_named_are_shown_in_turn() {
    let Some(display) = Display::single(320, 240) else {
        return;
    };

    let env = TestEnv::new();
    let _red = source(&env, "red", RED, SIZE);
    let _blue = source(&env, "blue", BLUE, SIZE);
    let _relay = env.relay(0, &[env.ipc("red"), env.ipc("blue")]).ready();
    let _viewer = env
        .program("viewer")
        .flag("relay", env.relay_address(0).to_string())
        .flags("--stream blue,red --cycle 1s --fullscreen")
        .envs(display.variables())
        .start();

    for (what, colour) in [
        ("the first", BLUE),
        ("the second", RED),
        ("the first again", BLUE),
    ] {
        shows(&display, what, &[((160, 60), colour)]);
    }
}

#[test]
fn one_tile_is_stopped_and_another_lost_and_the_others_go_on() {
    let Some(display) = Display::single(960, 540).and_then(Display::with_keyboard) else {
        return;
    };

    let env = TestEnv::new();
    let streams = [
        ("lobby", "ball"),
        ("gate", "pattern"),
        ("yard", "pattern"),
        ("hall", "ball"),
    ];
    let sources = streams.map(|(stream, input)| {
        let source = env.source(stream).flag("input", input);
        let source = source.flags("--size 640x360 --rate 20 --overlay=true");
        source.ready()
    });
    let endpoints = streams.map(|(stream, _)| env.ipc(stream));
    let _relay = env.relay(0, &endpoints).ready();
    let viewer = env
        .program("viewer")
        .flag("relay", env.relay_address(0).to_string())
        .flags("--grid 2x2 --stream lobby,gate,yard,hall --name wall --fullscreen")
        .envs(display.variables())
        .start();

    let [lobby, gate, yard, hall] = [(4, 4), (485, 4), (4, 275), (485, 275)];
    let moves = |tile: (u32, u32)| {
        let before = time_in(&display.screenshot(), tile);
        until("a tile that moves", SOON, || {
            (time_in(&display.screenshot(), tile) != before).then_some(())
        });
    };
    [lobby, gate, yard, hall].into_iter().for_each(moves);

    sources[2].kill();
    let card = [(yard, CARD), ((100, 300), CARD)];
    shows(&display, "a card in place of the third", &card);

    // By then there is a second to go back.
    display.press("less", (100, 100));
    shows(&display, "a frame around the first", &[((1, 1), AMBER)]);
    let stopped = time_in(&display.screenshot(), lobby);
    [gate, hall].into_iter().for_each(moves);

    let shot = display.screenshot();
    assert!(time_in(&shot, lobby) == stopped, "a stopped tile moves");
    shot.keep("grid-paused");
    assert_eq!(viewer.stop().0.code(), Some(0));
}

/// The upper half of a tile that begins there, where its source writes the time.
fn time_in(shot: &Screenshot, (left, top): (u32, u32)) -> Vec<u32> {
    let is_there =
        |x: u32, y: u32| (left..left + 470).contains(&x) && (top..top + 130).contains(&y);
    let points = shot.points().filter(|(x, y, _)| is_there(*x, *y));
    points.map(|(.., colour)| colour).collect()
}
