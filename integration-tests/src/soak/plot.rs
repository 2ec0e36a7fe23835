//! What programs use over time, a panel for each quantity. Readable on a light and on a dark ground.

use std::fmt::Write as _;

use super::{Row, STEADY};
use crate::usage::MIB;

/// Pixels of a panel, of what stands around it, and panels in a row.
const PANEL: (f64, f64) = (340.0, 150.0);
const GAP: (f64, f64) = (70.0, 58.0);
const LEFT: f64 = 58.0;
const TOP: f64 = 84.0;
const IN_ROW: usize = 2;

/// Points of a line: what lies between two of them is averaged.
const POINTS: usize = 240;

/// Colours of the programs that are readable on both grounds.
const COLOURS: [&str; STEADY.len()] = ["#a855f7", "#0d9488", "#3b82f6", "#ea580c"];

/// A quantity, its title, and what it is of two rows that follow one another.
type Quantity = (&'static str, fn(&Row, &Row) -> f64);

const QUANTITIES: [Quantity; 4] = [
    ("Own memory, MiB", |_, row| {
        row.usage.private as f64 / MIB as f64
    }),
    ("Descriptors", |_, row| row.usage.descriptors as f64),
    ("Threads", |_, row| row.usage.threads as f64),
    ("Processor time, % of a core", |before, row| {
        let spent = row.usage.cpu.saturating_sub(before.usage.cpu);
        100.0 * spent.as_secs_f64() / (row.at - before.at).as_secs_f64().max(1e-3)
    }),
];

/// The picture as SVG, of the programs that do not restart.
#[must_use]
pub fn draw(rows: &[Row]) -> String {
    let lasted = rows.last().map_or(0.0, |row| row.at.as_secs_f64());
    let width = LEFT + IN_ROW as f64 * (PANEL.0 + GAP.0) - 30.0;
    let height = TOP + QUANTITIES.len().div_ceil(IN_ROW) as f64 * (PANEL.1 + GAP.1);
    let title = format!(
        "What programs use in a soak of {:.0} minutes",
        lasted / 60.0
    );
    let mut svg = head(&title, width, height);

    for (at, (title, of)) in QUANTITIES.iter().enumerate() {
        let left = LEFT + (at % IN_ROW) as f64 * (PANEL.0 + GAP.0);
        let top = TOP + (at / IN_ROW) as f64 * (PANEL.1 + GAP.1);
        let lines = STEADY.map(|program| line(program, rows, *of));
        svg += &panel(title, (left, top), lasted, &lines);
    }

    svg + "</svg>\n"
}

fn head(title: &str, width: f64, height: f64) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"11\" role=\"img\">\n\
         <title>{title}</title>\n<style>\n\
         .ground {{ fill: #ffffff }} .ink {{ fill: #18181b }} .soft {{ fill: #71717a }} .grid {{ stroke: #d4d4d8 }}\n\
         @media (prefers-color-scheme: dark) {{\n\
         .ground {{ fill: #0d1117 }} .ink {{ fill: #f4f4f5 }} .soft {{ fill: #a1a1aa }} .grid {{ stroke: #3f3f46 }}\n\
         }}\n</style>\n<rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n"
    );

    svg += &text(
        (LEFT, 22.0),
        "ink",
        "font-size=\"15\" font-weight=\"600\"",
        title,
    );
    for (at, program) in STEADY.iter().enumerate() {
        let left = LEFT + 130.0 * at as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{left}\" y=\"38\" width=\"14\" height=\"4\" fill=\"{}\"/>",
            COLOURS[at]
        );
        svg += &text((left + 20.0, 44.0), "ink", "", program);
    }

    svg
}

/// Seconds and values of a program, averaged.
fn line(program: &str, rows: &[Row], of: fn(&Row, &Row) -> f64) -> Vec<(f64, f64)> {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.program == program).collect();
    let pairs: Vec<_> = rows
        .windows(2)
        .map(|pair| (pair[1].at.as_secs_f64(), of(pair[0], pair[1])))
        .collect();
    let bins = pairs.chunks(pairs.len().div_ceil(POINTS).max(1));
    bins.map(|bin| {
        let sum = bin
            .iter()
            .fold((0.0, 0.0), |sum, (at, value)| (sum.0 + at, sum.1 + value));
        (sum.0 / bin.len() as f64, sum.1 / bin.len() as f64)
    })
    .collect()
}

fn panel(
    title: &str,
    (left, top): (f64, f64),
    lasted: f64,
    lines: &[Vec<(f64, f64)>; STEADY.len()],
) -> String {
    let values = lines.iter().flatten().map(|(_, value)| *value);
    let most = round_up(values.fold(0.0, f64::max));
    let bottom = top + PANEL.1;
    let mut svg = text((left, top - 8.0), "ink", "font-weight=\"600\"", title);

    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        let y = bottom - share * PANEL.1;
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{left}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\"/>",
            left + PANEL.0
        );
        let end = "text-anchor=\"end\"";
        svg += &text(
            (left - 6.0, y + 4.0),
            "soft",
            end,
            &(share * most).to_string(),
        );
        let minutes = format!("{:.1} min", share * lasted / 60.0);
        let middle = "text-anchor=\"middle\"";
        svg += &text(
            (left + share * PANEL.0, bottom + 15.0),
            "soft",
            middle,
            &minutes,
        );
    }

    for (line, colour) in lines.iter().zip(COLOURS) {
        let points: Vec<String> = line
            .iter()
            .map(|(at, value)| {
                let x = left + at / lasted.max(1.0) * PANEL.0;
                let y = bottom - value / most * PANEL.1;
                format!("{x:.1},{y:.1}")
            })
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            points.join(" ")
        );
    }

    svg
}

/// The next of 4, 8, 20, 40, 80, 200, …: four steps of a whole number, or of a round part of one.
fn round_up(value: f64) -> f64 {
    let mut steps =
        (0..12).flat_map(|power| [4.0, 8.0, 20.0].map(|step| step * 10_f64.powi(power)));
    steps.find(|step| *step >= value).unwrap_or(value)
}

fn text((x, y): (f64, f64), class: &str, style: &str, words: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" {style}>{words}</text>\n")
}
