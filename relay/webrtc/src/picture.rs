//! JPEG to the planes that video encoders take (I420). Called on an encoder's thread.

use std::ops::Range;

use fanlight_live::ledger::Charge;
use fanlight_pixels::font::Font;
use fanlight_pixels::markers::{self, Fault, MAX_SCANS};
use fanlight_pixels::text::{Align, TextBlock};
use fanlight_proto::limits::{MAX_HEIGHT, MAX_WIDTH};
use turbojpeg::{
    Colorspace, DecompressHeader, Decompressor, ScalingFactor, Subsamp, YuvImage, yuv_pixels_len,
};

use crate::rung::Rung;

/// Luma of the card, and of its letters.
const CARD_LUMA: u8 = 32;
const LETTER_LUMA: u8 = 200;

/// Pixels of the largest picture that is encoded. Larger ones are decoded at a half, a quarter or an eighth of their sides: the
/// bitrate of a peer shows nothing more of them.
const MAX_PIXELS: usize = 1920 * 1088;

/// What an encoder holds for each pixel of its picture at most: the planes as decoded and as encoded, and libvpx's state, of
/// which two thirds are the symbols of a picture of noise.
pub(crate) const BYTES_PER_PIXEL: usize = 48;

/// By how much JPEGs can be decoded smaller: 2 to the power of the index.
const SCALES: [ScalingFactor; 4] = [
    ScalingFactor::ONE,
    ScalingFactor::ONE_HALF,
    ScalingFactor::ONE_QUARTER,
    ScalingFactor::ONE_EIGHTH,
];

/// Size of a card before the first picture came.
const CARD_SIZE: (usize, usize) = (640, 360);

/// A picture in I420: luma, then both chroma planes at half the size, without padding. Sides are even.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) planes: Vec<u8>,
}

