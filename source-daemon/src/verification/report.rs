//! The report that `fanlight-source status --json` prints. Later versions add fields and remove none; readers ignore fields
//! that they do not know.

use serde::{Deserialize, Serialize};

use super::statistics;

/// The version of this shape: raised when a field changes its meaning.
pub const VERSION: u32 = 2;

/// The report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// See [`VERSION`].
    pub version: u32,
    /// Program and version.
    pub program: String,
    /// How long it runs.
    pub uptime_s: f64,
    /// The second that is under way, counted since its start: the index of [`Second`].
    pub second: u64,
    /// The limits within which a screen is right.
    pub limits: Limits,
    /// The stream, and its canary if there is one.
    pub streams: Vec<Stream>,
    /// Relays that have sent feedback.
    pub relays: Vec<Relay>,
    /// One row for each screen, the worst first.
    pub screens: Vec<Screen>,
    /// Viewers that are known and not among `screens`, because the answer would be too long.
    pub screens_left_out: u64,
    /// Viewers that found no room in the table, since the start.
    pub screens_refused: u64,
}

/// The limits within which a screen is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Largest error.
    pub max_error_px: f64,
    /// Longest time from capture to the screen.
    pub max_age_ms: f64,
    /// A screen that owes an answer for so long is blind.
    pub blind_after_ms: f64,
    /// Answers that `error_px` and `latency_ms` are of, at most.
    pub history_size: usize,
}

/// A stream of this source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// Whether it is the canary of the other.
    pub canary: bool,
    /// What it is made of, for people.
    pub input: String,
    /// `live`, `stalled`, `idle` and so on.
    pub state: String,
    /// Why; empty when all is well.
    pub reason: String,
    /// This run, in hexadecimal.
    pub epoch: String,
    /// Frames published in this run.
    pub frames_published: u64,
    /// Whether it is known what its newest picture shows.
    pub truth_known: bool,
    /// Whether anybody watches it, as far as is known.
    pub watched: bool,
    /// Viewers over UDP, over all relays.
    pub viewers: u32,
    /// Clients over HTTP, over all relays.
    pub clients: u32,
    /// Relays that do not take it.
    pub refused_by: Vec<RefusedBy>,
}

/// A relay that does not take a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RefusedBy {
    /// The connection it came on.
    pub peer: u64,
    /// What it calls itself.
    pub relay: String,
    /// Why it does not take it.
    pub reason: String,
}

/// A relay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Relay {
    /// The connection it came on.
    pub peer: u64,
    /// Its run, in hexadecimal.
    pub relay: String,
    /// Feedback messages that came.
    pub reports: u64,
    /// Feedback messages that were lost.
    pub reports_lost: u64,
}

/// A screen: its picture, through whatever relays, and its canary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Screen {
    /// Identifies this row as long as the source runs.
    pub row: u64,
    /// Before rows are merged: the same number in all rows of one screen, 0 if it is not known. Equal to `row` afterwards.
    pub screen: u64,
    /// What the operator calls it.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// The stream.
    pub stream: String,
    /// Whether that stream is a canary.
    pub canary: bool,
    /// The connection of its relay.
    pub peer: u64,
    /// The relay's name for it, in hexadecimal.
    pub viewer: String,
    /// `right picture`, `late`, `wrong`, `blind` or `not measured`.
    pub health: String,
    /// By how much it is late.
    pub late_by_ms: Option<f64>,
    /// Why; empty when all is well.
    pub reason: String,
    /// How long ago it came.
    pub since_s: f64,
    /// How long ago its first detection came.
    pub tracking_s: Option<f64>,
    /// How long ago it was last heard of.
    pub heard_s: f64,
    /// How long ago it left.
    pub left_s: Option<f64>,
    /// Errors of the newest detections; none when there were none.
    pub error_px: Option<Errors>,
    /// All errors since it came.
    pub error_total_px: Spread,
    /// Where the time of the newest answers went.
    pub latency_ms: Option<Latency>,
    /// The clocks of source and screen are known to be right within so much.
    pub clock_error_ms: f64,
    /// Of the frames published.
    pub frames: Frames,
    /// As the screen reports itself.
    pub shown: Shown,
    /// The picture beside the canary.
    pub canary_status: Option<CanaryStatus>,
    /// The last seconds in which there was anything, the oldest first. The last may be under way.
    pub seconds: Vec<Second>,
    /// The sessions that this row is made of.
    pub paths: Vec<Path>,
}

