//! What viewers and relays count, as their reports say it.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::{NotShown, Report};

/// The rate of frames is measured over at least so long.
const RATE_SPAN: Duration = Duration::from_secs(1);

/// A count that never falls as long as the other side keeps it; here is what it grew by since it was first heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    last: Option<u64>,
    grown: u64,
}

impl Counter {
    /// The other side counts `value`. When it is the first, or it began anew, `news` of it are from now.
    pub fn on(&mut self, value: u64, news: u64) {
        let more = match self.last {
            Some(last) if value >= last => value - last,
            _ => news.min(value),
        };
        self.grown = self.grown.saturating_add(more);
        self.last = Some(value);
    }

    /// How much it has grown.
    #[must_use]
    pub const fn grown(&self) -> u64 {
        self.grown
    }
}

/// What a viewer shows, as it reports itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shown {
    /// Frames shown in its session.
    pub frames: u64,
    /// Frames lost in its session.
    pub lost: u64,
    /// Frames shown a second, over the last second or two; none before it is known.
    pub rate: Option<f64>,
    /// Median age at presentation over the last second, in microseconds; 0: unknown.
    pub age_us: u32,
    /// Why frames that come are not shown.
    pub not_shown: NotShown,
    /// When the newest frame was shown, and when that was reported.
    pub newest: Option<(Time, Time)>,
    /// Where the rate is measured from.
    mark: Option<(Time, u64)>,
}

impl Shown {
    /// Takes a report.
    pub fn on(&mut self, now: Time, report: &Report) {
        self.frames = report.frames_shown;
        self.lost = report.frames_lost;
        self.age_us = report.age_us;
        self.not_shown = report.not_shown();
        let ago = Duration::from_millis(report.last_shown_ms.into());
        self.newest = (report.frames_shown > 0).then(|| (now - ago, now));
        let Some((at, frames)) = self
            .mark
            .filter(|(_, frames)| *frames <= report.frames_shown)
        else {
            self.mark = Some((now, report.frames_shown));
            return;
        };

        let span = now.saturating_since(at);
        if span >= RATE_SPAN {
            self.rate = Some((report.frames_shown - frames) as f64 / span.as_secs_f64());
            self.mark = Some((now, report.frames_shown));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn what_was_counted_before_is_not_counted_here() {
        let mut counter = Counter::default();
        counter.on(1000, 3);
        counter.on(1000, 0);
        counter.on(1010, 4);
        assert_eq!(counter.grown(), 13);
        counter.on(2, 2);
        assert_eq!(counter.grown(), 15, "it began anew");
    }

    #[test]
    fn frames_a_second_are_those_of_the_last_second() {
        let mut shown = Shown::default();
        for tick in 0..=40 {
            let frames = if tick < 20 {
                tick * 3
            } else {
                60 + (tick - 20)
            };

            shown.on(
                at(tick * 100),
                &Report {
                    frames_shown: frames,
                    frames_lost: 2,
                    ..Report::default()
                },
            );

            match tick {
                0..10 => assert_eq!(shown.rate, None),
                10..20 => assert_eq!(shown.rate, Some(30.0)),
                40 => assert_eq!(shown.rate, Some(10.0)),
                _ => {}
            }
        }

        assert_eq!((shown.frames, shown.lost), (80, 2));
        shown.on(at(5000), &Report::default());
        assert_eq!(shown.frames, 0, "a session that began anew");
    }
}
