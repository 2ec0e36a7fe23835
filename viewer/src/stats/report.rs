//! The report that `--report` writes as JSON.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::reassembly::Losses;
use serde::Serialize;

use super::{Canary, Histogram, Inner};
use crate::engine::{PathSummary, Transport};
use crate::record::Recording;
use crate::track::Tracking;

/// What `--report` writes. Durations are in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The stream of the latest session.
    pub stream: Option<String>,
    /// The relays that were asked.
    pub relay: String,
    /// Seconds from the viewer's start to the report.
    pub duration_s: f64,
    /// What became of the frames.
    pub frames: Frames,
    /// Frames shown a second, from the first to the last one shown.
    pub fps: f64,
    /// From capture to the screen.
    pub age_ms: Percentiles,
    /// The longest time without a new frame, from the first one shown until the report; none when none was.
    pub longest_freeze_ms: Option<f64>,
    /// What the latest age was measured by: "monotonic" when source and viewer share a clock, "exchange" when relay and
    /// source have compared their clocks, else "wall", the hosts' own idea of the time of day.
    pub clock: &'static str,
    /// With "exchange", ages are right within so many milliseconds.
    pub clock_error_ms: Option<f64>,
    /// Where the time goes, medians; `transit` is as good as `clock`.
    pub stages_ms: Stages,
    /// What pictures come by: "udp", "tcp" or "both".
    pub transport: Transport,
    /// Changes between UDP and TCP to relays that can be reached by both, oldest first: the newest hundred.
    pub transport_changes: Vec<TransportChange>,
    /// Sessions opened.
    pub joins: u64,
    /// Datagrams that came, and messages by TCP.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Datagrams that are not of this protocol or this conversation.
    pub foreign: u64,
    /// Shards asked for again.
    pub repairs: Repairs,
    /// Shards that came more than once.
    pub duplicates: u64,
    /// Shards that came when their frame was decided.
    pub late: u64,
    /// Shards out of bounds.
    pub refused: u64,
    /// The latest round trip to a relay and back, where it is shortest.
    pub round_trip_ms: Option<f64>,
    /// Each relay on its own, in the order in which they were named.
    pub paths: Vec<Path>,
    /// The decoding.
    pub decode: Decoding,
    /// Every change of the link state, oldest first.
    pub link_states: Vec<LinkStateChange>,
    /// Changes older than those, which are forgotten.
    pub link_states_forgotten: u64,
    /// What trackers found, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracking: Option<Tracking>,
    /// How the recording went, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<Recording>,
    /// What came of the stream's canary, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
}

/// `shown + lost.total + pending` are the frames that the stream had from the first one seen to the last one decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frames {
    /// On the screen.
    pub shown: u64,
    /// All shards came.
    pub whole: u64,
    /// Whole, and on the way to the screen when the report was made.
    pub pending: u64,
    /// Not shown.
    pub lost: Lost,
}

/// Lost frames by reason; see [`Losses`](fanlight_proto::reassembly::Losses).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lost {
    /// Each reason and its count.
    #[serde(flatten)]
    pub by_reason: std::collections::BTreeMap<&'static str, u64>,
    /// Their sum.
    pub total: u64,
}

impl Lost {
    /// These losses.
    #[must_use]
    pub fn of(losses: &Losses) -> Self {
        Self {
            by_reason: losses.by_reason().into_iter().collect(),
            total: losses.total(),
        }
    }
}

/// Percentiles; none when nothing was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half are at most this.
    pub p50: Option<f64>,
    /// 95 of 100 are at most this.
    pub p95: Option<f64>,
    /// 99 of 100 are at most this.
    pub p99: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}

impl Percentiles {
    /// Of these ages.
    #[must_use]
    pub fn of(ages: &Histogram) -> Self {
        let [p50, p95, p99, max] = [50, 95, 99, 100].map(|hundredths| percentile(ages, hundredths));
        Self { p50, p95, p99, max }
    }
}

/// The way of a frame in five parts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stages {
    /// Capture to publisher.
    pub prepare: Option<f64>,
    /// Publisher to the last shard.
    pub transit: Option<f64>,
    /// Waiting for the decoder.
    pub wait: Option<f64>,
    /// Decoding.
    pub decode: Option<f64>,
    /// Decoded to shown.
    pub present: Option<f64>,
}

/// See [`Report::transport_changes`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TransportChange {
    /// Milliseconds from the viewer's start.
    pub at_ms: f64,
    /// What pictures come by from then on.
    pub to: Transport,
    /// Why.
    pub reason: &'static str,
}

/// See [`Report::paths`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Path {
    /// "udp" or "tcp".
    pub transport: Transport,
    /// Sessions opened.
    pub joins: u64,
    /// Frames that it would have brought whole without the others.
    pub frames: u64,
    /// Datagrams that came, or messages by TCP.
    pub datagrams: u64,
    /// Of those, the ones that came by multicast.
    pub by_multicast: u64,
    /// The bytes of all of them.
    pub bytes: u64,
    /// The latest round trip.
    pub round_trip_ms: Option<f64>,
    /// Whether it stands by.
    pub paused: bool,
}