/// A session of a screen with one relay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Path {
    /// The stream.
    pub stream: String,
    /// Whether that stream is a canary.
    pub canary: bool,
    /// Where the screen is, as the relay sees it.
    pub address: String,
    /// The connection of the relay.
    pub peer: u64,
    /// Its health, as in [`Screen::health`].
    pub health: String,
    /// Why; empty when all is well.
    pub reason: String,
    /// How long ago the session ended.
    pub left_s: Option<f64>,
}

/// Errors of the newest detections, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Errors {
    /// Of the newest.
    pub now: f64,
    /// Mean of all.
    pub mean: f64,
    /// The largest.
    pub max: f64,
    /// Standard deviation.
    pub deviation: f64,
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// How many there are.
    pub count: u64,
}

/// Count, mean, largest and standard deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spread {
    /// How many there are.
    pub count: u64,
    /// Mean of all.
    pub mean: f64,
    /// The largest.
    pub max: f64,
    /// Standard deviation.
    pub deviation: f64,
}

/// Times of the newest answers, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// From capture to the tracker's answer.
    pub capture_to_detection: Percentiles,
    /// From capture to the screen.
    pub capture_to_screen: Percentiles,
    /// From capture to the publisher.
    pub prepare: Percentiles,
    /// From there to the frame's last shard at the viewer.
    pub transit: Percentiles,
    /// From there until the decoder took it.
    pub wait: Percentiles,
    /// Decoding.
    pub decode: Percentiles,
    /// From decoded to shown.
    pub present: Percentiles,
    /// From shown to the tracker's answer.
    pub track: Percentiles,
    /// Of that, the looking itself.
    pub looked: Percentiles,
}

/// Percentiles by nearest rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl From<statistics::Percentiles> for Percentiles {
    fn from(statistics::Percentiles { p50, p95, p99 }: statistics::Percentiles) -> Self {
        Self { p50, p95, p99 }
    }
}

/// What became of the frames published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Frames {
    /// Published since its first answer, and long enough ago for an answer to have come.
    pub expected: u64,
    /// Answered for.
    pub answered: u64,
    /// Found in.
    pub found: u64,
    /// Nothing found in, though the ball was there.
    pub none: u64,
    /// Found in, of those expected: 0 to 1; none when none is expected.
    pub detection_rate: Option<f64>,
    /// Expected and not answered for: the sum of the four below.
    pub missing: u64,
    /// Shown while all trackers were busy.
    pub missing_untracked: u64,
    /// Answered for, but the network lost the answer.
    pub missing_lost_on_the_way: u64,
    /// Answered for, but the relay dropped the answer.
    pub missing_dropped_by_relay: u64,
    /// Never shown, or not looked at for another reason.
    pub missing_unseen: u64,
    /// Answers that fit no frame: of another run, never published, or a second answer.
    pub mismatched: u64,
    /// Answers for frames that are forgotten.
    pub too_old: u64,
}

/// As the screen reports itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shown {
    /// Frames shown in its session.
    pub frames: u64,
    /// Frames lost in its session.
    pub lost: u64,
    /// Frames shown a second.
    pub fps: Option<f64>,
    /// Median age when shown; none: not known.
    pub age_ms: Option<f64>,
}

/// The picture beside a canary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CanaryStatus {
    /// Its stream.
    pub stream: String,
    /// Frames of it shown.
    pub shown: u64,
    /// Frames of it lost.
    pub lost: u64,
    /// How long ago the newest was shown.
    pub silent_ms: f64,
    /// Median age when shown; none: not known.
    pub age_ms: Option<f64>,
}

/// The worst of one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Second {
    /// Counted since the source was started.
    pub second: u64,
    /// Answers.
    pub answers: u32,
    /// Of these, the ones that found something.
    pub found: u32,
    /// Of these, the ones that found nothing though the ball was there.
    pub none: u32,
    /// The largest error.
    pub worst_px: f64,
    /// The longest time from capture to the screen.
    pub oldest_ms: f64,
    /// Whether the screen was blind at some moment of it.
    pub blind: bool,
}
