//! The counters and measurements of one viewer. All its threads write to them; they are printed each second and make the
//! report at the end.

mod canary;
mod clock;
mod minute;
mod report;
mod statistics;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::frame_barcode::FrameBarcode;
use fanlight_proto::message::{Ball, CanaryStatus, FrameId, NotShown, StreamName};
use fanlight_proto::reassembly::Losses;
use parking_lot::Mutex;

use crate::engine::{LinkState, Presentation, Summary, Transport};
pub use crate::histogram::Histogram;
use crate::track::Tracking;
pub use crate::track::{Observation, StageTimings};
pub use crate::verdict::VerdictSummary;
pub use canary::Canary;
pub use clock::{Captured, Clock};
pub use minute::EndedSecond;
use minute::Minute;
pub use report::millis;
pub use report::{
    Decoding, Frames, LinkStateChange, Lost, Path, Percentiles, Repairs, Report, Stages,
    TransportChange,
};
pub use statistics::Statistics;

/// Frames between decoder and screen whose facts are remembered: one in the slot, one on its way, and room.
const MAX_IN_FLIGHT: usize = 8;

/// Changes between UDP and TCP that a report lists; older ones are forgotten.
const MAX_TRANSPORT_CHANGES: usize = 100;

/// Link state changes that a report lists; older ones are forgotten and counted.
const MAX_LINK_STATE_CHANGES: usize = 1000;

/// What is known of a frame when it has been decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameInfo {
    /// The stream it belongs to.
    pub stream: StreamName,
    /// Its identity.
    pub id: FrameId,
    /// See `FrameHeader` in frame.proto.
    pub captured_ns: u64,
    /// See `FrameHeader` in frame.proto.
    pub wall_offset_ns: i64,
    /// See `FrameHeader` in frame.proto.
    pub clock_id: u64,
    /// See `FrameHeader` in frame.proto.
    pub rate_millihertz: u32,
    /// From capture to the publisher.
    pub prepared: Duration,
    /// When its relay received it, on our clock; none when that is not known.
    pub relayed: Option<Time>,
    /// When its first shard came.
    pub begun: Time,
    /// When its last shard came.
    pub arrived: Time,
    /// When its picture was ready.
    pub decoded: Time,
    /// How long the decoding alone took.
    pub decoding: Duration,
    /// Bytes of the JPEG.
    pub bytes: usize,
    /// The canary that its stream names, if any.
    pub canary: Option<StreamName>,
    /// What is only known when frames are traced.
    pub traced: Option<TraceInfo>,
    /// The JPEG, when it is to be saved at the end, looked at by a tracker or recorded.
    pub jpeg: Option<Bytes>,
}

/// What is found out about a frame only when frames are traced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceInfo {
    /// See [`trace::hash`](crate::trace::hash).
    pub jpeg_hash: u64,
    /// The code painted in the picture, if there is one.
    pub code: Option<FrameBarcode>,
    /// Where the ball is, when the source says so.
    pub ball: Option<Ball>,
}

/// A frame that is on the screen.
#[derive(Clone, Debug, PartialEq)]
pub struct Presented {
    /// What was known before.
    pub info: FrameInfo,
    /// When it was shown.
    pub at: Time,
    /// From capture to the screen.
    pub age: Duration,
    /// Where it spent its time since it was published.
    pub timings: StageTimings,
}

/// The second that ended last, in few words.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SecondSummary {
    /// Frames shown.
    pub fps: f64,
    /// Median age of those; none when there were none.
    pub age: Option<Duration>,
    /// The source's verdict on this screen.
    pub verdict: Option<VerdictSummary>,
    /// For how long no new frame was shown; set when that makes the other figures out of date.
    pub silence: Option<Duration>,
    /// What pictures come by.
    pub transport: Transport,
}

/// Figures are out of date when no new frame was shown for so long, or for [`STALE_INTERVALS`] of a slow stream.
const STALE_AFTER: Duration = Duration::from_secs(1);

