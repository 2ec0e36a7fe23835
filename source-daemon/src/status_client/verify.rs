//! `fanlight-source verify`.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::ensure;
use fanlight_daemon::{Context, clock};
use fanlight_proto::clock::Time;

use super::assessment::{Assessment, Assessor, Requirements, Verdict};
use super::client::{AskError, Client};
use super::{ALL_RIGHT, NO_SOURCE, NOT_RIGHT, Verify, ask, client, pause, print, unreachable};
use crate::config::Config;
use crate::verification::seconds::SECONDS_KEPT;

/// Bounds of `--for`.
const LENGTH: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);

/// Between two questions.
const INTERVAL: Duration = Duration::from_millis(500);

/// A source that has not answered for so long may have forgotten seconds that were not seen.
const PATIENCE: Duration = Duration::from_secs(SECONDS_KEPT as u64 - 3);

impl Verify {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(
            LENGTH.contains(&self.length),
            "--for must be 1s to 1h, not {}",
            self.length
        );
        Ok(())
    }

    /// The exit code.
    pub(super) async fn run(&self, config: &Config, context: &Context) -> anyhow::Result<u8> {
        let limits = config.limits()?;
        let requirements = Requirements {
            max_error_px: limits.max_error,
            max_age_ms: limits.max_age.as_secs_f64() * 1e3,
            screens: self.viewers,
        };
        let client = client(config, self.at.as_ref())?;
        let mut assessor = Assessor::new(requirements);
        if let Err(error) = self.poll(&client, &mut assessor, context).await {
            return Ok(error.map_or(NO_SOURCE, |error| unreachable(&error)));
        }
        let assessment = assessor.assess();
        self.show(&assessment)?;
        Ok(if assessment.right {
            ALL_RIGHT
        } else {
            NOT_RIGHT
        })
    }

    /// Asks until the time is over.
    ///
    /// # Errors
    /// Why the source could not be asked; nothing when the program is to end before.
    async fn poll(
        &self,
        client: &Client,
        assessor: &mut Assessor,
        context: &Context,
    ) -> Result<(), Option<AskError>> {
        let mut answered_at: Option<Time> = None;
        let mut end: Option<Time> = None;
        loop {
            match ask(client, context).await.ok_or(None)? {
                Ok(report) => {
                    let now = clock::now();
                    answered_at = Some(now);
                    assessor.on_report(&report);
                    if now >= *end.get_or_insert(now + *self.length) {
                        return Ok(());
                    }
                }
                // A source that was there may be about to be started again.
                Err(error)
                    if answered_at.is_none_or(|answered_at| {
                        clock::now().saturating_since(answered_at) > PATIENCE
                    }) =>
                {
                    return Err(Some(error));
                }
                Err(_) => {}
            }
            if !pause(context, INTERVAL).await {
                return Err(None);
            }
        }
    }

    fn show(&self, assessment: &Assessment) -> anyhow::Result<()> {
        if self.quiet {
            return Ok(());
        }
        if self.json {
            return print(&format!("{}\n", serde_json::to_string_pretty(assessment)?));
        }
        print(&render(assessment))
    }
}

/// A line for each viewer, and the sentence.
fn render(assessment: &Assessment) -> String {
    let rows: Vec<[String; 7]> = std::iter::once(TITLES.map(str::to_owned))
        .chain(assessment.screens.iter().map(cells))
        .collect();
    let widths: [usize; 7] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    });
    let mut text = String::new();
    for row in rows.iter().filter(|_| !assessment.screens.is_empty()) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let fill = width - cell.chars().count();
            let _ = write!(line, "{cell}{:fill$}  ", "");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = writeln!(text, "{}.", assessment.summary);
    text
}

const TITLES: [&str; 7] = [
    "SCREEN",
    "ADDRESS",
    "STREAM",
    "VERDICT",
    "FOUND",
    "WORST px",
    "OLDEST ms",
];

fn cells(verdict: &Verdict) -> [String; 7] {
    let mut word = match verdict.late_by_ms {
        Some(late) => format!("late by {late:.0} ms"),
        None => verdict.verdict.clone(),
    };
    if verdict.gone {
        word.push_str(", gone");
    }
    let measured = |value: String| {
        if verdict.answers == 0 {
            "-".to_owned()
        } else {
            value
        }
    };
    [
        verdict.name.clone(),
        verdict.address.clone(),
        verdict.stream.clone(),
        word,
        measured(format!("{}/{}", verdict.found, verdict.answers)),
        measured(format!("{:.2}", verdict.worst_px)),
        measured(format!("{:.1}", verdict.oldest_ms)),
    ]
}
