//! Log lines that others can cause: at most one a second of each kind, with a count.

use fanlight_daemon::rate_limit::LogLimiter;
use fanlight_proto::clock::Time;

/// The kinds of lines.
#[derive(Clone, Copy, Debug)]
pub(super) enum LogLine {
    Malformed,
    RefusedFrames,
    Joined,
    Left,
    RefusedJoins,
    Unauthentic,
    UnsentSequences,
    Isolated,
    LeftGroups,
    Detections,
    UnprovedFrames,
}

/// What happened, in the order of [`LogLine`].
const EVENTS: [&str; 11] = [
    "malformed datagrams dropped",
    "frames refused",
    "viewers joined",
    "viewers left",
    "joins refused",
    "messages of sealed sessions dropped",
    "keep-alives of unsent media dropped",
    "viewers fell behind",
    "viewers that multicast serves badly get unicast",
    "detections dropped",
    "frames reported by screens that this relay has not had",
];

/// The limits, one for each kind of line.
#[derive(Debug, Default)]
pub(super) struct LogLimits {
    limits: [LogLimiter; EVENTS.len()],
    /// Who is counted by the next line about joins, as far as there is room.
    joined: Vec<String>,
}

/// Names that one line has.
const MAX_NAMES: usize = 8;

impl LogLimits {
    /// Notes an event. When a line is due, returns how many events it stands for.
    pub(super) fn note(&mut self, line: LogLine, now: Time) -> Option<u64> {
        self.limits[line as usize].note(now)
    }

    /// Notes that a viewer called `name` joined. When a line is due: how many it stands for, and what they are called.
    pub(super) fn joined(&mut self, now: Time, name: &str) -> Option<(u64, String)> {
        if self.joined.len() < MAX_NAMES {
            self.joined.push(name.to_owned());
        }

        let count = self.note(LogLine::Joined, now)?;
        Some((count, self.take_names()))
    }

    fn take_names(&mut self) -> String {
        std::mem::take(&mut self.joined).join(", ")
    }

    /// Logs what was counted since the last lines, and is due.
    pub(super) fn flush(&mut self, now: Time) {
        for (line, what) in EVENTS.iter().enumerate() {
            let Some(count) = self.limits[line].flush(now) else {
                continue;
            };

            if line == LogLine::Joined as usize {
                let names = self.take_names();
                tracing::info!(count, names, "{what}");
            } else {
                tracing::info!(count, "{what}");
            }
        }
    }

    /// Events that have no line of their own.
    pub(super) fn withheld(&self) -> u64 {
        self.limits.iter().map(LogLimiter::withheld).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn whoever_joins_is_named_also_when_several_do_within_a_second() {
        let at = |millis| Time::default() + Duration::from_millis(millis);
        let mut limits = LogLimits::default();
        assert_eq!(limits.joined(at(0), "hall"), Some((1, "hall".to_owned())));
        for number in 0..10 {
            assert_eq!(limits.joined(at(100), &format!("screen {number}")), None);
        }

        let (count, names) = limits.joined(at(1100), "late").unwrap();
        assert_eq!(count, 11);
        assert!(names.starts_with("screen 0, screen 1, "), "{names}");
        assert!(names.ends_with("screen 7"), "{names}");
    }
}
