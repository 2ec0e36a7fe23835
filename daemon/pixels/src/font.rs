//! The font of all programs: a part of DejaVu Sans (Latin, Greek, Cyrillic, Armenian, Georgian and signs) that is compiled in.
//!
//! The shape of a letter is made once for each size and kept, so that drawing the same text again allocates nothing.

use std::collections::HashMap;
use std::fmt;

use ab_glyph_rasterizer::{Point, Rasterizer, point};
use ttf_parser::{Face, OutlineBuilder};

const FILE: &[u8] = include_bytes!("../font/DejaVuSans-subset.ttf");

/// What stands for a letter that the font lacks.
const REPLACEMENT: char = '\u{fffd}';

/// Bytes of shapes that are kept: the letters of a dozen sizes. When there are more, all are made anew.
const MAX_SHAPE_BYTES: usize = 4 << 20;

/// Bytes that a shape takes beside its pixels.
const SHAPE_OVERHEAD: usize = 64;

/// Letters have at most so many pixels.
const MAX_SIZE: usize = 512;

/// From the top of a line to the feet of its letters, in hundredths of their size.
const BASELINE: usize = 97;

/// The halo is the size divided by this wide, a pixel at least and [`MAX_HALO`] at most.
const SIZES_PER_HALO: usize = 12;

/// See [`SIZES_PER_HALO`]: to make it takes time by its square.
const MAX_HALO: usize = 4;

/// What of a text is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// The letters.
    Ink,
    /// The letters and what lies close around them: in a dark colour below light letters it keeps them legible on any
    /// picture.
    Halo,
}

/// The font, and the shapes of letters that were drawn.
pub struct Font {
    face: Face<'static>,
    rasterizer: Rasterizer,
    shapes: HashMap<Key, Shape>,
    bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    letter: char,
    size: usize,
    layer: Layer,
}

/// How much of each pixel a letter covers, of 255, in rows.
#[derive(Default)]
struct Shape {
    /// Pixels to the next letter.
    advance: usize,
    /// Where it begins, seen from the upper left corner of the letter's place in its line.
    left: isize,
    top: isize,
    width: usize,
    coverage: Vec<u8>,
}

impl Default for Font {
    fn default() -> Self {
        Self {
            face: Face::parse(FILE, 0).expect("the font that is compiled in is one"),
            rasterizer: Rasterizer::new(0, 0),
            shapes: HashMap::new(),
            bytes: 0,
        }
    }
}

impl fmt::Debug for Font {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Font").finish_non_exhaustive()
    }
}

impl Font {
    /// Pixels of a line in letters of `size`.
    pub fn width(&mut self, line: &str, size: usize) -> usize {
        line.chars().map(|letter| self.advance(letter, size)).sum()
    }

    /// Pixels from a letter to the next.
    pub fn advance(&mut self, letter: char, size: usize) -> usize {
        self.shape(letter, size, Layer::Ink).advance
    }

    /// Draws a line of letters of `size` pixels from the upper left corner `x`, `y`: calls `blend` with column, row and
    /// coverage (of 256) of each pixel that they cover. It is cut off at `right`, which is the width of the canvas.
    pub fn draw(
        &mut self,
        line: &str,
        size: usize,
        (x, y): (usize, usize),
        right: usize,
        layer: Layer,
        mut blend: impl FnMut(usize, usize, u32),
    ) {
        let mut left = x;
        for letter in line.chars() {
            if left >= right {
                return;
            }

            let shape = self.shape(letter, size, layer);
            shape.draw((left, y), right, &mut blend);
            left += shape.advance;
        }
    }

    fn shape(&mut self, letter: char, size: usize, layer: Layer) -> &Shape {
        let letter = if letter.is_control() { ' ' } else { letter };
        let size = size.min(MAX_SIZE);
        let key = Key {
            letter,
            size,
            layer,
        };

        if !self.shapes.contains_key(&key) {
            let shape = match layer {
                Layer::Ink => self.rasterized(letter, size),
                Layer::Halo => self
                    .rasterized(letter, size)
                    .widened((size / SIZES_PER_HALO).clamp(1, MAX_HALO)),
            };

            self.bytes += shape.coverage.len() + SHAPE_OVERHEAD;
            if self.bytes > MAX_SHAPE_BYTES {
                self.bytes = shape.coverage.len() + SHAPE_OVERHEAD;
                self.shapes.clear();
            }
            self.shapes.insert(key, shape);
        }

        &self.shapes[&key]
    }

