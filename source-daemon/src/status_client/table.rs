//! The report as a table for people.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::time::Duration;

use crate::verification::health::severity_of;
use crate::verification::report::{Latency, Report, Screen, Stream};
use crate::verification::sanitize::{sanitize, sanitize_reason};

/// A column: its title, and whether it is text, which stands on the left.
const COLUMNS: [(&str, bool); 17] = [
    ("SCREEN", true),
    ("ADDRESS", true),
    ("STREAM", true),
    ("HEALTH", true),
    ("ERROR px", false),
    ("MEAN", false),
    ("MAX", false),
    ("σ", false),
    ("P95", false),
    ("FOUND", false),
    ("MISSING", false),
    ("LATENCY ms", false),
    ("P95", false),
    ("PREPARE+TRANSIT+WAIT+DECODE+SHOW+TRACK", true),
    ("FPS", false),
    ("LOST", false),
    ("SINCE", false),
];

/// Spaces between columns.
const GAP: usize = 2;

/// The streams of each source, and one table of all screens.
#[must_use]
pub(super) fn render(reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        let _ = writeln!(
            text,
            "{}, up {}; right is within {} px and {} ms",
            sanitize(&report.program),
            age(report.uptime_s),
            report.limits.max_error_px,
            report.limits.max_age_ms
        );

        text.extend(report.streams.iter().map(stream_line));
    }

    text.push('\n');

    let mut screens: Vec<&Screen> = reports.iter().flat_map(|report| &report.screens).collect();
    screens.sort_by_key(|screen| {
        (
            screen.left_s.is_some(),
            Reverse(severity_of(&screen.health)),
        )
    });

    if screens.is_empty() {
        text.push_str("No screen is known: no relay has told of any.\n");
    } else {
        text.push_str(&aligned(screens.iter().copied().map(cells)));
        text.extend(screens.iter().copied().filter_map(reason_line));
    }

    let sum = |count: fn(&Report) -> u64| reports.iter().map(count).sum::<u64>();
    let left_out = sum(|report| report.screens_left_out);
    let refused = sum(|report| report.screens_refused);

    if left_out > 0 {
        let _ = writeln!(
            text,
            "{left_out} more screens stand no worse and are left out here."
        );
    }

    if refused > 0 {
        let _ = writeln!(
            text,
            "{refused} viewers found no room in the source's table."
        );
    }

    text
}

fn stream_line(stream: &Stream) -> String {
    let reason = if stream.reason.is_empty() {
        String::new()
    } else {
        format!(" ({})", sanitize_reason(&stream.reason))
    };

    let Stream {
        name,
        input,
        state,
        frames_published,
        viewers,
        clients,
        ..
    } = stream;

    let mut line = format!(
        "{name}: {input}, {state}{reason}; {frames_published} frames, {viewers} viewers, {clients} HTTP clients\n"
    );

    for refused in &stream.refused_by {
        let [relay, reason] = [&refused.relay, &refused.reason].map(|text| sanitize_reason(text));
        let _ = writeln!(line, "{name}: not taken by the relay {relay}: {reason}");
    }

    line
}

fn cells(screen: &Screen) -> [String; COLUMNS.len()] {
    let errors = screen.error_px.as_ref();
    let pixels = |value: Option<f64>| value.map_or_else(dash, |value| format!("{value:.2}"));
    let millis = |value: Option<f64>| value.map_or_else(dash, |value| format!("{value:.1}"));
    let latency = screen.latency_ms.as_ref();
    let told = screen.frames.expected > 0 || screen.frames.answered > 0;
    let tracked = |value: String| if told { value } else { dash() };
    [
        if screen.name.is_empty() {
            dash()
        } else {
            sanitize(&screen.name)
        },
        sanitize(&screen.address),
        sanitize(&screen.stream),
        health(screen),
        pixels(errors.map(|errors| errors.now)),
        pixels(errors.map(|errors| errors.mean)),
        pixels(errors.map(|errors| errors.max)),
        pixels(errors.map(|errors| errors.deviation)),
        pixels(errors.map(|errors| errors.p95)),
        screen
            .frames
            .detection_rate
            .map_or_else(dash, |rate| format!("{:.1}%", rate * 100.0)),
        tracked(screen.frames.missing.to_string()),
        millis(latency.map(|latency| latency.capture_to_detection.p50)),
        millis(latency.map(|latency| latency.capture_to_detection.p95)),
        latency.map_or_else(dash, stages),
        millis(screen.shown.fps),
        screen.shown.lost.to_string(),
        age(screen.since_s),
    ]
}

/// Why a screen is not right; none when it is, or has gone.
fn reason_line(screen: &Screen) -> Option<String> {
    if screen.reason.is_empty() || screen.left_s.is_some() {
        return None;
    }

    let name = if screen.name.is_empty() {
        &screen.address
    } else {
        &screen.name
    };
    Some(format!(
        "{}: {}: {}\n",
        sanitize(name),
        health(screen),
        sanitize_reason(&screen.reason)
    ))
}

