//! Lines of text: wrapping, measuring and drawing.

use crate::font::Glyph;

/// From the top of one line to the top of the next, in hundredths of the letters' size.
const LEADING: usize = 140;

/// Lines of text of one size: all letters are `size` pixels high and three quarters of it wide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextBlock {
    /// The lines, from the top.
    pub lines: Vec<String>,
    /// Height of a letter in pixels.
    pub size: usize,
}

/// How lines lie in the width that they are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// From the left edge.
    Left,
    /// In the middle of so many pixels.
    Centre(usize),
}

impl TextBlock {
    /// `text` in lines of at most `columns` letters and `rows` lines, broken between words where possible; what does
    /// not fit ends in three dots. Whatever is not printable is a blank.
    #[must_use]
    pub fn wrapped(text: &str, size: usize, columns: usize, rows: usize) -> Self {
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
    #[must_use]
    pub fn lines_of(text: &str, size: usize) -> Self {
        Self {
            lines: text.lines().map(str::to_owned).collect(),
            size,
        }
    }

    /// Pixels of the longest line.
    #[must_use]
    pub fn width(&self) -> usize {
        self.lines
            .iter()
            .map(|line| line_width(line, self.size))
            .max()
            .unwrap_or(0)
    }

    /// Pixels of all lines.
    #[must_use]
    pub fn height(&self) -> usize {
        match self.lines.len() {
            0 => 0,
            lines => (lines - 1) * self.advance() + self.size,
        }
    }

    /// Draws the lines below each other from the upper left corner `x`, `y`: calls `blend` with column, row and coverage
    /// (of 256) of each pixel of each letter. Lines end where `right` begins, which is the width of the canvas.
    pub fn draw(
        &self,
        (x, y): (usize, usize),
        align: Align,
        right: usize,
        mut blend: impl FnMut(usize, usize, u32),
    ) {
        for (row, line) in self.lines.iter().enumerate() {
            let indent = match align {
                Align::Left => 0,
                Align::Centre(width) => width.saturating_sub(line_width(line, self.size)) / 2,
            };
            let top = y + row * self.advance();
            self.draw_line(line, (x + indent, top), right, &mut blend);
        }
    }

    fn draw_line(
        &self,
        line: &str,
        (left, top): (usize, usize),
        right: usize,
        blend: &mut impl FnMut(usize, usize, u32),
    ) {
        let width = letter_width(self.size);
        let letters = (left..right).step_by(width.max(1)).zip(line.chars());

        for (left, letter) in letters {
            let glyph = Glyph::of(letter);
            for y in 0..self.size {
                for x in 0..width {
                    blend(
                        left + x,
                        top + y,
                        glyph.coverage((x, y), (width, self.size)),
                    );
                }
            }
        }
    }

    fn advance(&self) -> usize {
        self.size * LEADING / 100
    }
}

/// Pixels from a letter of `size` to the next.
#[must_use]
pub fn letter_width(size: usize) -> usize {
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
