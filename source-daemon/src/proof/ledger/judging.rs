//! How each viewer stands, and what it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::envelope::MAX_VERDICTS;
use fanlight_proto::message::{State, Verdict, ViewerVerdict};

use super::{Key, Kind, LEFT_KEPT, Ledger, StreamIndex};
use crate::proof::figures::{Percentiles, Sum};
use crate::proof::health::{RECENT, Standing, judge};
use crate::proof::news::{Change, News};
use crate::proof::viewer::Viewer;

/// A viewer whose detections came within so long is told what they are worth (control.proto).
const VERDICT_KEPT: Duration = Duration::from_secs(3);

/// About how often a relay asks.
const ANSWER_INTERVAL: Duration = Duration::from_secs(1);

/// When each screen last told of each stream, over whatever relay.
type Told = BTreeMap<(u64, StreamIndex), Time>;

impl Ledger {
    /// Time has passed: judges everyone, forgets who left long ago, and tells what the log is to say. To be called a few
    /// times a second.
    pub fn on_tick(&mut self, now: Time) -> Vec<News> {
        self.rows.retain(|_, row| {
            row.viewer
                .left
                .is_none_or(|left| now.saturating_since(left) < LEFT_KEPT)
        });
        let told = self.told();
        let keys: Vec<Key> = self.rows.keys().copied().collect();
        for key in keys {
            self.judge_row(now, key, &told);
        }
        let mut news = self.changes.due(now);
        news.extend(self.summaries(now));
        news
    }

    fn judge_row(&mut self, now: Time, key: Key, told: &Told) {
        let standing = self.standing(now, key, &self.rows[&key].viewer, told);
        let second = self.second(now);
        let (streams, changes) = (&self.streams, &mut self.changes);
        let row = self
            .rows
            .get_mut(&key)
            .expect("the key was taken from the rows");
        let (was, is) = (
            row.standing.word(),
            standing.as_ref().map_or("gone", Standing::word),
        );
        if was != is && !row.told_gone {
            changes.note(Change {
                stream: streams[key.stream.0].name.to_string(),
                name: row.viewer.name.clone(),
                address: row.viewer.address.clone(),
                was: was.to_owned(),
                is: standing
                    .as_ref()
                    .map_or_else(|| "gone".to_owned(), ToString::to_string),
                reason: standing.as_ref().map(Standing::reason).unwrap_or_default(),
                worse: standing
                    .as_ref()
                    .is_some_and(|standing| standing.severity() > 1),
            });
        }
        row.told_gone = standing.is_none();
        if let Some(standing) = standing {
            if matches!(standing, Standing::Blind(_)) {
                row.viewer.seconds.at(second).blind = true;
            }
            row.standing = standing;
        }
    }

    /// How a viewer stands; none when it has left.
    fn standing(&self, now: Time, key: Key, viewer: &Viewer, told: &Told) -> Option<Standing> {
        if viewer.left.is_some() {
            return None;
        }
        let stream = &self.streams[key.stream.0];
        if stream.kind == Kind::Main && viewer.screen == 0 {
            return Some(Standing::Unmeasured("it sends no detections"));
        }
        if !stream.truths.has_truth() {
            return Some(Standing::Unmeasured(
                "nothing is known of what this picture shows",
            ));
        }
        let recent = |at: &Time| now.saturating_since(*at) <= RECENT;
        let elsewhere = told
            .get(&(viewer.screen, key.stream))
            .filter(|at| recent(at));
        if elsewhere.is_some() && !viewer.newest_answer().as_ref().is_some_and(recent) {
            return Some(Standing::Unmeasured("it tells by another relay"));
        }
        let mut evidence = viewer.evidence(now);
        evidence.owing = viewer.owing(now, &stream.truths);
        if stream.kind == Kind::Canary {
            let live = self
                .streams
                .iter()
                .find(|other| other.kind == Kind::Main && other.state == State::Live);
            let heard = |canary_status: &&(Time, _)| recent(&canary_status.0);
            if let (Some(live), Some((_, beside))) =
                (live, viewer.canary_status.as_ref().filter(heard))
            {
                evidence.beside_owing = viewer.beside_owing(&live.truths);
                let shows =
                    Duration::from_millis(beside.silent_ms.into()) <= RECENT && beside.age_us > 0;
                evidence.beside_age = shows.then(|| Duration::from_micros(beside.age_us.into()));
            }
        }
        Some(judge(&evidence, &self.limits))
    }

    fn told(&self) -> Told {
        let mut told = Told::new();
        for (key, row) in self.rows.iter().filter(|(_, row)| row.viewer.screen != 0) {
            if let Some(heard) = row.viewer.newest_answer() {
                let at = told.entry((row.viewer.screen, key.stream)).or_insert(heard);
                *at = heard.max(*at);
            }
        }
        told
    }

    /// See [`Ear::verdicts`](crate::publisher::Ear::verdicts).
    #[must_use]
    pub fn verdicts(&self, now: Time, peer: u64) -> Vec<ViewerVerdict> {
        let of_peer = self.rows.iter().filter(|(key, _)| key.peer == peer);
        let told = of_peer.filter(|(_, row)| {
            let heard = row.viewer.newest_answer();
            row.viewer.left.is_none()
                && heard.is_some_and(|heard| now.saturating_since(heard) <= VERDICT_KEPT)
        });
        let told: Vec<_> = told.collect();
        // When there are more than one answer takes, each answer goes on where the last one may have ended.
        let turn = now.as_micros() / ANSWER_INTERVAL.as_micros() as u64;
        let start = (turn as usize).wrapping_mul(MAX_VERDICTS) % told.len().max(1);
        let start = if told.len() <= MAX_VERDICTS { 0 } else { start };
        let (before, after) = told.split_at(start);
        let turned = after.iter().chain(before).take(MAX_VERDICTS);
        turned
            .map(|(key, row)| ViewerVerdict {
                viewer: key.viewer,
                verdict: Some(verdict(&row.viewer, &row.standing)),
            })
            .collect()
    }

    pub(super) fn second(&self, now: Time) -> u64 {
        now.saturating_since(self.started).as_secs()
    }
}

fn verdict(viewer: &Viewer, standing: &Standing) -> Verdict {
    let errors: Sum = viewer.errors.newest_first().copied().collect();
    let latency = Percentiles::of(
        viewer
            .answers
            .newest_first()
            .map(|answer| answer.stages.found() as f64),
    );
    Verdict {
        health: standing.health() as i32,
        error: viewer.error_now.unwrap_or_default() as f32,
        mean: errors.mean as f32,
        max: errors.max as f32,
        deviation: errors.deviation() as f32,
        latency_us: latency.map_or(0, |latency| latency.p50 as u32),
        count: u32::try_from(errors.count).unwrap_or(u32::MAX),
    }
}
