//! Why RTP/JPEG cannot carry a picture.

/// Why a picture cannot be sent as RTP/JPEG: said to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsuitable {
    #[error("the picture is no JPEG, or damaged")]
    Damaged,
    #[error("the JPEG is not baseline (progressive, lossless, arithmetic or 12-bit)")]
    NotBaseline,
    #[error("RTP/JPEG carries 4:2:0 and 4:2:2 only, not grey, 4:4:4 or other sampling")]
    Sampling,
    #[error("RTP/JPEG carries YCbCr only, not RGB")]
    Rgb,
    #[error("RTP/JPEG carries at most 2040 pixels a side")]
    TooLarge,
    #[error("the JPEG has 16-bit quantization tables, or other ones for Cb than for Cr")]
    Quantization,
    #[error("the JPEG has more than one scan")]
    Scans,
}
