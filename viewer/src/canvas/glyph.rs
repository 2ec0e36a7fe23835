//! Letters as shapes of 32 by 32 dots, grown from the eight-by-eight font by rounding its corners twice (the EPX
//! rule), so that they can be drawn at any size.

use font8x8::UnicodeFonts;

/// Dots on each side.
pub(crate) const SIDE: usize = 32;

/// One letter; bit x of row y is a dot of ink, from the top left.
pub(crate) type Glyph = [u32; SIDE];

/// The shape of `letter`; of a question mark for those the font does not have.
pub(crate) fn of(letter: char) -> Glyph {
    let rows = lookup(letter).or_else(|| lookup('?')).unwrap_or_default();
    let mut glyph = [0; SIDE];
    for (out, row) in glyph.iter_mut().zip(rows) {
        *out = u32::from(row);
    }
    rounded(&rounded(&glyph, 8), 16)
}

fn lookup(letter: char) -> Option<[u8; 8]> {
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

/// Twice as large, corners rounded.
fn rounded(glyph: &Glyph, side: usize) -> Glyph {
    let ink = |x: usize, y: usize| x < side && y < side && glyph[y] >> x & 1 == 1;
    let mut out = [0; SIDE];
    for (x, y) in (0..side).flat_map(|y| (0..side).map(move |x| (x, y))) {
        let here = ink(x, y);
        let (up, down) = (ink(x, y.wrapping_sub(1)), ink(x, y + 1));
        let (left, right) = (ink(x.wrapping_sub(1), y), ink(x + 1, y));
        let corner = |near: bool, far: bool, other_near: bool, other_far: bool| {
            if near == other_near && near != far && other_near != other_far { near } else { here }
        };
        let mut dot = |dx: usize, dy: usize, inked: bool| out[2 * y + dy] |= u32::from(inked) << (2 * x + dx);
        dot(0, 0, corner(left, right, up, down));
        dot(1, 0, corner(right, left, up, down));
        dot(0, 1, corner(left, right, down, up));
        dot(1, 1, corner(right, left, down, up));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_have_ink_and_blanks_have_none() {
        for letter in ('!'..='~').chain("äöüßéñµ".chars()) {
            assert_ne!(of(letter), [0; SIDE], "{letter}");
        }
        assert_eq!(of(' '), [0; SIDE]);
    }

    #[test]
    fn a_letter_the_font_lacks_is_a_question_mark() {
        assert_eq!(of('漢'), of('?'));
        assert_eq!(of('—'), of('-'));
    }
}
