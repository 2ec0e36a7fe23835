//! Reports of the state: for `status` and `verify`, and summed for the log.

use std::time::Duration;

use fanlight_proto::clock::Time;

use super::{Key, Kind, Row, Stream, StreamIndex, VerificationState};
use crate::verification::health::{BLIND_AFTER, ScreenHealth};
use crate::verification::report::{self, Report};
use crate::verification::screen_log::{LogEvent, MAX_NAMED, SUMMARY_INTERVAL, Summary};
use crate::verification::screens;
use crate::verification::seconds::SECONDS_KEPT;
use crate::verification::statistics::{Percentiles, RunningStats};
use crate::verification::viewer::{Answer, Stages, Viewer};

/// What the summaries told last.
#[derive(Debug, Default)]
pub(super) struct SummaryState {
    newest_answers: Option<Time>,
    /// Detections of each stream by then.
    detections: Vec<u64>,
}

impl VerificationState {
    /// How things stand. Whoever is worst comes first.
    #[must_use]
    pub fn report(&self, now: Time) -> Report {
        let rows = self.rows.iter().map(|(key, row)| self.row(now, key, row));
        let screens = screens::merge(rows.collect());
        Report {
            version: report::VERSION,
            program: concat!("fanlight-source ", env!("CARGO_PKG_VERSION")).to_owned(),
            uptime_s: seconds(now.saturating_since(self.started)),
            second: self.second(now),
            limits: report::Limits {
                max_error_px: self.limits.max_error,
                max_age_ms: millis(self.limits.max_age.as_micros() as f64),
                blind_after_ms: millis(BLIND_AFTER.as_micros() as f64),
                history_size: self.history,
            },
            streams: (0..self.streams.len())
                .map(|index| self.told_stream(now, StreamIndex(index)))
                .collect(),
            relays: self.relays(),
            screens,
            screens_left_out: 0,
            screens_refused: self.left_out,
        }
    }

    fn told_stream(&self, now: Time, index: StreamIndex) -> report::Stream {
        let stream = &self.streams[index.0];
        let (viewers, clients) = stream.demand.counts();
        report::Stream {
            name: stream.name.to_string(),
            canary: stream.kind == Kind::Canary,
            input: stream.input.clone(),
            state: stream.state.label().to_owned(),
            reason: stream.reason.clone(),
            epoch: format!("{:016x}", stream.truths.epoch()),
            frames_published: stream.truths.total(),
            truth_known: stream.truths.has_truth(),
            watched: stream.demand.is_watched(),
            viewers,
            clients,
            refused_by: self.refused_by(now, index),
        }
    }

    fn relays(&self) -> Vec<report::Relay> {
        let feedback_state = self
            .peers
            .iter()
            .filter_map(|(peer, known)| Some((*peer, known.feedback_state()?)));

        feedback_state
            .map(|(peer, feedback_state)| report::Relay {
                peer,
                relay: format!("{:016x}", feedback_state.relay),
                reports: feedback_state.reports,
                reports_lost: feedback_state.lost,
            })
            .collect()
    }

    /// The row of one session, before rows of one screen are merged.
    fn row(&self, now: Time, key: &Key, row: &Row) -> report::Screen {
        let viewer = &row.viewer;
        let stream = &self.streams[key.stream.0];
        let ago = |at: Time| seconds(now.saturating_since(at));
        let late = if let ScreenHealth::Late { by } = row.health {
            Some(millis(by.as_micros() as f64))
        } else {
            None
        };

        let oldest_second = (self.second(now) + 1).saturating_sub(SECONDS_KEPT as u64);
        report::Screen {
            row: row.number,
            screen: row.screen.unwrap_or_default(),
            name: viewer.name.clone(),
            address: viewer.address.clone(),
            stream: stream.name.to_string(),
            canary: stream.kind == Kind::Canary,
            peer: key.peer,
            viewer: format!("{:016x}", key.viewer),
            health: row.health.label().to_owned(),
            late_by_ms: late,
            reason: row.health.reason(),
            since_s: ago(viewer.since),
            tracking_s: viewer.tracking_since.map(ago),
            heard_s: ago(viewer.heard),
            left_s: viewer.left.map(ago),
            error_px: errors(viewer),
            error_total_px: spread(&viewer.total),
            latency_ms: latency(viewer),
            clock_error_ms: millis(viewer.clock_error_us.into()),
            frames: frames(now, viewer, stream),
            shown: report::Shown {
                frames: viewer.shown.frames,
                lost: viewer.shown.lost,
                fps: viewer.shown.rate.map(rounded),
                age_ms: known_age(viewer.shown.age_us),
            },
            canary_status: viewer
                .canary_status
                .as_ref()
                .map(|(_, beside)| report::CanaryStatus {
                    stream: beside.stream.clone(),
                    shown: beside.shown,
                    lost: beside.lost,
                    silent_ms: beside.silent_ms.into(),
                    age_ms: known_age(beside.age_us),
                }),
            seconds: viewer
                .seconds
                .since(oldest_second)
                .map(told_second)
                .collect(),
            paths: Vec::new(),
        }
    }

    /// A summary of each stream of which there is news, every [`SUMMARY_INTERVAL`].
    pub(super) fn summaries(&mut self, now: Time) -> Vec<LogEvent> {
        if self
            .summary
            .newest_answers
            .is_some_and(|newest_answers| now.saturating_since(newest_answers) < SUMMARY_INTERVAL)
        {
            return Vec::new();
        }
        self.summary.newest_answers = Some(now);
        self.summary.detections.resize(self.streams.len(), 0);
        let summaries: Vec<_> = (0..self.streams.len())
            .map(|index| self.summary_of(index))
            .collect();
        let before = self.summary.detections.iter_mut();
        let news = summaries
            .into_iter()
            .zip(before)
            .filter_map(|(summary, before)| {
                let grown = std::mem::replace(before, summary.detections) < summary.detections;
                let trouble = summary.late + summary.wrong + summary.blind > 0;
                (grown || trouble).then_some(LogEvent::Summary(summary))
            });

        news.collect()
    }

