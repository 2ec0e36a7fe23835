//! Draws what the bench of the fan-out found: CPU time per viewer and frame over the number of viewers, a panel for each
//! rig, both axes logarithmic. Readable on a light and on a dark ground.

mod axis;

use std::fmt::Write as _;

use fanlight_proto::datagram::DATA_BYTES;

use crate::figures::{Figure, distinct};
use crate::rig::Rig;
use crate::sample::PICTURE;
use axis::Axis;

/// A method, its name for people, its colour on a light and on a dark ground.
type Line = (&'static str, &'static str, &'static str, &'static str);

/// What is drawn.
const LINES: [Line; 5] = [
    (
        "tokio",
        "tokio send_to, each datagram",
        "#c2410c",
        "#fb923c",
    ),
    (
        "sendmmsg",
        "sendmmsg, single datagrams",
        "#7e22ce",
        "#c084fc",
    ),
    ("relay", "whole relay", "#0f766e", "#2dd4bf"),
    ("send", "relay, sending only", "#1d4ed8", "#60a5fa"),
    ("raw", "raw: prepared trains (GSO)", "#52525b", "#d4d4d8"),
];

/// Pixels of a panel's plotting area, and of what stands around it.
const PANEL: (f64, f64) = (230.0, 240.0);
const LEFT: f64 = 62.0;
const GAP: f64 = 34.0;
const TOP: f64 = 112.0;
const BOTTOM: f64 = 56.0;
const RIGHT: f64 = 18.0;

/// Pixels between two entries of the legend, which has two rows.
const LEGEND_STEP: f64 = 226.0;

/// The picture as SVG.
pub(crate) fn draw(figures: &[Figure]) -> String {
    let rigs = distinct(figures, |figure| figure.rig.clone());
    let panels = rigs.len().max(1) as f64;
    let width =
        (LEFT + panels * PANEL.0 + (panels - 1.0) * GAP + RIGHT).max(LEFT + 3.0 * LEGEND_STEP);
    let height = TOP + PANEL.1 + BOTTOM;
    let drawn: Vec<&Figure> = figures
        .iter()
        .filter(|figure| LINES.iter().any(|line| line.0 == figure.method))
        .collect();

    let x = Axis::at_each(drawn.iter().map(|figure| figure.viewers as f64), PANEL.0);
    let y = Axis::round(drawn.iter().map(|figure| figure.us_per_viewer), PANEL.1);
    let mut svg = head(width, height);

    for (at, rig) in rigs.iter().enumerate() {
        let left = LEFT + at as f64 * (PANEL.0 + GAP);
        let of_rig: Vec<&Figure> = drawn
            .iter()
            .copied()
            .filter(|figure| figure.rig == *rig)
            .collect();
        svg += &panel(left, &x, &y, rig, &of_rig, at == 0);
    }

    svg += "</svg>\n";
    svg
}

/// Colours, title and legend.
fn head(width: f64, height: f64) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" role=\"img\">\n\
         <title>CPU time per viewer and frame over the number of viewers</title>\n<style>\n"
    );

    svg += &colours(["#ffffff", "#18181b", "#71717a", "#d4d4d8"], |line| line.2);
    svg += "@media (prefers-color-scheme: dark) {\n";
    svg += &colours(["#0d1117", "#f4f4f5", "#a1a1aa", "#3f3f46"], |line| line.3);
    svg += "}\n</style>\n<rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n";
    svg += &text(
        LEFT,
        22.0,
        "ink",
        "font-size=\"15\" font-weight=\"600\"",
        "Sender's CPU time per viewer and frame",
    );

    let what = format!(
        "a picture of {} kB in datagrams of {DATA_BYTES} bytes; lower is better",
        PICTURE / 1000
    );

    svg += &text(LEFT, 40.0, "soft", "", &what);
    for (at, (method, name, ..)) in LINES.iter().enumerate() {
        let left = LEFT + (at % 3) as f64 * LEGEND_STEP;
        let top = 60.0 + (at / 3) as f64 * 18.0;
        svg += &marker(method, left + 5.0, top - 4.0);
        svg += &text(left + 15.0, top, "ink", "", name);
    }

    svg
}

