//! Decodes JPEGs from untrusted sources.
//!
//! The header is checked before anything is allocated. Only baseline, Huffman-coded JPEGs are decoded. Work and memory are
//! bounded by `max_side` and [`MAX_SCANS`], which is counted before libjpeg-turbo sees the picture.

use fanlight_pixels::markers::{self, Fault, MAX_SCANS};
use fanlight_proto::limits::MAX_WIDTH;
use fanlight_proto::message::NotShown;
use turbojpeg::{Colorspace, DecompressHeader, Decompressor, Image, PixelFormat, ScalingFactor};

use crate::grey::Grey;
use crate::picture::Picture;

#[cfg(test)]
mod tests;

/// Why a JPEG was not decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The header says a size outside the limits.
    #[error(
        "picture of {width}x{height} pixels is over the limit of {limit}x{limit}: set max_side, up to {MAX_WIDTH}"
    )]
    Size {
        /// Claimed columns.
        width: usize,
        /// Claimed rows.
        height: usize,
        /// The limit in force for either.
        limit: u32,
    },
    /// A kind of JPEG that is not decoded: no camera sends it, and many of them cost much.
    #[error("{}", .0.label())]
    Unsupported(NotShown),
    /// Decoding would take long: each scan costs a pass over the whole picture, and a few bytes suffice to ask for one.
    #[error("JPEG of {length} bytes is not decoded: {fault}")]
    Scans {
        /// Bytes of the JPEG.
        length: usize,
        /// What was counted.
        fault: Fault,
    },
    /// Not a JPEG, cut short, or damaged.
    #[error("JPEG of {length} bytes is damaged: {cause}")]
    Damaged {
        /// Bytes of the JPEG.
        length: usize,
        /// What libjpeg-turbo says.
        cause: turbojpeg::Error,
    },
}

impl DecodeError {
    /// The reason, for people and relays.
    #[must_use]
    pub const fn not_shown(&self) -> NotShown {
        match self {
            Self::Size { .. } => NotShown::TooLarge,
            Self::Unsupported(reason) => *reason,
            Self::Scans { .. } => NotShown::Scans,
            Self::Damaged { .. } => NotShown::Damaged,
        }
    }
}

/// Decodes one JPEG after the other.
#[derive(Debug)]
pub struct Decoder {
    /// Pictures are at most so wide and so high.
    max_side: u32,
    /// The pixels of a four-colour JPEG before they are converted.
    cmyk: Vec<u8>,
}

