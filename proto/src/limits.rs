//! Every bound of the protocol, with the reason for its number.

use std::time::Duration;

/// Largest encoded [`Frame`](crate::message::Frame), header and JPEG, that can be configured: with parity it has 37 868
/// shards, which 16 bits count. A JPEG of 20 megapixels at quality 95 has about 12 MB.
pub const MAX_FRAME_BYTES: usize = 32 << 20;

/// Largest encoded `Frame` that is taken unless configured otherwise.
pub const DEFAULT_FRAME_BYTES: usize = 16 << 20;

/// Largest JPEG-free part of an encoded frame; what lies before the picture. Name, reason and truth fit with room.
pub const MAX_FRAME_PREFIX: usize = 512;

/// Longest stream name in bytes: it is shown on tiles, and stands in URLs and log lines.
pub const MAX_STREAM_NAME: usize = 64;

/// Longest text that tells the reason of a state, in bytes.
pub const MAX_REASON: usize = 160;

/// Largest width and height of a picture that can be configured: decoded it has 1 GiB.
pub const MAX_WIDTH: u32 = 16_384;
/// See [`MAX_WIDTH`].
pub const MAX_HEIGHT: u32 = 16_384;

/// Largest width and height of a picture that is taken and decoded unless configured otherwise.
pub const DEFAULT_SIDE: u32 = 8192;

/// What was said of the present, such as what a screen shows, holds for so long, unless it is said again (decision 080).
pub const PRESENT_HOLDS: Duration = Duration::from_millis(1200);

/// The source publishes a heartbeat when it has published nothing for so long.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(250);

/// Relays that a frame may pass on its way from its source to a relay: one for a site, one for a building and one for a floor,
/// and room.
pub const MAX_HOPS: u8 = 8;

/// Streams that one relay carries: a hundred cameras, and room.
pub const MAX_STREAMS: usize = 128;

/// Multicast groups that one relay has: further streams go to each viewer alone. Relays on one network take ranges so far apart.
pub const MULTICAST_GROUPS: usize = 64;

/// Picture and header bytes that one media datagram carries. A multiple of 64, which parity codes like; with the
/// header and a 16-byte seal a datagram has 1220 bytes, under the 1232 that IPv6 (RFC 8200 section 5) always lets through.
pub const SHARD_BYTES: usize = 1152;

/// Shards of the largest frame.
pub const MAX_SHARDS: usize = MAX_FRAME_BYTES.div_ceil(SHARD_BYTES);

/// Largest datagram either side sends or takes.
pub const MAX_DATAGRAM: usize = 1232;

/// A JOIN is padded to so many bytes: every answer to an address that has not proved itself is smaller.
pub const JOIN_BYTES: usize = 1200;

/// Frames of one stream that a viewer puts together at the same time: the newest, the one whose repair is under way,
/// and one that overtook.
pub const MAX_OPEN_FRAMES: usize = 3;

/// Ranges that one REPAIR may name: they fit a datagram with room, and more gaps than this cannot be repaired in time.
pub const MAX_REPAIR_RANGES: usize = 64;

/// Longest name a viewer gives itself, in bytes.
pub const MAX_VIEWER_NAME: usize = 64;

/// How often a viewer says that it is still there.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_millis(250);

/// A session ends when the relay has heard nothing from its viewer for so long (promise P11: at most 3 s of traffic).
pub const SESSION_IDLE: Duration = Duration::from_secs(3);

/// A value of PULSE shows for so long that its viewer still reads, and may be sent media (RFC 7675 section 5.1 has 30 s for
/// calls; this is as long as a session lives in silence).
pub const CONSENT_LIFETIME: Duration = SESSION_IDLE;

/// A sealed session has a new handshake after so long at most, as WireGuard's have (REKEY_AFTER_TIME): who learns the
/// keys of one channel reads what was told in this time, not every media key of a session that lasts for months.
pub const REKEY_INTERVAL: Duration = Duration::from_secs(120);

/// Viewers that one relay serves unless configured otherwise.
pub const MAX_VIEWERS: usize = 1000;

/// Nothing heard from a source for so long: it is gone.
pub const SOURCE_STALE: Duration = Duration::from_secs(1);

/// A token is good for this long at least, and for twice as long at most.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(10);

/// Keys of viewers that one relay knows: four for each of [`MAX_VIEWERS`], and the list is searched at each join.
pub const MAX_VIEWER_KEYS: usize = 4096;

/// How far a message of a sealed session may lag behind the newest and still be taken, in messages: the window that
/// RFC 4303 section 3.4.3 recommends. At eight messages a second it spans more than a session lives without any.
pub const REPLAY_WINDOW: u64 = 64;

/// Detections that one DETECTIONS carries; see [`MAX_DETECTIONS_BYTES`], which they may reach first.
pub const MAX_DETECTIONS: usize = 16;

/// Longest encoded detection. The longest has 90 bytes.
pub const MAX_DETECTION_BYTES: usize = 96;

/// DETECTIONS that a viewer sends in a second: each of them is 50 ms old at most.
pub const DETECTIONS_PER_SECOND: u32 = 20;

/// Longest body of a DETECTIONS: with the kind, the seal and the header it fills the largest datagram.
pub const MAX_DETECTIONS_BYTES: usize = MAX_DATAGRAM - 37;

/// Streams that one direction may name: a window has no more tiles.
pub const MAX_DIRECTED_STREAMS: usize = 16;

/// Longest text of a direction or notice, in bytes: a few lines on a screen.
pub const MAX_CARD: usize = 240;

/// Longest encoded [`Direction`](crate::message::Direction): with a notice and all headers it fits a datagram.
pub const MAX_DIRECTION_BYTES: usize = 800;

/// The most that a direction has drawn over pictures.
pub const MAX_OVERLAY: u32 = 4;

/// Longest time that a notice lasts.
pub const MAX_NOTICE: Duration = Duration::from_secs(3600);

/// Shortest time that a stream stays on a screen that goes through several.
pub const MIN_CYCLE: Duration = Duration::from_secs(1);

/// Largest version of a direction. Nobody counts so far, and there is always a greater one for whoever comes after.
pub const MAX_DIRECTION_VERSION: u64 = 1 << 48;

/// SCREEN_REPORTs that a viewer sends in a second.
pub const SCREEN_REPORTS_PER_SECOND: u32 = 20;

/// How far beside the largest picture the centre of a ball may be found, in pixels: a ball of a quarter of the picture's
/// width that has just left it. What is further away is no detection.
pub const DETECTION_MARGIN: u32 = MAX_WIDTH / 4;
