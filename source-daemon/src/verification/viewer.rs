//! The record of one viewer of one stream: its detections compared with the ground truth, and its own reports.

mod counts;

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::detections;
use fanlight_proto::feed::MAX_FEEDBACK_DETECTIONS;
use fanlight_proto::message::{Ball, CanaryStatus, Detection, NotShown, ViewerReport};

use super::answered_frames::AnsweredFrames;
use super::ground_truth::{FrameLookup, GroundTruth, PublishedFrame};
use super::health::{BLIND_AFTER, Measurements, RECENT};
use super::sanitize::sanitize;
use super::seconds::Seconds;
use super::statistics::{History, RunningStats};
pub use counts::{Counter, Shown};

/// An error is not told beyond this many pixels: it is further than any picture is wide, and sums of it stay finite.
pub const MOST_ERROR: f64 = 1e6;

/// How long a detection may take to come; before that its frame is not missing.
pub const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Where the time of one frame went, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// From capture to the publisher, as the source measured it.
    pub prepare: u32,
    /// See `Detection` in control.proto for this and all below.
    pub transit: u32,
    /// See there.
    pub wait: u32,
    /// See there.
    pub decode: u32,
    /// See there.
    pub present: u32,
    /// See there.
    pub track: u32,
    /// See there; a part of `track`.
    pub looked: u32,
}

impl Stages {
    fn of(prepare: u32, detection: &Detection) -> Self {
        Self {
            prepare,
            transit: detection.transit_us,
            wait: detection.wait_us,
            decode: detection.decode_us,
            present: detection.present_us,
            track: detection.track_us,
            looked: detection.looked_us,
        }
    }

    /// From capture to the screen.
    #[must_use]
    pub fn shown(&self) -> u64 {
        [
            self.prepare,
            self.transit,
            self.wait,
            self.decode,
            self.present,
        ]
        .into_iter()
        .map(u64::from)
        .sum()
    }

    /// From capture to the tracker's answer.
    #[must_use]
    pub fn found(&self) -> u64 {
        self.shown() + u64::from(self.track)
    }
}

/// A detection for a frame that was published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// When it came here.
    pub heard: Time,
    /// Whether it found anything.
    pub found: bool,
    /// How far from the truth, in pixels, when it found the ball and the truth is known.
    pub error: Option<f64>,
    /// Whether a ball was there.
    pub there: bool,
    /// Where its time went.
    pub stages: Stages,
}

/// How many answers there were of each kind, since the viewer came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetectionCounts {
    /// Detections received, of whatever kind.
    pub received: u64,
    /// For frames that were published, each counted once.
    pub answered: u64,
    /// Of these, the ones that found something.
    pub found: u64,
    /// Of these, the ones that found nothing though a ball was there.
    pub none: u64,
    /// For frames never published, of another run, answered twice, or with numbers that are none.
    pub mismatched: u64,
    /// For frames that are not remembered any more.
    pub too_old: u64,
}

/// One viewer of one stream.
#[derive(Debug)]
pub struct Viewer {
    /// What it calls itself, made fit to be shown.
    pub name: String,
    /// Where it is, made fit to be shown.
    pub address: String,
    /// As in `Detections`; 0: it never sent any.
    pub screen: u64,
    /// When it was first heard of.
    pub since: Time,
    /// When it was last heard of.
    pub heard: Time,
    /// When it left.
    pub left: Option<Time>,
    /// When its first answer came.
    pub tracking_since: Option<Time>,
    /// The newest error.
    pub error_now: Option<f64>,
    /// The newest errors.
    pub errors: History<f64>,
    /// The newest answers.
    pub answers: History<Answer>,
    /// All errors so far.
    pub total: RunningStats,
    /// Counts of answers.
    pub kinds: DetectionCounts,
    /// The worst of the last seconds.
    pub seconds: Seconds,
    /// The clocks were right within so much at the newest answer, in microseconds.
    pub clock_error_us: u32,
    /// See `ViewerReport`.
    pub sent: Counter,
    /// See `ViewerReport`.
    pub untracked: Counter,
    /// See `ViewerReport`.
    pub dropped: Counter,
    /// What it shows, as it reports itself.
    pub shown: Shown,
    /// How the picture fares beside this canary, and when that was heard.
    pub canary_status: Option<(Time, CanaryStatus)>,
    answered: AnsweredFrames,
    first: Option<u64>,
    /// Frames that had been published when it came.
    came_at: u64,
}