/// See [`STALE_AFTER`].
const STALE_INTERVALS: u32 = 3;

/// All counts and measurements of one viewer. Any thread may call; no call blocks for longer than an addition.
#[derive(Debug)]
pub struct Counters(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    started: Time,
    summary: Summary,
    in_flight: VecDeque<FrameInfo>,
    shown: u64,
    superseded: u64,
    undecodable: u64,
    /// Why frames since the last one shown were rejected.
    rejected: Option<NotShown>,
    first_shown: Option<Time>,
    last_shown: Option<Time>,
    /// The longest time between two frames shown.
    longest_freeze: Duration,
    /// The time between frames of the stream shown last; zero when it is not known.
    shown_interval: Duration,
    ages: Histogram,
    /// What the latest age was measured by.
    clock: &'static str,
    stages: StageHistograms,
    link_state: LinkState,
    changes: VecDeque<(Duration, LinkState)>,
    changes_forgotten: u64,
    transports: VecDeque<(Duration, Transport, &'static str)>,
    second: Second,
    minute: Minute,
    canary: Option<Canary>,
}

#[derive(Debug, Default)]
struct StageHistograms {
    prepare: Histogram,
    transit: Histogram,
    wait: Histogram,
    decode: Histogram,
    present: Histogram,
}

/// What the line of the present second needs.
#[derive(Debug, Default)]
struct Second {
    began: Time,
    ages: Histogram,
    bytes_before: u64,
    /// Of the second before it.
    fps: f64,
    median_us: u32,
}

impl Counters {
    /// Counts from zero at `now`.
    #[must_use]
    pub fn new(now: Time) -> Self {
        let second = Second {
            began: now,
            ..Second::default()
        };

        Self(Mutex::new(Inner {
            started: now,
            second,
            clock: "monotonic",
            ..Inner::default()
        }))
    }

    /// Takes the counts of the engine.
    pub fn on_summary(&self, summary: Summary) {
        self.0.lock().summary = summary;
    }

    /// Takes the counts of the canary; none when no canary is watched any more.
    pub fn on_canary(&self, canary: Option<Canary>) {
        self.0.lock().canary = canary;
    }

    /// Takes the link state from `now` on.
    pub fn on_link_state(&self, now: Time, link_state: &LinkState) {
        let mut inner = self.0.lock();
        let since = now.saturating_since(inner.started);

        if inner.changes.len() == MAX_LINK_STATE_CHANGES {
            inner.changes.pop_front();
            inner.changes_forgotten += 1;
        }

        inner.changes.push_back((since, link_state.clone()));
        inner.link_state = link_state.clone();
    }

    /// Takes what pictures come by from `now` on, and why.
    pub fn on_transport(&self, now: Time, transport: Transport, why: &'static str) {
        let mut inner = self.0.lock();
        let since = now.saturating_since(inner.started);
        if inner.transports.len() == MAX_TRANSPORT_CHANGES {
            inner.transports.pop_front();
        }
        inner.transports.push_back((since, transport, why));
    }

    /// A complete frame was displaced by a newer one or by a card.
    pub fn on_superseded(&self) {
        self.0.lock().superseded += 1;
    }

    /// A complete frame cannot be shown.
    pub fn on_rejected(&self, reason: NotShown) {
        let mut inner = self.0.lock();
        inner.undecodable += 1;
        // The first reason stays, so that a stream that is broken in several ways does not flicker.
        inner.rejected.get_or_insert(reason);
    }

    /// A frame is decoded and on its way to the screen.
    pub fn on_decoded(&self, info: FrameInfo) {
        let mut inner = self.0.lock();
        inner.stages.decode.record(info.decoding);
        if inner.in_flight.len() == MAX_IN_FLIGHT {
            inner.in_flight.pop_front();
        }
        inner.in_flight.push_back(info);
    }

    /// A frame is on the screen. None for a frame that nobody decoded.
    pub fn on_presented(&self, id: FrameId, at: Time, clock: Clock) -> Option<Presented> {
        let mut inner = self.0.lock();
        let place = inner.in_flight.iter().position(|info| info.id == id)?;
        let info = inner.in_flight.drain(..=place).next_back()?;
        let age = inner.age(&info, at, clock);
        inner.shown += 1;
        inner.rejected = None;
        inner.shown_interval = frame_interval(info.rate_millihertz);
        inner.first_shown.get_or_insert(at);
        let before = inner.last_shown.replace(at).unwrap_or(at);
        inner.longest_freeze = inner.longest_freeze.max(at.saturating_since(before));
        inner.ages.record(age);
        inner.second.ages.record(age);
        let timings = inner.timings(&info, at, age, clock);
        inner.stages.prepare.record(info.prepared);
        inner.stages.transit.record(timings.transit);
        inner.stages.wait.record(timings.wait);
        inner.stages.present.record(timings.present);
        inner.minute.on_shown(&info, &timings, age);
        Some(Presented {
            info,
            at,
            age,
            timings,
        })
    }

    /// What reports to the relay say of the frames shown.
    #[must_use]
    pub fn presentation(&self) -> Presentation {
        let inner = self.0.lock();
        let lost = inner.superseded + inner.undecodable;
        Presentation {
            shown: inner.shown,
            lost,
            age_us: inner.second.median_us,
        }
    }

    /// When the last frame was shown, and why those since then were rejected, if they were.
    #[must_use]
    pub fn display(&self) -> (Option<Time>, Option<NotShown>) {
        let inner = self.0.lock();
        (inner.last_shown, inner.rejected)
    }

    /// The state of the stream shown, for messages on its canary; none before the stream has its name.
    #[must_use]
    pub fn canary_status(&self, now: Time) -> Option<CanaryStatus> {
        self.0.lock().canary_status(now)
    }

    /// The second that ended last, or since when nothing new is shown.
    #[must_use]
    pub fn last_second(&self, now: Time) -> SecondSummary {
        let inner = self.0.lock();
        if let Some(silence) = inner.silence(now) {
            return SecondSummary {
                silence: Some(silence),
                transport: inner.summary.transport,
                ..SecondSummary::default()
            };
        }

        let Second { fps, median_us, .. } = inner.second;
        SecondSummary {
            fps,
            age: (median_us > 0).then(|| Duration::from_micros(median_us.into())),
            verdict: inner.verdict(),
            silence: None,
            transport: inner.summary.transport,
        }
    }

    /// The stream of the latest session.
    #[must_use]
    pub fn stream(&self) -> Option<StreamName> {
        self.0.lock().summary.stream.clone()
    }

    /// `tracking` with what became of its detections on their way, and the source's verdict.
    #[must_use]
    pub fn with_feedback(&self, tracking: Tracking) -> Tracking {
        let Summary {
            detections,
            verdict,
            ..
        } = self.0.lock().summary;

        Tracking {
            detections,
            verdict: verdict.map(VerdictSummary::from),
            ..tracking
        }
    }

    /// Frames shown so far.
    #[must_use]
    pub fn shown(&self) -> u64 {
        self.0.lock().shown
    }

    /// The link state in force.
    #[must_use]
    pub fn link_state(&self) -> LinkState {
        self.0.lock().link_state.clone()
    }

    /// Ends the present second and describes it in one line, such as
    /// `30.0 fps  age 4.1/6.0/8.2 ms  lost 0  25.6 Mbit/s  lobby live`; the ages are p50, p95 and p99. The source's
    /// verdict on this screen follows, if there is one: `right 0.21 px 34 ms`; and before it ` by tcp` when not all
    /// comes by UDP.
    #[must_use]
    pub fn line(&self, now: Time) -> String {
        self.0.lock().line(now)
    }

    /// All of it, at `now`.
    #[must_use]
    pub fn report(&self, now: Time, relay: &str) -> Report {
        report::of(&self.0.lock(), now, relay)
    }
}

impl Inner {
    fn age(&mut self, info: &FrameInfo, at: Time, clock: Clock) -> Duration {
        let FrameInfo {
            captured_ns,
            wall_offset_ns,
            clock_id,
            ..
        } = *info;

        let captured = Captured {
            captured_ns,
            wall_offset_ns,
            clock_id,
        };

        let age;
        (age, self.clock) = clock.age(&captured, at, self.summary.source_clock);
        age
    }

    fn timings(&self, info: &FrameInfo, at: Time, age: Duration, clock: Clock) -> StageTimings {
        let until_arrived = age.saturating_sub(at.saturating_since(info.arrived));
        StageTimings {
            transit: until_arrived.saturating_sub(info.prepared),
            wait: info
                .decoded
                .saturating_since(info.arrived)
                .saturating_sub(info.decoding),
            decode: info.decoding,
            present: at.saturating_since(info.decoded),
            clock_error: clock.error(info.clock_id, self.summary.source_clock),
        }
    }

    /// For how long no new frame was shown, once the figures are out of date.
    fn silence(&self, now: Time) -> Option<Duration> {
        let silence = now.saturating_since(self.last_shown.unwrap_or(self.started));
        let limit = STALE_AFTER.max(self.shown_interval * STALE_INTERVALS);
        (silence >= limit).then_some(silence)
    }

    /// The verdict on the stream shown or, if there is none, on its canary.
    fn verdict(&self) -> Option<VerdictSummary> {
        let own = self.summary.verdict.map(VerdictSummary::from);
        own.or_else(|| self.canary.as_ref().and_then(|canary| canary.verdict))
    }

    fn losses(&self) -> Losses {
        Losses {
            superseded: self.superseded,
            undecodable: self.undecodable,
            ..self.summary.losses
        }
    }

    fn line(&mut self, now: Time) -> String {
        let length = now
            .saturating_since(self.second.began)
            .as_secs_f64()
            .max(1e-3);

        let ages = &self.second.ages;
        let median = ages.percentile(50).unwrap_or_default();
        self.second.median_us = u32::try_from(median.as_micros()).unwrap_or(u32::MAX);
        self.second.fps = ages.count() as f64 / length;
        let mut line = format!("{:.1} fps", self.second.fps);

        match [50, 95, 99].map(|hundredths| ages.percentile(hundredths)) {
            [Some(p50), Some(p95), Some(p99)] => {
                let [p50, p95, p99] = [p50, p95, p99].map(millis);
                let _ = write!(line, "  age {p50:.1}/{p95:.1}/{p99:.1} ms");
            }
            _ => line.push_str("  age -"),
        }

        let megabits = (self.summary.bytes - self.second.bytes_before) as f64 * 8e-6 / length;
        let stream = self
            .summary
            .stream
            .as_ref()
            .map_or("-", |name| name.as_str());

        let _ = write!(
            line,
            "  lost {}  {megabits:.1} Mbit/s  {stream} {}",
            self.losses().total(),
            self.link_state.word()
        );

        if self.summary.transport != Transport::Udp {
            let _ = write!(line, " by {}", self.summary.transport.word());
        }

        // A verdict on frames that are no longer shown is out of date.
        if let Some(verdict) = self.verdict().filter(|_| self.silence(now).is_none()) {
            let _ = write!(line, "  {verdict}");
        }

        self.minute.end_second(&self.second.ages, megabits);
        self.second.ages.clear();
        self.second.bytes_before = self.summary.bytes;
        self.second.began = now;
        line
    }
}

fn frame_interval(rate_millihertz: u32) -> Duration {
    Duration::from_secs(1000)
        .checked_div(rate_millihertz)
        .unwrap_or_default()
}
