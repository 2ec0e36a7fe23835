//! Log lines about input that may be hostile: at most one a second a class of error, with the count of all.

use std::time::Duration;

use fanlight_proto::clock::Time;

/// Least time between two lines of one class.
pub const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Decides when a class of errors gets its next line. Keep one for each class.
///
/// ```
/// # use fanlight_daemon::logline::Limited;
/// # use fanlight_proto::clock::Time;
/// # let now = Time::from_nanos(0);
/// let mut malformed = Limited::new();
/// if let Some(count) = malformed.note(now) {
///     tracing::warn!(count, "malformed datagrams refused");
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Limited {
    quiet_until: Option<Time>,
    untold: u64,
}

impl Limited {
    /// One that has a line to spend at once.
    #[must_use]
    pub const fn new() -> Self {
        Self { quiet_until: None, untold: 0 }
    }

    /// Notes one error. When a line is due, returns how many errors it stands for: this one and all since the last line.
    pub fn note(&mut self, now: Time) -> Option<u64> {
        self.note_many(now, 1)
    }

    /// Notes `count` errors at once, as [`note`](Self::note).
    pub fn note_many(&mut self, now: Time, count: u64) -> Option<u64> {
        self.untold = self.untold.saturating_add(count);
        self.flush(now)
    }

    /// The errors since the last line when they are due one: call it now and then, so that the last errors of a burst
    /// are told although no other follows.
    pub fn flush(&mut self, now: Time) -> Option<u64> {
        if self.untold == 0 || self.quiet_until.is_some_and(|until| now < until) {
            return None;
        }
        self.quiet_until = Some(now + LINE_INTERVAL);
        Some(std::mem::take(&mut self.untold))
    }
}
