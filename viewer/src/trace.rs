//! The trace that `--trace` writes, for diagnosis and tests: a line of JSON for each frame shown, for each frame that a
//! tracker looked at, and for each new verdict.

use std::hash::Hasher;
use std::io::{self, Write};

use serde::Serialize;
use siphasher::sip::SipHasher13;

use crate::stats::{Presented, VerdictSummary};
use crate::track::{Found, TrackResult};

/// A line of the trace. Times are nanoseconds on CLOCK_MONOTONIC of the host that took them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrameLine {
    /// The run of the source, in 16 hexadecimal digits.
    pub epoch: String,
    /// The frame's number in it.
    pub number: u64,
    /// By the source's clock.
    pub captured_ns: u64,
    /// When the last shard came.
    pub arrived_ns: u64,
    /// When it was shown.
    pub presented_ns: u64,
    /// From capture to the screen, in microseconds.
    pub age_us: u64,
    /// Of the JPEG.
    pub bytes: usize,
    /// [`hash`] of the JPEG as received, in 16 hexadecimal digits.
    pub hash: String,
    /// The number painted in the picture, if a block code was found there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_number: Option<u64>,
    /// The capture time painted in the picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_captured_ns: Option<u64>,
    /// The true centre of the ball in the picture, across and down, when the source says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ball: Option<[f32; 2]>,
}

/// A tracker's answer about a frame: a line of its own, later than that of the frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrackLine {
    /// The run of the source, in 16 hexadecimal digits.
    pub epoch: String,
    /// The frame's number in it.
    pub number: u64,
    /// When the answer came.
    pub tracked_ns: u64,
    /// From handing the frame over to the answer, in microseconds.
    pub took_us: u64,
    /// What was found; null when there is nothing.
    pub detection: Option<Found>,
}

/// The source's verdict on a screen: a line whenever it changes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerdictLine {
    /// The stream that it looked at: the one shown, or its canary.
    pub stream: String,
    /// When the viewer received it.
    pub told_ns: u64,
    /// The verdict.
    pub verdict: VerdictSummary,
}

impl VerdictLine {
    /// As [`FrameLine::write`].
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        write_line(self, to)
    }
}

impl TrackLine {
    /// The line of a detection.
    #[must_use]
    pub fn of(result: &TrackResult) -> Self {
        Self {
            epoch: format!("{:016x}", result.id.epoch),
            number: result.id.number,
            tracked_ns: result.at.as_nanos(),
            took_us: u64::try_from(result.took.as_micros()).unwrap_or(u64::MAX),
            detection: result.found,
        }
    }

    /// As [`FrameLine::write`].
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        write_line(self, to)
    }
}

impl FrameLine {
    /// The line of a frame shown.
    #[must_use]
    pub fn of(presented: &Presented) -> Self {
        let info = &presented.info;
        let code = info.traced.and_then(|traced| traced.code);
        Self {
            epoch: format!("{:016x}", info.id.epoch),
            number: info.id.number,
            captured_ns: info.captured_ns,
            arrived_ns: info.arrived.as_nanos(),
            presented_ns: presented.at.as_nanos(),
            age_us: u64::try_from(presented.age.as_micros()).unwrap_or(u64::MAX),
            bytes: info.bytes,
            hash: info
                .traced
                .map_or_else(String::new, |traced| format!("{:016x}", traced.jpeg_hash)),
            code_number: code.map(|code| code.number),
            code_captured_ns: code.map(|code| code.captured_ns),
            ball: info
                .traced
                .and_then(|traced| traced.ball)
                .map(|ball| [ball.x, ball.y]),
        }
    }

    /// Writes the line at once, so that a viewer that is killed leaves whole lines.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        write_line(self, to)
    }
}

/// Writes with one call, so that lines of several threads do not mix.
fn write_line(line: &impl Serialize, mut to: impl Write) -> io::Result<()> {
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// Identifies a JPEG in a trace: SipHash-1-3 with a zero key. Not for use against an adversary.
#[must_use]
pub fn hash(jpeg: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(jpeg);
    hasher.finish()
}
