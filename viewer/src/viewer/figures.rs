//! The text of the figures in the corner of the picture.

use fanlight_daemon::usage::Usage;

use crate::engine::Transport;
use crate::stats::{SecondSummary, millis};

/// In lines: frames a second and age, what this process costs, and what the source makes of this screen.
pub(super) fn text(second: &SecondSummary, usage: &Usage) -> String {
    let mut text = match second.silence {
        Some(silence) => format!("no new picture for {} s", silence.as_secs()),
        None => format!("{:.1} fps", second.fps),
    };

    if let Some(age) = second.age {
        text.push_str(&format!("  age {:.1} ms", millis(age)));
    }

    if second.transport != Transport::Udp {
        text.push_str(&format!("  {}", second.transport.word()));
    }

    text.push_str(&format!("\n{usage}"));
    if let Some(verdict) = second.verdict {
        text.push_str(&format!("\n{verdict}"));
    }

    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fanlight_proto::message::{Health, Verdict};

    use super::*;

    #[test]
    fn what_is_known_stands_in_a_line_each() {
        let usage = Usage {
            processor: 0.12,
            resident_bytes: 34 << 20,
            uptime: Duration::from_secs(3723),
        };

        let none = SecondSummary {
            fps: 0.0,
            age: None,
            verdict: None,
            silence: None,
            transport: Transport::Udp,
        };

        assert_eq!(
            text(&none, &usage),
            "0.0 fps\ncpu 12 %  mem 34 MiB  up 1:02:03"
        );

        let verdict = Verdict {
            health: Health::Right as i32,
            error: 0.2,
            latency_us: 34_000,
            count: 9,
            ..Verdict::default()
        };

        let second = SecondSummary {
            fps: 29.97,
            age: Some(Duration::from_micros(4100)),
            verdict: Some(verdict.into()),
            silence: None,
            transport: Transport::Tcp,
        };

        let lines =
            "30.0 fps  age 4.1 ms  tcp\ncpu 12 %  mem 34 MiB  up 1:02:03\nright 0.20 px 34 ms";
        assert_eq!(text(&second, &usage), lines);
    }
    #[test]
    fn figures_of_the_past_give_way_to_how_long_ago_that_was() {
        let second = SecondSummary {
            silence: Some(Duration::from_millis(3700)),
            ..SecondSummary::default()
        };

        let usage = Usage {
            processor: 0.12,
            resident_bytes: 34 << 20,
            uptime: Duration::from_secs(3723),
        };

        let expected = "no new picture for 3 s\ncpu 12 %  mem 34 MiB  up 1:02:03";
        assert_eq!(text(&second, &usage), expected);
    }
}
