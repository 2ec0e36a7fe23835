//! Every bound of the protocol, with the reason for its number.

use std::time::Duration;

/// Largest encoded [`Frame`](crate::message::Frame), header and JPEG, that a relay takes: a 3840x2160 JPEG at quality
/// 80 has about 2 MB. Configurable downwards.
pub const MAX_FRAME_BYTES: usize = 4 << 20;

/// Largest JPEG-free part of an encoded frame; what lies before the picture. Name, reason and truth fit with room.
pub const MAX_FRAME_PREFIX: usize = 512;

/// Longest stream name in bytes: it is shown on tiles, and stands in URLs and log lines.
pub const MAX_STREAM_NAME: usize = 64;

/// Longest text that tells the reason of a state, in bytes.
pub const MAX_REASON: usize = 160;

/// Largest width and height of a picture that anyone decodes.
pub const MAX_WIDTH: u32 = 3840;
/// See [`MAX_WIDTH`].
pub const MAX_HEIGHT: u32 = 2160;

/// The source publishes a heartbeat when it has published nothing for so long.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);

/// Streams that one relay carries.
pub const MAX_STREAMS: usize = 64;
