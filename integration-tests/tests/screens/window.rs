//! What a person before the screen sees: screenshots of real X servers and of a Wayland compositor, checked pixel by pixel.

use std::process::Command;
use std::time::Duration;

use fanlight_tests::wait;

use display::{DESKTOP, Display, Monitor, Screenshot};
use scenes::Scenes;

pub(crate) mod display;
mod monitors;
mod mouse;
mod panels;
pub(crate) mod scenes;
pub(crate) mod sway;
mod tearing;
mod wayland;
mod whole;

const BARS: [u32; 7] = [
    0xebebeb, 0xebeb10, 0x10ebeb, 0x10eb10, 0xeb10eb, 0xeb1010, 0x1010eb,
];

const THREE: [Monitor; 3] = [
    Monitor {
        x: 0,
        y: 0,
        width: 1920,
        height: 1080,
    },
    Monitor {
        x: 1920,
        y: 0,
        width: 1280,
        height: 720,
    },
    Monitor {
        x: 3200,
        y: 0,
        width: 1024,
        height: 768,
    },
];

#[test]
fn a_picture_fills_the_screen_with_its_proportions_kept_and_black_around() {
    Display::each(1024, 768).for_each(|display| fills_with_black_around(&display));
}

fn fills_with_black_around(display: &Display) {
    let mut scenes = Scenes::start(display, &["--full-screen"]);
    let whole = Monitor {
        x: 0,
        y: 0,
        width: 1024,
        height: 768,
    };

    // Enlarged, reduced, decoded at half size, as it is, and with the bars at the sides.
    for (number, (size, place)) in [
        (
            "640x360",
            Monitor {
                y: 96,
                height: 576,
                ..whole
            },
        ),
        (
            "1280x720",
            Monitor {
                y: 96,
                height: 576,
                ..whole
            },
        ),
        (
            "2560x1440",
            Monitor {
                y: 96,
                height: 576,
                ..whole
            },
        ),
        ("1024x768", whole),
        (
            "700x1400",
            Monitor {
                x: 320,
                width: 384,
                ..whole
            },
        ),
    ]
    .into_iter()
    .enumerate()
    {
        scenes.show_bars(number as u32, size);
        eventually(display, size, |shot| {
            bars_fill(shot, place)?.and_around_it(whole, 0)
        });
    }

    display
        .screenshot()
        .keep(&format!("picture-{}", display.kind()));
    assert!(scenes.close(wait::SOON).success());
}

#[test]
fn words_stand_in_place_of_a_picture_and_nothing_of_it_is_left() {
    Display::each(1280, 720).for_each(|display| words_replace_a_picture(&display));
}

fn words_replace_a_picture(display: &Display) {
    let mut scenes = Scenes::start(display, &["--full-screen"]);
    let whole = Monitor {
        x: 0,
        y: 0,
        width: 1280,
        height: 720,
    };

    for round in 0..3 {
        scenes.show_bars(round, "1280x720");
        eventually(display, "bars", |shot| bars_fill(shot, whole).map(drop));
        scenes.tell(
            "message no signal|camera unplugged: /dev/v4l/by-id/usb-Webcam_C920-video-index0",
        );
        eventually(display, "a card", is_card);
    }
}

#[test]
fn full_screen_covers_the_chosen_monitor_and_no_other_with_and_without_a_window_manager() {
    for managed in [false, true] {
        for (wanted, monitor) in [("1", THREE[0]), ("DUMMY1", THREE[1]), ("3", THREE[2])] {
            let Some(display) = Display::several(&THREE) else {
                return;
            };

            let display = if managed {
                display.with_window_manager()
            } else {
                Some(display)
            };

            let Some(display) = display else { return };
            let mut scenes = Scenes::start(&display, &["--full-screen", "--monitor", wanted]);
            scenes.show_bars(1, &format!("{}x{}", monitor.width, monitor.height));
            let what = format!("monitor {wanted}, managed: {managed}");
            eventually(&display, &what, |shot| {
                bars_fill(shot, monitor)?;
                // Monitors of different height leave a part of the desktop that no monitor shows.
                THREE
                    .iter()
                    .filter(|other| other.x != monitor.x)
                    .try_for_each(|other| only(shot, *other, DESKTOP))
            });

            if managed && wanted == "DUMMY1" {
                display.screenshot().keep("monitors");
            }

            assert!(scenes.close(wait::SOON).success());
        }
    }
}

