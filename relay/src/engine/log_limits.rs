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
}

/// What happened, in the order of [`LogLine`].
const EVENTS: [&str; 10] = [
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
];

/// The limits, one for each kind of line.
#[derive(Debug, Default)]
pub(super) struct LogLimits([LogLimiter; EVENTS.len()]);

impl LogLimits {
    /// Notes an event. When a line is due, returns how many events it stands for.
    pub(super) fn note(&mut self, line: LogLine, now: Time) -> Option<u64> {
        self.0[line as usize].note(now)
    }

    /// Logs what was counted since the last lines, and is due.
    pub(super) fn flush(&mut self, now: Time) {
        for (what, limit) in EVENTS.iter().zip(&mut self.0) {
            if let Some(count) = limit.flush(now) {
                tracing::info!(count, "{what}");
            }
        }
    }

    /// Events that have no line of their own.
    pub(super) fn withheld(&self) -> u64 {
        self.0.iter().map(LogLimiter::withheld).sum()
    }
}
