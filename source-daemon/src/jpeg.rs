//! JPEG: found in streams, inspected, decoded, encoded, and transformed without loss. All coding is turbojpeg's.

pub mod codec;
pub(crate) mod exif;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod markers;
pub mod splitter;

pub use codec::{Decoder, Encoder, LosslessTransformer};

use fanlight_proto::limits::MAX_WIDTH;

use crate::orientation::Orientation;
use markers::{Fault, MarkerParser, StartOfFrame, Step};

/// Why a picture cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JpegError {
    /// Not a JPEG, or cut off before its picture begins.
    #[error("{length} bytes are no JPEG with a picture in it")]
    NoPicture {
        /// Number of bytes.
        length: usize,
    },
    /// Larger than any viewer decodes.
    #[error(
        "pictures of {width}x{height} are over the limit of {limit}x{limit}: make them smaller, or set max_side, up to {MAX_WIDTH}"
    )]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The limit in force for either.
        limit: u32,
    },
    /// A coding that neither screens nor this program can decode.
    #[error(
        "pictures are {0} JPEG, which screens cannot show: encode baseline JPEG with 8 bits per sample"
    )]
    Unsupported(&'static str),
    /// Damaged, or too expensive to decode.
    #[error("{0}")]
    Fault(Fault),
    /// turbojpeg found an error in the picture.
    #[error("the JPEG is damaged: {}", words(.0))]
    Codec(#[from] turbojpeg::Error),
}

/// What libjpeg says, without the name of the library.
fn words(error: &turbojpeg::Error) -> String {
    match error {
        turbojpeg::Error::TurboJpegError(words) => words.clone(),
        error => error.to_string(),
    }
}

impl JpegError {
    /// Whether all pictures of this kind are refused, so that the encoder has to be set up in another way.
    #[must_use]
    pub fn is_format(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Unsupported(_))
    }
}

/// What the markers before the first scan say of a picture that can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Width in pixels, at most [`MAX_WIDTH`].
    pub width: u32,
    /// Height in pixels, at most [`MAX_WIDTH`].
    pub height: u32,
    /// What has to be done so that every screen can show it.
    pub conversion: Conversion,
    /// How its EXIF data says that it must be turned to stand upright.
    pub orientation: Orientation,
}

/// What has to be done to a picture so that every screen can show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// Nothing: it is sequential, coded with Huffman, and in a common sampling.
    None,
    /// Only its entropy coding has to change, which loses nothing: it is progressive, or coded arithmetically.
    Transcode,
    /// It has to be decoded and encoded again: it is CMYK, lossless, or in a sampling that viewers do not decode.
    Reencode,
}

/// Inspects the markers before the first scan of a picture. Allocates nothing.
///
/// # Errors
/// When screens could not show the picture, whatever is done here.
pub fn inspect(jpeg: &[u8]) -> Result<Header, JpegError> {
    let mut parser = MarkerParser::default();
    let frame = parser
        .frame_before_scan(jpeg)
        .ok_or(JpegError::NoPicture { length: jpeg.len() })?;

    let width = u32::from(frame.width);
    let height = u32::from(frame.height);
    if width == 0 || height == 0 {
        return Err(JpegError::NoPicture { length: jpeg.len() });
    }

    check_size(width, height, MAX_WIDTH)?;

    let orientation = parser
        .exif()
        .and_then(|range| jpeg.get(range))
        .map_or_else(Orientation::default, exif::orientation);

    Ok(Header {
        width,
        height,
        conversion: conversion(&frame)?,
        orientation,
    })
}

/// Checks that a picture is no wider and no higher than `limit`.
///
/// # Errors
/// [`JpegError::TooLarge`].
pub const fn check_size(width: u32, height: u32, limit: u32) -> Result<(), JpegError> {
    if width > limit || height > limit {
        return Err(JpegError::TooLarge {
            width,
            height,
            limit,
        });
    }
    Ok(())
}

/// Checks the whole picture's markers, above all the number of its scans.
///
/// # Errors
/// When it is damaged, or takes too long to decode.
pub fn check_scans(jpeg: &[u8]) -> Result<(), JpegError> {
    match MarkerParser::default().step(jpeg) {
        Step::Done(_) => Ok(()),
        Step::More => Err(JpegError::Fault(Fault::Malformed)),
        Step::Broken(_, fault) => Err(JpegError::Fault(fault)),
    }
}

fn conversion(frame: &StartOfFrame) -> Result<Conversion, JpegError> {
    match frame.precision {
        8 => {}
        12 => return Err(JpegError::Unsupported("12-bit")),
        _ => return Err(JpegError::Unsupported("high-precision")),
    }

    let coding = match frame.marker {
        0xc0 | 0xc1 => Conversion::None,
        0xc2 | 0xc9 | 0xca => Conversion::Transcode,
        0xc3 => Conversion::Reencode,
        0xcb => return Err(JpegError::Unsupported("arithmetically coded lossless")),
        _ => return Err(JpegError::Unsupported("hierarchical")),
    };

    Ok(match frame.components {
        1 => coding,
        3 if has_common_sampling(frame) => coding,
        3 | 4 => Conversion::Reencode,
        _ => return Err(JpegError::Unsupported("neither grey nor colour")),
    })
}

