//! Two plots of the comparison, a panel for each link: frames shown a second, and the age of 95 of 100 of them, over the
//! receive buffer. Readable on a light and on a dark ground.

use std::fmt::Write as _;

use fanlight_tests::compare::{Buffer, Method, RATE};

use crate::Measured;

/// Pixels of a panel, of what stands around it, and panels in a row.
const PANEL: (f64, f64) = (210.0, 130.0);
const GAP: (f64, f64) = (26.0, 58.0);
const LEFT: f64 = 58.0;
const TOP: f64 = 92.0;
const IN_ROW: usize = 3;

/// Ages from 1 ms to 10 s are drawn; older ones at the edge.
const AGES: (f64, f64) = (1.0, 10_000.0);

/// Colours of the methods on a light and on a dark ground.
const COLOURS: [(&str, &str); 4] = [
    ("#7e22ce", "#c084fc"),
    ("#0f766e", "#2dd4bf"),
    ("#1d4ed8", "#60a5fa"),
    ("#c2410c", "#fb923c"),
];

/// What one plot shows: 0 at the bottom, 1 at the top; none where there is nothing to show.
struct Quantity {
    file: &'static str,
    title: &'static str,
    ticks: &'static [(f64, &'static str)],
    place: fn(&Measured) -> Option<f64>,
}

const QUANTITIES: [Quantity; 2] = [
    Quantity {
        file: "tcp-or-udp-rate.svg",
        title: "Frames shown a second, of 24",
        ticks: &[
            (0.0, "0"),
            (0.25, "6"),
            (0.5, "12"),
            (0.75, "18"),
            (1.0, "24"),
        ],
        place: |measured| Some((measured.figures.fps / f64::from(RATE)).min(1.05)),
    },
    Quantity {
        file: "tcp-or-udp-age.svg",
        title: "Age when shown, 95 of 100 frames are younger (logarithmic)",
        ticks: &[
            (0.0, "1 ms"),
            (0.25, "10 ms"),
            (0.5, "0.1 s"),
            (0.75, "1 s"),
            (1.0, "10 s"),
        ],
        place: |measured| measured.figures.age_ms.map(|ages| of_age(ages[1])),
    },
];

fn of_age(milliseconds: f64) -> f64 {
    let clamped = milliseconds.clamp(AGES.0, AGES.1);
    (clamped / AGES.0).log10() / (AGES.1 / AGES.0).log10()
}

/// The plots by file name.
pub(crate) fn draw(measured: &[Measured]) -> Vec<(&'static str, String)> {
    QUANTITIES
        .iter()
        .map(|quantity| (quantity.file, picture(quantity, measured)))
        .collect()
}

fn picture(quantity: &Quantity, measured: &[Measured]) -> String {
    let mut links: Vec<&str> = measured.iter().map(|measured| measured.link).collect();
    links.dedup();
    let rows = links.len().div_ceil(IN_ROW) as f64;
    let width = LEFT + IN_ROW as f64 * (PANEL.0 + GAP.0);
    let height = TOP + rows * (PANEL.1 + GAP.1);
    let mut svg = head(quantity, width, height);

    for (at, link) in links.iter().enumerate() {
        let left = LEFT + (at % IN_ROW) as f64 * (PANEL.0 + GAP.0);
        let top = TOP + (at / IN_ROW) as f64 * (PANEL.1 + GAP.1);
        let of_link: Vec<&Measured> = measured.iter().filter(|m| m.link == *link).collect();
        svg += &panel(quantity, link, &of_link, (left, top), at % IN_ROW == 0);
    }

    svg + "</svg>\n"
}

