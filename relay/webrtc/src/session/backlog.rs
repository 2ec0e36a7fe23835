//! What waits here for a peer whose network carries less than it is sent. On the WebRTC thread.

use std::time::{Duration, Instant};

use super::Session;

/// A peer whose packets have waited here for so long gets no frames until they have left. str0m has no such bound, and once
/// they wait for 2 s it sends faster than the network carries.
const MAX_WAIT: Duration = Duration::from_secs(1);

impl Session {
    /// Whether its network carries less than it is sent: packets wait for long.
    pub(crate) fn is_behind(&mut self, now: Instant) -> bool {
        let Some(mid) = self.mid else { return false };
        let mut streams = self.rtc.direct_api();
        let queue = streams
            .stream_tx_by_mid(mid, None)
            .and_then(|stream| stream.queue_info()?.first_unsent());
        queue.is_some_and(|since| now.saturating_duration_since(since) > MAX_WAIT)
    }
}