    fn rasterized(&mut self, letter: char, size: usize) -> Shape {
        let glyph = self.face.glyph_index(letter);
        let glyph = glyph.or_else(|| self.face.glyph_index(REPLACEMENT));
        let glyph = glyph.unwrap_or_default();
        let scale = size as f32 / f32::from(self.face.units_per_em());
        let advance = self.face.glyph_hor_advance(glyph).unwrap_or_default();
        let advance = (f32::from(advance) * scale).round() as usize;
        let Some(bounds) = self.face.glyph_bounding_box(glyph) else {
            return Shape {
                advance,
                ..Shape::default()
            };
        };

        // One pixel more at each side, for what is rounded.
        let left = (f32::from(bounds.x_min) * scale).floor() - 1.0;
        let above = (f32::from(bounds.y_max) * scale).ceil() + 1.0;
        let width = (f32::from(bounds.x_max) * scale - left).ceil() as usize + 1;
        let height = (above - f32::from(bounds.y_min) * scale).ceil() as usize + 1;
        self.rasterizer.reset(width, height);
        let mut outline = Outline {
            rasterizer: &mut self.rasterizer,
            origin: point(-left, above),
            scale,
            start: Point::default(),
            last: Point::default(),
        };

        self.face.outline_glyph(glyph, &mut outline);
        let mut coverage = vec![0; width * height];
        self.rasterizer
            .for_each_pixel(|at, cover| coverage[at] = (cover.clamp(0.0, 1.0) * 255.0) as u8);
        Shape {
            advance,
            left: left as isize,
            top: (size * BASELINE / 100).cast_signed() - above as isize,
            width,
            coverage,
        }
    }
}

impl Shape {
    fn draw(
        &self,
        (x, y): (usize, usize),
        right: usize,
        blend: &mut impl FnMut(usize, usize, u32),
    ) {
        let left = x.cast_signed() + self.left;
        let top = y.cast_signed() + self.top;
        for (row, covers) in (top..).zip(self.coverage.chunks_exact(self.width.max(1))) {
            for (column, cover) in (left..right.cast_signed()).zip(covers) {
                if *cover > 0 && row >= 0 && column >= 0 {
                    // 255 of 255 are 256 of 256.
                    let cover = u32::from(*cover) + u32::from(*cover >> 7);
                    blend(column.cast_unsigned(), row.cast_unsigned(), cover);
                }
            }
        }
    }

    /// This shape, and all that is at most `reach` pixels away from it.
    fn widened(&self, reach: usize) -> Self {
        let (width, height) = (
            self.width,
            self.coverage.len().checked_div(self.width).unwrap_or(0),
        );
        let wide = width + 2 * reach;
        let mut coverage = vec![0_u8; wide * (height + 2 * reach)];

        for (at, cover) in self
            .coverage
            .iter()
            .enumerate()
            .filter(|(_, cover)| **cover > 0)
        {
            let (x, y) = (at % width, at / width);
            for (down, across) in (0..=2 * reach).flat_map(|y| (0..=2 * reach).map(move |x| (y, x)))
            {
                let distance = (across.abs_diff(reach) as f32).hypot(down.abs_diff(reach) as f32);
                let part = (reach as f32 + 0.5 - distance).clamp(0.0, 1.0);
                let cover = (f32::from(*cover) * part) as u8;
                let pixel = &mut coverage[(y + down) * wide + x + across];
                *pixel = cover.max(*pixel);
            }
        }

        Self {
            advance: self.advance,
            left: self.left - reach.cast_signed(),
            top: self.top - reach.cast_signed(),
            width: wide,
            coverage,
        }
    }
}

/// The outline of a letter on its way to the rasterizer, in font units with the rows upwards.
struct Outline<'a> {
    rasterizer: &'a mut Rasterizer,
    /// Where the font's origin lies.
    origin: Point,
    scale: f32,
    start: Point,
    last: Point,
}

impl Outline<'_> {
    fn at(&self, x: f32, y: f32) -> Point {
        point(
            self.origin.x + x * self.scale,
            self.origin.y - y * self.scale,
        )
    }
}

impl OutlineBuilder for Outline<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        self.start = self.at(x, y);
        self.last = self.start;
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let to = self.at(x, y);
        self.rasterizer.draw_line(self.last, to);
        self.last = to;
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let (over, to) = (self.at(x1, y1), self.at(x, y));
        self.rasterizer.draw_quad(self.last, over, to);
        self.last = to;
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let (first, second, to) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.rasterizer.draw_cubic(self.last, first, second, to);
        self.last = to;
    }

    fn close(&mut self) {
        self.rasterizer.draw_line(self.last, self.start);
        self.last = self.start;
    }
}