/// The rules for ground, texts, grid and lines.
fn colours([ground, ink, soft, grid]: [&str; 4], of: fn(&Line) -> &'static str) -> String {
    let mut rules =
        format!(".ground {{ fill: {ground} }} .ink {{ fill: {ink} }} .soft {{ fill: {soft} }}\n");
    let _ = writeln!(rules, ".grid {{ stroke: {grid} }}");
    for line in &LINES {
        let name = line.0;
        let colour = of(line);
        let _ = writeln!(
            rules,
            ".{name} {{ stroke: {colour} }} .{name}-mark {{ fill: {colour} }}"
        );
    }

    rules
}

fn panel(left: f64, x: &Axis, y: &Axis, rig: &str, figures: &[&Figure], first: bool) -> String {
    let right = left + PANEL.0;
    let bottom = TOP + PANEL.1;
    let title = Rig::named(rig).map_or("", Rig::description);
    let mut svg = text(left, TOP - 10.0, "ink", "font-weight=\"600\"", title);

    for &tick in &y.ticks {
        let at = bottom - y.at(tick);
        svg += &grid((left, at), (right, at));

        if first {
            svg += &text(
                left - 8.0,
                at + 4.0,
                "soft",
                "text-anchor=\"end\"",
                &tick.to_string(),
            );
        }
    }

    for &tick in &x.ticks {
        let at = left + x.at(tick);
        svg += &grid((at, TOP), (at, bottom));
        svg += &text(
            at,
            bottom + 18.0,
            "soft",
            "text-anchor=\"middle\"",
            &tick.to_string(),
        );
    }

    svg += &text(
        f64::midpoint(left, right),
        bottom + 38.0,
        "ink",
        "text-anchor=\"middle\"",
        "viewers",
    );

    if first {
        let at = 18.0;
        let middle = f64::midpoint(TOP, bottom);
        let turned = format!("text-anchor=\"middle\" transform=\"rotate(-90 {at} {middle})\"");
        svg += &text(at, middle, "ink", &turned, "CPU time, µs");
    }

    for (method, ..) in LINES {
        let mut points: Vec<(usize, f64)> = figures
            .iter()
            .filter(|f| f.method == method)
            .map(|f| (f.viewers, f.us_per_viewer))
            .collect();

        points.sort_by_key(|point| point.0);
        svg += &line(
            method,
            points
                .iter()
                .map(|point| (left + x.at(point.0 as f64), bottom - y.at(point.1))),
        );
    }

    svg
}

fn line(method: &str, points: impl Iterator<Item = (f64, f64)> + Clone) -> String {
    let path: Vec<String> = points
        .clone()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();

    let mut svg = format!(
        "<polyline class=\"{method}\" points=\"{}\" fill=\"none\" stroke-width=\"2\"/>\n",
        path.join(" ")
    );

    points.for_each(|(x, y)| svg += &marker(method, x, y));
    svg
}

/// A sign of its own for each method, for eyes that do not tell the colours.
fn marker(method: &str, x: f64, y: f64) -> String {
    let class = format!("class=\"{method}-mark\"");
    let polygon = |points: &[(f64, f64)]| {
        let points: Vec<String> = points
            .iter()
            .map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy))
            .collect();
        format!("<polygon {class} points=\"{}\"/>\n", points.join(" "))
    };

    match method {
        "raw" => format!("<circle {class} cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>\n"),
        "send" => polygon(&[(-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)]),
        "relay" => polygon(&[(0.0, -5.0), (4.5, 3.5), (-4.5, 3.5)]),
        "sendmmsg" => polygon(&[(0.0, 5.0), (4.5, -3.5), (-4.5, -3.5)]),
        _ => polygon(&[(0.0, -5.0), (5.0, 0.0), (0.0, 5.0), (-5.0, 0.0)]),
    }
}

fn grid(from: (f64, f64), to: (f64, f64)) -> String {
    format!(
        "<line class=\"grid\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>\n",
        from.0, from.1, to.0, to.1
    )
}

fn text(x: f64, y: f64, class: &str, style: &str, words: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" {style}>{words}</text>\n")
}
