//! Limits on how often something may happen. Time comes in; nothing here reads a clock or waits.

use std::time::Duration;

use fanlight_proto::clock::Time;

const SECOND: Duration = Duration::from_secs(1);

/// A token bucket: a steady rate with bursts up to its capacity.
///
/// In any span it lets through at most its capacity and what comes in that span: with a capacity of one second's tokens,
/// twice that in the first second after a silence.
///
/// It is kept as the moment at which the bucket is full again, as in the generic cell rate algorithm (ITU-T I.371).
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    capacity: u32,
    /// Time in which one token comes.
    interval: Duration,
    full_at: Time,
}

impl TokenBucket {
    /// A full bucket of `capacity` tokens to which `per_second` come each second; no more come when it is full.
    ///
    /// # Panics
    /// When `per_second` is zero.
    #[must_use]
    pub fn new(per_second: u32, capacity: u32) -> Self {
        Self::with_interval(SECOND / per_second, capacity)
    }

    /// A full bucket of `capacity` tokens, one of which comes each `interval`.
    #[must_use]
    pub const fn with_interval(interval: Duration, capacity: u32) -> Self {
        Self {
            capacity,
            interval,
            full_at: Time::from_nanos(0),
        }
    }

    /// How many tokens the bucket has at `now`.
    #[must_use]
    pub fn available(&self, now: Time) -> u32 {
        let missing = self
            .full_at
            .saturating_since(now)
            .as_nanos()
            .div_ceil(self.interval.as_nanos().max(1));
        self.capacity
            .saturating_sub(u32::try_from(missing).unwrap_or(u32::MAX))
    }

    /// Takes `count` tokens if there are so many; returns whether.
    pub fn try_take(&mut self, now: Time, count: u32) -> bool {
        if self.available(now) < count {
            return false;
        }
        self.full_at = self.full_at.max(now) + self.interval * count;
        true
    }

    /// Takes up to `count` tokens; returns how many.
    pub fn take_up_to(&mut self, now: Time, count: u32) -> u32 {
        let count = count.min(self.available(now));
        self.full_at = self.full_at.max(now) + self.interval * count;
        count
    }
}

/// Limits the log lines about one class of events that others can cause: at most one line a second, with the count of
/// all events since the line before.
///
/// ```
/// # use fanlight_daemon::rate_limit::LogLimiter;
/// # use fanlight_proto::clock::Time;
/// # let now = Time::from_nanos(0);
/// let mut malformed = LogLimiter::new();
/// if let Some(count) = malformed.note(now) {
///     tracing::warn!(count, "malformed datagrams refused");
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LogLimiter {
    lines: TokenBucket,
    unlogged: u64,
    events: u64,
    logged: u64,
}

impl Default for LogLimiter {
    fn default() -> Self {
        Self::new()
    }
}

impl LogLimiter {
    /// A limiter whose first event is logged at once.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            lines: TokenBucket::with_interval(SECOND, 1),
            unlogged: 0,
            events: 0,
            logged: 0,
        }
    }

    /// Notes one event. When a line is due, returns how many events it stands for.
    pub fn note(&mut self, now: Time) -> Option<u64> {
        self.note_many(now, 1)
    }

    /// Notes `count` events at once, as [`note`](Self::note).
    pub fn note_many(&mut self, now: Time, count: u64) -> Option<u64> {
        self.unlogged = self.unlogged.saturating_add(count);
        self.events = self.events.saturating_add(count);
        self.flush(now)
    }

    /// How many events a line is due for. Call it now and then, so that the last events of a burst are logged although
    /// no other follows.
    pub fn flush(&mut self, now: Time) -> Option<u64> {
        if self.unlogged == 0 || !self.lines.try_take(now, 1) {
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.unlogged))
    }

    /// Events so far that have no line of their own.
    #[must_use]
    pub const fn withheld(&self) -> u64 {
        self.events - self.logged
    }
}

/// The same line about a state that lasts is written again after this.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// Limits the log lines about a state that lasts and is noted again and again: one when what there is to say changes, at most
/// one a second, and the same again once a minute, with the count of all events since the line before.
#[derive(Clone, Debug, Default)]
pub struct StateLogLimiter {
    lines: LogLimiter,
    said: String,
    again: Time,
    /// Events since the last line that `lines` does not know of.
    repeated: u64,
}

impl StateLogLimiter {
    /// A limiter whose first event is logged at once.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            lines: LogLimiter::new(),
            said: String::new(),
            again: Time::from_nanos(0),
            repeated: 0,
        }
    }

    /// Notes an event of which `text` is to be said. When a line is due, returns how many events it stands for.
    pub fn note(&mut self, now: Time, text: &str) -> Option<u64> {
        self.repeated = self.repeated.saturating_add(1);
        if text == self.said && now < self.again {
            return None;
        }

        let events = self
            .lines
            .note_many(now, std::mem::take(&mut self.repeated))?;
        text.clone_into(&mut self.said);
        self.again = now + SAID_AGAIN;
        Some(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn a_bucket_fills_steadily_up_to_its_capacity() {
        let mut bucket = TokenBucket::new(10, 5);
        assert_eq!(bucket.take_up_to(at(7), 9), 5);
        assert!(!bucket.try_take(at(106), 1));
        assert_eq!(bucket.available(at(107)), 1);
        assert_eq!(bucket.available(at(306)), 2);
        assert!(bucket.try_take(at(307), 3));
        assert_eq!(bucket.available(at(307)), 0);
        assert_eq!(bucket.available(at(60_000)), 5);
    }

    #[test]
    fn taking_more_than_there_is_takes_nothing() {
        let mut bucket = TokenBucket::new(10, 5);
        assert!(!bucket.try_take(at(0), 6));
        assert_eq!(bucket.available(at(0)), 5);
    }

    #[test]
    fn the_first_event_is_logged_at_once() {
        assert_eq!(LogLimiter::new().note(at(0)), Some(1));
    }

    #[test]
    fn a_second_of_events_gets_one_line_with_their_count() {
        let mut limiter = LogLimiter::new();
        let lines: Vec<u64> = (0..3000)
            .filter_map(|millisecond| limiter.note(at(millisecond)))
            .collect();
        assert_eq!(lines, [1, 1000, 1000]);
    }

    #[test]
    fn the_last_events_of_a_burst_are_logged_when_a_line_is_due() {
        let mut limiter = LogLimiter::new();
        assert_eq!(limiter.note(at(0)), Some(1));
        assert_eq!(limiter.note_many(at(1), 20), None);
        assert_eq!(limiter.flush(at(999)), None);
        assert_eq!(limiter.flush(at(1000)), Some(20));
        assert_eq!(limiter.flush(at(5000)), None);
    }

    #[test]
    fn an_event_after_a_quiet_time_is_logged_at_once() {
        let mut limiter = LogLimiter::new();
        assert_eq!(limiter.note(at(0)), Some(1));
        assert_eq!(limiter.note(at(60_000)), Some(1));
    }

    #[test]
    fn a_state_is_said_when_it_changes_and_once_a_minute() {
        let mut limiter = StateLogLimiter::new();
        assert_eq!(limiter.note(at(0), "taken"), Some(1));
        assert_eq!(limiter.note(at(5_000), "taken"), None);
        assert_eq!(limiter.note(at(6_000), "too many"), Some(2));
        assert_eq!(limiter.note(at(6_500), "taken"), None, "one a second");
        assert_eq!(limiter.note(at(7_000), "taken"), Some(2));
        assert_eq!(limiter.note(at(66_999), "taken"), None);
        assert_eq!(limiter.note(at(67_000), "taken"), Some(2));
    }
}
