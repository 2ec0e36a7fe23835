//! A test picture for people and machines: colour bars, a moving edge, number and time in letters and as a block code.

use std::ops::Range;

use fanlight_daemon::clock;
use fanlight_pixels::font::{Font, Layer};
use fanlight_pixels::text::line_height;
use fanlight_proto::clock::Time;
use fanlight_proto::frame_barcode::{self, FrameBarcode};
use fanlight_proto::limits::{MAX_HEIGHT, MAX_WIDTH};

use super::pacer::FramePacer;
use super::{Camera, CameraError, CapturedFrame, Content, Input, PixelFormat, Raw};
use crate::overlay::{format_utc, text_size};
use crate::pixel_buffer::Rect;

/// Red, green and blue of the bars, at 75 % as EBU bars have them, by falling luma.
const BARS: [[u8; 3]; 8] = [
    [191, 191, 191],
    [191, 191, 0],
    [0, 191, 191],
    [0, 191, 0],
    [191, 0, 191],
    [191, 0, 0],
    [0, 0, 191],
    [0, 0, 0],
];

/// Least width and height: the block code needs the width, the letters the height.
pub const MIN_SIZE: (u32, u32) = (frame_barcode::MIN_WIDTH, 180);

/// The moving edge crosses the picture in so many frames.
const EDGE_FRAMES: u64 = 64;

/// The input.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternInput {
    /// Width of the picture in pixels, at least [`MIN_SIZE`], at most [`MAX_WIDTH`] and four times the height.
    pub width: u32,
    /// Height of the picture in pixels, at least [`MIN_SIZE`] and at most [`MAX_HEIGHT`].
    pub height: u32,
    /// Thousandths of a frame a second.
    pub rate_millihertz: u32,
}

impl Input for PatternInput {
    fn open(&mut self) -> Result<Box<dyn Camera>, CameraError> {
        let &mut Self {
            width,
            height,
            rate_millihertz,
        } = self;

        if !fits(width, height) {
            return Err(CameraError::WrongFormat(format!(
                "pattern: size {width}x{height} is not within {}x{} and {MAX_WIDTH}x{MAX_HEIGHT}, or flatter than 4:1",
                MIN_SIZE.0, MIN_SIZE.1
            )));
        }

        let wall_offset_ns = clock::wall_offset_ns();
        let scene = Scene::new(width, height);
        Ok(Box::new(PatternCamera {
            scene,
            pace: FramePacer::new(rate_millihertz),
            rate_millihertz,
            wall_offset_ns,
        }))
    }

    fn describe(&self) -> String {
        format!(
            "pattern {}x{} at {} fps",
            self.width,
            self.height,
            f64::from(self.rate_millihertz) / 1000.0
        )
    }
}

/// Whether code, letters, edge and bars have room.
fn fits(width: u32, height: u32) -> bool {
    (MIN_SIZE.0..=MAX_WIDTH).contains(&width)
        && (MIN_SIZE.1..=MAX_HEIGHT).contains(&height)
        && height >= 2 * frame_barcode::strip_height(width)
}

struct PatternCamera {
    scene: Scene,
    pace: FramePacer,
    rate_millihertz: u32,
    wall_offset_ns: i64,
}

impl Camera for PatternCamera {
    fn next(&mut self, number: u64, raw: &mut Raw) -> Result<CapturedFrame, CameraError> {
        let (captured, skipped) = self.pace.wait();
        let utc_ns = captured
            .as_nanos()
            .saturating_add_signed(self.wall_offset_ns);
        self.scene.draw(number + skipped, captured, utc_ns, raw);
        Ok(CapturedFrame {
            captured,
            skipped,
            truth: None,
            content: Content::Raw,
        })
    }

    fn rate_millihertz(&self) -> u32 {
        self.rate_millihertz
    }
}

/// What is painted, from top to bottom: the bars, a band with the moving edge, a band with the letters, the code.
#[derive(Debug)]
pub struct Scene {
    width: u32,
    height: u32,
    /// The picture without what changes.
    empty: Vec<u8>,
    edge: Range<u32>,
    text: Range<u32>,
    font: Font,
}