/// See [`Report::repairs`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repairs {
    /// Shards asked for.
    pub asked: u64,
    /// Of those, the ones that came.
    pub received: u64,
}

/// See [`Report::decode`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decoding {
    /// Whole frames that were no picture.
    pub errors: u64,
    /// Half took at most this.
    pub p50_ms: Option<f64>,
    /// 99 of 100 took at most this.
    pub p99_ms: Option<f64>,
}

/// See [`Report::link_states`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkStateChange {
    /// Milliseconds from the viewer's start.
    pub at_ms: f64,
    /// The link state in one word.
    pub state: &'static str,
    /// What a person would read.
    pub reason: String,
}

pub(super) fn of(inner: &Inner, now: Time, relay: &str) -> Report {
    let summary = &inner.summary;
    let counts = &summary.counts;
    Report {
        stream: summary.stream.as_ref().map(ToString::to_string),
        relay: relay.to_owned(),
        duration_s: now.saturating_since(inner.started).as_secs_f64(),
        frames: frames(inner),
        fps: rate(inner),
        age_ms: Percentiles::of(&inner.ages),
        longest_freeze_ms: longest_freeze(inner, now).map(millis),
        clock: inner.clock,
        clock_error_ms: summary
            .source_clock
            .filter(|_| inner.clock == "exchange")
            .map(|clock| millis(clock.error)),
        stages_ms: Stages {
            prepare: percentile(&inner.stages.prepare, 50),
            transit: percentile(&inner.stages.transit, 50),
            wait: percentile(&inner.stages.wait, 50),
            decode: percentile(&inner.stages.decode, 50),
            present: percentile(&inner.stages.present, 50),
        },
        transport: summary.transport,
        transport_changes: inner.transports.iter().map(transport_change).collect(),
        joins: summary.joins,
        datagrams: summary.datagrams,
        bytes: summary.bytes,
        foreign: summary.foreign,
        repairs: Repairs {
            asked: counts.repairs_asked,
            received: counts.repairs_received,
        },
        duplicates: counts.duplicates,
        late: counts.late,
        refused: counts.refused,
        round_trip_ms: summary.round_trip.map(millis),
        paths: summary.paths.iter().map(path).collect(),
        decode: Decoding {
            errors: inner.undecodable,
            p50_ms: percentile(&inner.stages.decode, 50),
            p99_ms: percentile(&inner.stages.decode, 99),
        },
        link_states: inner
            .changes
            .iter()
            .map(|(at, link_state)| change(*at, link_state))
            .collect(),
        link_states_forgotten: inner.changes_forgotten,
        tracking: None,
        recording: None,
        canary: inner.canary.clone(),
    }
}

fn path(summary: &PathSummary) -> Path {
    Path {
        transport: if summary.is_tcp {
            Transport::Tcp
        } else {
            Transport::Udp
        },
        joins: summary.joins,
        frames: summary.frames,
        datagrams: summary.datagrams,
        by_multicast: summary.by_multicast,
        bytes: summary.bytes,
        round_trip_ms: summary.round_trip.map(millis),
        paused: summary.paused,
    }
}

/// In milliseconds.
#[must_use]
pub fn millis(length: Duration) -> f64 {
    length.as_micros() as f64 / 1e3
}

fn frames(inner: &Inner) -> Frames {
    let losses = inner.losses();
    let whole = inner.summary.counts.whole;
    Frames {
        shown: inner.shown,
        whole,
        // The engine's summary may be a moment older than the screen's count.
        pending: whole.saturating_sub(inner.shown + inner.superseded + inner.undecodable),
        lost: Lost::of(&losses),
    }
}

fn longest_freeze(inner: &Inner, now: Time) -> Option<Duration> {
    let last = inner.last_shown?;
    Some(inner.longest_freeze.max(now.saturating_since(last)))
}

fn rate(inner: &Inner) -> f64 {
    match (inner.first_shown, inner.last_shown) {
        (Some(first), Some(last)) if last > first => {
            (inner.shown - 1) as f64 / last.saturating_since(first).as_secs_f64()
        }
        _ => 0.0,
    }
}

fn percentile(ages: &Histogram, hundredths: u64) -> Option<f64> {
    ages.percentile(hundredths).map(millis)
}

fn transport_change((at, to, reason): &(Duration, Transport, &'static str)) -> TransportChange {
    TransportChange {
        at_ms: millis(*at),
        to: *to,
        reason,
    }
}

fn change(at: Duration, link_state: &crate::engine::LinkState) -> LinkStateChange {
    LinkStateChange {
        at_ms: millis(at),
        state: link_state.word(),
        reason: link_state.to_string(),
    }
}
