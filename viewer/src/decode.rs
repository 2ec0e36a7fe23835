//! JPEG to pixels, for bytes that nobody vouches for.
//!
//! The header is read and checked before anything is allocated, and only what a camera sends is decoded: baseline,
//! Huffman-coded, one size. Work and memory are bounded by [`MAX_WIDTH`], [`MAX_HEIGHT`] and [`MAX_SCANS`].

use fanlight_proto::limits::{MAX_HEIGHT, MAX_WIDTH};
use turbojpeg::{Colorspace, DecompressHeader, Decompressor, Image, PixelFormat, ScalingFactor};

use crate::picture::Picture;
use crate::track::grey::Grey;

#[cfg(test)]
mod tests;

/// Scans a JPEG may have. A camera's has one; each further scan costs a pass over the whole picture, and a few bytes
/// suffice to ask for one.
pub const MAX_SCANS: u32 = 20;

/// Why a JPEG was not decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The header says a size outside the limits.
    #[error("picture of {width}x{height} pixels is outside the limit of {MAX_WIDTH}x{MAX_HEIGHT}")]
    Size {
        /// Claimed columns.
        width: usize,
        /// Claimed rows.
        height: usize,
    },
    /// A kind of JPEG that no camera sends and that costs much to decode, or that has no RGB pixels.
    #[error("{0} JPEG is not decoded")]
    Kind(&'static str),
    /// Not a JPEG, cut short, or damaged.
    #[error("JPEG of {length} bytes is damaged: {cause}")]
    Damaged {
        /// Bytes of the JPEG.
        length: usize,
        /// What libjpeg-turbo says.
        cause: turbojpeg::Error,
    },
}

/// Decodes one JPEG after the other.
#[derive(Debug, Default)]
pub struct Decoder {
    /// None before the first picture and after a failure: a decompressor that saw a bad header fails on every good
    /// picture after it.
    decompressor: Option<Decompressor>,
}

impl Decoder {
    /// A decoder that holds no memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes `jpeg` in full size into `into`, whose memory is reused.
    ///
    /// # Errors
    /// See [`DecodeError`]. `into` is empty then: what a damaged JPEG left there cannot be shown by mistake.
    pub fn decode(&mut self, jpeg: &[u8], into: &mut Picture) -> Result<(), DecodeError> {
        self.decode_for(jpeg, None, into)
    }

