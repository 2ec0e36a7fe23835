//! Writes the source's verdicts to the trace.

use std::fs::File;
use std::sync::Arc;

use fanlight_proto::clock::Time;
use fanlight_proto::message::StreamName;

use crate::stats::VerdictSummary;
use crate::trace::VerdictLine;

/// Writes a line whenever the source says something else.
#[derive(Debug)]
pub(super) struct VerdictTrace {
    trace: Option<Arc<File>>,
    last: Option<VerdictSummary>,
}

impl VerdictTrace {
    /// Verdicts for a trace, if there is one.
    pub(super) const fn new(trace: Option<Arc<File>>) -> Self {
        Self { trace, last: None }
    }

    /// Takes what the source says at `now` of `stream` on this screen.
    pub(super) fn note(
        &mut self,
        now: Time,
        stream: Option<&StreamName>,
        verdict: Option<VerdictSummary>,
    ) {
        if std::mem::replace(&mut self.last, verdict) == verdict {
            return;
        }

        let (Some(trace), Some(stream), Some(verdict)) = (&self.trace, stream, verdict) else {
            return;
        };

        if let Err(error) = (VerdictLine {
            stream: stream.to_string(),
            told_ns: now.as_nanos(),
            verdict,
        })
        .write(&**trace)
        {
            tracing::error!("verdicts are no longer in the trace: {error}");
            self.trace = None;
        }
    }
}