#[test]
fn a_monitor_that_is_not_there_is_answered_with_a_list() {
    let Some(display) = Display::several(&THREE) else {
        return;
    };

    let out = display
        .command(scenes::binary())
        .args(["--monitor", "HDMI-7"])
        .output()
        .unwrap();

    assert!(!out.status.success());
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        text.contains(
            "there is no monitor \"HDMI-7\"; there are: 1 DUMMY0 (1920x1080 at 0,0), 2 DUMMY1"
        ),
        "{text}"
    );
}

#[test]
fn without_a_display_the_error_says_what_to_do() {
    for display in [None, Some(":9999")] {
        let mut command = Command::new(scenes::binary());
        command
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("WAYLAND_SOCKET");

        if let Some(display) = display {
            command.env("DISPLAY", display);
        }

        let out = command.output().unwrap();
        assert!(!out.status.success());
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            text.contains("no display: start it in a desktop session"),
            "{display:?}: {text}"
        );
    }
}

#[test]
fn f_leaves_full_screen_and_returns_with_and_without_a_window_manager() {
    for managed in [false, true] {
        let Some(display) = Display::several(&THREE) else {
            return;
        };

        let display = if managed {
            display.with_window_manager()
        } else {
            Some(display)
        };

        let (Some(display), Some(())) = (display, display::installed("xdotool")) else {
            return;
        };

        let mut scenes = Scenes::start(&display, &["--full-screen", "--monitor", "1"]);
        let monitor = THREE[0];
        let middle = (960, 540);
        scenes.show_bars(1, "1920x1080");
        eventually(&display, "full screen", |shot| {
            bars_fill(shot, monitor).map(drop)
        });

        display.press("f", middle);
        eventually(&display, "a window", |shot| {
            only(
                shot,
                Monitor {
                    width: 300,
                    height: 150,
                    ..monitor
                },
                DESKTOP,
            )?;

            colour_near(shot, 960, 540, BARS[3])
        });

        display.screenshot().keep(if managed {
            "windowed-managed"
        } else {
            "windowed"
        });

        display.press("f", middle);
        eventually(&display, "full screen again", |shot| {
            bars_fill(shot, monitor).map(drop)
        });

        assert!(scenes.close(wait::SOON).success());
    }
}

#[test]
fn s_saves_the_picture_as_received_and_i_shows_statistics() {
    let Some(display) = Display::single(1280, 720) else {
        return;
    };

    let Some(()) = display::installed("xdotool") else {
        return;
    };

    let folder = tempfile::tempdir().unwrap();
    let mut scenes = Scenes::start(
        &display,
        &[
            "--full-screen",
            "--snapshots",
            folder.path().to_str().unwrap(),
        ],
    );

    scenes.show_bars(42, "1280x720");
    display.press("s", (640, 360));
    let file = folder.path().join("fanlight-bars-0000000000000001-42.jpg");
    let jpeg = wait::until("the snapshot", wait::SOON, || std::fs::read(&file).ok());
    assert!(jpeg.starts_with(&[0xff, 0xd8]) && jpeg.ends_with(&[0xff, 0xd9]));
    scenes.tell("statistics bars 1280x720 30.0 fps; age p50 9 ms p95 14 ms; lost 0");
    display.press("i", (640, 360));
    eventually(
        &display,
        "white letters on the statistics' ground",
        |shot| {
            let white = shot
                .points()
                .filter(|&(x, y, colour)| x > 640 && y < 360 && colour == 0xff_ff_ff)
                .count();

            if white > 100 {
                Ok(())
            } else {
                Err(format!("{white} white points"))
            }
        },
    );

    display.screenshot().keep("statistics");
    display.press("shift+s", (640, 360));
    wait::until("the screen is saved", wait::SOON, || {
        let mut files = std::fs::read_dir(folder.path()).unwrap();
        files.find(|file| {
            let name = file.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with("fanlight-screen-")
        })
    })
    .unwrap();
}

#[test]
fn a_window_has_the_size_and_the_place_that_were_asked_for() {
    let Some(display) = Display::single(640, 480) else {
        return;
    };

    let mut scenes = Scenes::start(&display, &["--window", "320x240+100+80"]);
    let window = Monitor {
        x: 100,
        y: 80,
        width: 320,
        height: 240,
    };
    scenes.show_bars(1, "320x240");
    eventually(&display, "the window where it was put", |shot| {
        bars_fill(shot, window)?;
        colour_near(shot, 99, 200, DESKTOP)?;
        colour_near(shot, 420, 200, DESKTOP)?;
        colour_near(shot, 200, 79, DESKTOP)?;
        colour_near(shot, 200, 320, DESKTOP)
    });
}

