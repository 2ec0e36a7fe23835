//! The frame that benches are about.

use fanlight_proto::message::{Format, FrameHeader, State};

/// Bytes of a 1280x720 JPEG of quality 80.
pub(crate) const PICTURE: usize = 100_000;

/// The header of frame `number`.
pub(crate) fn header(number: u64) -> FrameHeader {
    FrameHeader {
        stream: "camera".into(),
        epoch: 7,
        number,
        width: 1280,
        height: 720,
        format: Format::Jpeg as i32,
        state: State::Live as i32,
        rate_millihertz: 30_000,
        ..FrameHeader::default()
    }
}
