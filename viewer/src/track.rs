//! Trackers: processes beside the viewer that find something in the frames shown.
//!
//! The presenter offers each frame to the [`TrackerPool`] and never waits. The frame goes to the tracker that has been idle
//! longest. If none is idle, the newest frame waits and older ones are counted as missing. Each tracker has a thread here,
//! which talks to it through pipes ([`wire`]) and replaces it when it dies, hangs or breaks the protocol. The built-in
//! tracker ([`serve`]) is the same program in another process and uses the same protocol.

pub mod ball;
mod child;
mod counters;
mod job_queue;
mod pool;
pub mod serve;
mod stage_timings;
#[cfg(test)]
mod tests;
pub mod wire;
mod worker;

use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{Detection, FrameId, StreamName};

pub use counters::{LastDetection, Spread, Tracking};
pub use pool::{OnResult, TrackerPool};
pub use stage_timings::{Observation, StageTimings};
pub use wire::{Format, Found};

/// Trackers a viewer has at most: more than any machine that also shows pictures can keep busy.
pub const MAX_TRACKERS: usize = 16;

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// A bright ball; see [`ball`].
    Ball,
}

fanlight_daemon::display_choice!(Target);

/// Which trackers to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many at once, 1 to [`MAX_TRACKERS`].
    pub trackers: usize,
    /// The tracker.
    pub kind: Kind,
    /// What it is given.
    pub format: Format,
}

/// A kind of tracker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This program's own.
    BuiltIn,
    /// What `/bin/sh -c` runs.
    Command(String),
}

/// A frame for a tracker.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The stream it belongs to.
    pub stream: StreamName,
    /// Its identity.
    pub id: FrameId,
    /// See `FrameHeader` in frame.proto.
    pub captured_ns: u64,
    /// The JPEG as received.
    pub jpeg: Bytes,
    /// When it was shown.
    pub shown: Time,
    /// How long it spent in each stage until then.
    pub timings: StageTimings,
}

/// A tracker's answer about a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackResult {
    /// The stream of the frame.
    pub stream: StreamName,
    /// The frame's identity.
    pub id: FrameId,
    /// Columns and rows of the picture, in whose pixels the places are.
    pub size: (u32, u32),
    /// What was found; none when there is nothing.
    pub found: Option<Found>,
    /// When the answer came.
    pub at: Time,
    /// From handing the frame over to its answer.
    pub took: Duration,
    /// How long the tracker says that it worked on it.
    pub work: Option<Duration>,
    /// When the frame was shown.
    pub shown: Time,
    /// How long it spent in each stage until then.
    pub timings: StageTimings,
}

impl TrackResult {
    /// The message to the source about it.
    #[must_use]
    pub fn detection(&self) -> Detection {
        let tracked = self.at.saturating_since(self.shown);
        let look = Observation {
            found: self.found,
            tracked,
            looked: self.work.unwrap_or_default(),
        };
        self.timings.detection(self.id, &look)
    }
}
