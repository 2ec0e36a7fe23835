//! The counts of the canary, the synthetic stream beside the one that is shown.

use fanlight_proto::message::{CanaryStatus, StreamName};
use serde::Serialize;

use super::{Inner, Time, VerdictSummary};
use crate::engine::{DetectionCounts, LinkState};

/// The counts of a canary in reports. `frames` is the sum of `found`, `none` and `undecodable`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Canary {
    /// Its stream.
    pub stream: String,
    /// Frames of it that came whole.
    pub frames: u64,
    /// Frames of it that did not.
    pub lost: u64,
    /// Frames in which the ball was found.
    pub found: u64,
    /// Frames without it.
    pub none: u64,
    /// Whole frames that were no picture, or none of a canary's size.
    pub undecodable: u64,
    /// What became of the detections.
    pub detections: DetectionCounts,
    /// The source's verdict on them.
    pub verdict: Option<VerdictSummary>,
}

impl Inner {
    /// The state of the stream shown, for messages on its canary; none before the stream has its name.
    pub(super) fn canary_status(&self, now: Time) -> Option<CanaryStatus> {
        let silent = self
            .last_shown
            .map_or(0, |last| now.saturating_since(last).as_millis());
        Some(CanaryStatus {
            stream: self.summary.stream.as_ref().map(StreamName::to_string)?,
            shown: self.shown,
            lost: self.losses().total(),
            silent_ms: u32::try_from(silent).unwrap_or(u32::MAX),
            age_us: self.second.median_us,
            not_shown: match self.link_state {
                LinkState::NotShown(reason) => reason.into(),
                _ => 0,
            },
        })
    }
}
