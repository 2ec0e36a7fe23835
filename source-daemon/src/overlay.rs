//! Draws text into the picture: the stream's name, the time of capture, and statistics of the program.

mod statistics;

use std::time::{Duration, UNIX_EPOCH};

use fanlight_pixels::font::{Font, Layer};
use fanlight_pixels::text::line_height;
use fanlight_proto::clock::Time;

use crate::pixel_buffer::{PixelBuffer, Rect};
use statistics::Statistics;

/// Rows of a picture for each pixel of its letters' size.
const ROWS_PER_PIXEL: u32 = 30;

/// Smaller letters cannot be read.
const LEAST_SIZE: u32 = 12;

/// A background must be this far on the other side of mid grey before the text changes its colour, or it flickers.
const INDECISION: u8 = 24;

/// Writes lines into the upper left corner, in black or white as the background under them asks for.
#[derive(Debug)]
pub struct Overlay {
    name: Option<String>,
    figures: Option<Statistics>,
    font: Font,
    white: bool,
}

impl Overlay {
    /// Writes `name` above the time, if there is one, and below them frame rate, processor, memory and uptime of this
    /// program, if there shall be `figures`.
    #[must_use]
    pub fn new(name: Option<&str>, figures: bool) -> Self {
        Self {
            name: name.map(str::to_owned),
            figures: figures.then(Statistics::new),
            font: Font::default(),
            white: true,
        }
    }

    /// Writes into the picture, which was captured at `captured`, `utc_ns` nanoseconds after 1970. What does not fit is
    /// cut at the edge.
    pub fn draw(&mut self, buffer: &mut PixelBuffer, captured: Time, utc_ns: u64) {
        let size = text_size(buffer.height());
        let mut lines =
            Vec::from_iter(self.name.clone().map(|name| [name, format_utc(utc_ns)])).concat();
        lines.extend(
            self.figures
                .as_mut()
                .map(|figures| figures.line(captured).to_owned()),
        );

        let widths = lines.iter().map(|line| self.font.width(line, size));
        let under = Rect {
            x: size as u32,
            y: size as u32,
            width: widths.max().unwrap_or_default() as u32,
            height: (lines.len() * line_height(size)) as u32,
        };

        let threshold = if self.white {
            128 + INDECISION
        } else {
            128 - INDECISION
        };

        self.white = buffer.mean_luma(under) < threshold;
        let grey = if self.white { 255 } else { 0 };
        let right = buffer.width() as usize;

        for (top, text) in (size..).step_by(line_height(size)).zip(&lines) {
            let blend = |x, y, coverage| buffer.blend((x, y), grey, coverage);
            let at = (size, top);
            self.font.draw(text, size, at, right, Layer::Ink, blend);
        }
    }
}

/// Pixels of the letters in a picture of this height.
#[must_use]
pub fn text_size(height: u32) -> usize {
    (height / ROWS_PER_PIXEL).max(LEAST_SIZE) as usize
}

/// "2026-01-31 23:59:59.123 UTC", of nanoseconds after 1970.
#[must_use]
pub fn format_utc(utc_ns: u64) -> String {
    // Past the year 9999 the formatter panics; 64 bits of nanoseconds end in 2554.
    let time =
        humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_nanos(utc_ns)).to_string();
    time.replace('T', " ").replace('Z', " UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(grey: u8) -> PixelBuffer {
        let mut buffer = PixelBuffer::default();
        buffer.reset_rgb(640, 480).fill(grey);
        buffer
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
        for (background, is_white) in [
            (20, true),
            (230, false),
            (120, false),
            (90, true),
            (140, true),
            (160, false),
        ] {
            let mut buffer = buffer(background);
            overlay.draw(&mut buffer, Time::default(), 0);
            let shades = buffer.plane(0);
            let lighter = shades
                .iter()
                .any(|value| *value > background.saturating_add(40));
            let darker = shades
                .iter()
                .any(|value| *value < background.saturating_sub(40));
            assert_eq!((lighter, darker), (is_white, !is_white), "on {background}");
        }
    }

    #[test]
    fn a_long_name_in_a_small_picture_is_cut_at_the_edge() {
        let mut buffer = PixelBuffer::default();
        buffer.reset_rgb(32, 24).fill(0);
        Overlay::new(Some(&"W".repeat(64)), true).draw(&mut buffer, Time::default(), u64::MAX);
        assert!(buffer.plane(0).iter().any(|value| *value > 128));
    }

    #[test]
    fn figures_stand_below_name_and_time_or_alone() {
        // Bytes of a row of RGB.
        const STRIDE: usize = 640 * 3;
        let rows = |name: Option<&str>, figures| {
            let mut buffer = buffer(20);
            Overlay::new(name, figures).draw(&mut buffer, Time::default(), 0);
            let size = text_size(480);
            let line = |row: usize| {
                let top = (size + row * line_height(size)) * STRIDE;
                buffer.plane(0)[top..][..size * STRIDE]
                    .iter()
                    .any(|value| *value > 200)
            };

            [line(0), line(1), line(2)]
        };

        assert_eq!(rows(Some("cam"), false), [true, true, false]);
        assert_eq!(rows(Some("cam"), true), [true, true, true]);
        assert_eq!(rows(None, true), [true, false, false]);
    }
}