    /// As [`decode`](Self::decode), but when the picture will be shown at most `target` (width, height) large, it is
    /// decoded at a half, a quarter or an eighth of its size as long as that covers the target, which saves time in
    /// proportion.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_for(
        &mut self,
        jpeg: &[u8],
        target: Option<(u32, u32)>,
        into: &mut Picture,
    ) -> Result<(), DecodeError> {
        let scale = |header: &DecompressHeader| {
            target.map_or(ScalingFactor::ONE, |target| scale_for(header, target))
        };
        let result = self.attempt(jpeg, PIXEL_FORMAT, scale, |width, height| {
            // Both are at most the limits, which are u32.
            into.reshape(width as u32, height as u32);
            bytemuck::cast_slice_mut(into.pixels_mut())
        });
        if result.is_err() {
            into.reshape(0, 0);
        }
        result
    }

    /// Decodes the brightness of `jpeg` in full size into `into`, whose memory is reused: less work than its colours.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_grey(&mut self, jpeg: &[u8], into: &mut Grey) -> Result<(), DecodeError> {
        let result = self.attempt(jpeg, PixelFormat::GRAY, full, |width, height| {
            into.reshape(width, height);
            into.pixels_mut()
        });
        if result.is_err() {
            into.reshape(0, 0);
        }
        result
    }

    /// Appends the pixels of `jpeg` in full size to `into`, three bytes each: red, green, blue.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_rgb(&mut self, jpeg: &[u8], into: &mut Vec<u8>) -> Result<(), DecodeError> {
        let before = into.len();
        let result = self.attempt(jpeg, PixelFormat::RGB, full, |width, height| {
            into.resize(before + 3 * width * height, 0);
            &mut into[before..]
        });
        if result.is_err() {
            into.truncate(before);
        }
        result
    }

    /// Columns and rows of `jpeg`, without decoding it.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), for what its header shows.
    pub fn size(&mut self, jpeg: &[u8]) -> Result<(usize, usize), DecodeError> {
        let (decompressor, header) = self.ready(jpeg)?;
        self.decompressor = Some(decompressor);
        Ok((header.width, header.height))
    }

    /// Decodes into the bytes that `room` has for a width and a height. The decompressor is kept only if all goes well.
    fn attempt<'a>(
        &mut self,
        jpeg: &[u8],
        format: PixelFormat,
        scale: impl FnOnce(&DecompressHeader) -> ScalingFactor,
        room: impl FnOnce(usize, usize) -> &'a mut [u8],
    ) -> Result<(), DecodeError> {
        let damaged = |cause| DecodeError::Damaged {
            length: jpeg.len(),
            cause,
        };
        let (mut decompressor, header) = self.ready(jpeg)?;
        let scale = scale(&header);
        decompressor.set_scaling_factor(scale).map_err(damaged)?;
        let (width, height) = (scale.scale(header.width), scale.scale(header.height));
        let (pixels, pitch) = (room(width, height), width * format.size());
        match decompressor.decompress(
            jpeg,
            Image {
                pixels,
                width,
                pitch,
                height,
                format,
            },
        ) {
            Ok(()) => {}
            Err(cause) if is_harmless(&cause) => {}
            Err(cause) => return Err(damaged(cause)),
        }
        self.decompressor = Some(decompressor);
        Ok(())
    }

    /// A decompressor that has read the header, which is good.
    fn ready(&mut self, jpeg: &[u8]) -> Result<(Decompressor, DecompressHeader), DecodeError> {
        let damaged = |cause| DecodeError::Damaged {
            length: jpeg.len(),
            cause,
        };
        let mut decompressor = match self.decompressor.take() {
            Some(decompressor) => decompressor,
            None => new_decompressor().map_err(damaged)?,
        };
        let header = decompressor.read_header(jpeg).map_err(damaged)?;
        check(&header)?;
        Ok((decompressor, header))
    }
}

const fn full(_: &DecompressHeader) -> ScalingFactor {
    ScalingFactor::ONE
}

/// The bytes of a u32 `0x00RRGGBB`.
const PIXEL_FORMAT: PixelFormat = if cfg!(target_endian = "little") {
    PixelFormat::BGRX
} else {
    PixelFormat::XRGB
};

fn new_decompressor() -> turbojpeg::Result<Decompressor> {
    let mut decompressor = Decompressor::new()?;
    decompressor.set_scan_limit(MAX_SCANS)?;
    Ok(decompressor)
}

fn check(header: &DecompressHeader) -> Result<(), DecodeError> {
    let DecompressHeader { width, height, .. } = *header;
    if !(1..=MAX_WIDTH as usize).contains(&width) || !(1..=MAX_HEIGHT as usize).contains(&height) {
        return Err(DecodeError::Size { width, height });
    }
    if header.is_progressive {
        return Err(DecodeError::Kind("progressive"));
    }
    if header.is_arithmetic {
        return Err(DecodeError::Kind("arithmetic-coded"));
    }
    if header.is_lossless {
        return Err(DecodeError::Kind("lossless"));
    }
    if matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK) {
        return Err(DecodeError::Kind("four-colour"));
    }
    Ok(())
}

/// The smallest scale at which the picture, fitted into `target`, need not be enlarged.
fn scale_for(header: &DecompressHeader, target: (u32, u32)) -> ScalingFactor {
    let covers = |scale: &ScalingFactor| {
        scale.scale(header.width) >= target.0 as usize
            || scale.scale(header.height) >= target.1 as usize
    };
    [
        ScalingFactor::ONE_EIGHTH,
        ScalingFactor::ONE_QUARTER,
        ScalingFactor::ONE_HALF,
    ]
    .into_iter()
    .find(covers)
    .unwrap_or(ScalingFactor::ONE)
}

/// Whether the picture is whole all the same: some cameras pad between the last block and the end of image. The first
/// warning is the one reported, so all blocks before it decoded without any.
fn is_harmless(cause: &turbojpeg::Error) -> bool {
    matches!(cause, turbojpeg::Error::TurboJpegError(text) if text.ends_with("extraneous bytes before marker 0xd9"))
}
