//! The counters of all trackers, and their part of the report.

use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use super::TrackResult;
use super::wire::Found;
use crate::engine::DetectionCounts;
use crate::histogram::Histogram;
use crate::verdict::VerdictSummary;

/// Counts of all trackers of a viewer. Any thread may call.
#[derive(Debug, Default)]
pub(super) struct TrackCounters(Mutex<Counts>);

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) offered: u64,
    pub(super) found: u64,
    pub(super) none: u64,
    pub(super) missing: u64,
    pub(super) failed: u64,
    pub(super) restarts: u64,
    pub(super) timeouts: u64,
    pub(super) malformed: u64,
    pub(super) unknown: u64,
    answer: Histogram,
    work: Histogram,
    last: Option<TrackResult>,
}

/// The part of a viewer's report about its trackers. `offered` is the sum of `found`, `none`, `missing`, `failed` and
/// `pending`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tracking {
    /// Trackers at work.
    pub trackers: usize,
    /// Frames shown, each of which a tracker should have seen.
    pub offered: u64,
    /// Frames in which something was found.
    pub found: u64,
    /// Frames in which there is nothing.
    pub none: u64,
    /// Frames that no tracker saw because all were busy.
    pub missing: u64,
    /// Frames that a tracker failed at.
    pub failed: u64,
    /// Frames under way when the report was made.
    pub pending: u64,
    /// Of the frames answered, the part in which something was found.
    pub detection_rate: Option<f64>,
    /// Trackers replaced.
    pub restarts: u64,
    /// Of those, the ones that did not answer in time.
    pub timeouts: u64,
    /// Lines that are no answer.
    pub malformed: u64,
    /// Answers to what was not asked.
    pub unknown: u64,
    /// From handing a frame over to its answer.
    pub answer_ms: Spread,
    /// How long trackers say that they worked on a frame.
    pub work_ms: Spread,
    /// The newest detection.
    pub last: Option<LastDetection>,
    /// What became of the answers on their way to the source.
    pub detections: DetectionCounts,
    /// The source's verdict on them.
    pub verdict: Option<VerdictSummary>,
}

/// Percentiles in milliseconds; none when nothing was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half are at most this.
    pub p50: Option<f64>,
    /// 95 of 100 are at most this.
    pub p95: Option<f64>,
}

/// See [`Tracking::last`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LastDetection {
    /// The stream of the frame.
    pub stream: String,
    /// Its epoch, in 16 hexadecimal digits.
    pub epoch: String,
    /// Its number.
    pub number: u64,
    /// What was found in it.
    #[serde(flatten)]
    pub found: Found,
}

impl TrackCounters {
    /// Changes the counts.
    pub(super) fn note(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock());
    }

    /// Takes an answer.
    pub(super) fn on_answer(&self, result: &TrackResult) {
        let mut counts = self.0.lock();
        counts.answer.record(result.took);
        if let Some(work) = result.work {
            counts.work.record(work);
        }

        if result.found.is_some() {
            counts.found += 1;
            counts.last = Some(result.clone());
        } else {
            counts.none += 1;
        }
    }

    /// Frames that no tracker looked at to the end.
    pub(super) fn untracked(&self) -> u64 {
        let counts = self.0.lock();
        counts.missing + counts.failed
    }

    pub(super) fn report(&self, trackers: usize) -> Tracking {
        let counts = self.0.lock();
        let answered = counts.found + counts.none;
        Tracking {
            trackers,
            offered: counts.offered,
            found: counts.found,
            none: counts.none,
            missing: counts.missing,
            failed: counts.failed,
            pending: counts
                .offered
                .saturating_sub(answered + counts.missing + counts.failed),
            detection_rate: (answered > 0).then(|| counts.found as f64 / answered as f64),
            restarts: counts.restarts,
            timeouts: counts.timeouts,
            malformed: counts.malformed,
            unknown: counts.unknown,
            answer_ms: spread(&counts.answer),
            work_ms: spread(&counts.work),
            last: counts.last.as_ref().and_then(last),
            detections: DetectionCounts::default(),
            verdict: None,
        }
    }
}

fn spread(ages: &Histogram) -> Spread {
    let [p50, p95] = [50, 95].map(|hundredths| ages.percentile(hundredths).map(millis));
    Spread { p50, p95 }
}

fn millis(length: Duration) -> f64 {
    length.as_micros() as f64 / 1e3
}

fn last(result: &TrackResult) -> Option<LastDetection> {
    let epoch = format!("{:016x}", result.id.epoch);
    let number = result.id.number;
    result.found.map(|found| LastDetection {
        stream: result.stream.to_string(),
        epoch,
        number,
        found,
    })
}