#[test]
fn a_stopped_picture_goes_back_and_an_enlarged_one_names_the_pixel_under_the_pointer() {
    let Some(display) = Display::single(640, 480) else {
        return;
    };

    let Some(()) = display::installed("xdotool") else {
        return;
    };

    let mut scenes = Scenes::start(&display, &["--full-screen"]);
    scenes.show_bars(1, "320x180");
    scenes.show_bars(2, "320x240");
    eventually(&display, "the second picture", |shot| {
        colour_near(shot, 320, 20, BARS[3])
    });

    let middle = (320, 240);
    let amber = 0xff_a0_00;
    display.press("comma", middle);
    eventually(&display, "the first picture, framed", |shot| {
        colour_near(shot, 1, 1, amber)?;
        colour_near(shot, 320, 20, 0)?;
        colour_near(shot, 320, 120, BARS[3])
    });
    display.screenshot().keep("paused");
    display.press("period", middle);
    eventually(&display, "the second picture, framed", |shot| {
        colour_near(shot, 1, 1, amber)?;
        colour_near(shot, 320, 20, BARS[3])
    });

    display.press("space", middle);
    for _ in 0..9 {
        display.press("plus", middle);
    }
    eventually(&display, "one bar, and words on it", |shot| {
        colour_near(shot, 5, 5, BARS[3])?;
        colour_near(shot, 635, 5, BARS[3])?;
        // Strokes of small letters cover no pixel wholly.
        let is_light = |colour: u32| colour.to_le_bytes()[..3].iter().all(|it| *it > 0xa0);
        let light = shot.points().filter(|&(_, _, colour)| is_light(colour));
        (light.count() > 20)
            .then_some(())
            .ok_or_else(|| "no words".to_owned())
    });
    display.screenshot().keep("pixel");
}

#[test]
fn a_view_is_changed_by_keys_and_a_stopped_picture_says_that_it_is_not_live() {
    Display::each(1024, 768)
        .filter_map(Display::with_keyboard)
        .for_each(|display| changes_the_view(&display));
}

fn changes_the_view(display: &Display) {
    let middle = (512, 384);
    let whole = Monitor {
        x: 0,
        y: 0,
        width: 1024,
        height: 768,
    };
    let place = |y, height| Monitor { y, height, ..whole };
    let mut scenes = Scenes::start(display, &["--full-screen"]);
    scenes.show_bars(1, "640x360");
    eventually(display, "fit", |shot| {
        bars_fill(shot, place(96, 576))?.and_around_it(whole, 0)
    });

    display.press("z", middle);
    let cut_off = |shot: &Screenshot| {
        // The outer bars lose half of what they have.
        colour_near(shot, 512, 2, BARS[3])?;
        colour_near(shot, 2, 384, BARS[0])?;
        colour_near(shot, 100, 384, BARS[1])
    };
    eventually(display, "fill", cut_off);

    display.press("z", middle);
    let original = Monitor {
        x: 192,
        y: 204,
        width: 640,
        height: 360,
    };
    eventually(display, "original", |shot| {
        bars_fill(shot, original)?.and_around_it(whole, 0)
    });

    display.press("m", middle);
    eventually(display, "mirrored", |shot| {
        colour_near(shot, 200, 384, BARS[6])
    });
    display.press("r", middle);
    eventually(display, "turned", |shot| {
        colour_near(shot, 512, 70, BARS[6])
    });

    display.press("space", middle);
    eventually(display, "PAUSED, and a frame", |shot| {
        let white = shot
            .points()
            .filter(|&(_, y, colour)| y > 700 && colour == 0xff_ff_ff);
        let is_framed = shot.at(1, 1) == 0xff_a0_00 && shot.at(1022, 766) == 0xff_a0_00;
        (white.count() > 100 && is_framed)
            .then_some(())
            .ok_or_else(|| "no words or no frame".to_owned())
    });
    scenes.tell("message no signal|the camera is unplugged");
    display.press("space", middle);
    eventually(display, "the card that came meanwhile", is_card);
}

