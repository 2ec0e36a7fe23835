//! Drawing into the pixels of a window or a recording: rectangles, pictures and text.

use fanlight_pixels::font::{Font, Layer};
use fanlight_pixels::text::{Align, TextBlock};
use fanlight_pixels::{Part, Place, Scaler};

use crate::picture::Picture;

/// A colour as `0x00RRGGBB`.
pub(crate) type Colour = u32;

pub(crate) const BLACK: Colour = 0;

/// What drawing keeps from one picture to the next, so that the next one costs less.
#[derive(Debug, Default)]
pub(crate) struct Painter {
    pub(crate) scaler: Scaler,
    pub(crate) font: Font,
    /// The picture as it is seen, where that is not as it came.
    pub(crate) turned: Picture,
}

/// A rectangle of whole pixels, origin top left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl Area {
    /// Whether a pixel lies in both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let across = self.x < other.x + other.width && other.x < self.x + self.width;
        let down = self.y < other.y + other.height && other.y < self.y + self.height;
        across && down
    }
}

/// Pixels `0x00RRGGBB` that belong to a window's buffer: all of it or a part.
pub(crate) struct Canvas<'a> {
    /// Those of the whole buffer.
    pixels: &'a mut [u32],
    /// Pixels in a row of the buffer.
    stride: usize,
    /// Where in the buffer the upper left corner lies.
    origin: (usize, usize),
    width: usize,
    height: usize,
}

impl<'a> Canvas<'a> {
    /// The caller's `pixels` must be `width * height`.
    pub(crate) fn new(pixels: &'a mut [u32], width: usize, height: usize) -> Self {
        assert_eq!(
            pixels.len(),
            width * height,
            "a canvas has as many pixels as its size says"
        );

        Self {
            pixels,
            stride: width,
            origin: (0, 0),
            width,
            height,
        }
    }

    /// What of `area` lies on the canvas, to be drawn on by itself.
    pub(crate) fn part(&mut self, area: Area) -> Canvas<'_> {
        let x = area.x.min(self.width);
        let y = area.y.min(self.height);
        Canvas {
            pixels: self.pixels,
            stride: self.stride,
            origin: (self.origin.0 + x, self.origin.1 + y),
            width: area.width.min(self.width - x),
            height: area.height.min(self.height - y),
        }
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn height(&self) -> usize {
        self.height
    }

    pub(crate) fn fill(&mut self, colour: Colour) {
        let whole = Area {
            x: 0,
            y: 0,
            width: self.width,
            height: self.height,
        };
        self.fill_area(whole, colour);
    }

    /// Fills what of `area` lies on the canvas.
    pub(crate) fn fill_area(&mut self, area: Area, colour: Colour) {
        self.for_each_row(area, |row| row.fill(colour));
    }

    /// Mixes `colour` over `area`; `opacity` of 256 hides what was there.
    pub(crate) fn shade_area(&mut self, area: Area, colour: Colour, opacity: u32) {
        self.for_each_row(area, |row| {
            row.iter_mut()
                .for_each(|pixel| *pixel = mix(*pixel, colour, opacity));
        });
    }

    /// Mixes `colour` over one pixel; outside the canvas nothing happens.
    pub(crate) fn blend(&mut self, x: usize, y: usize, colour: Colour, opacity: u32) {
        if x < self.width && y < self.height {
            let at = (self.origin.1 + y) * self.stride + self.origin.0 + x;
            let pixel = &mut self.pixels[at];
            *pixel = mix(*pixel, colour, opacity);
        }
    }

    /// Draws lines of text from the upper left corner `x`, `y`; what lies outside the canvas is cut off.
    pub(crate) fn text(
        &mut self,
        font: &mut Font,
        block: &TextBlock,
        at: (usize, usize),
        align: Align,
        colour: Colour,
    ) {
        let right = self.width;
        block.draw(font, at, align, right, |x, y, coverage| {
            self.blend(x, y, colour, coverage);
        });
    }

    /// Draws a line of text from the upper left corner `at`.
    pub(crate) fn line(
        &mut self,
        font: &mut Font,
        text: &str,
        size: usize,
        at: (usize, usize),
        colour: Colour,
    ) {
        self.layer(font, text, size, at, (Layer::Ink, colour));
    }

    /// Draws a line of text with a dark edge around its letters.
    pub(crate) fn edged_text(
        &mut self,
        font: &mut Font,
        text: &str,
        size: usize,
        at: (usize, usize),
        colour: Colour,
    ) {
        for layer in [(Layer::Halo, BLACK), (Layer::Ink, colour)] {
            self.layer(font, text, size, at, layer);
        }
    }

    fn layer(
        &mut self,
        font: &mut Font,
        text: &str,
        size: usize,
        at: (usize, usize),
        (layer, colour): (Layer, Colour),
    ) {
        let right = self.width;
        font.draw(text, size, at, right, layer, |x, y, coverage| {
            self.blend(x, y, colour, coverage);
        });
    }