impl Decoder {
    /// A decoder that holds no memory yet, of pictures as large as any may be: what has been shown, or is small.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_max_side(MAX_WIDTH)
    }

    /// A decoder of pictures that are at most so wide and so high.
    #[must_use]
    pub const fn with_max_side(max_side: u32) -> Self {
        Self {
            max_side,
            cmyk: Vec::new(),
        }
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
    /// proportion; and where it is still larger, its colours are not interpolated, which is not seen when it is made smaller.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub fn decode_for(
        &mut self,
        jpeg: &[u8],
        target: Option<(u32, u32)>,
        into: &mut Picture,
    ) -> Result<(), DecodeError> {
        let form = |header: &DecompressHeader| {
            target.map_or(Form::FULL, |target| form_for(header, target))
        };
        let result = self.attempt(jpeg, PIXEL_FORMAT, form, |width, height| {
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
        let result = self.attempt(jpeg, PixelFormat::GRAY, Form::full, |width, height| {
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
        let result = self.attempt(jpeg, PixelFormat::RGB, Form::full, |width, height| {
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
    pub fn size(&self, jpeg: &[u8]) -> Result<(usize, usize), DecodeError> {
        let (_, header) = self.ready(jpeg)?;
        Ok((header.width, header.height))
    }

    /// Decodes into the bytes that `room` has for a width and a height.
    fn attempt<'a>(
        &mut self,
        jpeg: &[u8],
        format: PixelFormat,
        form: impl FnOnce(&DecompressHeader) -> Form,
        room: impl FnOnce(usize, usize) -> &'a mut [u8],
    ) -> Result<(), DecodeError> {
        markers::check_scans(jpeg).map_err(|fault| DecodeError::Scans {
            length: jpeg.len(),
            fault,
        })?;
        let (mut decompressor, header) = self.ready(jpeg)?;
        let Form {
            scale,
            is_made_smaller,
        } = form(&header);
        decompressor
            .set_scaling_factor(scale)
            .and_then(|()| decompressor.set_fast_upsample(is_made_smaller))
            .map_err(|cause| refused(jpeg, cause))?;
        let width = scale.scale(header.width);
        let height = scale.scale(header.height);
        let pixels = room(width, height);

        let four_colours = matches!(header.colorspace, Colorspace::CMYK | Colorspace::YCCK);
        let (into, decoded_format) = if four_colours {
            self.cmyk
                .resize(width * height * PixelFormat::CMYK.size(), 0);
            (&mut self.cmyk[..], PixelFormat::CMYK)
        } else {
            (&mut *pixels, format)
        };

        let image = Image {
            pixels: into,
            width,
            pitch: width * decoded_format.size(),
            height,
            format: decoded_format,
        };

        match decompressor.decompress(jpeg, image) {
            Ok(()) => {}
            Err(cause) if is_harmless(&cause) => {}
            Err(cause) => return Err(refused(jpeg, cause)),
        }

        if four_colours {
            convert_cmyk(&self.cmyk, pixels, format);
        }

        Ok(())
    }

    /// A decompressor that has read the header, which is good.
    ///
    /// Each picture has a new one, which takes less than a microsecond. libjpeg keeps the tables of a picture for those that
    /// come after it without their own, as abbreviated JPEGs do: what a browser shows as it is, or not at all, would be decoded
    /// with another picture's tables and pass for live. And a decompressor that saw a bad header fails on every good picture
    /// after it.
    fn ready(&self, jpeg: &[u8]) -> Result<(Decompressor, DecompressHeader), DecodeError> {
        let mut decompressor = new_decompressor().map_err(|cause| refused(jpeg, cause))?;
        let header = decompressor
            .read_header(jpeg)
            .map_err(|cause| refused(jpeg, cause))?;
        check(&header, self.max_side)?;
        Ok((decompressor, header))
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// Why libjpeg-turbo does not decode this JPEG. Of what it does not know it says no more than that it is unsupported, or
/// calls it damaged.
fn refused(jpeg: &[u8], cause: turbojpeg::Error) -> DecodeError {
    if sample_precision(jpeg).is_some_and(|bits| bits != 8) {
        return DecodeError::Unsupported(NotShown::Precision);
    }

    if cause.to_string().to_lowercase().contains("sampl") {
        return DecodeError::Unsupported(NotShown::Sampling);
    }

    DecodeError::Damaged {
        length: jpeg.len(),
        cause,
    }
}

/// Bits of a sample, as the frame header says (ITU-T T.81, B.2.2).
fn sample_precision(jpeg: &[u8]) -> Option<u8> {
    let mut rest = jpeg.get(2..)?;
    loop {
        let [0xff, marker, high, low, ..] = *rest else {
            return None;
        };

        match marker {
            // Huffman tables, arithmetic conditioning and JPG have codes among those of frame headers.
            0xc4 | 0xc8 | 0xcc => {}
            0xc0..=0xcf => return rest.get(4).copied(),
            0xda => return None,
            _ => {}
        }

        rest = rest.get(2 + usize::from(u16::from_be_bytes([high, low]))..)?;
    }
}

/// Converts the pixels of a four-colour JPEG, which all encoders write inverted, as Adobe does.
fn convert_cmyk(cmyk: &[u8], pixels: &mut [u8], format: PixelFormat) {
    let (colours, _) = cmyk.as_chunks::<4>();
    let targets = pixels.chunks_exact_mut(format.size());

    for (&[cyan, magenta, yellow, key], target) in colours.iter().zip(targets) {
        let [red, green, blue] =
            [cyan, magenta, yellow].map(|ink| (u32::from(ink) * u32::from(key) / 255) as u8);
        match target {
            [grey] => *grey = luma([red, green, blue]),
            [r, g, b] => {
                *r = red;
                *g = green;
                *b = blue;
            }
            pixel => {
                let pixel: &mut [u8; 4] = pixel
                    .try_into()
                    .expect("the formats have one, three or four bytes");
                *pixel = u32::from_be_bytes([0, red, green, blue]).to_ne_bytes();
            }
        }
    }
}

/// ITU-R BT.601, in 256ths.
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = 77 * u32::from(red) + 150 * u32::from(green) + 29 * u32::from(blue);
    (sum >> 8) as u8
}

/// The bytes of a u32 `0x00RRGGBB`.
const PIXEL_FORMAT: PixelFormat = if cfg!(target_endian = "little") {
    PixelFormat::BGRX
} else {
    PixelFormat::XRGB
};

fn new_decompressor() -> turbojpeg::Result<Decompressor> {
    let mut decompressor = Decompressor::new()?;
    // Where it goes on past damage that ended our own count.
    decompressor.set_scan_limit(MAX_SCANS)?;
    Ok(decompressor)
}

fn check(header: &DecompressHeader, limit: u32) -> Result<(), DecodeError> {
    let DecompressHeader { width, height, .. } = *header;
    if ![width, height]
        .iter()
        .all(|side| (1..=limit as usize).contains(side))
    {
        return Err(DecodeError::Size {
            width,
            height,
            limit,
        });
    }

    if header.is_progressive {
        return Err(DecodeError::Unsupported(NotShown::Progressive));
    }

    if header.is_arithmetic {
        return Err(DecodeError::Unsupported(NotShown::Arithmetic));
    }

    if header.is_lossless {
        return Err(DecodeError::Unsupported(NotShown::Lossless));
    }

    Ok(())
}

/// How a picture is decoded.
struct Form {
    scale: ScalingFactor,
    /// Whether it is larger then than it will be shown.
    is_made_smaller: bool,
}

impl Form {
    const FULL: Self = Self {
        scale: ScalingFactor::ONE,
        is_made_smaller: false,
    };

    const fn full(_: &DecompressHeader) -> Self {
        Self::FULL
    }
}

/// The smallest scale at which the picture, fitted into `target`, need not be enlarged.
fn form_for(header: &DecompressHeader, target: (u32, u32)) -> Form {
    let size = |scale: &ScalingFactor| (scale.scale(header.width), scale.scale(header.height));
    let covers = |scale: &ScalingFactor| {
        let (width, height) = size(scale);
        width >= target.0 as usize || height >= target.1 as usize
    };

    let smaller = [
        ScalingFactor::ONE_EIGHTH,
        ScalingFactor::ONE_QUARTER,
        ScalingFactor::ONE_HALF,
    ];
    let scale = smaller
        .into_iter()
        .find(covers)
        .unwrap_or(ScalingFactor::ONE);
    let (width, height) = size(&scale);
    Form {
        scale,
        is_made_smaller: width > target.0 as usize || height > target.1 as usize,
    }
}

/// Whether the picture is whole all the same: some cameras pad between the last block and the end of image. The first
/// warning is the one reported, so all blocks before it decoded without any.
fn is_harmless(cause: &turbojpeg::Error) -> bool {
    matches!(cause, turbojpeg::Error::TurboJpegError(text) if text.ends_with("extraneous bytes before marker 0xd9"))
}
