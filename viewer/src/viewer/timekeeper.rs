//! The timekeeper of one stream, a thread of its own: statistics, what panels say, and the end of a limited run.

use std::time::Duration;

use fanlight_daemon::usage::Meter;
use fanlight_daemon::{Context, clock};
use fanlight_proto::clock::Time;

use super::Viewer;
use super::output::print;
use super::panel_texts::Identity;
use super::pipeline::Ending;
use crate::config::{self, Config, Extra};
use crate::scene::SceneSlot;
use crate::stats::Counters;

/// How often a line of statistics is printed.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// How often to check whether the figures on the screen are out of date.
const FIGURES_INTERVAL: Duration = Duration::from_millis(250);

/// The timekeeper: prints statistics, reads the config file again when it is asked to, and ends the run.
pub(super) struct Timekeeper {
    /// Whether to print the lines of statistics.
    prints: bool,
    /// Pictures go to standard output.
    stdout_is_taken: bool,
    /// When the run ends, if its duration is limited.
    end: Option<Time>,
    identity: Identity,
}

impl Timekeeper {
    pub(super) fn new(extra: &Extra, config: &Config, relay: String) -> Self {
        let report_on_stdout = extra
            .report
            .as_deref()
            .is_some_and(|path| path.as_os_str() == "-");

        Self {
            stdout_is_taken: extra.output.is_some(),
            prints: extra.output.is_none()
                && config.stats.unwrap_or(extra.headless && !report_on_stdout),
            end: extra.duration.map(|duration| clock::now() + duration),
            identity: Identity {
                stream: config
                    .stream
                    .first()
                    .map_or_else(String::new, ToString::to_string),
                screen: config::screen_name(config),
                relay,
            },
        }
    }

    /// Prints the line of each second until the end, and keeps what panels say up to date.
    pub(super) fn run(
        &mut self,
        scenes: &SceneSlot,
        counters: &Counters,
        context: &Context,
        ending: &Ending,
    ) {
        let mut line_due = clock::now() + LINE_INTERVAL;
        let mut meter = Meter::new();
        let mut usage = meter.sample(clock::now());
        let began = clock::now();
        let statistics = counters.statistics(began);
        scenes.set_readings(self.identity.readings(&statistics, &usage, began));

        loop {
            let now = clock::now();
            let next = line_due.min(now + FIGURES_INTERVAL);
            let due = self.end.map_or(next, |end| end.min(next));

            if context.shutdown.wait_timeout(due.saturating_since(now)) || ending.is_retired() {
                return;
            }

            if let Some(config) = context.reloaded::<Viewer>() {
                self.prints = config.stats.unwrap_or(self.prints) && !self.stdout_is_taken;
            }

            let now = clock::now();
            let second_ends = line_due <= now;

            if second_ends {
                line_due = now.max(line_due + LINE_INTERVAL);
                usage = meter.sample(now);
                let line = counters.line(now);
                if self.prints {
                    print(&format!("{line}\n"));
                }
            }

            let statistics = counters.statistics(now);
            if second_ends || statistics.summary.silence.is_some() {
                scenes.set_readings(self.identity.readings(&statistics, &usage, now));
            }

            if self.end.is_some_and(|end| end <= now) {
                return;
            }
        }
    }
}
