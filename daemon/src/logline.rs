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
        Self {
            quiet_until: None,
            untold: 0,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn the_first_error_is_told_at_once() {
        assert_eq!(Limited::new().note(at(0)), Some(1));
    }

    #[test]
    fn a_second_of_errors_gets_one_line_with_their_count() {
        let mut limited = Limited::new();
        let lines: Vec<u64> = (0..3000)
            .filter_map(|millisecond| limited.note(at(millisecond)))
            .collect();
        assert_eq!(lines, [1, 1000, 1000]);
    }

    #[test]
    fn the_last_errors_of_a_burst_are_told_when_a_line_is_due() {
        let mut limited = Limited::new();
        assert_eq!(limited.note(at(0)), Some(1));
        assert_eq!(limited.note_many(at(1), 20), None);
        assert_eq!(limited.flush(at(999)), None);
        assert_eq!(limited.flush(at(1000)), Some(20));
        assert_eq!(limited.flush(at(5000)), None);
    }

    #[test]
    fn an_error_after_a_quiet_time_is_told_at_once() {
        let mut limited = Limited::new();
        assert_eq!(limited.note(at(0)), Some(1));
        assert_eq!(limited.note(at(60_000)), Some(1));
    }
}
