//! Assesses what each screen showed over some time, second by second. No clock and no I/O. Used by `verify`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::verification::health::severity_of;
use crate::verification::report::{Report, Screen, Second};
use crate::verification::sanitize::sanitize;

/// What screens are held to, and how many there have to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requirements {
    /// Largest error.
    pub max_error_px: f64,
    /// Longest time from capture to the screen.
    pub max_age_ms: f64,
    /// Screens that have to be measured.
    pub screens: usize,
}

/// The result, as `fanlight-source verify --json` prints it. Later versions add fields and take none away.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Assessment {
    /// Whether every screen was right, and enough were measured.
    pub right: bool,
    /// The result in one sentence.
    pub summary: String,
    /// Seconds that were assessed.
    pub seconds: u64,
    /// What was required.
    pub requirements: Requirements,
    /// Screens that were measured and are still there.
    pub screens_measured: usize,
    /// Of these, the ones that were right all the time.
    pub screens_right: usize,
    /// Each screen, the worst first.
    pub screens: Vec<Verdict>,
}

/// The verdict on one screen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// What the operator calls it.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// The stream.
    pub stream: String,
    /// `right picture`, `late`, `wrong`, `blind` or `not measured`.
    pub verdict: String,
    /// By how much it was late at worst.
    pub late_by_ms: Option<f64>,
    /// Why; empty when it was right.
    pub reason: String,
    /// Whether it left before the end.
    pub gone: bool,
    /// Answers in this time.
    pub answers: u64,
    /// Of these, the ones that found the ball.
    pub found: u64,
    /// Of these, the ones that did not although it was there.
    pub none: u64,
    /// The largest error.
    pub worst_px: f64,
    /// The longest time from capture to the screen.
    pub oldest_ms: f64,
}

/// Collects the reports of one source. Every second is in at least one report.
#[derive(Debug)]
pub(super) struct Assessor {
    requirements: Requirements,
    /// The second of the first report, which began before it.
    began: Option<u64>,
    newest: u64,
    /// Reports so far.
    reports: u64,
    restarted: bool,
    left_out: bool,
    screens: BTreeMap<u64, ScreenRecord>,
}

/// What is known of one screen.
#[derive(Debug, Default)]
struct ScreenRecord {
    screen: Screen,
    /// The number of the last report that has it.
    reported: u64,
    seconds: BTreeMap<u64, Second>,
    main_age_ms: f64,
    /// Why it was blind, when it was.
    blind: String,
}

/// Assesses the screens of all sources together.
pub(super) fn assess(requirements: Requirements, sources: &[Assessor]) -> Assessment {
    let mut screens: Vec<Verdict> = sources.iter().flat_map(Assessor::verdicts).collect();
    screens.sort_by_key(|verdict| std::cmp::Reverse(severity_of(&verdict.verdict)));

    let measured = |verdict: &&Verdict| verdict.verdict != NOT_MEASURED && !verdict.gone;
    let failed = |verdict: &Verdict| severity_of(&verdict.verdict) > 1;
    let count = screens.iter().filter(measured).count();
    let right = screens
        .iter()
        .filter(measured)
        .filter(|verdict| !failed(verdict))
        .count();

    let whole = !sources
        .iter()
        .any(|source| source.restarted || source.left_out);
    let seconds = sources.iter().map(Assessor::seconds).min();

    let mut assessment = Assessment {
        right: !screens.iter().any(failed) && count >= requirements.screens && whole,
        summary: String::new(),
        seconds: seconds.unwrap_or_default(),
        requirements,
        screens_measured: count,
        screens_right: right,
        screens,
    };

    assessment.summary = summarize(&assessment, sources);
    assessment
}

impl Assessor {
    pub(super) const fn new(requirements: Requirements) -> Self {
        Self {
            requirements,
            began: None,
            newest: 0,
            reports: 0,
            restarted: false,
            left_out: false,
            screens: BTreeMap::new(),
        }
    }

    /// Takes a report.
    pub(super) fn on_report(&mut self, report: &Report) {
        if self.began.is_some() && report.second < self.newest {
            // The source was started again: its rows are others, and its seconds begin anew.
            self.restarted = true;
            self.began = None;
            self.screens.clear();
        }

        let began = *self.began.get_or_insert(report.second);
        self.newest = report.second;
        self.reports += 1;
        self.left_out |= report.screens_left_out > 0;

        for screen in &report.screens {
            let record = self.screens.entry(screen.row).or_default();
            let new = screen.seconds.iter().filter(|second| second.second > began);
            record
                .seconds
                .extend(new.map(|second| (second.second, *second)));
            if screen.left_s.is_none() && report.second > began {
                let age = screen
                    .canary_status
                    .as_ref()
                    .and_then(|status| status.age_ms)
                    .unwrap_or_default();

                record.main_age_ms = record.main_age_ms.max(age);
                if screen.health == "blind" {
                    record.blind.clone_from(&screen.reason);
                }
            }

            record.screen = screen.clone();
            record.reported = self.reports;
        }
    }