/// Whether viewers decode this sampling of three components: 4:4:4, 4:2:2, 4:2:0, 4:4:0, 4:1:1 or 4:4:1.
fn has_common_sampling(frame: &StartOfFrame) -> bool {
    let [(luma_x, luma_y), blue, red, _] = frame.sampling;
    let (chroma_x, chroma_y) = blue;
    if red != blue || chroma_x == 0 || chroma_y == 0 {
        return false;
    }

    let divides = luma_x % chroma_x == 0 && luma_y % chroma_y == 0;
    let ratio = (luma_x / chroma_x, luma_y / chroma_y);
    divides && matches!(ratio, (1 | 2, 1 | 2) | (4, 1) | (1, 4))
}

#[cfg(test)]
mod tests {
    use super::markers::tests::{tiny, with_scans};
    use super::*;

    #[test]
    fn only_pictures_within_the_limits_pass() {
        let size = |width, height| {
            inspect(&tiny(width, height, &[1])).map(|header| (header.width, header.height))
        };
        assert_eq!(size(3840, 2160).unwrap(), (3840, 2160));
        assert_eq!(size(16_384, 16_384).unwrap(), (16_384, 16_384));
        let said = size(16_385, 1).unwrap_err().to_string();
        assert!(
            said.contains("16385x1") && said.contains("set max_side, up to 16384"),
            "{said}"
        );
        assert!(matches!(size(1, 16_385), Err(JpegError::TooLarge { .. })));
        assert!(matches!(size(0, 5), Err(JpegError::NoPicture { .. })));
    }

    #[test]
    fn each_coding_is_passed_on_converted_or_refused_with_its_name() {
        let jpeg = tiny(8, 8, &[1]);
        let at = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        let with = |offset: usize, value: u8| {
            let mut jpeg = jpeg.clone();
            jpeg[at + offset] = value;
            inspect(&jpeg).map(|header| header.conversion)
        };

        for (marker, conversion) in [
            (0xc0, Conversion::None),
            (0xc1, Conversion::None),
            (0xc2, Conversion::Transcode),
            (0xc3, Conversion::Reencode),
            (0xc9, Conversion::Transcode),
            (0xca, Conversion::Transcode),
        ] {
            assert_eq!(with(1, marker).unwrap(), conversion, "{marker:x}");
        }

        for marker in [0xc5, 0xc6, 0xc7, 0xcb, 0xcd, 0xce, 0xcf] {
            assert!(with(1, marker).unwrap_err().is_format(), "{marker:x}");
        }

        let error = with(4, 12).unwrap_err();
        assert!(error.is_format());
        assert_eq!(
            error.to_string(),
            "pictures are 12-bit JPEG, which screens cannot show: encode baseline JPEG with 8 bits per sample"
        );
    }

    #[test]
    fn only_common_samplings_are_passed_on() {
        let frame = |sampling| StartOfFrame {
            marker: 0xc0,
            precision: 8,
            width: 8,
            height: 8,
            components: 3,
            sampling,
        };

        for luma in [(1, 1), (2, 1), (2, 2), (1, 2), (4, 1), (1, 4)] {
            let frame = frame([luma, (1, 1), (1, 1), (0, 0)]);
            assert!(has_common_sampling(&frame), "{luma:?}");
        }

        // Some cameras write 4:2:2 like this.
        assert!(has_common_sampling(&frame([
            (2, 2),
            (1, 2),
            (1, 2),
            (0, 0)
        ])));

        for odd in [
            [(3, 1), (1, 1), (1, 1), (0, 0)],
            [(2, 2), (2, 1), (1, 1), (0, 0)],
            [(1, 1), (2, 2), (2, 2), (0, 0)],
            [(1, 1), (0, 0), (0, 0), (0, 0)],
            [(4, 4), (1, 1), (1, 1), (0, 0)],
        ] {
            assert!(!has_common_sampling(&frame(odd)), "{odd:?}");
        }
    }

    #[test]
    fn too_many_scans_are_refused_with_that_reason() {
        check_scans(&with_scans(640, 480, 20)).unwrap();
        let error = check_scans(&with_scans(640, 480, 390_000)).unwrap_err();
        assert!(error.to_string().contains("too many scans"), "{error}");
    }

    #[test]
    fn no_beginning_of_a_picture_passes_before_its_scan() {
        let jpeg = tiny(8, 8, &[1, 2, 3]);
        let scan = jpeg.windows(2).rposition(|w| w == [0xff, 0xda]).unwrap();

        for end in 0..scan + 4 {
            assert!(
                matches!(inspect(&jpeg[..end]), Err(JpegError::NoPicture { .. })),
                "{end}"
            );
        }
    }
}
