//! When frames come, and when one who does not want all is due for the next. Time comes in.

use std::time::Duration;

use fanlight_proto::clock::Time;

/// Frames are counted for so long before their rate is told.
const WINDOW: Duration = Duration::from_secs(1);

/// How often something comes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tempo {
    since: Option<Time>,
    count: u32,
    fps: f64,
}

impl Tempo {
    /// One came.
    pub(super) fn note(&mut self, now: Time) {
        let Some(since) = self.since else {
            self.since = Some(now);
            return;
        };
        self.count += 1;
        let elapsed = now.saturating_since(since);
        if elapsed >= WINDOW {
            *self = Self {
                since: Some(now),
                count: 0,
                fps: f64::from(self.count) / elapsed.as_secs_f64(),
            };
        }
    }

    /// How many a second came lately; 0 when none has come for two seconds and for twice the time between two.
    pub(super) fn fps(&self, now: Time) -> f64 {
        let silence = self
            .interval()
            .map_or(WINDOW, |interval| interval.max(WINDOW))
            * 2;
        let heard = self
            .since
            .is_some_and(|since| now.saturating_since(since) < silence);
        if heard { self.fps } else { 0.0 }
    }

    /// The time between two; none before the first second is over.
    pub(super) fn interval(&self) -> Option<Duration> {
        (self.fps > 0.0).then(|| Duration::from_secs_f64(1.0 / self.fps))
    }
}

/// When one is due for a frame who wants at most so many a second: evenly, by a schedule of its own. Without a limit
/// every frame is due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    interval: Option<Duration>,
    due: Time,
}

impl Pace {
    /// At most `fps` frames a second; none: all. The first is due at once.
    pub(super) fn new(fps: Option<f64>) -> Self {
        Self {
            interval: fps.map(|fps| Duration::from_secs_f64(1.0 / fps)),
            due: Time::default(),
        }
    }

    /// When a frame may go that comes from a stream with `between` from one to the next. Of the frames around the due
    /// moment the one nearest to it is taken: half the time between two before it one is near enough.
    pub(super) fn earliest(&self, between: Option<Duration>) -> Time {
        self.due - self.slack(between)
    }

    /// Until then it is better to wait for a fresh frame than to send the one there is, which came before
    /// [`Pace::earliest`].
    pub(super) fn latest(&self, between: Option<Duration>) -> Time {
        self.due + self.slack(between)
    }

    /// A frame goes out.
    pub(super) fn on_sent(&mut self, now: Time) {
        let Some(interval) = self.interval else {
            return;
        };
        let next = self.due + interval;
        // Who has fallen behind by a whole interval does not catch up.
        self.due = if next <= now { now + interval } else { next };
    }

    fn slack(&self, between: Option<Duration>) -> Duration {
        let Some(interval) = self.interval else {
            return Duration::ZERO;
        };
        between
            .map_or(Duration::ZERO, |between| between / 2)
            .min(interval / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Time {
        Time::from_nanos(1_000_000_000 + micros * 1_000)
    }

    /// The frames, of those that come at `arrivals`, that one gets who wants `fps`, by their places.
    fn taken(fps: f64, between: u64, arrivals: impl Iterator<Item = u64>) -> Vec<usize> {
        let mut pace = Pace::new(Some(fps));
        let between = Some(Duration::from_micros(between));
        let due = |(place, micros)| {
            let takes = at(micros) >= pace.earliest(between);
            if takes {
                pace.on_sent(at(micros));
            }
            takes.then_some(place)
        };
        arrivals.enumerate().filter_map(due).collect()
    }

    #[test]
    fn ten_of_thirty_are_every_third_though_they_come_a_little_early_or_late() {
        let jitter = [0, 3_000, -2_000, 1_000, -4_000_i64];
        let arrivals =
            (0..300_u64).map(|n| (n * 33_333).saturating_add_signed(jitter[n as usize % 5]));
        let taken = taken(10.0, 33_333, arrivals);
        assert_eq!(taken.len(), 100);
        assert!(
            taken.windows(2).all(|pair| pair[1] - pair[0] == 3),
            "{taken:?}"
        );
    }

    #[test]
    fn twenty_of_thirty_are_two_of_three() {
        let taken = taken(20.0, 33_333, (0..300).map(|n| n * 33_333));
        assert!((199..=201).contains(&taken.len()), "{}", taken.len());
        assert!(
            taken.windows(2).all(|pair| pair[1] - pair[0] <= 2),
            "{taken:?}"
        );
    }

    #[test]
    fn who_wants_as_many_as_there_are_or_more_gets_all() {
        assert_eq!(taken(30.0, 33_333, (0..300).map(|n| n * 33_334)).len(), 300);
        assert_eq!(taken(60.0, 33_333, (0..300).map(|n| n * 33_333)).len(), 300);
        let pace = Pace::new(None);
        assert_eq!(
            (pace.earliest(None), pace.latest(None)),
            (Time::default(), Time::default())
        );
    }

    #[test]
    fn after_a_pause_nothing_is_made_up_for() {
        let mut pace = Pace::new(Some(10.0));
        pace.on_sent(at(0));
        pace.on_sent(at(5_000_000));
        assert_eq!(pace.earliest(None), at(5_100_000));
    }

    #[test]
    fn a_rate_is_measured_and_forgotten_when_nothing_comes() {
        let mut tempo = Tempo::default();
        (0..=50).for_each(|n| tempo.note(at(n * 40_000)));
        assert!((tempo.fps(at(2_000_000)) - 25.0).abs() < 0.01);
        assert_eq!(tempo.interval(), Some(Duration::from_millis(40)));
        assert_eq!(tempo.fps(at(4_100_000)), 0.0);
    }

    #[test]
    fn a_slow_stream_is_not_taken_for_a_silent_one() {
        let mut tempo = Tempo::default();
        (0..3).for_each(|n| tempo.note(at(n * 5_000_000)));
        assert!((tempo.fps(at(19_000_000)) - 0.2).abs() < 0.001);
        assert_eq!(tempo.fps(at(21_000_000)), 0.0);
    }
}