impl Scene {
    /// A scene of at least [`MIN_SIZE`].
    #[must_use]
    pub fn new(width: u32, height: u32) -> Self {
        let code = height - frame_barcode::strip_height(width);
        let text = code - 2 * line_height(text_size(height)) as u32..code;
        let edge = text.start - code / 5..text.start;
        let bars: Vec<u8> = (0..width)
            .flat_map(|x| BARS[(x * BARS.len() as u32 / width) as usize])
            .collect();
        let mut empty = bars.repeat(height as usize);
        empty[(edge.start * width * 3) as usize..].fill(0);
        Self {
            width,
            height,
            empty,
            edge,
            text,
            font: Font::default(),
        }
    }

    /// Draws picture `number`, captured at `captured`, which is `utc_ns` nanoseconds after 1970.
    pub fn draw(&mut self, number: u64, captured: Time, utc_ns: u64, raw: &mut Raw) {
        (raw.format, raw.width, raw.height) = (PixelFormat::Rgb, self.width, self.height);
        raw.data.clear();
        raw.data.extend_from_slice(&self.empty);

        let reached = (number % EDGE_FRAMES + 1) * u64::from(self.width) / EDGE_FRAMES;
        let height = self.edge.end - self.edge.start;
        let reached = Rect {
            x: 0,
            y: self.edge.start,
            width: reached as u32,
            height,
        };
        fill(&mut raw.data, self.width, reached, 235);

        let (size, mut top) = (text_size(self.height), self.text.start as usize);
        let (width, data) = (self.width as usize, &mut raw.data);

        for line in [format!("frame {number}"), format_utc(utc_ns)] {
            let blend = |x, y, coverage: u32| {
                // The letters' ground is black.
                data[(y * width + x) * 3..][..3].fill((coverage * 255 / 256) as u8);
            };
            self.font
                .draw(&line, size, (size, top), width, Layer::Ink, blend);
            top += line_height(size);
        }

        let code = FrameBarcode {
            number,
            captured_ns: captured.as_nanos(),
        };

        let mut fill = |rect: Rect, grey| fill(&mut raw.data, self.width, rect, grey);
        code.paint(
            self.width,
            self.height,
            |frame_barcode::Block {
                 x,
                 y,
                 width,
                 height,
             },
             white| {
                fill(
                    Rect {
                        x,
                        y,
                        width,
                        height,
                    },
                    if white { 235 } else { 16 },
                );
            },
        );
    }
}