/// Why a picture cannot be encoded as video.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PictureError {
    #[error("a JPEG of {0} x {1} pixels, of a kind or size that is not sent by WebRTC")]
    Unsupported(usize, usize),
    #[error("a JPEG that is not decoded: {0}")]
    Scans(#[from] Fault),
    #[error("a JPEG of {0} x {1} pixels, for which the relay has no memory (memory_budget)")]
    NoMemory(usize, usize),
    #[error("a damaged JPEG: {0}")]
    Damaged(#[from] turbojpeg::Error),
}

/// Decodes JPEGs, and keeps its memory.
#[derive(Default)]
pub(crate) struct PictureDecoder {
    yuv: Vec<u8>,
}

impl PictureDecoder {
    /// Decodes into `picture` for `rung`, as large as `charge` covers, and says how many pixels of the JPEG one of its
    /// pixels stands for, across. A last odd row or column is cut off.
    ///
    /// # Errors
    /// [`PictureError`]; `picture` is then of no use.
    pub(crate) fn decode(
        &mut self,
        jpeg: &[u8],
        rung: Rung,
        picture: &mut Picture,
        charge: &Charge,
    ) -> Result<u8, PictureError> {
        markers::check_scans(jpeg)?;
        // A new one each time: libjpeg decodes a picture without tables by those of the picture before.
        let mut decompressor = new_decompressor()?;
        let header = decompressor.read_header(jpeg)?;
        check(&header)?;

        let scale = affordable_scale(&header, rung, |pixels| {
            charge.covers(jpeg.len() + pixels * BYTES_PER_PIXEL)
        });
        let scale = scale.ok_or(PictureError::NoMemory(header.width, header.height))?;
        decompressor.set_scaling_factor(SCALES[scale])?;
        let header = header.scaled(SCALES[scale]);

        // turbojpeg writes by the subsampling of the JPEG, not by that of its output.
        let length = yuv_pixels_len(header.width, 1, header.height, header.subsamp)?;
        self.yuv.resize(length, 0);
        let image = YuvImage {
            pixels: self.yuv.as_mut_slice(),
            width: header.width,
            align: 1,
            height: header.height,
            subsamp: header.subsamp,
        };
        decompressor.decompress_to_yuv(jpeg, image)?;
        self.convert(&header, picture);
        Ok(1 << scale)
    }

    /// Brings the planes that were decoded to I420.
    fn convert(&self, header: &DecompressHeader, picture: &mut Picture) {
        picture.width = header.width & !1;
        picture.height = header.height & !1;
        picture.planes.clear();

        let (across, down) = (
            header.subsamp.mcu_width() / 8,
            header.subsamp.mcu_height() / 8,
        );
        let luma_width = header.width.next_multiple_of(across);
        let luma_height = header.height.next_multiple_of(down);
        let (luma, chroma) = self.yuv.split_at(luma_width * luma_height);
        for row in luma.chunks_exact(luma_width).take(picture.height) {
            picture
                .planes
                .extend(row[..picture.width].iter().copied().map(limited_luma));
        }

        if header.subsamp == Subsamp::Gray {
            let size = picture.width * picture.height;
            picture.planes.resize(size + size / 2, 128);
            return;
        }

        let size = (luma_width / across, luma_height / down);
        for plane in chroma.chunks_exact(size.0 * size.1).take(2) {
            sample(plane, size, picture);
        }
    }
}

/// Appends a chroma plane, at half the sides of `picture`.
fn sample(plane: &[u8], (width, height): (usize, usize), picture: &mut Picture) {
    let half = (picture.width / 2, picture.height / 2);
    for y in 0..half.1 {
        let row = &plane[y * height / half.1 * width..][..width];
        let columns = (0..half.0).map(|x| limited_chroma(row[x * width / half.0]));
        picture.planes.extend(columns);
    }
}

/// JPEG uses all 256 values of luma, and video those from 16 to 235 (ITU-R BT.601).
fn limited_luma(value: u8) -> u8 {
    ((u16::from(value) * 220 + 4096) >> 8) as u8
}

/// As with luma: from 16 to 240, and 128 stays.
fn limited_chroma(value: u8) -> u8 {
    ((u16::from(value) * 225 + 4096) >> 8) as u8
}

impl Picture {
    /// Its planes with squares of `side` pixels of luma, and half as many of chroma, that each have one value: less to encode.
    pub(crate) fn coarse(&self, side: usize) -> Vec<u8> {
        let half = self.width / 2;
        let (luma, chroma) = self.planes.split_at(self.width * self.height);
        let (blue, red) = chroma.split_at(chroma.len() / 2);

        let mut coarse = Vec::with_capacity(self.planes.len());
        for (plane, width, side) in [
            (luma, self.width, side),
            (blue, half, side / 2),
            (red, half, side / 2),
        ] {
            for rows in plane.chunks(width * side) {
                let means: Vec<u8> = (0..width)
                    .step_by(side)
                    .map(|left| mean(rows, width, left..width.min(left + side)))
                    .collect();
                for _ in rows.chunks_exact(width) {
                    coarse.extend((0..width).map(|x| means[x / side]));
                }
            }
        }
        coarse
    }

    /// A dark card of the same size that says why there is no picture.
    pub(crate) fn show_card(&mut self, reason: &str) {
        if self.width == 0 {
            (self.width, self.height) = CARD_SIZE;
        }

        let luma = self.width * self.height;
        self.planes.clear();
        self.planes.resize(luma, CARD_LUMA);
        self.planes.resize(luma + luma / 2, 128);

        let mut font = Font::default();
        let size = (self.height / 12).max(10);
        let room = self.width.saturating_sub(2 * size);
        let text = TextBlock::wrapped(&mut font, reason, size, room, 4);
        let top = self.height.saturating_sub(text.height()) / 2;
        let (width, planes) = (self.width, &mut self.planes);
        let centre = Align::Centre(width);
        text.draw(&mut font, (0, top), centre, width, |x, y, coverage| {
            if let Some(pixel) = planes[..luma].get_mut(y * width + x) {
                let lighter = (u32::from(LETTER_LUMA - CARD_LUMA) * coverage) >> 8;
                *pixel = CARD_LUMA + lighter as u8;
            }
        });
    }
}

/// The mean of these columns of `rows`.
fn mean(rows: &[u8], width: usize, columns: Range<usize>) -> u8 {
    let count = rows.len() / width * columns.len();
    let values = rows
        .chunks_exact(width)
        .flat_map(|row| &row[columns.clone()]);
    let sum: usize = values.map(|value| usize::from(*value)).sum();
    (sum / count) as u8
}

/// Whether `charge` covers an encoder that has no picture yet.
pub(crate) fn covers_card(charge: &Charge) -> bool {
    charge.covers(CARD_SIZE.0 * CARD_SIZE.1 * BYTES_PER_PIXEL)
}

/// The index in [`SCALES`] of the largest picture for `rung` of which `affords` takes the number of pixels.
fn affordable_scale(
    header: &DecompressHeader,
    rung: Rung,
    mut affords: impl FnMut(usize) -> bool,
) -> Option<usize> {
    let size = |scale: usize| {
        let scaled = header.scaled(SCALES[scale]);
        (scaled.width, scaled.height)
    };
    // Chroma has half the sides.
    let exists = |&scale: &usize| scale < SCALES.len() && size(scale).0.min(size(scale).1) > 1;
    let pixels = |scale| size(scale).0 * size(scale).1;

    let full = (0..SCALES.len()).find(|&scale| pixels(scale) <= MAX_PIXELS)?;
    let first = match rung {
        Rung::Full => full,
        Rung::Half => Some(full + 1).filter(exists).unwrap_or(full),
    };
    (first..SCALES.len())
        .filter(exists)
        .find(|&scale| affords(pixels(scale)))
}

fn new_decompressor() -> turbojpeg::Result<Decompressor> {
    let mut decompressor = Decompressor::new()?;
    // Where it goes on past damage that ended our own count.
    decompressor.set_scan_limit(MAX_SCANS)?;
    Ok(decompressor)
}

fn check(header: &DecompressHeader) -> Result<(), PictureError> {
    let DecompressHeader { width, height, .. } = *header;
    let fits =
        (2..=MAX_WIDTH as usize).contains(&width) && (2..=MAX_HEIGHT as usize).contains(&height);
    let kind = !header.is_progressive && !header.is_lossless && !header.is_arithmetic;
    let planes = matches!(header.colorspace, Colorspace::YCbCr | Colorspace::Gray);

    (fits && kind && planes)
        .then_some(())
        .ok_or(PictureError::Unsupported(width, height))
}

#[cfg(test)]
mod tests {
    use fanlight_live::ledger::ClientMemory;

    use super::*;

    /// A JPEG whose red grows from left to right and whose blue grows downwards.
    fn jpeg(width: usize, height: usize, subsamp: Subsamp) -> Vec<u8> {
        let pixel = |at: usize| {
            let (x, y) = (at % width, at / width);
            [(x * 255 / width) as u8, 64, (y * 255 / height) as u8]
        };
        let pixels: Vec<u8> = (0..width * height).flat_map(pixel).collect();
        let image = turbojpeg::Image {
            pixels: pixels.as_slice(),
            width,
            pitch: width * 3,
            height,
            format: turbojpeg::PixelFormat::RGB,
        };
        turbojpeg::compress(image, 95, subsamp).unwrap().to_vec()
    }

    fn charge(limit: usize) -> Charge {
        let memory = ClientMemory::default();
        memory.set_limit(limit);
        memory.open([127, 0, 0, 1].into(), 1)
    }

    fn decode(jpeg: &[u8], rung: Rung, charge: &Charge) -> Result<(u8, Picture), PictureError> {
        let mut picture = Picture::default();
        let scale = PictureDecoder::default().decode(jpeg, rung, &mut picture, charge)?;
        let (width, height) = (picture.width, picture.height);
        assert_eq!(picture.planes.len(), width * height * 3 / 2);
        Ok((scale, picture))
    }

    /// Y, U and V (ITU-R BT.601) at a part of the sides of such a picture.
    fn expected(x: f32, y: f32) -> [f32; 3] {
        let (red, green, blue) = (x * 255.0, 64.0, y * 255.0);
        let luma = 0.299 * red + 0.587 * green + 0.114 * blue;
        let limited = |chroma: f32| 128.0 + chroma * 224.0 / 255.0;
        [
            16.0 + luma * 219.0 / 255.0,
            limited(0.564 * (blue - luma)),
            limited(0.713 * (red - luma)),
        ]
    }

    #[test]
    fn both_rungs_show_the_same_picture_whatever_the_subsampling_is() {
        let kinds = [
            Subsamp::None,
            Subsamp::Sub2x1,
            Subsamp::Sub2x2,
            Subsamp::Sub1x2,
            Subsamp::Sub4x1,
        ];
        for subsamp in kinds {
            let jpeg = jpeg(322, 246, subsamp);
            for (rung, size) in [(Rung::Full, (322, 246)), (Rung::Half, (160, 122))] {
                let (_, picture) = decode(&jpeg, rung, &charge(usize::MAX)).unwrap();
                assert_eq!((picture.width, picture.height), size, "{subsamp:?}");

                let (half, luma) = ((size.0 / 2, size.1 / 2), size.0 * size.1);
                for (column, row) in [(1, 1), (3, 1), (2, 2), (1, 3), (3, 3)] {
                    let (x, y) = (half.0 * column / 4, half.1 * row / 4);
                    let chroma = luma + y * half.0 + x;
                    let seen = [2 * y * size.0 + 2 * x, chroma, chroma + half.0 * half.1];
                    let seen = seen.map(|at| f32::from(picture.planes[at]));
                    let part = (x as f32 / half.0 as f32, y as f32 / half.1 as f32);
                    for (seen, expected) in seen.into_iter().zip(expected(part.0, part.1)) {
                        assert!(
                            (seen - expected).abs() < 5.0,
                            "{subsamp:?} {seen} {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_coarse_picture_has_one_value_a_square_which_is_the_mean() {
        let jpeg = jpeg(324, 246, Subsamp::Sub2x2);
        let (_, picture) = decode(&jpeg, Rung::Full, &charge(usize::MAX)).unwrap();
        let coarse = picture.coarse(4);
        assert_eq!(coarse.len(), picture.planes.len());

        let luma = picture.width * picture.height;
        let planes = [
            (0, picture.width, picture.height, 4),
            (luma, picture.width / 2, picture.height / 2, 2),
        ];
        for (start, width, height, side) in planes {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let corner = start + y / side * side * width + x / side * side;
                let (fine, seen) = (picture.planes[start + y * width + x], coarse[corner]);
                assert_eq!(coarse[start + y * width + x], seen);
                // The picture grows evenly from left to right.
                assert!(fine.abs_diff(seen) < 8, "{x} {y}: {fine} {seen}");
            }
        }
    }

    #[test]
    fn what_is_larger_than_1080p_is_encoded_smaller() {
        let jpeg = jpeg(3840, 2160, Subsamp::Sub2x2);
        let scaled = |rung| {
            let (scale, picture) = decode(&jpeg, rung, &charge(usize::MAX)).unwrap();
            (scale, picture.width, picture.height)
        };
        assert_eq!(scaled(Rung::Full), (2, 1920, 1080));
        assert_eq!(scaled(Rung::Half), (4, 960, 540));
    }

    #[test]
    fn a_picture_is_as_large_as_the_memory_that_there_is() {
        let jpeg = jpeg(640, 480, Subsamp::Sub2x2);
        let whole = jpeg.len() + 640 * 480 * BYTES_PER_PIXEL;
        // One address has half of what there is.
        let scale = |limit| decode(&jpeg, Rung::Full, &charge(2 * limit)).map(|(scale, _)| scale);
        assert!(matches!(scale(whole), Ok(1)));
        assert!(matches!(scale(whole - 1), Ok(2)));
        assert!(matches!(scale(whole / 4), Ok(4)));
        assert!(matches!(scale(100), Err(PictureError::NoMemory(640, 480))));
    }

    #[test]
    fn the_smallest_pictures_are_not_halved() {
        for (width, height) in [(2, 2), (3, 2), (2, 9), (3, 3)] {
            let jpeg = jpeg(width, height, Subsamp::None);
            let (_, picture) = decode(&jpeg, Rung::Half, &charge(usize::MAX)).unwrap();
            assert_eq!((picture.width % 2, picture.height % 2), (0, 0));
            assert!(picture.width >= 2 && picture.height >= 2);
        }
    }
}
