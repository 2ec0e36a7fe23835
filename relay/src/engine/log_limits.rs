//! Log lines that others can cause: at most one a second of each kind, with a count.

use fanlight_daemon::rate_limit::LogLimiter;
use fanlight_proto::clock::Time;

/// The limits, one for each kind of line.
#[derive(Debug, Default)]
pub(super) struct LogLimits {
    pub(super) malformed: LogLimiter,
    pub(super) refused_frames: LogLimiter,
    pub(super) joined: LogLimiter,
    pub(super) left: LogLimiter,
    pub(super) refused_joins: LogLimiter,
    pub(super) unauthentic: LogLimiter,
    pub(super) unsent_sequences: LogLimiter,
    pub(super) isolated: LogLimiter,
    pub(super) left_groups: LogLimiter,
    pub(super) detections: LogLimiter,
}

impl LogLimits {
    /// Logs what was counted since the last lines, and is due.
    pub(super) fn flush(&mut self, now: Time) {
        let kinds = [
            ("malformed datagrams dropped", &mut self.malformed),
            ("frames refused", &mut self.refused_frames),
            ("viewers joined", &mut self.joined),
            ("viewers left", &mut self.left),
            ("joins refused", &mut self.refused_joins),
            ("messages of sealed sessions dropped", &mut self.unauthentic),
            (
                "keep-alives of unsent media dropped",
                &mut self.unsent_sequences,
            ),
            ("viewers fell behind", &mut self.isolated),
            (
                "viewers that multicast serves badly get unicast",
                &mut self.left_groups,
            ),
            ("detections dropped", &mut self.detections),
        ];

        for (what, limit) in kinds {
            if let Some(count) = limit.flush(now) {
                tracing::info!(count, "{what}");
            }
        }
    }
}