/// Fills a rectangle whose columns are cut at the right edge and whose rows lie within the picture.
fn fill(rgb: &mut [u8], width: u32, rect: Rect, grey: u8) {
    let (left, right) = (rect.x.min(width), (rect.x + rect.width).min(width));
    for y in rect.y..rect.y + rect.height {
        rgb[((y * width + left) * 3) as usize..((y * width + right) * 3) as usize].fill(grey);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jpeg::Decoder;
    use crate::picture::{PictureOptions, PictureProcessor};
    use crate::pixel_buffer::PixelBuffer;

    const CAPTURED: Time = Time::from_nanos(987_654_321_012_345);

    fn read_after_coding(
        width: u32,
        height: u32,
        number: u64,
        options: &PictureOptions,
    ) -> Option<FrameBarcode> {
        let mut raw = Raw::default();
        Scene::new(width, height).draw(number, CAPTURED, 0, &mut raw);
        let shot = CapturedFrame {
            captured: CAPTURED,
            skipped: 0,
            truth: None,
            content: Content::Raw,
        };

        let prepared = PictureProcessor::new(options)
            .unwrap()
            .process(shot, &mut raw, 0)
            .unwrap();

        let mut buffer = PixelBuffer::default();
        let size = (prepared.width, prepared.height);
        Decoder::new()
            .decode(prepared.jpeg.jpeg(), size, &mut buffer)
            .unwrap();

        FrameBarcode::read_with(size.0, size.1, |x, y| {
            buffer.plane(0)[((y * size.0 + x) * 3 + 1) as usize]
        })
    }

    fn worst() -> PictureOptions {
        PictureOptions {
            quality: 50,
            ..PictureOptions::default()
        }
    }

    #[test]
    fn the_code_survives_jpeg_at_quality_50_at_every_size() {
        for (width, height) in [
            (320, 240),
            (640, 480),
            (854, 480),
            (1280, 720),
            (1920, 1080),
        ] {
            for number in [0, 1, 12_345_678_901, u64::MAX] {
                let expected = FrameBarcode {
                    number,
                    captured_ns: CAPTURED.as_nanos(),
                };

                assert_eq!(
                    read_after_coding(width, height, number, &worst()),
                    Some(expected),
                    "{width}x{height}"
                );
            }
        }
    }

    #[test]
    fn the_code_survives_scaling_and_the_overlay() {
        for scale in [0.5, 0.6, 0.75, 0.8, 0.95] {
            let options = PictureOptions {
                scale,
                overlay: true,
                name: "W".repeat(64),
                ..worst()
            };

            for (width, height) in [(320, 240), (640, 480), (1280, 720)] {
                let expected = FrameBarcode {
                    number: 77,
                    captured_ns: CAPTURED.as_nanos(),
                };

                assert_eq!(
                    read_after_coding(width, height, 77, &options),
                    Some(expected),
                    "{width}x{height} {scale}"
                );
            }
        }
    }

    #[test]
    fn a_picture_that_was_turned_is_not_read_rather_than_wrong() {
        for rotate in [90, 180, 270] {
            let options = PictureOptions { rotate, ..worst() };
            assert_eq!(read_after_coding(640, 480, 5, &options), None);
        }
    }

    #[test]
    fn the_edge_moves_with_the_number() {
        let mut scene = Scene::new(640, 480);
        let mut row = |number| {
            let mut raw = Raw::default();
            scene.draw(number, CAPTURED, 0, &mut raw);
            raw.data[(scene.edge.start * 640 * 3) as usize..][..640 * 3]
                .iter()
                .filter(|&&v| v == 235)
                .count()
                / 3
        };

        assert_eq!((row(0), row(1), row(63), row(64)), (10, 20, 640, 10));
    }

    #[test]
    fn the_camera_paints_the_number_that_the_picture_gets_and_the_time_of_its_shot() {
        let mut input = PatternInput {
            width: 320,
            height: 180,
            rate_millihertz: 500_000,
        };

        let mut camera = input.open().unwrap();
        let (mut raw, mut number) = (Raw::default(), 40);

        for _ in 0..5 {
            let shot = camera.next(number, &mut raw).unwrap();
            number += shot.skipped;
            let read =
                FrameBarcode::read_with(320, 180, |x, y| raw.data[((y * 320 + x) * 3) as usize]);
            assert_eq!(
                read,
                Some(FrameBarcode {
                    number,
                    captured_ns: shot.captured.as_nanos()
                })
            );

            number += 1;
        }
    }

    #[test]
    fn a_size_without_room_for_code_and_letters_is_refused() {
        for (width, height) in [(319, 240), (320, 179), (16_385, 8000), (1280, 319)] {
            let mut input = PatternInput {
                width,
                height,
                rate_millihertz: 30_000,
            };
            assert!(matches!(input.open(), Err(CameraError::WrongFormat(_))));
        }
    }

    #[test]
    fn the_least_the_largest_and_the_flattest_pictures_can_be_drawn() {
        for (width, height) in [
            MIN_SIZE,
            (2160, 2160),
            (320, 2160),
            (3840, 2160),
            (3840, 960),
            (720, 180),
        ] {
            assert!(fits(width, height));
            Scene::new(width, height).draw(u64::MAX, CAPTURED, u64::MAX, &mut Raw::default());
        }
    }
}
