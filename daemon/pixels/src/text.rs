//! Lines of text.

use super::glyph::Glyph;
use super::{Area, Canvas, Colour};

/// How the lines of a block lie: each is `size` high, the next begins `size * LEADING / 100` below.
const LEADING: usize = 140;

/// Lines of text of one size: all letters are `size` pixels high and three quarters of it wide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextBlock {
    pub(crate) lines: Vec<String>,
    pub(crate) size: usize,
}

impl TextBlock {
    /// `text` in lines of at most `columns` letters and `rows` lines, broken between words where possible; what does
    /// not fit ends in three dots. Whatever is not printable is a blank.
    pub(crate) fn wrapped(text: &str, size: usize, columns: usize, rows: usize) -> Self {
        let columns = columns.max(1);
        let mut lines = Vec::new();
        let mut line = String::new();
        for word in text
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty())
        {
            for piece in pieces(word, columns) {
                let taken = line.chars().count();
                if taken == 0 {
                    line = piece;
                } else if taken + 1 + piece.chars().count() <= columns {
                    line.push(' ');
                    line.push_str(&piece);
                } else if lines.len() + 1 < rows {
                    lines.push(std::mem::replace(&mut line, piece));
                } else {
                    lines.push(with_dots(&line, columns));
                    return Self { lines, size };
                }
            }
        }
        lines.push(line);
        Self { lines, size }
    }

    /// `text` as it is broken already; not wrapped.
    pub(crate) fn lines_of(text: &str, size: usize) -> Self {
        Self {
            lines: text.lines().map(str::to_owned).collect(),
            size,
        }
    }

    /// Pixels of the longest line.
    pub(crate) fn width(&self) -> usize {
        self.lines
            .iter()
            .map(|line| line_width(line, self.size))
            .max()
            .unwrap_or(0)
    }

    /// Pixels of all lines.
    pub(crate) fn height(&self) -> usize {
        match self.lines.len() {
            0 => 0,
            lines => (lines - 1) * self.advance() + self.size,
        }
    }

    /// Draws the lines below each other, each from the left edge of `area`.
    pub(crate) fn draw_from_left(&self, canvas: &mut Canvas<'_>, area: Area, colour: Colour) {
        for (row, line) in self.lines.iter().enumerate() {
            draw_line(
                canvas,
                line,
                area.x,
                area.y + row * self.advance(),
                self.size,
                colour,
            );
        }
    }

    /// Draws the lines below each other from the top of `area`, each in its middle.
    pub(crate) fn draw_centred(&self, canvas: &mut Canvas<'_>, area: Area, colour: Colour) {
        for (row, line) in self.lines.iter().enumerate() {
            let indent = area.width.saturating_sub(line_width(line, self.size)) / 2;
            draw_line(
                canvas,
                line,
                area.x + indent,
                area.y + row * self.advance(),
                self.size,
                colour,
            );
        }
    }

    fn advance(&self) -> usize {
        self.size * LEADING / 100
    }
}

/// Pixels from a letter of `size` to the next.
pub(crate) fn letter_width(size: usize) -> usize {
    (size * 3).div_ceil(4)
}

fn line_width(line: &str, size: usize) -> usize {
    line.chars().count() * letter_width(size)
}

fn pieces(word: &str, columns: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    letters
        .chunks(columns)
        .map(|piece| piece.iter().collect())
        .collect()
}

fn with_dots(line: &str, columns: usize) -> String {
    let kept: String = line.chars().take(columns.saturating_sub(3)).collect();
    format!("{}...", kept.trim_end())
}

fn draw_line(canvas: &mut Canvas<'_>, line: &str, x: usize, y: usize, size: usize, colour: Colour) {
    for (column, letter) in line.chars().enumerate() {
        let left = x + column * letter_width(size);
        if left >= canvas.width() {
            return;
        }
        draw_glyph(canvas, &Glyph::of(letter), (left, y), size, colour);
    }
}

fn draw_glyph(
    canvas: &mut Canvas<'_>,
    glyph: &Glyph,
    (left, top): (usize, usize),
    size: usize,
    colour: Colour,
) {
    let width = letter_width(size);
    for (x, y) in (0..size).flat_map(|y| (0..width).map(move |x| (x, y))) {
        canvas.blend(
            left + x,
            top + y,
            colour,
            glyph.coverage((x, y), (width, size)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(text: &str, columns: usize, rows: usize) -> Vec<String> {
        TextBlock::wrapped(text, 8, columns, rows).lines
    }

    #[test]
    fn lines_break_between_words_and_within_long_ones() {
        assert_eq!(
            wrapped("camera unplugged: /dev/video0", 17, 5),
            ["camera unplugged:", "/dev/video0"]
        );
        assert_eq!(wrapped("abcdefgh", 3, 5), ["abc", "def", "gh"]);
        assert_eq!(wrapped("a\nb\u{1b}[31m\tc", 20, 5), ["a b [31m c"]);
        assert_eq!(wrapped("", 10, 5), [""]);
    }

    #[test]
    fn what_does_not_fit_ends_in_dots() {
        assert_eq!(wrapped("one two three four", 8, 2), ["one two", "three..."]);
        assert_eq!(wrapped("one two three four", 5, 1), ["on..."]);
        for columns in 0..12 {
            for rows in 0..4 {
                let lines = wrapped(&"word ".repeat(100), columns, rows);
                assert!(lines.len() <= rows.max(1));
                assert!(
                    lines
                        .iter()
                        .all(|line| line.chars().count() <= columns.max(3)),
                    "{lines:?}"
                );
            }
        }
    }

    #[test]
    fn letters_are_drawn_at_their_place_in_their_colour() {
        for size in [5, 8, 13, 32, 100] {
            let side = size * 3;
            let mut pixels = vec![0; side * side];
            let area = Area {
                x: 0,
                y: size,
                width: side,
                height: size,
            };
            TextBlock::wrapped("#", size, 9, 1).draw_centred(
                &mut Canvas::new(&mut pixels, side, side),
                area,
                0xff,
            );
            let inked: Vec<_> = pixels
                .iter()
                .enumerate()
                .filter(|(_, p)| **p > 0)
                .map(|(i, _)| (i % side, i / side))
                .collect();
            assert!(!inked.is_empty(), "{size}");
            let (width, rows) = (letter_width(size), size..2 * size);
            let left = (side - width) / 2;
            assert!(
                inked
                    .iter()
                    .all(|(x, y)| (left..left + width).contains(x) && rows.contains(y)),
                "{size}"
            );
        }
    }

    #[test]
    fn text_larger_than_the_canvas_is_cut() {
        let mut pixels = vec![0; 16];
        let block = TextBlock::wrapped("far too long for this", 64, 100, 1);
        block.draw_from_left(&mut Canvas::new(&mut pixels, 4, 4), Area::default(), 0xff);
        block.draw_from_left(
            &mut Canvas::new(&mut pixels, 4, 4),
            Area {
                x: 9,
                y: 9,
                ..Area::default()
            },
            0xff,
        );
    }
}