/// What a detection is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    /// The stream it is of.
    pub truths: &'a GroundTruth,
    /// The present second since the source was started.
    pub second: u64,
    /// The present.
    pub now: Time,
}

impl Viewer {
    /// One that has just been heard of for the first time, with `history` answers and errors to be remembered.
    #[must_use]
    pub fn new(now: Time, history: usize, truths: &GroundTruth) -> Self {
        Self {
            name: String::new(),
            address: String::new(),
            screen: 0,
            since: now,
            heard: now,
            left: None,
            tracking_since: None,
            error_now: None,
            errors: History::new(history),
            answers: History::new(history),
            total: RunningStats::default(),
            kinds: DetectionCounts::default(),
            seconds: Seconds::default(),
            clock_error_us: 0,
            sent: Counter::default(),
            untracked: Counter::default(),
            dropped: Counter::default(),
            shown: Shown::default(),
            canary_status: None,
            answered: AnsweredFrames::default(),
            first: None,
            came_at: truths.total(),
        }
    }

    /// Takes the report of its relay.
    pub fn on_viewer_report(&mut self, reference: &Reference<'_>, seen: &ViewerReport) {
        let now = reference.now;
        self.heard = now;
        self.name = sanitize(&seen.name);
        self.address = sanitize(&seen.address);
        self.screen = if seen.screen == 0 {
            self.screen
        } else {
            seen.screen
        };

        // What came with the first feedback that counts is part of the count.
        self.sent.on(seen.sent, seen.detections.len() as u64);
        self.untracked.on(seen.untracked, 0);
        self.dropped.on(seen.dropped, 0);

        if let Some(report) = &seen.report {
            self.shown.on(now, report);
        }

        if let Some(beside) = &seen.canary_status {
            self.canary_status = Some((
                now,
                CanaryStatus {
                    stream: sanitize(&beside.stream),
                    ..*beside
                },
            ));
        }

        // Checked feedback has no more than this.
        for bytes in seen.detections.iter().take(MAX_FEEDBACK_DETECTIONS) {
            self.on_detection(reference, bytes, seen.clock_error_us);
        }

        if seen.left {
            self.left.get_or_insert(now);
        }
    }

    fn on_detection(&mut self, reference: &Reference<'_>, bytes: &[u8], clock_error_us: u32) {
        self.kinds.received += 1;
        let epoch = reference.truths.epoch();
        let found = detections::decode(bytes).filter(|found| found.epoch == epoch);
        let Some(mut detection) = found else {
            self.kinds.mismatched += 1;
            return;
        };
        detection.clock_error_us = detection.clock_error_us.max(clock_error_us);

        match reference.truths.find(detection.number) {
            FrameLookup::Unknown => self.kinds.mismatched += 1,
            FrameLookup::Expired => self.kinds.too_old += 1,
            FrameLookup::Found(ordinal, _) if !self.answered.mark(ordinal) => {
                self.kinds.mismatched += 1;
            }
            FrameLookup::Found(ordinal, frame) => {
                self.on_answer(reference, ordinal, &frame, &detection);
            }
        }
    }

    fn on_answer(
        &mut self,
        reference: &Reference<'_>,
        ordinal: u64,
        frame: &PublishedFrame,
        detection: &Detection,
    ) {
        let now = reference.now;
        let error = detection
            .ball
            .as_ref()
            .zip(frame.ball.as_ref())
            .map(|(found, truth)| distance(found, truth));

        let answer = Answer {
            heard: now,
            found: detection.ball.is_some(),
            error,
            there: frame.ball.is_some(),
            stages: Stages::of(frame.prepared_us, detection),
        };

        let missed = answer.there && !answer.found;
        self.first = Some(self.first.map_or(ordinal, |first| first.min(ordinal)));
        self.tracking_since.get_or_insert(now);
        self.clock_error_us = detection.clock_error_us;
        self.kinds.answered += 1;
        self.kinds.found += u64::from(answer.found);
        self.kinds.none += u64::from(missed);
        let second = self.seconds.at(reference.second);
        second.answers += 1;
        second.found += u32::from(answer.found);
        second.none += u32::from(missed);
        second.worst_error = second.worst_error.max(error.unwrap_or_default());
        second.oldest_us = second.oldest_us.max(answer.stages.shown());

        if let Some(error) = error {
            self.error_now = Some(error);
            self.errors.push(error);
            self.total.add(error);
        }

        self.answers.push(answer);
    }

