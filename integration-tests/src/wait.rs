//! Waiting for what another process does: always for an event, never longer than a deadline.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;

/// Between two looks at something that has no event to wait on, such as a file in /proc.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Longest that anything is waited for. It comes at once on an idle machine; this ends tests that hang and judges nothing.
pub const SOON: Duration = Duration::from_secs(60);

/// A moment after which nothing is waited for any more.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Time);

impl Deadline {
    /// The moment `length` from now.
    #[must_use]
    pub fn after(length: Duration) -> Self {
        Self(clock::now() + length)
    }

    /// What is left until then.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_since(clock::now())
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(self) -> bool {
        self.left().is_zero()
    }
}

/// Looks again and again until `look` finds something.
///
/// # Panics
/// When it has found nothing for `limit`; `what` says what was missed.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Deadline::after(limit);
    loop {
        if let Some(found) = look() {
            return found;
        }

        assert!(!deadline.is_over(), "not within {limit:?}: {what}");
        pause(POLL_INTERVAL);
    }
}

/// Calls `look` every `interval` for `length`: to see that something does *not* happen.
pub fn throughout(length: Duration, interval: Duration, mut look: impl FnMut()) {
    let deadline = Deadline::after(length);
    while !deadline.is_over() {
        look();
        pause(interval.min(deadline.left()));
    }
}

/// Lets time pass that the test is about: how long a program stays away, or how far apart datagrams are sent.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where tests let time pass; events are waited for above"
)]
pub fn pause(length: Duration) {
    std::thread::sleep(length);
}
