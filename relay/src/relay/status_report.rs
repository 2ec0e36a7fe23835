//! The status line: for the service manager each second, for the log now and then. And the counts of
//! captures.

use std::time::Duration;

use fanlight_live::ledger::Resource;
use fanlight_proto::clock::Time;

use crate::engine::{Counts, Engine};
use crate::udp::Sender;

/// How often the status goes to the service manager, and to the log at level debug.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// One of so many lines goes to the log at level info, if something has changed.
const REPORTS_PER_INFO: u32 = 10;

/// The names of what a capture counts, in the order of [`capture_counts`].
pub(super) const CAPTURE_COUNTS: &[&str] = &[
    "aborted",
    "frames",
    "frames_sent",
    "datagrams",
    "joins",
    "repairs_asked",
    "repairs_sent",
];

/// The counts for a capture.
pub(super) fn capture_counts(engine: &Engine, sender: &Sender) -> Vec<u64> {
    let counts = engine.counts();
    let sent = sender.counts();
    vec![
        sent.aborted + sent.failed,
        counts.frames,
        counts.frames_sent,
        sent.datagrams,
        counts.joins,
        counts.repairs_asked,
        counts.repairs_sent,
    ]
}

/// Makes the status line when it is due, and logs it.
#[derive(Debug, Default)]
pub(super) struct StatusReporter {
    next: Time,
    reports: u32,
    logged: Counts,
}

impl StatusReporter {
    /// When the next line is due.
    pub(super) const fn next(&self) -> Time {
        self.next
    }

    /// The status in one line, when it is due.
    pub(super) fn due(&mut self, now: Time, engine: &Engine, sender: &Sender) -> Option<String> {
        if now < self.next {
            return None;
        }

        self.next = now.next_multiple_of(REPORT_INTERVAL);
        self.reports += 1;
        let counts = engine.counts();
        let sent = sender.counts();
        let line = format!(
            "{} viewers ({} on dedicated sockets, {} by multicast), {} streams; \
             frames: {} received, {} sent, {} superseded, {} refused; \
             for single viewers: {} skipped to keep up, {} aborted, {} not started; \
             {} datagrams ({} parity), {} bytes sent; not sent: {} buffer full, {} failed; \
             repairs: {} of {}; {} malformed, {} unauthentic, {} resets, {} joins, {} refusals; \
             handshakes: {} refused, {} put off; \
             {} isolated, {} left their group, {} revoked, {} evicted, {} keys rotated",
            engine.viewers(),
            engine.dedicated_sockets(),
            engine.in_groups(),
            engine.streams(),
            counts.frames,
            counts.frames_sent,
            counts.superseded,
            counts.refused_frames,
            engine.skipped(),
            sent.aborted,
            sent.skipped,
            sent.datagrams,
            sent.parity,
            sent.bytes,
            sent.buffer_full,
            sent.failed,
            counts.repairs_sent,
            counts.repairs_asked,
            counts.malformed,
            counts.unauthentic,
            counts.resets,
            counts.joins,
            counts.refusals,
            counts.handshakes_refused,
            engine.refusals().of(Resource::Handshakes),
            counts.isolated,
            counts.left_groups,
            counts.revoked,
            counts.evicted,
            counts.keys_rotated,
        );

        tracing::debug!("{line}");
        if self.reports.is_multiple_of(REPORTS_PER_INFO) && self.logged != *counts {
            self.logged = *counts;
            tracing::info!("{line}");
        }

        Some(line)
    }
}
