//! `fanlight-source status`.

use std::io::{IsTerminal as _, stdout};
use std::time::Duration;

use fanlight_daemon::Context;

use super::{ALL_RIGHT, Status, ask, client, pause, print, table, unreachable};
use crate::config::Config;
use crate::verification::report::Report;

/// Between two looks.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Moves a terminal's cursor to the upper left corner and clears what is below (ECMA-48, CUP and ED).
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

impl Status {
    /// The exit code.
    pub(super) async fn run(&self, config: &Config, context: &Context) -> anyhow::Result<u8> {
        let client = client(config, self.at.as_ref())?;
        loop {
            let Some(answer) = ask(&client, context).await else {
                return Ok(ALL_RIGHT);
            };
            match answer {
                Ok(report) => self.show(&report)?,
                Err(error) if !self.watch => return Ok(unreachable(&error)),
                // The source may come back.
                Err(error) => drop(unreachable(&error)),
            }
            if !self.watch || !pause(context, WATCH_INTERVAL).await {
                return Ok(ALL_RIGHT);
            }
        }
    }

    fn show(&self, report: &Report) -> anyhow::Result<()> {
        if self.json {
            // One line each second, so that another program can read them; for people, one that reads well.
            let json = if self.watch {
                serde_json::to_string(report)?
            } else {
                serde_json::to_string_pretty(report)?
            };
            return print(&format!("{json}\n"));
        }
        let clear = if self.watch && stdout().is_terminal() {
            CLEAR
        } else {
            ""
        };
        print(&format!("{clear}{}", table::render(report)))
    }
}
