//! What each screen was found to show over some time, second by second. Without clock and without input or output.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

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

/// The judgement, as `fanlight-source verify --json` prints it. Later versions add fields and take none away.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Assessment {
    /// Whether every screen was right, and there were enough.
    pub right: bool,
    /// The whole in one sentence.
    pub summary: String,
    /// Seconds that were judged.
    pub seconds: u64,
    /// What was asked for.
    pub requirements: Requirements,
    /// Screens that were measured and are still there.
    pub screens_measured: usize,
    /// Of these, the ones that were right all the time.
    pub screens_right: usize,
    /// Each viewer of each stream, the worst first.
    pub screens: Vec<Verdict>,
}

/// The verdict on one viewer of one stream.
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

/// Gathers reports, of which each second is in one at least.
#[derive(Debug)]
pub(super) struct Assessor {
    requirements: Requirements,
    /// The second of the first report: it began before.
    began: Option<u64>,
    newest: u64,
    restarted: bool,
    left_out: bool,
    screens_seen: BTreeMap<u64, ScreenRecord>,
}

/// What is known of one row.
#[derive(Debug, Default)]
struct ScreenRecord {
    screen: Screen,
    seconds: BTreeMap<u64, Second>,
    main_age_ms: f64,
    /// Why it was blind, when it was.
    blind: String,
}

impl Assessor {
    pub(super) const fn new(requirements: Requirements) -> Self {
        Self {
            requirements,
            began: None,
            newest: 0,
            restarted: false,
            left_out: false,
            screens_seen: BTreeMap::new(),
        }
    }

    /// Takes how things stand.
    pub(super) fn on_report(&mut self, report: &Report) {
        if self.began.is_some() && report.second < self.newest {
            // Its rows are others, and its seconds begin anew.
            (self.restarted, self.began) = (true, None);
            self.screens_seen.clear();
        }
        let began = *self.began.get_or_insert(report.second);
        self.newest = report.second;
        self.left_out |= report.screens_left_out > 0;
        for screen in &report.screens {
            let record = self.screens_seen.entry(screen.row).or_default();
            let news = screen.seconds.iter().filter(|second| second.second > began);
            record
                .seconds
                .extend(news.map(|second| (second.second, *second)));
            if screen.left_s.is_none() && report.second > began {
                let age = screen
                    .canary_status
                    .as_ref()
                    .and_then(|main| main.age_ms)
                    .unwrap_or_default();
                record.main_age_ms = record.main_age_ms.max(age);
                if screen.health == "blind" {
                    record.blind.clone_from(&screen.reason);
                }
            }
            record.screen = screen.clone();
        }
    }

    /// The judgement.
    pub(super) fn assess(&self) -> Assessment {
        // Who had left when it began is none of its business.
        let present =
            |record: &&ScreenRecord| record.screen.left_s.is_none() || !record.seconds.is_empty();
        let mut verdicts: Vec<(&ScreenRecord, Verdict)> = self
            .screens_seen
            .values()
            .filter(present)
            .map(|record| (record, self.verdict(record)))
            .collect();
        verdicts.sort_by_key(|(record, verdict)| {
            (
                std::cmp::Reverse(severity(&verdict.verdict)),
                record.screen.row,
            )
        });
        let of = |which: &dyn Fn(&Verdict) -> bool| -> BTreeSet<(u64, u64)> {
            verdicts
                .iter()
                .filter(|(_, verdict)| which(verdict))
                .map(|(record, _)| record.screen())
                .collect()
        };
        let measured = of(&|verdict| verdict.verdict != NOT_MEASURED && !verdict.gone);
        let failed = of(&|verdict| severity(&verdict.verdict) > 1);
        let (count, right) = (measured.len(), measured.difference(&failed).count());
        let enough = count >= self.requirements.screens;
        let whole = !self.restarted && !self.left_out;
        let seconds = self
            .newest
            .saturating_sub(self.began.unwrap_or(self.newest));
        Assessment {
            right: failed.is_empty() && enough && whole,
            summary: self.summary(count, right, seconds, &verdicts),
            seconds,
            requirements: self.requirements,
            screens_measured: count,
            screens_right: right,
            screens: verdicts.into_iter().map(|(_, verdict)| verdict).collect(),
        }
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

    fn summary(
        &self,
        measured: usize,
        right: usize,
        seconds: u64,
        verdicts: &[(&ScreenRecord, Verdict)],
    ) -> String {
        let limits = format!(
            "within {} px and {} ms",
            self.requirements.max_error_px, self.requirements.max_age_ms
        );
        let mut text = format!(
            "{right} of {measured} screens showed the right picture {limits} for {seconds} s"
        );
        if measured < self.requirements.screens {
            text.push_str(&format!(
                "; {} have to be measured",
                self.requirements.screens
            ));
        }
        if self.restarted {
            text.push_str("; the source was started again meanwhile");
        }
        if self.left_out {
            text.push_str("; there are more screens than the source can tell of");
        }
        let failed = verdicts
            .iter()
            .filter(|(_, verdict)| severity(&verdict.verdict) > 1);
        for (_, verdict) in failed.take(MAX_NAMED) {
            text.push_str(&format!(
                "; {} is {} ({})",
                verdict.name, verdict.verdict, verdict.reason
            ));
        }
        text
    }
}

/// Screens that the sentence names.
const MAX_NAMED: usize = 4;

const NOT_MEASURED: &str = "not measured";

impl ScreenRecord {
    /// The same for all rows of one screen.
    fn screen(&self) -> (u64, u64) {
        if self.screen.screen == 0 {
            (0, self.screen.row)
        } else {
            (self.screen.screen, 0)
        }
    }
}

fn severity(verdict: &str) -> u8 {
    match verdict {
        "blind" => 4,
        "wrong" => 3,
        "late" => 2,
        "right picture" => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
