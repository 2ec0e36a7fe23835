//! Pixels between camera and encoder: as an input gives them ([`Raw`]), and the buffer that they are worked on in.

use fanlight_pixels::Scaler;
use fanlight_proto::limits::{MAX_HEIGHT, MAX_WIDTH};

use crate::orientation::Orientation;

/// Uncompressed pixels in a buffer that is reused.
#[derive(Debug, Default)]
pub struct Raw {
    /// How `data` is laid out.
    pub format: PixelFormat,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Rows without padding, plane after plane.
    pub data: Vec<u8>,
}

/// Layouts of [`Raw::data`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PixelFormat {
    /// Three bytes a pixel: red, green, blue.
    #[default]
    Rgb,
    /// 4:2:2 packed: Y0 U Y1 V; two bytes a pixel, even width. BT.601 in limited range, as V4L2 has it by default.
    Yuyv,
    /// 4:2:0: the Y plane, then interleaved U and V at half the size; even width and height. BT.601 in limited
    /// range.
    Nv12,
}

/// How the planes of a [`PixelBuffer`] are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// One plane, three bytes a pixel.
    #[default]
    Rgb,
    /// Three planes of full-range BT.601 (what JPEG calls YCbCr); chroma is coarser by these factors of 1 or 2.
    Planes {
        /// Luma columns to a chroma column.
        across: u32,
        /// Luma rows to a chroma row.
        down: u32,
    },
}

/// A picture in memory that is reused.
#[derive(Debug, Default)]
pub struct PixelBuffer {
    layout: Layout,
    width: u32,
    height: u32,
    planes: [Vec<u8>; 3],
}

/// A part of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// Raw pixels that are not what their header says.
#[derive(Debug, thiserror::Error)]
#[error(
    "{format:?} picture of {width}x{height} with {length} bytes: wrong length, odd size or over the limit"
)]
pub struct RawError {
    format: PixelFormat,
    width: u32,
    height: u32,
    length: usize,
}

impl PixelBuffer {
    /// How the planes are laid out.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The bytes of a plane, row after row. Planes 1 and 2 are empty with [`Layout::Rgb`].
    #[must_use]
    pub fn plane(&self, index: usize) -> &[u8] {
        &self.planes[index]
    }

    /// Columns and rows of a plane.
    #[must_use]
    pub fn plane_size(&self, index: usize) -> (u32, u32) {
        match self.layout {
            Layout::Planes { across, down } if index > 0 => {
                (self.width.div_ceil(across), self.height.div_ceil(down))
            }
            _ => (self.width, self.height),
        }
    }

    /// Makes it an RGB picture of this size whose pixels, returned, are to be written.
    pub fn reset_rgb(&mut self, width: u32, height: u32) -> &mut [u8] {
        self.reset(Layout::Rgb, width, height);
        &mut self.planes[0]
    }

    /// Takes the captured picture over. RGB changes hands without a copy: `raw.data` is left with arbitrary bytes.
    /// YUYV and NV12 are stretched from the limited range in which V4L2 delivers them (BT.601, 16 to 235) to JPEG's.
    ///
    /// # Errors
    /// When size and length do not agree, or the size is over [`MAX_WIDTH`] x [`MAX_HEIGHT`].
    pub fn load(&mut self, raw: &mut Raw) -> Result<(), RawError> {
        let Raw {
            format,
            width,
            height,
            ..
        } = *raw;

        let even = |value: u32| value.is_multiple_of(2);
        let pixels = u64::from(width) * u64::from(height);
        let (length, fits) = match format {
            PixelFormat::Rgb => (pixels.saturating_mul(3), true),
            PixelFormat::Yuyv => (pixels.saturating_mul(2), even(width)),
            PixelFormat::Nv12 => ((pixels / 2).saturating_mul(3), even(width) && even(height)),
        };

        let sized = (1..=MAX_WIDTH).contains(&width) && (1..=MAX_HEIGHT).contains(&height);
        if !sized || !fits || raw.data.len() as u64 != length {
            return Err(RawError {
                format,
                width,
                height,
                length: raw.data.len(),
            });
        }

        match format {
            PixelFormat::Rgb => {
                (self.layout, self.width, self.height) = (Layout::Rgb, width, height);
                self.planes[1..].iter_mut().for_each(Vec::clear);
                std::mem::swap(&mut self.planes[0], &mut raw.data);
            }
            PixelFormat::Yuyv => {
                self.reset(Layout::Planes { across: 2, down: 1 }, width, height);
                self.split_yuyv(&raw.data);
            }
            PixelFormat::Nv12 => {
                self.reset(Layout::Planes { across: 2, down: 2 }, width, height);
                self.split_nv12(&raw.data);
            }
        }

        Ok(())
    }

