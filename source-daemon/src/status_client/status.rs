//! `fanlight-source status`.

use std::io::{IsTerminal as _, stdout};
use std::time::Duration;

use fanlight_daemon::Context;

use super::{ALL_RIGHT, Status, ask_all, clients, pause, print, table, unreachable};
use crate::config::Config;
use crate::verification::report::Report;

/// Between two looks.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Moves a terminal's cursor to the upper left corner and clears what is below (ECMA-48, CUP and ED).
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

impl Status {
    /// Prints the reports and returns the exit code.
    ///
    /// # Errors
    /// When standard output cannot be written to.
    pub(super) async fn run(&self, config: &Config, context: &Context) -> anyhow::Result<u8> {
        let clients = clients(config, &self.at)?;
        loop {
            let Some(answers) = ask_all(&clients, context).await else {
                return Ok(ALL_RIGHT);
            };

            let mut reports = Vec::with_capacity(answers.len());
            let mut code = ALL_RIGHT;

            for answer in answers {
                match answer {
                    Ok(report) => reports.push(report),
                    Err(error) => code = unreachable(&error),
                }
            }

            if !reports.is_empty() {
                self.show(&reports)?;
            }

            // While watching, a source that is away may come back.
            if !self.watch {
                return Ok(code);
            }

            if !pause(context, WATCH_INTERVAL).await {
                return Ok(ALL_RIGHT);
            }
        }
    }

    fn show(&self, reports: &[Report]) -> anyhow::Result<()> {
        if self.json {
            return print(&format!("{}\n", self.to_json(reports)?));
        }

        let clear = if self.watch && stdout().is_terminal() {
            CLEAR
        } else {
            ""
        };

        print(&format!("{clear}{}", table::render(reports)))
    }

    /// One report, or a list when several sources were to be asked. While watching, a line a second for other programs.
    fn to_json(&self, reports: &[Report]) -> serde_json::Result<String> {
        match (reports, self.at.len() > 1, self.watch) {
            ([report], false, true) => serde_json::to_string(report),
            ([report], false, false) => serde_json::to_string_pretty(report),
            (_, _, true) => serde_json::to_string(reports),
            (_, _, false) => serde_json::to_string_pretty(reports),
        }
    }
}
