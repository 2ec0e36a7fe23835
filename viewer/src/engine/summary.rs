//! What the engine exchanges with its caller besides datagrams: complete frames, their fate, and its counts.

use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{StreamName, Verdict};
use fanlight_proto::reassembly::{CompleteFrame, Counts, Losses};

use super::{DetectionCounts, PathSummary, Transport};

/// A complete frame, not parsed yet.
#[derive(Debug)]
pub struct ReceivedFrame {
    /// The topic of the stream it came on.
    pub topic: Bytes,
    /// The frame.
    pub whole: CompleteFrame,
    /// When the relay that sent the last of it received it, on our clock; none when that is not known.
    pub relayed: Option<Time>,
    /// When the last of it came.
    pub arrived: Time,
}

/// What became of frames after the engine, for the report to the relay. Counts never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presentation {
    /// Frames shown.
    pub shown: u64,
    /// Whole frames that were not shown.
    pub lost: u64,
    /// Median age over the last second at presentation, in microseconds; 0 when not known.
    pub age_us: u32,
}

/// The state and the counts of an engine. Counts never fall.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The stream of the latest session.
    pub stream: Option<StreamName>,
    /// Sessions opened.
    pub joins: u64,
    /// What pictures come by, or are sought by.
    pub transport: Transport,
    /// Datagrams that came, and messages by TCP.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Datagrams that are not ours, or answer nothing we asked.
    pub foreign: u64,
    /// What became of the shards.
    pub counts: Counts,
    /// Frames lost before they were whole.
    pub losses: Losses,
    /// The latest round trip to a relay and back, of the path where it is shortest.
    pub round_trip: Option<Duration>,
    /// Each path on its own.
    pub paths: Vec<PathSummary>,
    /// What became of detections.
    pub detections: DetectionCounts,
    /// The source's verdict on them, if there is one.
    pub verdict: Option<Verdict>,
    /// How the source's clock relates to ours, by the path with the smallest error.
    pub source_clock: Option<ClockOffset>,
}

/// How another host's CLOCK_MONOTONIC relates to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    /// Names that clock; see `FrameHeader` in frame.proto.
    pub clock_id: u64,
    /// That clock minus ours, in nanoseconds.
    pub offset_ns: i64,
    /// The offset is right within so much.
    pub error: Duration,
}