    /// Shows of an upright `picture` the `part` at `place`, black around it.
    pub(crate) fn show(
        &mut self,
        picture: &Picture,
        (place, part): (Area, Part),
        scaler: &mut Scaler,
    ) {
        self.fill_around(place);
        if place.width == 0 || place.height == 0 {
            return;
        }

        let size = (picture.width() as usize, picture.height() as usize);
        let is_whole = (part.width, part.height) == (size.0 as f64, size.1 as f64);
        if is_whole && (place.width, place.height) == size {
            let mut rows = picture.pixels().chunks_exact(size.0);
            self.for_each_row(place, |row| {
                row.copy_from_slice(rows.next().expect("place has the picture's height"));
            });
            return;
        }

        self.show_scaled(picture, part, place, scaler);
    }

    fn show_scaled(&mut self, picture: &Picture, part: Part, place: Area, scaler: &mut Scaler) {
        let rows = self.pixels.len() / self.stride;
        let whole = (self.stride as u32, rows as u32);
        let place = Place {
            left: (self.origin.0 + place.x) as u32,
            top: (self.origin.1 + place.y) as u32,
            size: (place.width as u32, place.height as u32),
        };

        let from = bytemuck::cast_slice(picture.pixels());
        let to = bytemuck::cast_slice_mut(self.pixels);
        scaler.rgbx(
            from,
            (picture.width(), picture.height()),
            part,
            to,
            whole,
            place,
        );
    }

    fn fill_around(&mut self, place: Area) {
        let width = self.width;
        let height = self.height;
        let right = place.x + place.width;
        let below = place.y + place.height;
        self.fill_area(
            Area {
                x: 0,
                y: 0,
                width,
                height: place.y,
            },
            BLACK,
        );

        self.fill_area(
            Area {
                x: 0,
                y: below,
                width,
                height: height - below,
            },
            BLACK,
        );

        self.fill_area(
            Area {
                x: 0,
                y: place.y,
                width: place.x,
                height: place.height,
            },
            BLACK,
        );

        self.fill_area(
            Area {
                x: right,
                y: place.y,
                width: width - right,
                height: place.height,
            },
            BLACK,
        );
    }

    fn for_each_row(&mut self, area: Area, mut paint: impl FnMut(&mut [u32])) {
        let columns = area.x.min(self.width)..(area.x + area.width).min(self.width);
        if columns.is_empty() {
            return;
        }

        let columns = self.origin.0 + columns.start..self.origin.0 + columns.end;
        let below = (area.y + area.height).min(self.height);
        let rows = self.pixels.chunks_exact_mut(self.stride);
        for row in rows
            .take(self.origin.1 + below)
            .skip(self.origin.1 + area.y)
        {
            paint(&mut row[columns.clone()]);
        }
    }
}

/// The largest area in the middle of `frame` with the proportions of `picture`; empty if either is empty. A picture
/// that would fill the frame but for the rounding of one pixel fills it.
pub(crate) fn fit(picture: (usize, usize), frame: (usize, usize)) -> Area {
    if picture.0 == 0 || picture.1 == 0 || frame.0 == 0 || frame.1 == 0 {
        return Area::default();
    }

    let rounded = |a: usize, b: usize, c: usize| ((a * b + c / 2) / c).max(1);
    let (width, height) = if picture.0 * frame.1 >= picture.1 * frame.0 {
        (frame.0, rounded(frame.0, picture.1, picture.0).min(frame.1))
    } else {
        (rounded(frame.1, picture.0, picture.1).min(frame.0), frame.1)
    };

    Area {
        x: (frame.0 - width) / 2,
        y: (frame.1 - height) / 2,
        width,
        height,
    }
}