fn head(quantity: &Quantity, width: f64, height: f64) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"11\" role=\"img\">\n<title>{}</title>\n<style>\n",
        quantity.title
    );

    svg += &colours(["#ffffff", "#18181b", "#71717a", "#d4d4d8"], |colour| {
        colour.0
    });
    svg += "@media (prefers-color-scheme: dark) {\n";
    svg += &colours(["#0d1117", "#f4f4f5", "#a1a1aa", "#3f3f46"], |colour| {
        colour.1
    });
    svg += "}\n</style>\n<rect class=\"ground\" width=\"100%\" height=\"100%\"/>\n";
    let _ = writeln!(
        svg,
        "<text class=\"ink\" x=\"{LEFT}\" y=\"22\" font-size=\"15\" font-weight=\"600\">{}</text>",
        quantity.title
    );

    for (at, method) in Method::ALL.iter().enumerate() {
        let left = LEFT + 170.0 * at as f64;
        svg += &mark(at, left + 5.0, 44.0);
        let _ = writeln!(
            svg,
            "<text class=\"ink\" x=\"{}\" y=\"48\">{}</text>",
            left + 15.0,
            method.name()
        );
    }

    svg
}

fn colours(
    [ground, ink, soft, grid]: [&str; 4],
    of: fn(&(&'static str, &'static str)) -> &'static str,
) -> String {
    let mut rules = format!(
        ".ground {{ fill: {ground} }} .ink {{ fill: {ink} }} .soft {{ fill: {soft} }} .grid {{ stroke: {grid} }}\n"
    );

    for (at, colour) in COLOURS.iter().enumerate() {
        let colour = of(colour);
        let _ = writeln!(
            rules,
            ".m{at} {{ stroke: {colour} }} .f{at} {{ fill: {colour} }}"
        );
    }

    rules
}

fn panel(
    quantity: &Quantity,
    link: &str,
    measured: &[&Measured],
    (left, top): (f64, f64),
    with_ticks: bool,
) -> String {
    let bottom = top + PANEL.1;
    let right = left + PANEL.0;
    let mut svg = format!(
        "<text class=\"ink\" x=\"{left}\" y=\"{}\" font-weight=\"600\">{link}</text>\n",
        top - 8.0
    );

    for (place, label) in quantity.ticks {
        let y = bottom - place * PANEL.1;
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{left}\" y1=\"{y}\" x2=\"{right}\" y2=\"{y}\"/>"
        );
        if with_ticks {
            let x = left - 6.0;
            let y = y + 4.0;
            let _ = writeln!(
                svg,
                "<text class=\"soft\" x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{label}</text>"
            );
        }
    }

    let step = PANEL.0 / Buffer::ALL.len() as f64;
    let column = |at: usize| left + step * (at as f64 + 0.5);
    for (at, buffer) in Buffer::ALL.iter().enumerate() {
        let x = column(at);
        let y = bottom + 15.0;
        let _ = writeln!(
            svg,
            "<text class=\"soft\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{buffer}</text>"
        );
    }

    for (at, method) in Method::ALL.iter().enumerate() {
        let points: Vec<(f64, f64)> = measured
            .iter()
            .filter(|measured| measured.method == method.name())
            .filter_map(|measured| {
                let buffer = Buffer::ALL
                    .iter()
                    .position(|b| b.bytes() == measured.buffer)?;
                Some((
                    column(buffer),
                    bottom - (quantity.place)(measured)? * PANEL.1,
                ))
            })
            .collect();

        let path: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline class=\"m{at}\" points=\"{}\" fill=\"none\" stroke-width=\"2\"/>",
            path.join(" ")
        );

        svg.extend(points.iter().map(|(x, y)| mark(at, *x, *y)));
    }

    svg
}

/// A sign of its own for each method, for eyes that do not tell the colours.
fn mark(method: usize, x: f64, y: f64) -> String {
    let polygon = |points: &[(f64, f64)]| {
        let points: Vec<String> = points
            .iter()
            .map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy))
            .collect();
        format!(
            "<polygon class=\"f{method}\" points=\"{}\"/>\n",
            points.join(" ")
        )
    };

    match method {
        0 => format!("<circle class=\"f0\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>\n"),
        1 => polygon(&[(-3.5, -3.5), (3.5, -3.5), (3.5, 3.5), (-3.5, 3.5)]),
        2 => polygon(&[(0.0, -5.0), (4.5, 3.5), (-4.5, 3.5)]),
        _ => polygon(&[(0.0, -5.0), (5.0, 0.0), (0.0, 5.0), (-5.0, 0.0)]),
    }
}
