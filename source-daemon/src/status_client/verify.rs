//! `fanlight-source verify`.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::ensure;
use fanlight_daemon::{Context, clock};
use fanlight_proto::clock::Time;

use super::assessment::{Assessment, Assessor, Requirements, Verdict, assess};
use super::client::{AskError, Client};
use super::{ALL_RIGHT, NO_SOURCE, NOT_RIGHT, Verify, ask_all, clients, pause, print, unreachable};
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

        let clients = clients(config, &self.at)?;
        let mut sources: Vec<Assessor> = clients
            .iter()
            .map(|_| Assessor::new(requirements))
            .collect();

        if let Err(error) = self.poll(&clients, &mut sources, context).await {
            return Ok(error.map_or(NO_SOURCE, |error| unreachable(&error)));
        }

        let assessment = assess(requirements, &sources);
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
    /// Why a source could not be asked; nothing when the program is to end before.
    async fn poll(
        &self,
        clients: &[Client],
        sources: &mut [Assessor],
        context: &Context,
    ) -> Result<(), Option<AskError>> {
        let mut answered_at = vec![None::<Time>; clients.len()];
        let mut end: Option<Time> = None;

        loop {
            let answers = ask_all(clients, context).await.ok_or(None)?;
            let now = clock::now();

            for (index, answer) in answers.into_iter().enumerate() {
                match answer {
                    Ok(report) => {
                        answered_at[index] = Some(now);
                        sources[index].on_report(&report);
                    }
                    // A source that has answered before may be about to be started again.
                    Err(error) => {
                        let silent = answered_at[index].map(|at| now.saturating_since(at));
                        if silent.is_none_or(|silent| silent > PATIENCE) {
                            return Err(Some(error));
                        }
                    }
                }
            }

            let all_answered = answered_at.iter().all(|at| *at == Some(now));
            if now >= *end.get_or_insert(now + *self.length) && all_answered {
                return Ok(());
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