    /// Frames of which an answer is due by now: published since its first answer, up to a second ago or until it left.
    #[must_use]
    pub fn expected(&self, now: Time, truths: &GroundTruth) -> u64 {
        self.first
            .map_or(0, |first| self.settled(now, truths).saturating_sub(first))
    }

    /// Of the frames expected, those without an answer.
    #[must_use]
    pub fn missing(&self, now: Time, truths: &GroundTruth) -> u64 {
        let early = self.answered.count_from(self.settled(now, truths));
        let answered = self.kinds.answered.saturating_sub(early);
        self.expected(now, truths).saturating_sub(answered)
    }

    fn settled(&self, now: Time, truths: &GroundTruth) -> u64 {
        truths.published_by(self.left.unwrap_or(now) - SETTLED_AFTER)
    }

    /// When its newest answer came.
    #[must_use]
    pub fn newest_answer(&self) -> Option<Time> {
        self.answers
            .newest_first()
            .next()
            .map(|answer| answer.heard)
    }

    /// How long it has owed an answer: the age of the oldest frame that was published after the newest it answered for,
    /// or after it came.
    #[must_use]
    pub fn overdue(&self, now: Time, truths: &GroundTruth) -> Option<Duration> {
        let published = truths.published_at(self.answered.end().max(self.came_at))?;
        Some(now.saturating_since(published))
    }

    /// How long the picture beside this canary has been owed: `truths` are those of its stream.
    #[must_use]
    pub fn main_overdue(&self, truths: &GroundTruth) -> Option<Duration> {
        let (heard, beside) = self.canary_status.as_ref()?;
        let silent = Duration::from_millis(beside.silent_ms.into());
        let last = if beside.shown == 0 {
            self.since
        } else {
            *heard - silent
        };

        // As it was when the screen reported: what it has shown since is not known here.
        truths
            .first_after(last)
            .map(|published| heard.saturating_since(published))
    }

    /// Whether it says that it was told to show something else than pictures.
    #[must_use]
    pub fn is_directed(&self) -> bool {
        let beside = self.canary_status.as_ref();
        let beside = beside.map(|(_, beside)| beside.not_shown());
        self.shown.not_shown == NotShown::Directed || beside == Some(NotShown::Directed)
    }

    /// Why it shows no picture although pictures are published, as its own reports say; none while it shows them.
    ///
    /// That needs no tracker and no known picture, so that it holds for every viewer.
    #[must_use]
    pub fn shows_nothing(&self, truths: &GroundTruth) -> Option<String> {
        if self.shown.not_shown != NotShown::Unspecified {
            return Some(self.shown.not_shown.label().to_owned());
        }

        let (shown, heard) = self.shown.newest?;
        // As it was when the screen reported: what it has shown since is not known here.
        let overdue = heard.saturating_since(truths.first_after(shown)?);
        (overdue > BLIND_AFTER)
            .then(|| format!("shows no picture for {:.1} s", overdue.as_secs_f64()))
    }

    /// What its own detections say of the present, without what is overdue.
    #[must_use]
    pub fn evidence(&self, now: Time) -> Measurements {
        let recent = || {
            self.answers
                .newest_first()
                .take_while(|answer| now.saturating_since(answer.heard) <= RECENT)
        };

        let mut ages: Vec<u64> = recent().map(|answer| answer.stages.shown()).collect();
        ages.sort_unstable();
        Measurements {
            worst_error: recent().filter_map(|answer| answer.error).reduce(f64::max),
            answers: recent().filter(|answer| answer.there).count(),
            none: recent()
                .filter(|answer| answer.there && !answer.found)
                .count(),
            age: ages.get(ages.len() / 2).copied().map(Duration::from_micros),
            ..Measurements::default()
        }
    }
}

fn distance(found: &Ball, truth: &Ball) -> f64 {
    let (x, y) = (
        f64::from(found.x) - f64::from(truth.x),
        f64::from(found.y) - f64::from(truth.y),
    );
    x.hypot(y).min(MOST_ERROR)
}

#[cfg(test)]
mod tests;
