//! When a subscriber that does not want every frame is due for the next one. Time comes in.

use std::time::Duration;

use fanlight_proto::clock::Time;

/// Thins a stream out to at most so many frames a second, evenly, by a schedule of its own. Without a limit every frame
/// is due.
#[derive(Clone, Copy, Debug, Default)]
pub struct Throttle {
    interval: Option<Duration>,
    due: Time,
}

impl Throttle {
    /// At most `fps` frames a second; none: all. The first is due at once.
    #[must_use]
    pub fn new(fps: Option<f64>) -> Self {
        Self {
            interval: fps.map(|fps| Duration::from_secs_f64(1.0 / fps)),
            due: Time::default(),
        }
    }

    /// When a frame may go that comes from a stream with `between` from one to the next. Of the frames around the due
    /// moment the one nearest to it is taken: half the time between two before it one is near enough.
    #[must_use]
    pub fn earliest(&self, between: Option<Duration>) -> Time {
        self.due - self.slack(between)
    }

    /// Until then it is better to wait for a fresh frame than to send the one there is, which came before
    /// [`Throttle::earliest`].
    #[must_use]
    pub fn latest(&self, between: Option<Duration>) -> Time {
        self.due + self.slack(between)
    }

    /// A frame goes out.
    pub fn on_sent(&mut self, now: Time) {
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
        let mut throttle = Throttle::new(Some(fps));
        let between = Some(Duration::from_micros(between));
        let due = |(place, micros)| {
            let takes = at(micros) >= throttle.earliest(between);
            if takes {
                throttle.on_sent(at(micros));
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
        let throttle = Throttle::new(None);
        assert_eq!(
            (throttle.earliest(None), throttle.latest(None)),
            (Time::default(), Time::default())
        );
    }

    #[test]
    fn after_a_pause_nothing_is_made_up_for() {
        let mut throttle = Throttle::new(Some(10.0));
        throttle.on_sent(at(0));
        throttle.on_sent(at(5_000_000));
        assert_eq!(throttle.earliest(None), at(5_100_000));
    }
}
