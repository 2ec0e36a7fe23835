//! Letters of any size, out of an eight-by-eight font: between the dots ink fades, and where it has faded to less than
//! half, the letter ends. That rounds corners and joins dots that touch at their corners.

use font8x8::UnicodeFonts;

/// Dots on each side.
const SIDE: usize = 8;

/// How much ink a point needs to be part of the letter: a little under one half, so that diagonals hold together.
const THRESHOLD: f32 = 0.44;

/// Least steepness of an edge, in shades per dot: below it small letters blur.
const STEEPNESS: f32 = 1.8;

/// One letter; bit x of row y is a dot of ink, from the top left.
pub(crate) struct Glyph([u8; SIDE]);

impl Glyph {
    /// The shape of `letter`; of a question mark for those the font does not have.
    pub(crate) fn of(letter: char) -> Self {
        Self(lookup(letter).or_else(|| lookup('?')).unwrap_or_default())
    }

    /// How much of pixel `x`, `y` the letter covers when it is drawn `width` by `height` pixels large, of 256.
    pub(crate) fn coverage(&self, (x, y): (usize, usize), (width, height): (usize, usize)) -> u32 {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Drawn in its own size, row by row.
    fn drawn(letter: char, size: (usize, usize)) -> Vec<bool> {
        let glyph = Glyph::of(letter);
        (0..size.0 * size.1)
            .map(|i| glyph.coverage((i % size.0, i / size.0), size) > 128)
            .collect()
    }

    #[test]
    fn letters_have_ink_and_blanks_have_none() {
        for letter in ('!'..='~').chain("äöüßéñµ".chars()) {
            for size in [(6, 8), (9, 12), (64, 64)] {
                assert!(drawn(letter, size).contains(&true), "{letter} at {size:?}");
            }
        }
        assert!(!drawn(' ', (64, 64)).contains(&true));
    }

    #[test]
    fn a_letter_in_its_own_size_is_the_font_s() {
        for letter in '!'..='~' {
            let rows = lookup(letter).unwrap();
            let dots: Vec<bool> = (0..64).map(|i| rows[i / 8] >> (i % 8) & 1 == 1).collect();
            assert_eq!(drawn(letter, (8, 8)), dots, "{letter}");
        }
    }

    #[test]
    fn a_letter_the_font_lacks_is_a_question_mark() {
        assert_eq!(drawn('漢', (8, 8)), drawn('?', (8, 8)));
        assert_eq!(drawn('—', (8, 8)), drawn('-', (8, 8)));
    }
}