    /// Writes this picture, turned, into `target`.
    pub fn turn(&self, orientation: Orientation, target: &mut Self) {
        let layout = match self.layout {
            Layout::Planes { across, down } if orientation.transpose => Layout::Planes {
                across: down,
                down: across,
            },
            layout => layout,
        };

        let (width, height) = orientation.size(self.width, self.height);
        target.reset(layout, width, height);

        if layout == Layout::Rgb {
            orientation.turn::<3>(
                &self.planes[0],
                (self.width, self.height),
                &mut target.planes[0],
            );
            return;
        }

        for (index, plane) in target.planes.iter_mut().enumerate() {
            orientation.turn::<1>(&self.planes[index], self.plane_size(index), plane);
        }
    }

    /// Writes this picture, resized with a smoothing filter, into `target`.
    pub fn resize(&self, scaler: &mut Scaler, width: u32, height: u32, target: &mut Self) {
        target.reset(self.layout, width, height);
        let planes = if self.layout == Layout::Rgb { 1 } else { 3 };

        for index in 0..planes {
            let (from, to) = (self.plane_size(index), target.plane_size(index));
            let (source, into) = (&self.planes[index], &mut target.planes[index]);
            match self.layout {
                Layout::Rgb => scaler.rgb(source, from, into, to),
                Layout::Planes { .. } => scaler.grey(source, from, into, to),
            }
        }
    }

    /// Mixes a grey over a pixel, `coverage` of 256 of it; outside the picture nothing happens.
    pub fn blend(&mut self, (x, y): (usize, usize), grey: u8, coverage: u32) {
        let (width, height) = (self.width as usize, self.height as usize);
        if x >= width || y >= height {
            return;
        }

        match self.layout {
            Layout::Rgb => {
                let pixel = &mut self.planes[0][(y * width + x) * 3..][..3];
                pixel
                    .iter_mut()
                    .for_each(|value| mix(value, grey, coverage));
            }
            Layout::Planes { across, down } => {
                mix(&mut self.planes[0][y * width + x], grey, coverage);
                let row = y / down as usize * width.div_ceil(across as usize);
                for plane in &mut self.planes[1..] {
                    mix(&mut plane[row + x / across as usize], 128, coverage);
                }
            }
        }
    }

    /// Mean luma of a rectangle, cut at the picture's edges; 0 when nothing is left of it.
    #[must_use]
    pub fn mean_luma(&self, rect: Rect) -> u8 {
        let columns = rect.x.min(self.width)..(rect.x + rect.width).min(self.width);
        let rows = rect.y.min(self.height)..(rect.y + rect.height).min(self.height);
        let (mut sum, mut count) = (0, 0);

        for y in rows {
            let row = (y * self.width) as usize;
            let (from, to) = (row + columns.start as usize, row + columns.end as usize);
            count += (to - from) as u64;
            sum += match self.layout {
                Layout::Rgb => self.planes[0].as_chunks::<3>().0[from..to]
                    .iter()
                    .map(|&rgb| luma(rgb))
                    .sum::<u64>(),
                Layout::Planes { .. } => {
                    self.planes[0][from..to].iter().map(|&y| u64::from(y)).sum()
                }
            };
        }

        sum.checked_div(count).map_or(0, |mean| mean as u8)
    }

    fn reset(&mut self, layout: Layout, width: u32, height: u32) {
        (self.layout, self.width, self.height) = (layout, width, height);
        for index in 0..3 {
            let (columns, rows) = self.plane_size(index);
            let bytes = match layout {
                Layout::Rgb if index > 0 => 0,
                Layout::Rgb => 3,
                Layout::Planes { .. } => 1,
            };
            self.planes[index].resize(columns as usize * rows as usize * bytes, 0);
        }
    }

    fn split_yuyv(&mut self, data: &[u8]) {
        let [y, u, v] = &mut self.planes;
        let chroma = u.iter_mut().zip(v.iter_mut());

        for ((quad, pair), (u, v)) in data
            .as_chunks::<4>()
            .0
            .iter()
            .zip(y.as_chunks_mut::<2>().0)
            .zip(chroma)
        {
            *pair = [
                FULL_LUMA[usize::from(quad[0])],
                FULL_LUMA[usize::from(quad[2])],
            ];

            (*u, *v) = (
                FULL_CHROMA[usize::from(quad[1])],
                FULL_CHROMA[usize::from(quad[3])],
            );
        }
    }

    fn split_nv12(&mut self, data: &[u8]) {
        let [y, u, v] = &mut self.planes;
        let (luma, chroma) = data.split_at(y.len());
        y.iter_mut()
            .zip(luma)
            .for_each(|(to, from)| *to = FULL_LUMA[usize::from(*from)]);
        for ((pair, u), v) in chroma.as_chunks::<2>().0.iter().zip(u).zip(v) {
            (*u, *v) = (
                FULL_CHROMA[usize::from(pair[0])],
                FULL_CHROMA[usize::from(pair[1])],
            );
        }
    }
}