    fn summary_of(&self, index: usize) -> Summary {
        let mut rows: Vec<&Row> = self
            .rows
            .iter()
            .filter(|(key, _)| key.stream.0 == index)
            .map(|(_, row)| row)
            .collect();

        let detections = rows.iter().map(|row| row.viewer.kinds.received).sum();
        let mismatched = rows.iter().map(|row| row.viewer.kinds.mismatched).sum();
        rows.retain(|row| row.viewer.left.is_none());
        rows.sort_by_key(|row| std::cmp::Reverse(row.health.severity()));
        let errors: RunningStats = rows
            .iter()
            .flat_map(|row| row.viewer.errors.newest_first())
            .copied()
            .collect();

        let count = |severity| {
            rows.iter()
                .filter(|row| row.health.severity() == severity)
                .count()
        };

        let worst = rows
            .iter()
            .filter(|row| row.health.severity() > 1)
            .take(MAX_NAMED);

        Summary {
            stream: self.streams[index].name.to_string(),
            right: count(1),
            late: count(2),
            wrong: count(3),
            blind: count(4),
            unmeasured: count(0),
            detections,
            mismatched,
            mean_error: errors.mean,
            max_error: errors.max,
            worst: worst
                .map(|row| format!("{} {} {}", row.viewer.name, row.viewer.address, row.health))
                .collect(),
        }
    }
}

fn told_second(second: &crate::verification::seconds::Second) -> report::Second {
    report::Second {
        second: second.index,
        answers: second.answers,
        found: second.found,
        none: second.none,
        worst_px: rounded(second.worst_error),
        oldest_ms: millis(second.oldest_us as f64),
        blind: second.blind,
    }
}

fn errors(viewer: &Viewer) -> Option<report::Errors> {
    let all = || viewer.errors.newest_first().copied();
    let (sum, percentiles) = (all().collect::<RunningStats>(), Percentiles::of(all())?);
    Some(report::Errors {
        now: rounded(viewer.error_now?),
        mean: rounded(sum.mean),
        max: rounded(sum.max),
        deviation: rounded(sum.deviation()),
        p50: rounded(percentiles.p50),
        p95: rounded(percentiles.p95),
        p99: rounded(percentiles.p99),
        count: sum.count,
    })
}

fn spread(sum: &RunningStats) -> report::Spread {
    let (mean, max, deviation) = (
        rounded(sum.mean),
        rounded(sum.max),
        rounded(sum.deviation()),
    );

    report::Spread {
        count: sum.count,
        mean,
        max,
        deviation,
    }
}

fn latency(viewer: &Viewer) -> Option<report::Latency> {
    let of = |stage: fn(&Stages) -> u64| {
        let values = viewer
            .answers
            .newest_first()
            .map(|Answer { stages, .. }| millis(stage(stages) as f64));
        Percentiles::of(values).map(report::Percentiles::from)
    };

    Some(report::Latency {
        capture_to_detection: of(Stages::found)?,
        capture_to_screen: of(Stages::shown)?,
        prepare: of(|stages| stages.prepare.into())?,
        transit: of(|stages| stages.transit.into())?,
        wait: of(|stages| stages.wait.into())?,
        decode: of(|stages| stages.decode.into())?,
        present: of(|stages| stages.present.into())?,
        track: of(|stages| stages.track.into())?,
        looked: of(|stages| stages.looked.into())?,
    })
}

fn frames(now: Time, viewer: &Viewer, stream: &Stream) -> report::Frames {
    let (expected, missing) = (
        viewer.expected(now, &stream.truths),
        viewer.missing(now, &stream.truths),
    );

    let mut rest = missing;
    let mut part = |count: u64| {
        let part = count.min(rest);
        rest -= part;
        part
    };

    let dropped = part(viewer.dropped.grown());
    let lost = part(
        viewer
            .sent
            .grown()
            .saturating_sub(viewer.kinds.received + viewer.dropped.grown()),
    );

    let untracked = part(viewer.untracked.grown());
    // Of those expected: what has been found of the newest frames is not among them yet.
    let unfound = missing
        + viewer.kinds.none
        + (viewer.kinds.answered - viewer.kinds.found - viewer.kinds.none);
    let rate = |expected: u64| rounded(expected.saturating_sub(unfound) as f64 / expected as f64);
    report::Frames {
        expected,
        answered: viewer.kinds.answered,
        found: viewer.kinds.found,
        none: viewer.kinds.none,
        detection_rate: (expected > 0).then(|| rate(expected)),
        missing,
        missing_untracked: untracked,
        missing_lost_on_the_way: lost,
        missing_dropped_by_relay: dropped,
        missing_unseen: rest,
        mismatched: viewer.kinds.mismatched,
        too_old: viewer.kinds.too_old,
    }
}

fn known_age(age_us: u32) -> Option<f64> {
    (age_us > 0).then(|| millis(age_us.into()))
}

fn millis(micros: f64) -> f64 {
    rounded(micros / 1e3)
}

fn seconds(length: Duration) -> f64 {
    rounded(length.as_secs_f64())
}

/// To a thousandth: a viewer's row stays short.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
