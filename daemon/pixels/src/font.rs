//! The letters of an 8x8 bitmap font, as dots or smoothly scaled to any size.
//!
//! Scaled, a letter's ink is interpolated between the centres of the dots and then cut off at a threshold. That rounds
//! corners and joins dots that touch at their corners.

use font8x8::UnicodeFonts;

/// Dots on each side of a letter.
pub const SIDE: usize = 8;

/// How much ink a point needs to be part of the letter: a little under one half, so that diagonals hold together.
const THRESHOLD: f32 = 0.44;

/// Least steepness of an edge, in shades per dot: below it small letters blur.
const STEEPNESS: f32 = 1.8;

/// One letter; bit x of row y is a dot of ink, from the top left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glyph([u8; SIDE]);

impl Glyph {
    /// The shape of `letter`; of a question mark for those the font does not have.
    #[must_use]
    pub fn of(letter: char) -> Self {
        Self(lookup(letter).or_else(|| lookup('?')).unwrap_or_default())
    }

    /// The horizontal runs of dots, as column, row and length.
    pub fn runs(self) -> impl Iterator<Item = (u32, u32, u32)> {
        (0..).zip(self.0).flat_map(|(row, dots)| {
            let mut rest = u32::from(dots);
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let start = rest.trailing_zeros();
                let length = (rest >> start).trailing_ones();
                rest &= !(((1 << length) - 1) << start);
                Some((start, row, length))
            })
        })
    }

    /// How much of pixel `x`, `y` the letter covers when it is drawn `width` by `height` pixels large, of 256.
    #[must_use]
    pub fn coverage(&self, (x, y): (usize, usize), (width, height): (usize, usize)) -> u32 {
        let pixels_per_dot = width.min(height) as f32 / SIDE as f32;
        let ink = self.ink_at(dot(x, width), dot(y, height));
        let shade = (ink - THRESHOLD) * pixels_per_dot.max(STEEPNESS) + 0.5;
        (shade.clamp(0.0, 1.0) * 256.0) as u32
    }

    /// The ink at a point between the centres of four dots, whose coordinates are one more than theirs.
    fn ink_at(&self, x: f32, y: f32) -> f32 {
        let (column, row) = (x as usize, y as usize);
        let (right, below) = (x.fract(), y.fract());
        let upper = self.dot(column, row) * (1.0 - right) + self.dot(column + 1, row) * right;
        let lower =
            self.dot(column, row + 1) * (1.0 - right) + self.dot(column + 1, row + 1) * right;
        upper * (1.0 - below) + lower * below
    }

    /// The ink of a dot, counted from 1: around the letter there is none.
    fn dot(&self, column: usize, row: usize) -> f32 {
        let inside = (1..=SIDE).contains(&column) && (1..=SIDE).contains(&row);
        if inside && self.0[row - 1] >> (column - 1) & 1 == 1 {
            1.0
        } else {
            0.0
        }
    }
}

/// Where the centre of a pixel lies among the dots, whose centres are at 1, 2 and so on.
fn dot(pixel: usize, pixels: usize) -> f32 {
    (pixel as f32 + 0.5) * SIDE as f32 / pixels as f32 + 0.5
}

fn lookup(letter: char) -> Option<[u8; SIDE]> {
    let letter = match letter {
        '‘' | '’' => '\'',
        '“' | '”' => '"',
        '‐'..='―' => '-',
        other => other,
    };

    font8x8::BASIC_FONTS
        .get(letter)
        .or_else(|| font8x8::LATIN_FONTS.get(letter))
        .or_else(|| font8x8::GREEK_FONTS.get(letter))
        .or_else(|| font8x8::MISC_FONTS.get(letter))
}
