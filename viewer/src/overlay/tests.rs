//! Panels of any combination at any size: none overlaps another, and all that have room are there.

use super::*;

const PICTURE: Colour = 0x40_80_20;

const ALL: [Panel; 5] = [
    Panel::Caption,
    Panel::Name,
    Panel::Statistics,
    Panel::Figures,
    Panel::Help,
];

fn readings() -> Readings {
    Readings {
        name: "lobby  live  14:05:23 UTC".into(),
        caption: "lobby  live  8 ms".into(),
        statistics: "30.0 fps  age 4.1 ms (p50 4.3, p99 8.2)\n25.6 Mbit/s  lost 12\nrelay".into(),
        stages: [4, 2, 5, 7, 1, 21, 9].map(|tenths| Duration::from_micros(100 * tenths)),
        minute: (0..60)
            .map(|second| Duration::from_micros(4000 + 90 * second))
            .collect(),
        figures: "30.0 fps  age 4.1 ms\ncpu 12 %  mem 34 MiB  up 1:02:03".into(),
        ..Readings::default()
    }
}

fn places(width: usize, height: usize, panels: &[Panel], taken: &[Area]) -> Vec<Option<Area>> {
    let mut pixels = vec![PICTURE; width * height];
    let canvas = Canvas::new(&mut pixels, width, height);
    let readings = readings();
    let items = items(panels, &readings, "saved /tmp/picture.jpg");
    place(&canvas, &mut Font::default(), &items, SMALLEST, taken).to_vec()
}

#[test]
fn no_panel_lies_over_another_or_over_what_is_taken_or_outside() {
    let card = Area {
        x: 100,
        y: 80,
        width: 120,
        height: 60,
    };

    for (width, height) in [
        (1, 1),
        (160, 120),
        (320, 240),
        (640, 480),
        (300, 900),
        (3840, 2160),
    ] {
        for chosen in 0..32 {
            let panels: Vec<Panel> = (0..ALL.len())
                .filter(|bit| chosen >> bit & 1 == 1)
                .map(|bit| ALL[bit])
                .collect();
            let placed = places(width, height, &panels, &[card]);
            let placed: Vec<Area> = placed.into_iter().flatten().chain([card]).collect();
            for (at, place) in placed.iter().enumerate() {
                assert!(placed[at + 1..].iter().all(|other| !place.overlaps(other)));
                let fits = place.x + place.width <= width && place.y + place.height <= height;
                assert!(
                    fits || *place == card,
                    "{width}x{height} {panels:?}: {place:?}"
                );
            }
        }
    }
}

#[test]
fn each_panel_has_room_alone_on_a_small_screen_and_all_on_a_usual_one() {
    for panel in ALL {
        let placed = places(320, 240, &[panel], &[]);
        // And the note.
        assert_eq!(placed.iter().flatten().count(), 2, "{panel:?}");
    }
    assert_eq!(
        places(1280, 720, &ALL, &[]).iter().flatten().count(),
        MAX_ITEMS
    );
}

#[test]
fn panels_are_drawn_in_their_places_and_the_rest_of_the_picture_stays() {
    for (width, height) in [(320, 240), (1280, 720), (3840, 2160)] {
        let mut pixels = vec![PICTURE; width * height];
        let mut canvas = Canvas::new(&mut pixels, width, height);
        let panels = [Panel::Name, Panel::Statistics];
        draw(
            &mut canvas,
            &mut Font::default(),
            &panels,
            &readings(),
            "",
            &[],
        );
        let count = |colour: Colour| pixels.iter().filter(|pixel| **pixel == colour).count();
        // Strokes of small letters cover no pixel wholly.
        let is_light = |pixel: &&u32| pixel.to_le_bytes()[..3].iter().all(|value| *value > 0xa0);
        assert!(
            pixels.iter().filter(is_light).count() > 300,
            "{width}x{height}"
        );
        for colour in STAGE_COLOURS.into_iter().chain([GRAPH]) {
            assert!(count(colour) > 20, "{width}x{height}: {colour:06x}");
        }
        assert!(count(PICTURE) > width * height / 5, "{width}x{height}");
    }
}

#[test]
fn the_bar_shares_its_width_by_time_and_is_empty_when_nothing_was_shown() {
    let bar = Area {
        x: 10,
        y: 0,
        width: 100,
        height: 2,
    };

    let drawn = |stages: [u64; STAGES.len()]| {
        let mut pixels = vec![GROUND; 240];
        let stages = stages.map(Duration::from_millis);
        draw_bar(&mut Canvas::new(&mut pixels, 120, 2), &stages, bar);
        STAGE_COLOURS.map(|colour| pixels[..120].iter().filter(|it| **it == colour).count())
    };

    assert_eq!(drawn([1, 2, 3, 4, 0, 0, 10]), [5, 10, 15, 20, 0, 0, 50]);
    assert_eq!(drawn([0; STAGES.len()]), [0; STAGES.len()]);
}

#[test]
fn milliseconds_have_a_decimal() {
    for (micros, text) in [
        (0, "0.0"),
        (410, "0.4"),
        (12_350, "12.3"),
        (u64::MAX, "9999.9"),
    ] {
        assert_eq!(tenths(Duration::from_micros(micros), &mut [0; 8]), text);
    }
}

#[test]
fn a_key_shows_a_panel_and_hides_it_again() {
    let mut panels = vec![Panel::Figures, Panel::Figures];
    toggle(&mut panels, Panel::Name);
    assert_eq!(panels, [Panel::Figures, Panel::Figures, Panel::Name]);
    toggle(&mut panels, Panel::Figures);
    assert_eq!(panels, [Panel::Name]);
}

#[test]
fn a_name_of_any_length_is_announced_on_any_screen() {
    for (width, height) in [(1, 1), (320, 240), (1920, 1080)] {
        for name in ["", "wall 3", &"W".repeat(64)] {
            let mut pixels = vec![PICTURE; width * height];
            let mut canvas = Canvas::new(&mut pixels, width, height);
            announce(
                &mut canvas,
                &mut Font::default(),
                name,
                "lobby  192.168.1.20",
            );
        }
    }
}
