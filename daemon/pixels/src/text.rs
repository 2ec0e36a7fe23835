//! Lines of text: wrapping, measuring and drawing.

use crate::font::{Font, Layer};

/// From the top of one line to the top of the next, in hundredths of the letters' size.
const LEADING: usize = 125;

/// Lines of text of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextBlock {
    /// The lines, from the top.
    pub lines: Vec<String>,
    /// Pixels of an em: capital letters are 0.73 of it high.
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
    /// `text` in lines of at most `width` pixels and `rows` lines, broken between words where possible; what does not fit
    /// ends in dots. Whatever is not printable is a blank.
    #[must_use]
    pub fn wrapped(font: &mut Font, text: &str, size: usize, width: usize, rows: usize) -> Self {
        let mut lines = Vec::new();
        let mut line = String::new();

        for word in text
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty())
        {
            let mut rest = word;
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(fitting(font, rest, size, width));
                rest = after;
                let taken = font.width(&line, size);
                if taken == 0 {
                    line.push_str(piece);
                } else if taken + font.advance(' ', size) + font.width(piece, size) <= width {
                    line.push(' ');
                    line.push_str(piece);
                } else if lines.len() + 1 < rows {
                    lines.push(std::mem::replace(&mut line, piece.to_owned()));
                } else {
                    lines.push(with_dots(font, line, size, width));
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
    pub fn width(&self, font: &mut Font) -> usize {
        let widths = self.lines.iter().map(|line| font.width(line, self.size));
        widths.max().unwrap_or(0)
    }

    /// Pixels of all lines.
    #[must_use]
    pub fn height(&self) -> usize {
        self.lines.len() * line_height(self.size)
    }

    /// Draws the lines below each other from the upper left corner `x`, `y`. See [`Font::draw`].
    pub fn draw(
        &self,
        font: &mut Font,
        (x, y): (usize, usize),
        align: Align,
        right: usize,
        mut blend: impl FnMut(usize, usize, u32),
    ) {
        let tops = (y..).step_by(line_height(self.size).max(1));
        for (top, line) in tops.zip(&self.lines) {
            let indent = match align {
                Align::Left => 0,
                Align::Centre(width) => width.saturating_sub(font.width(line, self.size)) / 2,
            };

            let at = (x + indent, top);
            font.draw(line, self.size, at, right, Layer::Ink, &mut blend);
        }
    }
}

/// Pixels from the top of a line of letters of `size` to the top of the next.
#[must_use]
pub fn line_height(size: usize) -> usize {
    size * LEADING / 100
}

/// Bytes of the letters at the beginning of `word` that fit `width`, one letter at least.
fn fitting(font: &mut Font, word: &str, size: usize, width: usize) -> usize {
    let mut taken = 0;
    let end = word.char_indices().find_map(|(at, letter)| {
        taken += font.advance(letter, size);
        (at > 0 && taken > width).then_some(at)
    });
    end.unwrap_or(word.len())
}

fn with_dots(font: &mut Font, mut line: String, size: usize, width: usize) -> String {
    let room = width.saturating_sub(font.advance('…', size));
    line.truncate(fitting(font, &line, size, room));
    line.truncate(line.trim_end().len());
    line + "…"
}
