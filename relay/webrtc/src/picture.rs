//! JPEG to the planes that video encoders take (I420). Called on an encoder's thread.

use fanlight_pixels::font::Font;
use fanlight_pixels::markers::{self, Fault, MAX_SCANS};
use fanlight_pixels::text::{Align, TextBlock};
use fanlight_proto::limits::{MAX_HEIGHT, MAX_WIDTH};
use turbojpeg::{Colorspace, DecompressHeader, Decompressor, Subsamp, YuvImage, yuv_pixels_len};

/// Luma of the card, and of its letters.
const CARD_LUMA: u8 = 32;
const LETTER_LUMA: u8 = 200;

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
    #[error("a damaged JPEG: {0}")]
    Damaged(#[from] turbojpeg::Error),
}

/// Decodes JPEGs, and keeps its memory.
#[derive(Default)]
pub(crate) struct PictureDecoder {
    yuv: Vec<u8>,
}

impl PictureDecoder {
    /// Decodes into `picture`. A last odd row or column is cut off.
    ///
    /// # Errors
    /// [`PictureError`]; `picture` is then of no use.
    pub(crate) fn decode(
        &mut self,
        jpeg: &[u8],
        picture: &mut Picture,
    ) -> Result<(), PictureError> {
        markers::check_scans(jpeg)?;
        // A new one each time: libjpeg decodes a picture without tables by those of the picture before.
        let mut decompressor = new_decompressor()?;
        let header = decompressor.read_header(jpeg)?;
        check(&header)?;

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
        Ok(())
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
    /// Half as wide and high, of the mean of each four pixels. Pictures that are too small for that stay.
    pub(crate) fn halve(&mut self) {
        if self.width < 4 || self.height < 4 {
            return;
        }

        let whole = (self.width, self.height);
        let half = ((whole.0 / 2) & !1, (whole.1 / 2) & !1);
        let (luma, chroma) = self.planes.split_at(whole.0 * whole.1);
        let mut planes = Vec::with_capacity(half.0 * half.1 * 3 / 2);
        mean_of_four(luma, whole.0, half, &mut planes);
        for plane in chroma.chunks_exact(whole.0 * whole.1 / 4) {
            mean_of_four(plane, whole.0 / 2, (half.0 / 2, half.1 / 2), &mut planes);
        }

        *self = Self {
            width: half.0,
            height: half.1,
            planes,
        };
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

/// Appends a plane at half the sides of `plane`, whose rows have `stride` pixels.
fn mean_of_four(plane: &[u8], stride: usize, (width, height): (usize, usize), to: &mut Vec<u8>) {
    for rows in plane.chunks_exact(2 * stride).take(height) {
        let (upper, lower) = rows.split_at(stride);
        let pairs = upper.chunks_exact(2).zip(lower.chunks_exact(2));
        let means = pairs.take(width).map(|(above, below)| {
            let sum: u16 = above
                .iter()
                .chain(below)
                .map(|&value| u16::from(value))
                .sum();
            ((sum + 2) / 4) as u8
        });
        to.extend(means);
    }
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
