//! One line of statistics: frame rate, processor, memory and uptime of this program.

use std::time::Duration;

use fanlight_daemon::usage::Meter;
use fanlight_proto::clock::Time;

/// How often the line changes: people can read it, and frames are counted over it.
const INTERVAL: Duration = Duration::from_secs(1);

/// Frame rate, processor, memory and uptime, as the last second was.
#[derive(Debug)]
pub(super) struct Statistics {
    meter: Meter,
    /// When the present second began, and frames since.
    second: Option<(Time, u32)>,
    line: String,
}

impl Statistics {
    pub(super) fn new() -> Self {
        Self {
            meter: Meter::new(),
            second: None,
            line: String::new(),
        }
    }

    /// The line for a frame captured at `captured`, each of which is counted.
    pub(super) fn line(&mut self, captured: Time) -> &str {
        let (began, frames) = self.second.unwrap_or((captured, 0));
        let length = captured.saturating_since(began);

        if length >= INTERVAL {
            let rate = f64::from(frames) / length.as_secs_f64();
            self.line = format!("{rate:.1} fps  {}", self.meter.sample(captured));
            self.second = Some((captured, 1));
        } else {
            if self.line.is_empty() {
                self.line = format!("- fps  {}", self.meter.sample(captured));
            }
            self.second = Some((began, frames + 1));
        }
        &self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_second_and_changes_once_in_one() {
        let mut figures = Statistics::new();
        let start = fanlight_daemon::clock::now();
        let mut lines: Vec<String> = Vec::new();

        for frame in 0..75 {
            let line = figures.line(start + frame * Duration::from_millis(40));
            if lines.last().is_none_or(|last| last != line) {
                lines.push(line.to_owned());
            }
        }

        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(
            lines[0].starts_with("- fps  cpu ") && lines[0].contains("  up "),
            "{lines:?}"
        );

        assert!(
            lines[1..]
                .iter()
                .all(|line| line.starts_with("25.0 fps  cpu ")),
            "{lines:?}"
        );
    }
}