    /// Number of seconds that were assessed.
    fn seconds(&self) -> u64 {
        self.newest
            .saturating_sub(self.began.unwrap_or(self.newest))
    }

    /// The verdict on each screen that was there at some time.
    fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        let was_there =
            |record: &&ScreenRecord| record.screen.left_s.is_none() || !record.seconds.is_empty();
        self.screens
            .values()
            .filter(was_there)
            .filter(|record| !self.has_become_part_of_another(record))
            .map(|record| self.verdict(record))
    }

    /// Whether it was a row of its own only until the source knew of which screen: a viewer comes before its canary does, which tells.
    fn has_become_part_of_another(&self, record: &ScreenRecord) -> bool {
        let has_answered = record.seconds.values().any(|second| second.answers > 0);
        let is_listed = record.screen.left_s.is_some() || record.reported == self.reports;
        !(is_listed || has_answered || self.left_out)
    }

    fn verdict(&self, record: &ScreenRecord) -> Verdict {
        let seconds = || record.seconds.values();
        let sum =
            |count: fn(&Second) -> u32| seconds().map(|second| u64::from(count(second))).sum();
        let worst = seconds().map(|second| second.worst_px).fold(0.0, f64::max);
        let oldest = seconds().map(|second| second.oldest_ms).fold(0.0, f64::max);
        let mut verdict = Verdict {
            name: sanitize(&record.screen.name),
            address: sanitize(&record.screen.address),
            stream: sanitize(&record.screen.stream),
            gone: record.screen.left_s.is_some(),
            answers: sum(|second| second.answers),
            found: sum(|second| second.found),
            none: sum(|second| second.none),
            worst_px: worst,
            oldest_ms: oldest,
            ..Verdict::default()
        };

        let empty = seconds()
            .filter(|second| 2 * second.none > second.answers)
            .count();
        let late = oldest.max(record.main_age_ms) - self.requirements.max_age_ms;
        let (word, reason) = if seconds().any(|second| second.blind) {
            (
                "blind",
                if record.blind.is_empty() {
                    "it was blind for a moment".into()
                } else {
                    sanitize(&record.blind)
                },
            )
        } else if verdict.found + verdict.none == 0 {
            (NOT_MEASURED, sanitize(&record.screen.reason))
        } else if worst > self.requirements.max_error_px {
            (
                "wrong",
                format!("the ball was {worst:.1} px from where it should be"),
            )
        } else if empty > 0 {
            ("wrong", format!("no ball was found in {empty} seconds"))
        } else if late > 0.0 {
            verdict.late_by_ms = Some(late);
            (
                "late",
                format!("a picture was {:.0} ms old", oldest.max(record.main_age_ms)),
            )
        } else {
            ("right picture", String::new())
        };

        Verdict {
            verdict: word.to_owned(),
            reason,
            ..verdict
        }
    }
}

/// Screens that the summary names of each kind.
const MAX_NAMED: usize = 4;

const NOT_MEASURED: &str = "not measured";

fn summarize(assessment: &Assessment, sources: &[Assessor]) -> String {
    let Assessment {
        requirements,
        seconds,
        screens_measured: measured,
        screens_right: right,
        screens,
        ..
    } = assessment;

    let mut text = format!(
        "{right} of {measured} screens showed the right picture within {} px and {} ms for {seconds} s",
        requirements.max_error_px, requirements.max_age_ms
    );

    if *measured < requirements.screens {
        text.push_str(&format!(
            "; {} have to be measured, {} missing",
            requirements.screens,
            requirements.screens - measured
        ));

        let missing = |verdict: &&Verdict| verdict.gone || verdict.verdict == NOT_MEASURED;
        for verdict in screens.iter().filter(missing).take(MAX_NAMED) {
            let why = match (verdict.gone, verdict.reason.as_str()) {
                (true, _) => "it left".to_owned(),
                (false, "") => NOT_MEASURED.to_owned(),
                (false, reason) => format!("{NOT_MEASURED}: {reason}"),
            };

            text.push_str(&format!(
                "; {} at {} ({why})",
                verdict.name, verdict.address
            ));
        }
    }

    if sources.iter().any(|source| source.restarted) {
        text.push_str("; a source was started again meanwhile");
    }

    if sources.iter().any(|source| source.left_out) {
        text.push_str("; there are more screens than a source can report");
    }

    let failed = screens
        .iter()
        .filter(|verdict| severity_of(&verdict.verdict) > 1);
    for verdict in failed.take(MAX_NAMED) {
        text.push_str(&format!(
            "; {} is {} ({})",
            verdict.name, verdict.verdict, verdict.reason
        ));
    }

    text
}

#[cfg(test)]
mod tests;
