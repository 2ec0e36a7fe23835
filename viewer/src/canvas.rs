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

/// Pixels `0x00RRGGBB` that belong to a window's buffer.
pub(crate) struct Canvas<'a> {
    pixels: &'a mut [u32],
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
            width,
            height,
        }
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn height(&self) -> usize {
        self.height
    }

    pub(crate) fn fill(&mut self, colour: Colour) {
        self.pixels.fill(colour);
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
            let pixel = &mut self.pixels[y * self.width + x];
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
        let width = self.width as u32;
        let height = self.height as u32;
        let size = (place.width as u32, place.height as u32);
        let place = Place {
            left: place.x as u32,
            top: place.y as u32,
            size,
        };

        let from = bytemuck::cast_slice(picture.pixels());
        let to = bytemuck::cast_slice_mut(self.pixels);
        scaler.rgbx(
            from,
            (picture.width(), picture.height()),
            part,
            to,
            (width, height),
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

        for row in self
            .pixels
            .chunks_exact_mut(self.width)
            .skip(area.y)
            .take(area.height)
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
    fn opacity_runs_from_nothing_to_all() {
        assert_eq!(mix(0x10_20_30, 0xff_80_00, 0), 0x10_20_30);
        assert_eq!(mix(0x10_20_30, 0xff_80_00, 256), 0xff_80_00);
        assert_eq!(mix(0x00_00_00, 0xff_80_00, 128), 0x7f_40_00);
    }
}
