//! Draws a ring and a cross where a tracker found something.

use fanlight_pixels::font::Font;
use fanlight_proto::clock::Time;
use fanlight_proto::message::FrameId;

use crate::canvas::{Canvas, Colour};

const COLOUR: Colour = 0xff_5a_36;

/// Opacity of the lines, of 256.
const OPACITY: u32 = 232;

/// Half the width of the lines, in pixels of the screen.
const HALF_WIDTH: f32 = 1.0;

/// Pixels between what was found and the ring around it.
const GAP: f32 = 4.0;

/// Half the length of the cross, in pixels of the screen.
const ARM: f32 = 5.0;

/// Height of the letters, in pixels of the screen.
const LETTERS: usize = 14;

/// Where something was found, in pixels of the picture as it came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Marker {
    /// The frame in which it was found.
    pub id: FrameId,
    /// When that was known.
    pub at: Time,
    /// Columns and rows of the picture.
    pub size: (u32, u32),
    /// From the left edge.
    pub x: f32,
    /// From the upper edge.
    pub y: f32,
    /// Of what was found.
    pub radius: f32,
}

/// Where on a canvas the whole picture lies, which may reach beyond it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) width: f32,
}

/// Draws the marker over the picture that is shown at `place`, and beside it the number of its frame, which is not the one
/// on the screen but one of the last.
pub(crate) fn draw(canvas: &mut Canvas<'_>, place: Span, marker: &Marker, font: &mut Font) {
    let scale = place.width / marker.size.0.max(1) as f32;
    let x = place.x + marker.x * scale;
    let y = place.y + marker.y * scale;
    let ring = marker.radius * scale + GAP;
    let reach = ring + HALF_WIDTH + 1.0;
    let span = |centre: f32, end: usize| {
        (centre - reach).clamp(0.0, end as f32) as usize
            ..(centre + reach).ceil().clamp(0.0, end as f32) as usize
    };

    for row in span(y, canvas.height()) {
        for column in span(x, canvas.width()) {
            let across = (column as f32 + 0.5 - x).abs();
            let down = (row as f32 + 0.5 - y).abs();
            let of_ring = (across.hypot(down) - ring).abs() - HALF_WIDTH;
            let of_cross = across.min(down).max(across.max(down) - ARM) - HALF_WIDTH / 2.0;
            let cover = (0.5 - of_ring.min(of_cross)).clamp(0.0, 1.0);

            if cover > 0.0 {
                canvas.blend(column, row, COLOUR, (cover * OPACITY as f32) as u32);
            }
        }
    }

    if x < 0.0 || y < 0.0 || x > canvas.width() as f32 || y > canvas.height() as f32 {
        return;
    }

    let corner = |value: f32| value.max(0.0) as usize;
    let number = marker.id.number.to_string();
    let at = (corner(x + reach), corner(y - reach));
    canvas.edged_text(font, &number, LETTERS, at, COLOUR);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canvas::Area;

    const MARK: Marker = Marker {
        id: FrameId {
            epoch: 1,
            number: 7,
        },
        at: Time::from_nanos(0),
        size: (640, 480),
        x: 320.0,
        y: 240.0,
        radius: 20.0,
    };

    fn drawn(marker: &Marker, place: Area, (width, height): (usize, usize)) -> Vec<u32> {
        let mut pixels = vec![0; width * height];
        let mut canvas = Canvas::new(&mut pixels, width, height);
        let place = Span {
            x: place.x as f32,
            y: place.y as f32,
            width: place.width as f32,
        };
        draw(&mut canvas, place, marker, &mut Font::default());
        pixels
    }

    #[test]
    fn the_ring_lies_around_what_was_found_and_the_cross_in_its_middle_at_any_scale() {
        for (place, scale) in [
            (
                Area {
                    x: 0,
                    y: 0,
                    width: 640,
                    height: 480,
                },
                1.0,
            ),
            (
                Area {
                    x: 100,
                    y: 0,
                    width: 1280,
                    height: 960,
                },
                2.0,
            ),
            (
                Area {
                    x: 0,
                    y: 40,
                    width: 320,
                    height: 240,
                },
                0.5,
            ),
        ] {
            let width = place.width + 2 * place.x;
            let pixels = drawn(&MARK, place, (width, place.height + 2 * place.y));
            let x = place.x + place.width / 2;
            let y = place.y + place.height / 2;
            let ring = (20.0 * scale + GAP) as usize;
            let red = |x: usize, y: usize| pixels[y * width + x] >> 16;
            for (x, y) in [
                (x, y),
                (x + 3, y),
                (x, y - 3),
                (x + ring, y),
                (x - ring, y),
                (x, y + ring),
                (x, y - ring),
            ] {
                assert!(red(x, y) > 100, "{scale}: {x} {y}");
            }
            assert_eq!(red(x + ring / 2 + 3, y), 0, "what was found stays visible");
        }
    }

    #[test]
    fn what_lies_outside_is_not_drawn() {
        let place = Area {
            x: 0,
            y: 0,
            width: 64,
            height: 48,
        };

        for (x, y, radius) in [
            (-900.0, 5.0, 9.0),
            (9e6, 9e6, 9.0),
            (320.0, 240.0, 7000.0),
            (0.0, 0.0, 20.0),
        ] {
            drawn(
                &Marker {
                    x,
                    y,
                    radius,
                    ..MARK
                },
                place,
                (64, 48),
            );
        }

        assert_eq!(
            drawn(&Marker { x: -900.0, ..MARK }, place, (64, 48))
                .iter()
                .filter(|pixel| **pixel > 0)
                .count(),
            0
        );
    }
}