/// The health, by how much it is late, and whether it has gone.
#[must_use]
pub(super) fn health(screen: &Screen) -> String {
    let feedback = match screen.late_by_ms {
        Some(late) => format!("late by {late:.0} ms"),
        None => sanitize(&screen.health),
    };

    if screen.left_s.is_some() {
        format!("{feedback}, gone")
    } else {
        feedback
    }
}

fn stages(latency: &Latency) -> String {
    let Latency {
        prepare,
        transit,
        wait,
        decode,
        present,
        track,
        ..
    } = latency;

    let medians =
        [prepare, transit, wait, decode, present, track].map(|stage| format!("{:.1}", stage.p50));
    medians.join("+")
}

fn dash() -> String {
    "-".to_owned()
}

/// "12 s", "3 m 20 s", "2 h 5 m": two units, rounded down.
fn age(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.floor())
        .unwrap_or_default()
        .as_secs();
    let text = humantime::format_duration(Duration::from_secs(whole)).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn aligned(rows: impl Iterator<Item = [String; COLUMNS.len()]>) -> String {
    let titles = COLUMNS.map(|(title, _)| title.to_owned());
    let rows: Vec<_> = std::iter::once(titles).chain(rows).collect();
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or_default()
    });

    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for ((cell, width), (_, is_text)) in row.iter().zip(widths).zip(COLUMNS) {
            let fill = width - cell.chars().count();
            let (before, after) = if is_text { (0, fill) } else { (fill, 0) };
            let _ = write!(line, "{:before$}{cell}{:after$}{:GAP$}", "", "", "");
        }

        text.push_str(line.trim_end());
        text.push('\n');
    }

    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verification::report::{Errors, Frames, Percentiles, RefusedBy, Shown};

    fn percentiles(p50: f64) -> Percentiles {
        Percentiles {
            p50,
            p95: p50 * 2.0,
            p99: p50 * 3.0,
        }
    }

    fn measured() -> Screen {
        let errors = Errors {
            now: 0.31,
            mean: 0.25,
            max: 0.9,
            deviation: 0.1,
            p50: 0.2,
            p95: 0.6,
            p99: 0.9,
            count: 30,
        };

        let latency = Latency {
            capture_to_detection: percentiles(31.0),
            prepare: percentiles(2.0),
            transit: percentiles(5.5),
            ..Latency::default()
        };

        Screen {
            name: "hall".into(),
            address: "10.0.0.7:40000".into(),
            stream: "cam".into(),
            health: "late".into(),
            late_by_ms: Some(12.3),
            since_s: 3725.9,
            error_px: Some(errors),
            latency_ms: Some(latency),
            frames: Frames {
                expected: 100,
                answered: 97,
                found: 97,
                missing: 3,
                detection_rate: Some(0.97),
                ..Frames::default()
            },
            shown: Shown {
                frames: 100,
                lost: 2,
                fps: Some(29.97),
                age_ms: None,
            },
            ..Screen::default()
        }
    }

    #[test]
    fn each_screen_has_one_aligned_line() {
        let blind = Screen {
            name: "gate".into(),
            health: "blind".into(),
            reason: "pictures come but cannot be decoded".into(),
            ..Screen::default()
        };
        let unmeasured = Screen {
            name: "\u{1b}[31mlobby".into(),
            stream: "cam".into(),
            health: "not measured".into(),
            left_s: Some(1.0),
            ..Screen::default()
        };

        let text = render(&[Report {
            screens: vec![measured(), blind, unmeasured],
            screens_left_out: 2,
            ..Report::default()
        }]);

        let lines: Vec<&str> = text.lines().skip(2).collect();
        let shown = "hall        10.0.0.7:40000  cam     late by 12 ms       ";
        assert!(lines[2].starts_with(shown), "{text}");
        assert!(
            lines[2].contains(
                "0.31  0.25  0.90  0.10  0.60  97.0%        3        31.0  62.0  2.0+5.5+0.0"
            ),
            "{text}"
        );

        assert!(lines[2].ends_with("30.0     2  1h 2m"), "{text}");
        assert!(
            lines[3].starts_with("?[31mlobby                  cam     not measured, gone"),
            "{text}"
        );

        assert_eq!(lines[4], "gate: blind: pictures come but cannot be decoded");

        assert_eq!(
            lines[5],
            "2 more screens stand no worse and are left out here."
        );

        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn a_stream_that_a_relay_does_not_take_has_a_line_with_the_reason() {
        let stream = Stream {
            name: "cam".into(),
            refused_by: vec![RefusedBy {
                peer: 1,
                relay: "lobby 0.0.0.0:5004".into(),
                reason: "source 1 has it".into(),
            }],
            ..Stream::default()
        };
        let text = render(&[Report {
            streams: vec![stream],
            ..Report::default()
        }]);
        let line = "\ncam: not taken by the relay lobby 0.0.0.0:5004: source 1 has it\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn without_screens_it_says_so() {
        assert!(
            render(&[Report::default()])
                .ends_with("No screen is known: no relay has told of any.\n")
        );
    }
}
