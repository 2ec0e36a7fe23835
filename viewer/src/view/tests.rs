use fanlight_proto::clock::Time;
use fanlight_proto::message::FrameId;

use super::*;

const SIZE: (usize, usize) = (640, 480);
const FRAME: (usize, usize) = (1280, 720);

fn area(x: usize, y: usize, width: usize, height: usize) -> Area {
    Area {
        x,
        y,
        width,
        height,
    }
}

fn crop(left: f64, top: f64, width: f64, height: f64) -> Part {
    Part {
        left,
        top,
        width,
        height,
    }
}

fn placed(scaling: Scaling, size: (usize, usize)) -> (Area, Part) {
    View::new(scaling, Turn::None, false).place(size, FRAME)
}

#[test]
fn a_picture_fits_or_fills_or_keeps_its_size() {
    let whole = crop(0.0, 0.0, 640.0, 480.0);
    assert_eq!(placed(Scaling::Fit, SIZE), (area(160, 0, 960, 720), whole));
    let middle = crop(0.0, 60.0, 640.0, 360.0);
    assert_eq!(placed(Scaling::Fill, SIZE), (area(0, 0, 1280, 720), middle));
    assert_eq!(
        placed(Scaling::Original, SIZE),
        (area(320, 120, 640, 480), whole)
    );
    let large = placed(Scaling::Original, (4000, 100));
    assert_eq!(
        large,
        (area(0, 310, 1280, 100), crop(1360.0, 0.0, 1280.0, 100.0))
    );
    assert_eq!(placed(Scaling::Fill, (0, 9)).0, Area::default());
}

#[test]
fn what_is_under_the_pointer_stays_there_while_it_is_enlarged() {
    for scaling in [Scaling::Fit, Scaling::Fill, Scaling::Original] {
        let mut view = View::new(scaling, Turn::None, false);
        let point = (700.0, 300.0);
        let under = |view: &View| {
            let (area, crop) = view.place(SIZE, FRAME);
            crop.left + (point.0 - area.x as f64) / area.width as f64 * crop.width
        };
        // Smaller than the screen, it lies in the middle.
        view.zoom(2.0, point, SIZE, FRAME);
        let before = under(&view);
        for _ in 0..9 {
            view.zoom(1.25, point, SIZE, FRAME);
            assert!((under(&view) - before).abs() < 1.5, "{scaling:?}");
        }
        for _ in 0..30 {
            view.zoom(0.8, point, SIZE, FRAME);
        }
        assert_eq!(
            view.place(SIZE, FRAME).1.width,
            placed(scaling, SIZE).1.width
        );
    }
}

#[test]
fn a_picture_is_whole_again_when_all_steps_are_taken_back() {
    for steps in [0.05, 0.3, 1.0, 1.7] {
        let factor = 1.25_f64.powf(steps);
        let mut view = View::default();
        for factor in [factor; 9].into_iter().chain([1.0 / factor; 9]) {
            view.zoom(factor, (17.0, 23.0), (64, 48), (640, 480));
        }
        assert!(!view.is_enlarged(), "{steps}");
    }
}

#[test]
fn an_enlarged_picture_is_dragged_to_its_edges_and_not_beyond() {
    let mut view = View::default();
    view.zoom(4.0, (640.0, 360.0), SIZE, FRAME);
    let before = view.place(SIZE, FRAME).1;
    view.drag((60.0, 0.0), SIZE, FRAME);
    let after = view.place(SIZE, FRAME).1;
    assert!(
        (before.left - after.left - 10.0).abs() < 0.01,
        "{before:?} {after:?}"
    );

    view.drag((1e6, -1e6), SIZE, FRAME);
    let after = view.place(SIZE, FRAME).1;
    assert!(after.left.abs() < 0.01);
    assert!((after.top + after.height - 480.0).abs() < 0.01);
    view.drag((-60.0, 0.0), SIZE, FRAME);
    assert!(view.place(SIZE, FRAME).1.left > 5.0);
}

#[test]
fn every_part_that_is_seen_lies_in_the_picture_and_on_the_screen() {
    for scaling in [Scaling::Fit, Scaling::Fill, Scaling::Original] {
        for size in [(1, 1), (640, 480), (3840, 2160), (3, 900)] {
            for frame in [(1, 1), (7, 500), (1280, 720)] {
                let mut view = View::new(scaling, Turn::None, false);
                for step in 0..12 {
                    let (area, crop) = view.place(size, frame);
                    assert!(area.x + area.width <= frame.0 && area.y + area.height <= frame.1);
                    assert!(crop.left >= 0.0 && crop.left + crop.width <= size.0 as f64);
                    assert!(crop.top >= 0.0 && crop.top + crop.height <= size.1 as f64);
                    view.zoom(1.7, (f64::from(step) * 9.0, 2.0), size, frame);
                    view.drag((f64::from(step - 6) * 5.0, 3.0), size, frame);
                }
            }
        }
    }
}

/// Three columns and two rows: 1 to 6.
fn six() -> Picture {
    let mut picture = Picture::new(3, 2);
    picture.pixels_mut().copy_from_slice(&[1, 2, 3, 4, 5, 6]);
    picture
}

#[test]
fn a_picture_is_turned_clockwise_and_mirrored_before() {
    let turned = |turn, is_mirrored| {
        let mut turned = Picture::default();
        View::new(Scaling::Fit, turn, is_mirrored).turn_picture(&six(), &mut turned);
        (turned.width(), turned.pixels().to_vec())
    };
    assert_eq!(turned(Turn::None, true), (3, vec![3, 2, 1, 6, 5, 4]));
    assert_eq!(turned(Turn::Right, false), (2, vec![4, 1, 5, 2, 6, 3]));
    assert_eq!(turned(Turn::Half, false), (3, vec![6, 5, 4, 3, 2, 1]));
    assert_eq!(turned(Turn::Left, false), (2, vec![3, 6, 2, 5, 1, 4]));
    assert_eq!(turned(Turn::Right, true), (2, vec![6, 3, 5, 2, 4, 1]));
}

#[test]
fn a_marker_turns_with_its_picture() {
    // On the pixel 3 of 1 to 6.
    let marker = Marker {
        id: FrameId {
            epoch: 1,
            number: 1,
        },
        at: Time::default(),
        size: (3, 2),
        x: 2.5,
        y: 0.5,
        radius: 0.5,
    };

    for turn in [Turn::None, Turn::Right, Turn::Half, Turn::Left] {
        for is_mirrored in [false, true] {
            let view = View::new(Scaling::Fit, turn, is_mirrored);
            let mut turned = Picture::default();
            view.turn_picture(&six(), &mut turned);
            let marker = view.turn_marker(&marker);
            assert_eq!(marker.size, (turned.width(), turned.height()));
            let at = marker.y as usize * turned.width() as usize + marker.x as usize;
            assert_eq!(turned.pixels()[at], 3, "{view:?}");
        }
    }
}

#[test]
fn only_a_whole_picture_is_decoded_smaller() {
    let mut view = View::new(Scaling::Fit, Turn::Right, false);
    assert_eq!(view.target((1280, 720)), Some((720, 1280)));
    view.zoom(2.0, (0.0, 0.0), SIZE, FRAME);
    assert_eq!(view.target((1280, 720)), None);
    let fill = View::new(Scaling::Fill, Turn::None, false);
    assert_eq!(fill.target((1280, 720)), None);
}
