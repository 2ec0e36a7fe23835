//! Since when something lies ready for a thread: how the watchdog notices one that is stuck.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;

/// What lies so long is not taken any more: the largest pictures take seconds to decode.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// Nothing lies there at first.
#[derive(Debug, Default)]
pub(crate) struct Ready(Option<Time>);

impl Ready {
    /// Something lies there now, if nothing did.
    pub(crate) fn put(&mut self) {
        self.0.get_or_insert_with(clock::now);
    }

    /// The thread has come for it.
    pub(crate) const fn take(&mut self) {
        self.0 = None;
    }

    /// Whether the thread does not come any more.
    pub(crate) fn is_stuck(&self, now: Time) -> bool {
        self.0
            .is_some_and(|since| now.saturating_since(since) > STUCK_AFTER)
    }
}