#[test]
fn q_escape_and_the_window_manager_end_it() {
    let Some(display) = Display::single(1280, 720) else {
        return;
    };

    let (Some(display), Some(())) = (display.with_window_manager(), display::installed("xdotool"))
    else {
        return;
    };

    for key in ["q", "Escape", "alt+F4"] {
        let mut scenes = Scenes::start(&display, &[]);
        scenes.show_bars(1, "1280x720");
        assert_eq!(display.title_of("fanlight-viewer"), "bars — Fanlight");
        eventually(&display, "bars in a window", |shot| {
            colour_near(shot, 640, 360, BARS[3])
        });
        display.screenshot().keep("window");
        // Seen once: the key that xdotool sent reached no window. A person would press it again.
        let status = (0..3).find_map(|_| {
            display.press(key, (640, 360));
            scenes.ended_within(Duration::from_secs(5))
        });

        assert!(
            status.is_some_and(|status| status.success()),
            "{key}: {status:?}"
        );
    }
}

/// Takes screenshots until `check` is content; the last one is kept if it never is.
#[track_caller]
fn eventually(display: &Display, what: &str, check: impl Fn(&Screenshot) -> Result<(), String>) {
    let deadline = wait::Deadline::after(wait::SOON);
    loop {
        let shot = display.screenshot();
        match check(&shot) {
            Ok(()) => return,
            Err(error) if deadline.is_over() => {
                let test = std::thread::current().name().unwrap_or("test").to_owned();
                panic!(
                    "{what}: {error}; see {}",
                    shot.keep(&format!("failure-{test}")).display()
                );
            }
            Err(_) => wait::pause(Duration::from_millis(20)),
        }
    }
}

/// A place that was found to hold the bars.
struct Filled<'a> {
    shot: &'a Screenshot,
    place: Monitor,
}

/// Whether the bars lie at `place`, up to its last pixels.
fn bars_fill(shot: &Screenshot, place: Monitor) -> Result<Filled<'_>, String> {
    let right = place.x + place.width - 1;
    let below = place.y + place.height - 1;

    for (index, colour) in (0..).zip(BARS) {
        let x = place.x + place.width * (2 * index + 1) / 14;
        for y in [place.y + 1, place.y + place.height / 2, below - 1] {
            colour_near(shot, x, y, colour)?;
        }
    }

    for y in [place.y + 1, below - 1] {
        colour_near(shot, place.x, y, BARS[0])?;
        colour_near(shot, right, y, BARS[6])?;
    }

    Ok(Filled { shot, place })
}

impl Filled<'_> {
    /// Whether the rest of `monitor` has that one colour.
    fn and_around_it(&self, monitor: Monitor, colour: u32) -> Result<(), String> {
        let place = self.place;
        let shot = self.shot;
        let foreign = shot.points().find(|&(x, y, found)| {
            inside(monitor, x, y) && !inside(place, x, y) && found != colour
        });

        foreign.map_or(Ok(()), |(x, y, found)| {
            Err(format!("{found:06x} at {x},{y}, outside the picture"))
        })
    }
}

fn inside(area: Monitor, x: u32, y: u32) -> bool {
    (area.x..area.x + area.width).contains(&x) && (area.y..area.y + area.height).contains(&y)
}

fn only(shot: &Screenshot, area: Monitor, colour: u32) -> Result<(), String> {
    let foreign = shot
        .points()
        .find(|&(x, y, found)| inside(area, x, y) && found != colour);
    foreign.map_or(Ok(()), |(x, y, found)| {
        Err(format!("{found:06x} at {x},{y}"))
    })
}

/// Whether a point has the colour, within what a JPEG loses.
fn colour_near(shot: &Screenshot, x: u32, y: u32, wanted: u32) -> Result<(), String> {
    let found = shot.at(x, y);
    let near = wanted
        .to_le_bytes()
        .into_iter()
        .zip(found.to_le_bytes())
        .all(|(a, b)| a.abs_diff(b) < 16);

    if near {
        Ok(())
    } else {
        Err(format!("{found:06x} at {x},{y} in place of {wanted:06x}"))
    }
}

/// Whether the screen is dark but for light words in its middle, without any of the bars' colours.
fn is_card(shot: &Screenshot) -> Result<(), String> {
    let bright = |colour: u32| colour.to_le_bytes().into_iter().map(u32::from).sum::<u32>() > 400;
    let mut light = 0;
    let mut dark = 0;

    for (x, y, colour) in shot.points() {
        if BARS.contains(&colour) {
            return Err(format!("a bar's {colour:06x} at {x},{y}"));
        }

        if !bright(colour) {
            dark += 1;
        } else if x < shot.width / 20 || y < shot.height / 8 {
            return Err(format!("{colour:06x} at {x},{y}, in the margin"));
        } else {
            light += 1;
        }
    }

    if light > 2000 && dark > 10 * light {
        Ok(())
    } else {
        Err(format!("{light} light and {dark} dark points"))
    }
}