/// Limited range (16 to 235) to full range.
const FULL_LUMA: [u8; 256] = stretch(16, 219, 0);
/// Limited range (16 to 240 about 128) to full range.
const FULL_CHROMA: [u8; 256] = stretch(128, 224, 128);

const fn stretch(zero: i32, span: i32, base: i32) -> [u8; 256] {
    let mut table = [0; 256];
    let mut value = 0;

    while value < 256 {
        let scaled = (value as i32 - zero) * 255;
        let rounded = base + (scaled + if scaled < 0 { -span } else { span } / 2) / span;
        table[value] = if rounded < 0 {
            0
        } else if rounded > 255 {
            255
        } else {
            rounded as u8
        };

        value += 1;
    }

    table
}

/// Luma of BT.601 in integers.
fn luma([red, green, blue]: [u8; 3]) -> u64 {
    (u64::from(red) * 77 + u64::from(green) * 150 + u64::from(blue) * 29) >> 8
}

fn mix(below: &mut u8, above: u8, coverage: u32) {
    *below = ((u32::from(*below) * (256 - coverage) + u32::from(above) * coverage) >> 8) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(
        format: PixelFormat,
        width: u32,
        height: u32,
        data: Vec<u8>,
    ) -> Result<PixelBuffer, RawError> {
        let mut buffer = PixelBuffer::default();
        buffer
            .load(&mut Raw {
                format,
                width,
                height,
                data,
            })
            .map(|()| buffer)
    }

    #[test]
    fn yuyv_and_nv12_come_apart_in_full_range() {
        let buffer = loaded(PixelFormat::Yuyv, 2, 1, vec![16, 128, 235, 240]).unwrap();
        assert_eq!(
            [buffer.plane(0), buffer.plane(1), buffer.plane(2)],
            [&[0, 255][..], &[128], &[255]]
        );

        let buffer = loaded(PixelFormat::Nv12, 2, 2, vec![0, 16, 126, 255, 16, 128]).unwrap();
        assert_eq!(
            [buffer.plane(0), buffer.plane(1), buffer.plane(2)],
            [&[0, 0, 128, 255][..], &[0], &[128]]
        );
    }

    #[test]
    fn pixels_that_do_not_fit_their_size_are_refused() {
        assert!(loaded(PixelFormat::Rgb, 2, 2, vec![0; 11]).is_err());
        assert!(loaded(PixelFormat::Yuyv, 3, 2, vec![0; 12]).is_err());
        assert!(loaded(PixelFormat::Nv12, 2, 3, vec![0; 9]).is_err());
        assert!(loaded(PixelFormat::Rgb, 0, 0, vec![]).is_err());
        assert!(
            loaded(
                PixelFormat::Rgb,
                MAX_WIDTH + 1,
                1,
                vec![0; 3 * (MAX_WIDTH as usize + 1)]
            )
            .is_err()
        );

        assert!(loaded(PixelFormat::Rgb, u32::MAX, u32::MAX, vec![]).is_err());
    }

    #[test]
    fn a_rotation_turns_the_coarseness_of_chroma_too() {
        let buffer = loaded(PixelFormat::Yuyv, 4, 2, (0..16).collect()).unwrap();
        let mut turned = PixelBuffer::default();
        buffer.turn(Orientation::new(false, false, 90).unwrap(), &mut turned);
        assert_eq!(turned.layout(), Layout::Planes { across: 1, down: 2 });
        assert_eq!(
            (turned.plane_size(0), turned.plane_size(1)),
            ((2, 4), (2, 2))
        );

        assert_eq!(turned.plane(1).len(), 4);
    }

    #[test]
    fn pixels_are_mixed_within_the_picture_only() {
        for format in [PixelFormat::Rgb, PixelFormat::Yuyv] {
            let bytes = if format == PixelFormat::Rgb { 3 } else { 2 };
            let mut buffer = loaded(format, 8, 8, vec![16; 64 * bytes]).unwrap();
            let corner = Rect {
                x: 6,
                y: 6,
                width: 10,
                height: 10,
            };

            for (x, y) in (6..16).flat_map(|y| (6..16).map(move |x| (x, y))) {
                buffer.blend((x, y), 200, 256);
            }
            assert_eq!(buffer.mean_luma(corner), 200);
            for (x, y) in [(6, 6), (7, 6), (6, 7), (7, 7), (8, 0), (0, 8)] {
                buffer.blend((x, y), 100, 128);
            }
            assert_eq!(buffer.mean_luma(corner), 150);
            assert!(
                buffer.mean_luma(Rect {
                    x: 0,
                    y: 0,
                    width: 6,
                    height: 8
                }) <= 16
            );

            assert_eq!(
                buffer.mean_luma(Rect {
                    x: 8,
                    y: 0,
                    width: 6,
                    height: 8
                }),
                0
            );
        }
    }
}
