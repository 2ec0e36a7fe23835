//! JPEG: found in streams, checked, decoded, encoded, and turned without loss. All coding is turbojpeg's.

pub mod codec;
pub mod markers;
pub mod splitter;

pub use codec::{Decoder, Encoder, LosslessTransformer};

use fanlight_proto::limits::{MAX_HEIGHT, MAX_WIDTH};

use markers::MarkerParser;

/// Why a picture cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JpegError {
    /// No JPEG, or cut off before its picture begins.
    #[error("{length} bytes are no JPEG with a picture in it")]
    NoPicture {
        /// Bytes looked at.
        length: usize,
    },
    /// Larger than anyone decodes.
    #[error("JPEG of {width}x{height} is over the limit of {MAX_WIDTH}x{MAX_HEIGHT}")]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// Coded in a way that viewers refuse.
    #[error("JPEG is {0}; only baseline (sequential Huffman) JPEG is carried")]
    Process(&'static str),
    /// turbojpeg found a fault in the picture.
    #[error("JPEG is damaged: {0}")]
    Codec(#[from] turbojpeg::Error),
}

/// Width and height of a picture that a viewer will decode: baseline, and within the limits. Looks only at the markers
/// before the picture and allocates nothing.
///
/// # Errors
/// Says which limit the picture breaks.
pub fn check(jpeg: &[u8]) -> Result<(u32, u32), JpegError> {
    let head = MarkerParser::default()
        .head_before_scan(jpeg)
        .ok_or(JpegError::NoPicture { length: jpeg.len() })?;
    match head.marker {
        0xc0 | 0xc1 => {}
        0xc2 | 0xc6 => return Err(JpegError::Process("progressive")),
        0xc3 | 0xc7 => return Err(JpegError::Process("lossless")),
        0xc5 => return Err(JpegError::Process("hierarchical")),
        _ => return Err(JpegError::Process("arithmetically coded")),
    }
    let (width, height) = (u32::from(head.width), u32::from(head.height));
    match (width, height) {
        (0, _) | (_, 0) => Err(JpegError::NoPicture { length: jpeg.len() }),
        (..=MAX_WIDTH, ..=MAX_HEIGHT) => Ok((width, height)),
        _ => Err(JpegError::TooLarge { width, height }),
    }
}

#[cfg(test)]
mod tests {
    use super::markers::tests::tiny;
    use super::*;

    #[test]
    fn only_baseline_pictures_within_the_limits_pass() {
        assert_eq!(check(&tiny(3840, 2160, &[1])).unwrap(), (3840, 2160));
        assert!(matches!(
            check(&tiny(3841, 1, &[1])),
            Err(JpegError::TooLarge {
                width: 3841,
                height: 1
            })
        ));
        assert!(matches!(
            check(&tiny(1, 2161, &[1])),
            Err(JpegError::TooLarge { .. })
        ));
        assert!(matches!(
            check(&tiny(0, 5, &[1])),
            Err(JpegError::NoPicture { .. })
        ));
        let mut progressive = tiny(8, 8, &[1]);
        let at = progressive
            .windows(2)
            .position(|w| w == [0xff, 0xc0])
            .unwrap();
        for (marker, refused) in [
            (0xc1, false),
            (0xc2, true),
            (0xc3, true),
            (0xc9, true),
            (0xcf, true),
        ] {
            progressive[at + 1] = marker;
            assert_eq!(check(&progressive).is_err(), refused, "{marker:x}");
        }
    }

    #[test]
    fn no_beginning_of_a_picture_passes_before_its_scan() {
        let jpeg = tiny(8, 8, &[1, 2, 3]);
        let scan = jpeg.windows(2).rposition(|w| w == [0xff, 0xda]).unwrap();
        for end in 0..scan + 4 {
            assert!(
                matches!(check(&jpeg[..end]), Err(JpegError::NoPicture { .. })),
                "{end}"
            );
        }
    }
}