fn mix(below: Colour, above: Colour, opacity: u32) -> Colour {
    let opacity = opacity.min(256);
    let channel = |shift: u32| {
        let below = below >> shift & 0xff;
        let above = above >> shift & 0xff;
        ((below * (256 - opacity) + above * opacity) >> 8) << shift
    };
    channel(16) | channel(8) | channel(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_proportions_in_the_middle() {
        let area = |x, y, width, height| Area {
            x,
            y,
            width,
            height,
        };

        assert_eq!(fit((1280, 720), (1920, 1080)), area(0, 0, 1920, 1080));
        assert_eq!(fit((640, 480), (1920, 1080)), area(240, 0, 1440, 1080));
        assert_eq!(fit((1280, 720), (1024, 768)), area(0, 96, 1024, 576));
        assert_eq!(fit((1366, 768), (1280, 720)), area(0, 0, 1280, 720));
        assert_eq!(fit((4000, 1), (10, 10)), area(0, 4, 10, 1));
        assert_eq!(fit((0, 720), (10, 10)), Area::default());
        assert_eq!(fit((720, 720), (0, 10)), Area::default());
    }

    /// Left half red, right half blue.
    fn halves(width: u32, height: u32) -> Picture {
        let mut picture = Picture::new(width, height);
        for (i, pixel) in picture.pixels_mut().iter_mut().enumerate() {
            *pixel = if (i as u32 % width) < width / 2 {
                0xff_ff_00_00
            } else {
                0xff_00_00_ff
            };
        }

        picture
    }

    fn whole(picture: &Picture, frame: (usize, usize)) -> (Area, Part) {
        let (width, height) = (picture.width(), picture.height());
        let part = Part {
            left: 0.0,
            top: 0.0,
            width: width.into(),
            height: height.into(),
        };
        (fit((width as usize, height as usize), frame), part)
    }

    fn rgb(pixel: u32) -> u32 {
        pixel & 0xff_ff_ff
    }

    #[test]
    fn a_picture_is_shown_at_any_size_with_black_around_and_nothing_left_of_the_last() {
        let mut scaler = Scaler::default();
        for (picture, frame) in [
            ((64, 36), (64, 36)),
            ((64, 36), (64, 48)),
            ((64, 36), (200, 100)),
            ((64, 36), (31, 90)),
            ((64, 36), (1, 1)),
        ] {
            let mut pixels = vec![0x00_ff_00; frame.0 * frame.1];
            let mut canvas = Canvas::new(&mut pixels, frame.0, frame.1);
            let halves = halves(picture.0, picture.1);
            canvas.show(&halves, whole(&halves, frame), &mut scaler);
            let place = fit((picture.0 as usize, picture.1 as usize), frame);
            for (i, &pixel) in pixels.iter().enumerate() {
                let x = i % frame.0;
                let y = i / frame.0;
                let inside = (place.x..place.x + place.width).contains(&x)
                    && (place.y..place.y + place.height).contains(&y);
                assert_eq!(
                    pixel & 0x00_ff_00,
                    0,
                    "{picture:?} in {frame:?}: the old picture shows at {x},{y}"
                );

                assert!(
                    inside || rgb(pixel) == BLACK,
                    "{picture:?} in {frame:?} at {x},{y}"
                );
            }
            if place.width > 8 {
                let middle = (place.y + place.height / 2) * frame.0;
                assert_eq!(rgb(pixels[middle + place.x + 1]), 0xff_00_00);
                assert_eq!(rgb(pixels[middle + place.x + place.width - 2]), 0x00_00_ff);
            }
        }
    }

    #[test]
    fn a_picture_without_pixels_is_black() {
        let mut pixels = vec![0x00_ff_00; 12];
        let empty = Picture::default();
        let place = whole(&empty, (4, 3));
        Canvas::new(&mut pixels, 4, 3).show(&empty, place, &mut Scaler::default());
        assert_eq!(pixels, [BLACK; 12]);
    }

    #[test]
    fn what_lies_outside_is_not_drawn() {
        let mut pixels = vec![BLACK; 12];
        let mut canvas = Canvas::new(&mut pixels, 4, 3);
        canvas.fill_area(
            Area {
                x: 3,
                y: 2,
                width: 50,
                height: 50,
            },
            0xff,
        );

        canvas.fill_area(
            Area {
                x: 9,
                y: 9,
                width: 50,
                height: 50,
            },
            0xff,
        );

        canvas.blend(4, 0, 0xff, 256);
        canvas.blend(0, 3, 0xff, 256);
        assert_eq!(pixels.iter().filter(|&&p| p == 0xff).count(), 1);
    }

    #[test]
    fn what_is_drawn_on_a_part_stays_within_it() {
        let area = Area {
            x: 3,
            y: 2,
            width: 16,
            height: 9,
        };
        let mut scaler = Scaler::default();
        for size in [(16, 9), (64, 36), (9, 9)] {
            let mut pixels = vec![0x12_34_56; 24 * 14];
            let mut canvas = Canvas::new(&mut pixels, 24, 14);
            let mut part = canvas.part(area);
            let halves = halves(size.0, size.1);
            let place = whole(&halves, (part.width(), part.height()));
            part.fill(0xff);
            part.show(&halves, place, &mut scaler);
            part.blend(16, 0, 0xff, 256);
            part.blend(0, 9, 0xff, 256);
            part.blend(0, 0, 0xab_cd_ef, 256);
            for (at, &pixel) in pixels.iter().enumerate() {
                let (x, y) = (at % 24, at / 24);
                let inside = (3..19).contains(&x) && (2..11).contains(&y);
                assert_eq!(pixel == 0x12_34_56, !inside, "{size:?} at {x},{y}");
            }
            assert_eq!(pixels[2 * 24 + 3], 0xab_cd_ef);
        }

        let mut pixels = vec![0; 12];
        let mut canvas = Canvas::new(&mut pixels, 4, 3);
        let outside = canvas.part(Area { x: 9, ..area });
        assert_eq!((outside.width(), outside.height()), (0, 1));
    }

    #[test]
    fn opacity_runs_from_nothing_to_all() {
        assert_eq!(mix(0x10_20_30, 0xff_80_00, 0), 0x10_20_30);
        assert_eq!(mix(0x10_20_30, 0xff_80_00, 256), 0xff_80_00);
        assert_eq!(mix(0x00_00_00, 0xff_80_00, 128), 0x7f_40_00);
    }
}
