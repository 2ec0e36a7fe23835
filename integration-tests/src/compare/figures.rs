//! What came of one way over one link, as a row of the table and as a line of JSON.

use std::time::Duration;

use fanlight_proto::clock::Time;
use serde::Serialize;

use super::{Traffic, per_second};

/// A frame that was shown.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// When it was taken.
    pub captured: Time,
    /// When it was decoded.
    pub shown: Time,
}

/// What came of one way. Times are in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Frames shown a second, of [`RATE`](super::RATE).
    pub fps: f64,
    /// Ages of frames when they were shown; none when none was.
    pub age_ms: Option<[f64; 3]>,
    /// Longest time without a new picture, beginning and end included.
    pub freeze_ms: f64,
    /// Frames taken and not shown, from the first to the last of the run, by reason.
    pub lost: Vec<(String, u64)>,
    /// The sender's most resident memory in MiB.
    pub sender_mib: f64,
    /// IP packets a second that the sender put on the wire, where they can be counted.
    pub packets_per_second: Option<f64>,
    /// The same in Mbit/s.
    pub megabits: Option<f64>,
}

impl Figures {
    pub(super) fn of(
        frames: &[Frame],
        (from, to): (Time, Time),
        memory: u64,
        wire: Option<Traffic>,
        lost: Vec<(String, u64)>,
    ) -> Self {
        let within: Vec<&Frame> = frames
            .iter()
            .filter(|frame| (from..to).contains(&frame.shown))
            .collect();

        let mut ages: Vec<Duration> = within
            .iter()
            .map(|frame| frame.shown.saturating_since(frame.captured))
            .collect();

        ages.sort_unstable();
        let age = |hundredths: usize| milliseconds(ages[(ages.len() - 1) * hundredths / 100]);
        let wire = wire.map(|wire| per_second(wire, (from, to)));
        let seconds = to.saturating_since(from).as_secs_f64();
        Self {
            fps: within.len() as f64 / seconds,
            age_ms: (!ages.is_empty()).then(|| [50, 95, 99].map(age)),
            freeze_ms: milliseconds(longest_gap(&within, from, to)),
            lost,
            sender_mib: memory as f64 / f64::from(1 << 20),
            packets_per_second: wire.map(|wire| wire.0),
            megabits: wire.map(|wire| wire.1),
        }
    }

    /// The head of the columns that [`row`](Self::row) fills, in Markdown.
    pub const HEAD: &str = "fps | age p50 | p95 | p99, ms | longest freeze, ms | sender, MiB | packets/s | Mbit/s | not shown";

    /// How many those are.
    pub const COLUMNS: usize = 9;

    /// A row of the table in Markdown.
    #[must_use]
    pub fn row(&self) -> String {
        let age = |at: usize| {
            self.age_ms
                .map_or("-".to_owned(), |ages| format!("{:.1}", ages[at]))
        };

        let maybe =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}"));
        let lost: Vec<String> = self
            .lost
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();

        format!(
            "{:.1} | {} | {} | {} | {:.0} | {:.0} | {} | {} | {}",
            self.fps,
            age(0),
            age(1),
            age(2),
            self.freeze_ms,
            self.sender_mib,
            maybe(self.packets_per_second),
            maybe(self.megabits),
            lost.join(", ")
        )
    }
}

fn longest_gap(frames: &[&Frame], from: Time, to: Time) -> Duration {
    let ends = frames.iter().map(|frame| frame.shown).chain([to]);
    let mut last = from;
    let mut longest = Duration::ZERO;
    for shown in ends {
        longest = longest.max(shown.saturating_since(last));
        last = shown;
    }

    longest
}

fn milliseconds(length: Duration) -> f64 {
    length.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn a_freeze_counts_from_the_beginning_and_to_the_end() {
        let frame = |shown| Frame {
            captured: at(shown - 5),
            shown: at(shown),
        };

        let figures = |frames: &[Frame]| Figures::of(frames, (at(1000), at(2000)), 0, None, vec![]);
        let late = figures(&[frame(900), frame(1700), frame(1800), frame(2100)]);
        assert!((late.fps - 2.0).abs() < 1e-9, "{late:?}");
        assert!((late.freeze_ms - 700.0).abs() < 1e-9, "{late:?}");
        assert_eq!(late.age_ms, Some([5.0; 3]));

        let none = figures(&[]);
        assert!((none.freeze_ms - 1000.0).abs() < 1e-9, "{none:?}");
        assert_eq!(none.age_ms, None);
    }
}
