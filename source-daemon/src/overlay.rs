//! Draws text into the picture: the stream's name, the time of capture, and statistics of the program.

mod statistics;

use std::time::{Duration, UNIX_EPOCH};

use fanlight_pixels::font::Glyph;
use fanlight_proto::clock::Time;

use crate::pixel_buffer::{PixelBuffer, Rect};
use statistics::Statistics;

/// Pixels of a glyph's side before it is scaled.
pub const GLYPH: u32 = 8;

/// Rows of a picture for each pixel of a glyph: text is a thirtieth of the picture's height.
const ROWS_PER_DOT: u32 = 240;

/// A background must be this far on the other side of mid grey before the text changes its colour, or it flickers.
const INDECISION: u8 = 24;

/// Writes lines into the upper left corner, in black or white as the background under them asks for.
#[derive(Debug)]
pub struct Overlay {
    name: Option<String>,
    figures: Option<Statistics>,
    white: bool,
}

impl Overlay {
    /// Writes `name` (ASCII; other characters show as `?`) above the time, if there is one, and below them frame rate,
    /// processor, memory and uptime of this program, if there shall be `figures`.
    #[must_use]
    pub fn new(name: Option<&str>, figures: bool) -> Self {
        Self {
            name: name.map(str::to_owned),
            figures: figures.then(Statistics::new),
            white: true,
        }
    }

    /// Writes into the picture, which was captured at `captured`, `utc_ns` nanoseconds after 1970. What does not fit is
    /// cut at the edge.
    pub fn draw(&mut self, buffer: &mut PixelBuffer, captured: Time, utc_ns: u64) {
        let scale = text_scale(buffer.height());
        let (margin, line) = (scale * GLYPH, scale * (GLYPH + 2));
        let mut lines =
            Vec::from_iter(self.name.clone().map(|name| [name, format_utc(utc_ns)])).concat();
        lines.extend(
            self.figures
                .as_mut()
                .map(|figures| figures.line(captured).to_owned()),
        );

        let widest = lines.iter().map(String::len).max().unwrap_or_default() as u32;
        let height = lines.len() as u32 * line;
        let under = Rect {
            x: margin,
            y: margin,
            width: widest * scale * GLYPH,
            height,
        };

        let threshold = if self.white {
            128 + INDECISION
        } else {
            128 - INDECISION
        };

        self.white = buffer.mean_luma(under) < threshold;
        let grey = if self.white { 255 } else { 0 };

        for (text, row) in lines.iter().zip(0..) {
            draw_text(text, margin, margin + row * line, scale, |rect| {
                buffer.fill(rect, grey);
            });
        }
    }
}

/// How many pixels a dot of a glyph has in a picture of this height.
#[must_use]
pub fn text_scale(height: u32) -> u32 {
    (height / ROWS_PER_DOT).max(1)
}

/// "2026-01-31 23:59:59.123 UTC", of nanoseconds after 1970.
#[must_use]
pub fn format_utc(utc_ns: u64) -> String {
    // Past the year 9999 the formatter panics; 64 bits of nanoseconds end in 2554.
    let time =
        humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(utc_ns)).to_string();
    time.replace('T', " ").replace('Z', " UTC")
}

/// Calls `fill` with every run of dots of the text, whose upper left corner is at `x`, `y`.
pub fn draw_text(text: &str, x: u32, y: u32, scale: u32, mut fill: impl FnMut(Rect)) {
    for (column, character) in text.chars().enumerate() {
        let left = x + column as u32 * GLYPH * scale;
        for (start, row, length) in Glyph::of(character).runs() {
            fill(Rect {
                x: left + start * scale,
                y: y + row * scale,
                width: length * scale,
                height: scale,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(grey: u8) -> PixelBuffer {
        let mut buffer = PixelBuffer::default();
        buffer.reset_rgb(640, 480).fill(grey);
        buffer
    }

    fn shades(buffer: &PixelBuffer) -> Vec<u8> {
        let mut shades = buffer.plane(0).to_vec();
        shades.sort_unstable();
        shades.dedup();
        shades
    }

    #[test]
    fn time_is_written_for_people() {
        assert_eq!(format_utc(0), "1970-01-01 00:00:00.000 UTC");
        assert_eq!(
            format_utc(1_709_251_199_123_456_789),
            "2024-02-29 23:59:59.123 UTC"
        );
        assert!(format_utc(u64::MAX).starts_with("2554-"));
    }

    #[test]
    fn text_is_white_on_dark_and_black_on_light() {
        let mut overlay = Overlay::new(Some("cam-1"), false);
        for (background, text) in [
            (20, 255),
            (230, 0),
            (120, 0),
            (90, 255),
            (140, 255),
            (160, 0),
        ] {
            let mut buffer = buffer(background);
            overlay.draw(&mut buffer, Time::default(), 0);
            let mut expected = vec![background, text];
            expected.sort_unstable();
            assert_eq!(shades(&buffer), expected, "on {background}");
        }
    }

    #[test]
    fn a_long_name_in_a_small_picture_is_cut_at_the_edge() {
        let mut buffer = PixelBuffer::default();
        buffer.reset_rgb(32, 12).fill(0);
        Overlay::new(Some(&"W".repeat(64)), true).draw(&mut buffer, Time::default(), u64::MAX);
        assert_eq!(shades(&buffer), [0, 255]);
    }

    #[test]
    fn figures_stand_below_name_and_time_or_alone() {
        // Bytes of a row of RGB.
        const STRIDE: u32 = 640 * 3;
        let rows = |name: Option<&str>, figures| {
            let mut buffer = buffer(20);
            Overlay::new(name, figures).draw(&mut buffer, Time::default(), 0);
            let scale = text_scale(480);
            let line = |row: u32| {
                let top = scale * (GLYPH + row * (GLYPH + 2)) * STRIDE;
                buffer.plane(0)[top as usize..][..(scale * GLYPH * STRIDE) as usize].contains(&255)
            };

            [line(0), line(1), line(2)]
        };

        assert_eq!(rows(Some("cam"), false), [true, true, false]);
        assert_eq!(rows(Some("cam"), true), [true, true, true]);
        assert_eq!(rows(None, true), [true, false, false]);
    }

    #[test]
    fn glyphs_stand_upright_and_unmirrored() {
        let mut dots = [[b'.'; 8]; 8];
        draw_text("F", 0, 0, 1, |rect| {
            dots[rect.y as usize][rect.x as usize..(rect.x + rect.width) as usize].fill(b'#');
        });
        assert_eq!(std::str::from_utf8(&dots[0]).unwrap(), "#######.");
        assert_eq!(std::str::from_utf8(&dots[6]).unwrap(), "####....");
    }
}
