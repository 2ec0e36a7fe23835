//! Numbers and lengths of the settings that have bounds.

use std::time::Duration;

use anyhow::ensure;
use fanlight_proto::limits::{MAX_FRAME_BYTES, MAX_VIEWER_NAME, MAX_WIDTH};

use super::Config;
use crate::track::MAX_TRACKERS;

/// Least receive buffer, in bytes, to compare with (`./dev compare`): the kernel grants one datagram at least (socket(7)).
const MIN_RECEIVE_BUFFER: usize = 1000;

/// Longest `delay`: what is held takes memory.
const MAX_DELAY: Duration = Duration::from_secs(2);

/// Whether all are within their bounds.
pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    let limit = config.max_frame_bytes;
    ensure!(
        (1..=MAX_FRAME_BYTES).contains(&limit),
        "`max_frame_bytes` is {limit}; it must be 1 to {MAX_FRAME_BYTES}"
    );

    let side = config.max_side;
    ensure!(
        (1..=MAX_WIDTH).contains(&side),
        "`max_side` is {side}; it must be 1 to {MAX_WIDTH}"
    );

    let buffer = config.receive_buffer;
    ensure!(
        buffer >= MIN_RECEIVE_BUFFER,
        "`receive_buffer` is {buffer}; it must be at least {MIN_RECEIVE_BUFFER}"
    );

    let length = config.name.as_ref().map_or(0, String::len);
    ensure!(
        length <= MAX_VIEWER_NAME,
        "`name` has {length} bytes; it may have {MAX_VIEWER_NAME}"
    );

    if let Some(delay) = config.delay {
        ensure!(
            *delay <= MAX_DELAY,
            "`delay` is {delay}; it may be 2s at most"
        );
    }

    let trackers = config.trackers;
    ensure!(
        (1..=MAX_TRACKERS).contains(&trackers),
        "`trackers` is {trackers}; it must be 1 to {MAX_TRACKERS}"
    );

    Ok(())
}
