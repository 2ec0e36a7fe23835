//! The card of each reason, on small and usual screens, by X11 and by Wayland: it is legible and stays within its margins. The
//! pictures are left below target/ to be looked at.

use std::time::Duration;

use fanlight_tests::fake_source::FakeSource;
use fanlight_tests::program::{Launch, Program};
use fanlight_tests::wait::{SOON, pause, until};
use fanlight_tests::{TestEnv, jpeg};

use super::window::display::{Display, Monitor, Screenshot};
use super::window::scenes::Scenes;

/// A card that has not changed for so long is the last one.
const STILL: Duration = Duration::from_millis(400);

const SMALL: (u32, u32) = (320, 240);
const USUAL: (u32, u32) = (1280, 720);

/// How many reasons the program that draws them has.
const REASONS: u32 = 20;

/// Least brightness of letters, of 765, and how many such points a card has at least.
const LIGHT: u32 = 300;
const LETTERS: usize = 100;

/// A reason: its name, what the viewer's log says of it, and the viewer's stream and relay where they are not the usual.
struct Case {
    name: &'static str,
    says: &'static str,
    stream: &'static str,
    relay: Option<String>,
}

#[test]
fn what_stands_in_the_way_of_a_picture_stands_on_the_screen() {
    let displays = [x11(USUAL), wayland(SMALL)];
    let displays: Vec<Display> = displays.into_iter().flatten().collect();

    let env = TestEnv::new();
    let sources = sources(&env);
    // Our own source would refuse it.
    let picture = jpeg::without_quantization(&jpeg::numbered(1, 320, 240));
    let bad = FakeSource::with_picture("bad", None, picture);
    let endpoints = [env.ipc("stopped"), env.ipc("gone"), bad.endpoint()];
    let _relay = env.relay(0, &endpoints).ready();
    let key = env.path("key");
    env.program("relay")
        .flags(&format!("keygen psk {}", key.display()))
        .ends_with(0);
    let _keyed = env
        .relay(1, &[env.ipc("away")])
        .flags("--access psk")
        .flag("key-file", &key)
        .start();

    for case in cases(&env) {
        if case.name == "source-stopped" {
            sources[0].freeze();
        }

        let viewers: Vec<Program> = displays
            .iter()
            .map(|display| viewer(&env, &case, display).start())
            .collect();

        for (viewer, display) in viewers.iter().zip(&displays) {
            until(&format!("{}: {}", case.name, case.says), SOON, || {
                let states = viewer.log().matching(0, "link_state=");
                let last = states.last()?;
                (last.text.contains(case.says) && is_card(&display.screenshot())).then_some(())
            });

            let shot = settled(display);
            let (kind, width, height) = (display.kind(), shot.width, shot.height);
            let path = shot.keep(&format!("card-{}-{kind}-{width}x{height}", case.name));
            println!("{}", path.display());
        }
    }
}

fn x11((width, height): (u32, u32)) -> Option<Display> {
    Display::single(width, height)
}

fn wayland((width, height): (u32, u32)) -> Option<Display> {
    Display::wayland(&[Monitor {
        x: 0,
        y: 0,
        width,
        height,
    }])
}

#[test]
fn the_card_of_each_reason_there_is_fits_small_and_usual_screens() {
    for display in [x11(SMALL), x11(USUAL), wayland(SMALL)]
        .into_iter()
        .flatten()
    {
        let mut scenes = Scenes::start(&display, &["--full-screen"]);
        scenes.tell("statistics none");
        for reason in 0..REASONS {
            // A card that is seen after it is this one.
            scenes.tell_flat(reason, 0xf0_f0_f0, "320x240");
            scenes.wait_presented(reason);
            until("a bright screen", SOON, || {
                let shot = display.screenshot();
                let middle = shot.at(shot.width / 2, shot.height / 2);
                (middle > 0xe0_00_00).then_some(())
            });

            scenes.tell(&format!("card {reason}"));
            let shot = until(&format!("the card of reason {reason}"), SOON, || {
                Some(display.screenshot()).filter(is_card)
            });
            let size = format!("{}x{}", shot.width, shot.height);
            shot.keep(&format!("reason-{reason:02}-{}-{size}", display.kind()));
        }
    }
}

/// The screen, once title and reason stand still: what the log says comes to the window a little later. Below them are
/// clocks.
fn settled(display: &Display) -> Screenshot {
    let upper = |shot: &Screenshot| -> Vec<u32> {
        let rows = shot.height * 2 / 5;
        let points = shot.points().filter(|(_, y, _)| *y < rows);
        points.map(|(_, _, colour)| colour).collect()
    };

    let mut before = display.screenshot();
    until("the card stands still", SOON, || {
        pause(STILL);
        let last = std::mem::replace(&mut before, display.screenshot());
        (upper(&last) == upper(&before)).then_some(())
    });
    before
}

fn sources(env: &TestEnv) -> [Program; 2] {
    let stopped = env.source("stopped").flags("--input ball --size 320x240");
    let camera = "/dev/v4l/by-id/usb-046d_HD_Pro_Webcam_C920_1A2B3C4D-video-index0";
    let gone = env
        .source("gone")
        .flags("--input camera")
        .flag("device", camera);
    [stopped.ready(), gone.start()]
}

fn cases(env: &TestEnv) -> Vec<Case> {
    let case = |name, says, stream| Case {
        name,
        says,
        stream,
        relay: None,
    };
    let at = |name, says, relay: String| Case {
        name,
        says,
        stream: "cam",
        relay: Some(relay),
    };

    vec![
        case("camera-gone", "unplugged", "gone"),
        case("undecodable", "damaged JPEG", "bad"),
        case(
            "no-such-stream",
            "no stream lobby; it has bad, gone, stopped",
            "lobby",
        ),
        case("source-stopped", "source gone", "stopped"),
        at(
            "relay-unreachable",
            "no answer from the relay",
            env.relay_address(9).to_string(),
        ),
        at("key", "key", env.relay_address(1).to_string()),
        at(
            "not-resolvable",
            "resolve",
            "relay.of.the.lobby.invalid:5004".to_owned(),
        ),
    ]
}

fn viewer(env: &TestEnv, case: &Case, display: &Display) -> Launch {
    let usual = || env.relay_address(0).to_string();
    env.program("viewer")
        .flag("relay", case.relay.clone().unwrap_or_else(usual))
        .flag("stream", case.stream)
        .flags("--fullscreen")
        .envs(display.variables())
}

/// Whether there are light letters on a dark ground, and none of them near the edge.
fn is_card(shot: &Screenshot) -> bool {
    let bright = |colour: u32| colour.to_le_bytes().into_iter().map(u32::from).sum::<u32>();
    let margin = shot.width / 40;
    let mut letters = 0;
    let mut ground = 0;

    for (x, y, colour) in shot.points() {
        if bright(colour) < LIGHT {
            ground += 1;
            continue;
        }

        letters += 1;
        let within = (margin..shot.width - margin).contains(&x)
            && (margin..shot.height - margin).contains(&y);
        if !within {
            return false;
        }
    }

    letters > LETTERS && ground > 4 * letters
}
