//! Evaluates each viewer and makes the verdicts that it is sent.

use std::collections::BTreeMap;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::feed::MAX_VERDICTS;
use fanlight_proto::message::{State, Verdict, ViewerVerdict};

use super::{Key, Kind, LEFT_KEPT, StreamIndex, VerificationState};
use crate::verification::health::{RECENT, ScreenHealth, evaluate};
use crate::verification::screen_log::{HealthChange, LogEvent};
use crate::verification::statistics::{Percentiles, RunningStats};
use crate::verification::viewer::Viewer;

/// A viewer whose detections came within this time gets a verdict (control.proto).
const VERDICT_KEPT: Duration = Duration::from_secs(3);

/// About the time between two requests of a relay.
const ANSWER_INTERVAL: Duration = Duration::from_secs(1);

/// When the newest detection of each screen and stream came, over whatever relay.
type NewestAnswers = BTreeMap<(u64, StreamIndex), Time>;

impl VerificationState {
    /// Evaluates all viewers, removes those that left long ago, and returns what is to be logged. To be called a few times
    /// a second.
    pub fn on_tick(&mut self, now: Time) -> Vec<LogEvent> {
        self.rows.retain(|_, row| {
            row.viewer
                .left
                .is_none_or(|left| now.saturating_since(left) < LEFT_KEPT)
        });

        let newest_answers = self.newest_answers();
        let keys: Vec<Key> = self.rows.keys().copied().collect();
        for key in keys {
            self.evaluate_row(now, key, &newest_answers);
        }

        let mut news = self.changes.due(now);
        news.extend(self.summaries(now));
        news
    }

    fn evaluate_row(&mut self, now: Time, key: Key, newest_answers: &NewestAnswers) {
        let health = self.health(now, key, &self.rows[&key].viewer, newest_answers);
        let second = self.second(now);
        let (streams, changes) = (&self.streams, &mut self.changes);
        let row = self
            .rows
            .get_mut(&key)
            .expect("the key was taken from the rows");

        let (was, is) = (
            row.health.label(),
            health.as_ref().map_or("gone", ScreenHealth::label),
        );

        if was != is && !row.told_gone {
            changes.note(HealthChange {
                stream: streams[key.stream.0].name.to_string(),
                name: row.viewer.name.clone(),
                address: row.viewer.address.clone(),
                was: was.to_owned(),
                is: health
                    .as_ref()
                    .map_or_else(|| "gone".to_owned(), ToString::to_string),
                reason: health
                    .as_ref()
                    .map(ScreenHealth::reason)
                    .unwrap_or_default(),
                worse: health.as_ref().is_some_and(|health| health.severity() > 1),
            });
        }

        row.told_gone = health.is_none();
        if let Some(health) = health {
            if matches!(health, ScreenHealth::Blind(_)) {
                row.viewer.seconds.at(second).blind = true;
            }
            row.health = health;
        }
    }

    /// The health of a viewer; none when it has left.
    fn health(
        &self,
        now: Time,
        key: Key,
        viewer: &Viewer,
        newest_answers: &NewestAnswers,
    ) -> Option<ScreenHealth> {
        if viewer.left.is_some() {
            return None;
        }

        let stream = &self.streams[key.stream.0];
        if viewer.is_directed() {
            return Some(ScreenHealth::Unmeasured("it was told to show no picture"));
        }
        if stream.state == State::Live
            && let Some(reason) = viewer.shows_nothing(&stream.truths)
        {
            return Some(ScreenHealth::Blind(reason));
        }
        if stream.kind == Kind::Main && viewer.screen == 0 {
            return Some(ScreenHealth::Unmeasured("it sends no detections"));
        }

        if !stream.truths.has_truth() {
            return Some(ScreenHealth::Unmeasured(
                "nothing is known of what this picture shows",
            ));
        }

        let recent = |at: &Time| now.saturating_since(*at) <= RECENT;
        let elsewhere = newest_answers
            .get(&(viewer.screen, key.stream))
            .filter(|at| recent(at));
        if elsewhere.is_some() && !viewer.newest_answer().as_ref().is_some_and(recent) {
            return Some(ScreenHealth::Unmeasured("it tells by another relay"));
        }

        let mut evidence = viewer.evidence(now);
        evidence.overdue = viewer.overdue(now, &stream.truths);

        if stream.kind == Kind::Canary {
            let live = self
                .streams
                .iter()
                .find(|other| other.kind == Kind::Main && other.state == State::Live);

            let heard = |canary_status: &&(Time, _)| recent(&canary_status.0);
            if let (Some(live), Some((_, beside))) =
                (live, viewer.canary_status.as_ref().filter(heard))
            {
                evidence.main_overdue = viewer.main_overdue(&live.truths);
                let shows =
                    Duration::from_millis(beside.silent_ms.into()) <= RECENT && beside.age_us > 0;
                evidence.main_age = shows.then(|| Duration::from_micros(beside.age_us.into()));
            }
        }

        Some(evaluate(&evidence, &self.limits))
    }

    fn newest_answers(&self) -> NewestAnswers {
        let mut newest_answers = NewestAnswers::new();
        for (key, row) in self.rows.iter().filter(|(_, row)| row.viewer.screen != 0) {
            if let Some(heard) = row.viewer.newest_answer() {
                let at = newest_answers
                    .entry((row.viewer.screen, key.stream))
                    .or_insert(heard);
                *at = heard.max(*at);
            }
        }

        newest_answers
    }

    /// See [`FeedbackSink::verdicts`](crate::publisher::FeedbackSink::verdicts).
    #[must_use]
    pub fn verdicts(&self, now: Time, peer: u64) -> Vec<ViewerVerdict> {
        let of_peer = self.rows.iter().filter(|(key, _)| key.peer == peer);
        let newest_answers = of_peer.filter(|(_, row)| {
            let heard = row.viewer.newest_answer();
            row.viewer.left.is_none()
                && heard.is_some_and(|heard| now.saturating_since(heard) <= VERDICT_KEPT)
        });

        let newest_answers: Vec<_> = newest_answers.collect();
        // If there are more than fit one answer, each answer continues where the last one may have ended.
        let turn = now.as_micros() / ANSWER_INTERVAL.as_micros() as u64;
        let start = (turn as usize).wrapping_mul(MAX_VERDICTS) % newest_answers.len().max(1);
        let start = if newest_answers.len() <= MAX_VERDICTS {
            0
        } else {
            start
        };

        let (before, after) = newest_answers.split_at(start);
        let turned = after.iter().chain(before).take(MAX_VERDICTS);
        turned
            .map(|(key, row)| ViewerVerdict {
                viewer: key.viewer,
                verdict: Some(verdict(&row.viewer, &row.health)),
            })
            .collect()
    }

    pub(super) fn second(&self, now: Time) -> u64 {
        now.saturating_since(self.started).as_secs()
    }
}

fn verdict(viewer: &Viewer, health: &ScreenHealth) -> Verdict {
    let errors: RunningStats = viewer.errors.newest_first().copied().collect();
    let latency = Percentiles::of(
        viewer
            .answers
            .newest_first()
            .map(|answer| answer.stages.found() as f64),
    );

    Verdict {
        health: health.health() as i32,
        error: viewer.error_now.unwrap_or_default() as f32,
        mean: errors.mean as f32,
        max: errors.max as f32,
        deviation: errors.deviation() as f32,
        latency_us: latency.map_or(0, |latency| latency.p50 as u32),
        count: u32::try_from(errors.count).unwrap_or(u32::MAX),
    }
}
