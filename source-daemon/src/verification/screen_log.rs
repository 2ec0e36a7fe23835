//! Log events about screens: changes of health, at most one line a second of each kind, and a summary every 10 seconds.

use std::time::Duration;

use fanlight_daemon::rate_limit::LogLimiter;
use fanlight_proto::clock::Time;

/// Between two summaries.
pub const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);

/// Screens that a summary names.
pub const MAX_NAMED: usize = 4;

/// The health of a screen has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthChange {
    /// The stream.
    pub stream: String,
    /// The screen.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// Its health before.
    pub was: String,
    /// Its health now.
    pub is: String,
    /// Why; may be empty.
    pub reason: String,
    /// Whether it is for the operator to do something.
    pub worse: bool,
}

/// An event to be logged.
#[derive(Clone, Debug, PartialEq)]
pub enum LogEvent {
    /// A change, and how many changes of its kind there were since the last line.
    HealthChange(HealthChange, u64),
    /// The health of all screens of one stream.
    Summary(Summary),
}

/// The health of all screens of one stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// The stream.
    pub stream: String,
    /// Screens that show the right picture, in time.
    pub right: usize,
    /// Screens that are late.
    pub late: usize,
    /// Screens that show something wrong.
    pub wrong: usize,
    /// Screens that show nothing, or do not tell.
    pub blind: usize,
    /// Viewers that are not measured.
    pub unmeasured: usize,
    /// Detections since the source was started.
    pub detections: u64,
    /// Of these, the ones that fit no frame.
    pub mismatched: u64,
    /// Mean error over all screens' histories, in pixels.
    pub mean_error: f64,
    /// The largest error in any screen's history, in pixels.
    pub max_error: f64,
    /// The worst screens, at most [`MAX_NAMED`].
    pub worst: Vec<String>,
}

/// Changes that wait for their line. Of each kind only the newest is kept.
#[derive(Debug, Default)]
pub struct HealthChanges {
    better: Kind,
    worse: Kind,
}

#[derive(Debug, Default)]
struct Kind {
    limit: LogLimiter,
    newest: Option<HealthChange>,
    count: u64,
}

impl HealthChanges {
    /// Notes a change.
    pub fn note(&mut self, change: HealthChange) {
        let kind = if change.worse {
            &mut self.worse
        } else {
            &mut self.better
        };
        kind.newest = Some(change);
        kind.count += 1;
    }

    /// The changes whose line is due.
    pub fn due(&mut self, now: Time) -> Vec<LogEvent> {
        [&mut self.worse, &mut self.better]
            .into_iter()
            .filter_map(|kind| kind.due(now))
            .collect()
    }
}

impl Kind {
    fn due(&mut self, now: Time) -> Option<LogEvent> {
        let fresh = std::mem::take(&mut self.count);
        let count = if fresh > 0 {
            self.limit.note_many(now, fresh)
        } else {
            self.limit.flush(now)
        }?;

        self.newest
            .take()
            .map(|change| LogEvent::HealthChange(change, count))
    }
}

/// Writes it to the log.
pub fn log(news: &LogEvent) {
    match news {
        LogEvent::HealthChange(change, count) => log_change(change, *count),
        LogEvent::Summary(summary) => log_summary(summary),
    }
}

fn log_change(change: &HealthChange, count: u64) {
    let HealthChange {
        stream,
        name,
        address,
        was,
        is,
        reason,
        worse,
    } = change;

    if *worse {
        tracing::warn!(stream, name, address, was, is, reason, count, "screen");
    } else {
        tracing::info!(stream, name, address, was, is, reason, count, "screen");
    }
}

fn log_summary(summary: &Summary) {
    let Summary {
        stream,
        right,
        late,
        wrong,
        blind,
        unmeasured,
        detections,
        mismatched,
        mean_error,
        max_error,
        worst,
    } = summary;

    tracing::info!(
        stream,
        right,
        late,
        wrong,
        blind,
        unmeasured,
        detections,
        mismatched,
        mean_error = format!("{mean_error:.2}"),
        max_error = format!("{max_error:.2}"),
        worst = worst.join("; "),
        "screens"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, worse: bool) -> HealthChange {
        let text = String::new;
        HealthChange {
            name: name.into(),
            worse,
            stream: text(),
            address: text(),
            was: text(),
            is: text(),
            reason: text(),
        }
    }

    #[test]
    fn a_flood_of_changes_is_one_line_a_second_of_each_kind() {
        let mut changes = HealthChanges::default();
        let mut lines = Vec::new();

        for millis in 0..3000 {
            let now = Time::from_nanos(millis * 1_000_000);
            changes.note(change("a", true));
            changes.note(change("b", false));
            lines.extend(changes.due(now));
        }

        let counts: Vec<_> = lines
            .iter()
            .map(|news| match news {
                LogEvent::HealthChange(change, count) => (change.name.as_str(), *count),
                LogEvent::Summary(_) => panic!("nobody asked for it"),
            })
            .collect();

        assert_eq!(
            counts,
            [
                ("a", 1),
                ("b", 1),
                ("a", 1000),
                ("b", 1000),
                ("a", 1000),
                ("b", 1000)
            ]
        );
    }

    #[test]
    fn the_last_change_of_a_burst_is_told() {
        let mut changes = HealthChanges::default();
        let mut due = |millis: u64, name: Option<&str>| {
            name.into_iter()
                .for_each(|name| changes.note(change(name, true)));
            changes.due(Time::from_nanos(millis * 1_000_000))
        };

        assert_eq!(
            due(0, Some("a")),
            [LogEvent::HealthChange(change("a", true), 1)]
        );

        assert_eq!(due(100, Some("b")), []);
        assert_eq!(
            due(1000, None),
            [LogEvent::HealthChange(change("b", true), 1)]
        );

        assert_eq!(due(3000, None), []);
    }
}
