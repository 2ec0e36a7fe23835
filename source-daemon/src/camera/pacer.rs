//! The frame timer of inputs that have no clock of their own: files and synthetic pictures.

use std::thread;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;

/// Fastest and slowest rate that is kept, in thousandths of a frame a second.
pub const MIN_RATE_MILLIHERTZ: u32 = 10;
/// See [`MIN_RATE_MILLIHERTZ`].
pub const MAX_RATE_MILLIHERTZ: u32 = 1_000_000;

/// The moments at which a picture is due: tick n is n periods after the first, so that no error adds up.
#[derive(Debug)]
pub struct Schedule {
    rate_millihertz: u32,
    start: Time,
    next: u64,
}

impl Schedule {
    /// Starts now, at a rate brought within [`MIN_RATE_MILLIHERTZ`] and [`MAX_RATE_MILLIHERTZ`].
    #[must_use]
    pub fn new(rate_millihertz: u32, start: Time) -> Self {
        let rate_millihertz = rate_millihertz.clamp(MIN_RATE_MILLIHERTZ, MAX_RATE_MILLIHERTZ);
        Self {
            rate_millihertz,
            start,
            next: 0,
        }
    }

    /// When the next tick is due.
    #[must_use]
    pub fn due(&self) -> Time {
        let nanos = u128::from(self.next) * 1_000_000_000_000 / u128::from(self.rate_millihertz);
        Time::from_nanos(
            self.start
                .as_nanos()
                .saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX)),
        )
    }

    /// Takes the newest tick that is due, and tells how many were skipped for it; None when none is due.
    pub fn take(&mut self, now: Time) -> Option<u64> {
        if now < self.due() {
            return None;
        }

        let elapsed = u128::from(now.as_nanos() - self.start.as_nanos());
        let newest = u64::try_from(elapsed * u128::from(self.rate_millihertz) / 1_000_000_000_000)
            .unwrap_or(u64::MAX);
        // The division above rounds down where that of `due` rounded down before it.
        let newest = newest.max(self.next);
        let skipped = newest - self.next;
        self.next = newest + 1;
        Some(skipped)
    }
}

/// Waits for the ticks of a [`Schedule`] on the real clock, in the thread that calls it.
#[derive(Debug)]
pub struct FramePacer {
    schedule: Schedule,
}

impl FramePacer {
    /// The first tick is due at once.
    #[must_use]
    pub fn new(rate_millihertz: u32) -> Self {
        Self {
            schedule: Schedule::new(rate_millihertz, clock::now()),
        }
    }

    /// Waits for the next tick; tells when it came, and how many were skipped because the caller was late.
    pub fn wait(&mut self) -> (Time, u64) {
        loop {
            let now = clock::now();
            if let Some(skipped) = self.schedule.take(now) {
                return (now, skipped);
            }
            // May return early, and nobody unparks this thread: the loop looks at the clock again.
            thread::park_timeout(self.schedule.due().saturating_since(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const START: Time = Time::from_nanos(5_000_000_000);

    #[test]
    fn a_rate_that_divides_no_second_does_not_drift() {
        let mut schedule = Schedule::new(29_970, START);
        for _ in 0..29_970 {
            let due = schedule.due();
            assert_eq!(schedule.take(due - Duration::from_nanos(1)), None);
            assert_eq!(schedule.take(due), Some(0));
        }
        assert_eq!(schedule.due(), START + Duration::from_secs(1000));
    }

    #[test]
    fn a_late_caller_skips_to_the_newest_tick_and_counts() {
        let mut schedule = Schedule::new(30_000, START);
        assert_eq!(schedule.take(START), Some(0));
        assert_eq!(schedule.take(START + Duration::from_millis(101)), Some(2));
        assert_eq!(schedule.due(), START + Duration::from_nanos(133_333_333));
        assert_eq!(
            schedule.take(START + Duration::from_secs(3600)),
            Some(30 * 3600 - 4)
        );
    }

    #[test]
    fn an_absurd_rate_is_brought_within_reason() {
        let mut schedule = Schedule::new(0, START);
        assert_eq!(schedule.take(START), Some(0));
        assert_eq!(schedule.due(), START + Duration::from_secs(100));
        let mut schedule = Schedule::new(u32::MAX, START);
        assert_eq!(schedule.take(START), Some(0));
        assert_eq!(schedule.due(), START + Duration::from_millis(1));
    }

    #[test]
    fn the_real_pace_is_the_schedules() {
        let (begin, mut ticks) = (clock::now(), 0);
        let mut pace = FramePacer::new(200_000);
        while ticks < 20 {
            ticks += 1 + pace.wait().1;
        }
        let elapsed = clock::now().saturating_since(begin);
        assert!(elapsed >= Duration::from_millis(95), "{elapsed:?}");
    }
}
