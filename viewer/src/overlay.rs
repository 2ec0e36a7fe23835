//! The panels over a picture, in its corners, none over another. The window and recordings call it.

mod chosen;

use std::time::Duration;

use clap::ValueEnum;
use fanlight_pixels::font::Font;
use fanlight_pixels::text::{Align, TextBlock, line_height};

use crate::canvas::{Area, Canvas, Colour};
use crate::readings::{Readings, STAGES};
pub(crate) use chosen::{caption_several, of_volume, over, toggle};

const GROUND: Colour = 0x00_00_00;
const TEXT: Colour = 0xff_ff_ff;
const GRAPH: Colour = 0x6f_b7_ff;
const FRAME: Colour = 0xff_a0_00;

/// The colours of [`STAGES`].
const STAGE_COLOURS: [Colour; STAGES.len()] = [
    0xff_b3_47, 0xf0_e0_60, 0x6f_b7_ff, 0x50_d0_d0, 0xd0_d0_d0, 0x7d_e0_8a, 0xe0_8a_e0,
];

/// Opacity of a panel's ground, of 256: the picture shimmers through, the words stay legible on any.
const OPACITY: u32 = 176;

/// Smallest letters, in pixels: below it they cannot be read.
pub(crate) const SMALLEST: usize = 12;

/// Letters are a picture's height divided by this large, where that is not too small, or too large for all panels.
const ROWS_PER_PIXEL: usize = 40;

/// Panels that can be drawn at once: one of each [`Panel`], and a note.
const MAX_ITEMS: usize = 6;

/// Areas that are taken: those of panels and two of a card.
const MAX_TAKEN: usize = MAX_ITEMS + 2;

/// A frame is a picture's height divided by this thick.
const FRAME_PARTS: usize = 120;

/// Width of statistics, in sizes of their letters: the legend has this room.
const CHART_WIDTH: usize = 24;

/// Where in [`CHART_WIDTH`] each column of the legend begins: in the first is its longest word.
const LEGEND_COLUMNS: [usize; 3] = [0, 9, 16];

/// Lines of the legend: the stages, and beside the last of them what the graph shows.
const LEGEND_LINES: usize = (STAGES.len() + 1).div_ceil(LEGEND_COLUMNS.len());

/// Heights of the graph, in lines.
const GRAPH_LINES: usize = 2;

/// Seconds that the graph shows.
pub(crate) const GRAPH_SECONDS: usize = 60;

const KEYS: &str = "\
◀ ▶  l  other stream, list
f  full screen and back
space  pause, go on
,  .  <  >  a step back, on
z  r  m  fit, turn, mirror
+  -  enlarge, and back
i  n  statistics, figures
t  c  time, caption
1 2 …  0  one tile, all
w  which screen is this
s  S  save picture, screen
h  q  these keys, quit";

/// What can be drawn over a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Panel {
    /// Stream, link state and age, in short.
    Caption,
    /// Stream, link state and time.
    Name,
    /// Frames, ages, where the time goes, losses, and a graph of the last minute.
    Statistics,
    /// Frames a second, age, processor, memory, uptime and the source's verdict.
    Figures,
    /// The keys.
    Help,
}

fanlight_daemon::display_choice!(Panel);

#[derive(Clone, Copy)]
enum Corner {
    UpperLeft,
    UpperRight,
    LowerLeft,
    LowerRight,
}

/// A panel to be drawn: its lines, and in which corners it may lie. The first one that has room is taken.
#[derive(Clone, Copy)]
struct Item<'a> {
    text: &'a str,
    /// Whether bar, legend and graph stand below the text.
    has_charts: bool,
    corners: [Corner; 4],
}

/// Draws `panels` and, if it is not empty, `note`. Nothing is drawn over the areas in `taken`, and no panel over another;
/// the letters become smaller until all have room. What has none even then is left out, the last first.
pub(crate) fn draw(
    canvas: &mut Canvas<'_>,
    font: &mut Font,
    panels: &[Panel],
    readings: &Readings,
    note: &str,
    taken: &[Area],
) {
    let items = items(panels, readings, note);
    let mut size = (canvas.height() / ROWS_PER_PIXEL).max(SMALLEST);
    let mut places = place(canvas, font, &items, size, taken);

    while size > SMALLEST && (0..MAX_ITEMS).any(|at| items[at].is_some() && places[at].is_none()) {
        size = (size * 7 / 8).max(SMALLEST);
        places = place(canvas, font, &items, size, taken);
    }

    for (item, place) in items.into_iter().zip(places) {
        if let (Some(item), Some(place)) = (item, place) {
            item.draw(canvas, font, readings, size, place);
        }
    }
}

/// What there is to draw, the most important first. The upper left corner is left free if possible: cameras and sources
/// write there.
fn items<'a>(
    panels: &[Panel],
    readings: &'a Readings,
    note: &'a str,
) -> [Option<Item<'a>>; MAX_ITEMS] {
    use Corner::{LowerLeft, LowerRight, UpperLeft, UpperRight};

    let item = |panel: Option<Panel>, text: &'a str, corners| {
        let wanted = panel.is_none_or(|panel| panels.contains(&panel));
        let has_charts = panel == Some(Panel::Statistics);
        (wanted && !text.is_empty()).then_some(Item {
            text,
            has_charts,
            corners,
        })
    };

    let left = [LowerLeft, LowerRight, UpperLeft, UpperRight];
    let right = [UpperRight, LowerRight, UpperLeft, LowerLeft];
    let below = [LowerRight, UpperRight, LowerLeft, UpperLeft];
    [
        item(Some(Panel::Caption), readings.caption.as_str(), left),
        item(Some(Panel::Name), readings.name.as_str(), left),
        item(None, note, left),
        item(Some(Panel::Figures), readings.figures.as_str(), right),
        item(Some(Panel::Statistics), readings.statistics.as_str(), right),
        item(Some(Panel::Help), KEYS, below),
    ]
}

fn place(
    canvas: &Canvas<'_>,
    font: &mut Font,
    items: &[Option<Item<'_>>; MAX_ITEMS],
    size: usize,
    taken: &[Area],
) -> [Option<Area>; MAX_ITEMS] {
    let whole = (canvas.width(), canvas.height());
    let mut all = [Area::default(); MAX_TAKEN];
    let mut count = taken.len().min(MAX_TAKEN - MAX_ITEMS);
    all[..count].copy_from_slice(&taken[..count]);

    items.map(|item| {
        let item = item?;
        let extent = item.extent(font, size);
        let corners = item.corners.into_iter();
        let found = corners
            .filter_map(|corner| free(corner, extent, whole, size / 2, &all[..count]))
            .next()?;
        all[count] = found;
        count += 1;
        Some(found)
    })
}

/// The place nearest to a corner, at `margin` from the edges and from what is `taken`; none when there is not the room.
fn free(
    corner: Corner,
    (width, height): (usize, usize),
    whole: (usize, usize),
    margin: usize,
    taken: &[Area],
) -> Option<Area> {
    let right = whole
        .0
        .checked_sub(width + margin)
        .filter(|x| *x >= margin)?;
    let below = whole
        .1
        .checked_sub(height + margin)
        .filter(|y| *y >= margin)?;
    let (x, mut y, is_upper) = match corner {
        Corner::UpperLeft => (margin, margin, true),
        Corner::UpperRight => (right, margin, true),
        Corner::LowerLeft => (margin, below, false),
        Corner::LowerRight => (right, below, false),
    };

    loop {
        let place = Area {
            x,
            y,
            width,
            height,
        };
        let Some(other) = taken.iter().find(|other| place.overlaps(other)) else {
            return (margin..=below).contains(&y).then_some(place);
        };

        y = if is_upper {
            other.y + other.height + margin
        } else {
            other.y.checked_sub(height + margin)?
        };
    }
}

impl Item<'_> {
    fn extent(&self, font: &mut Font, size: usize) -> (usize, usize) {
        let widths = self.text.lines().map(|line| font.width(line, size));
        let mut width = widths.max().unwrap_or(0);
        let mut height = self.text.lines().count() * line_height(size);
        if self.has_charts {
            width = width.max(CHART_WIDTH * size);
            height += charts_height(size);
        }

        (width + size, height + size)
    }

    fn draw(
        &self,
        canvas: &mut Canvas<'_>,
        font: &mut Font,
        readings: &Readings,
        size: usize,
        place: Area,
    ) {
        canvas.shade_area(place, GROUND, OPACITY);
        let left = place.x + size / 2;
        let mut top = place.y + size / 2;
        for line in self.text.lines() {
            canvas.line(font, line, size, (left, top), TEXT);
            top += line_height(size);
        }

        if self.has_charts {
            let charts = Area {
                x: left,
                y: top,
                width: place.width - size,
                height: charts_height(size),
            };
            draw_charts(canvas, font, readings, size, charts);
        }
    }
}

fn charts_height(size: usize) -> usize {
    // With the bar above the legend.
    let lines = 1 + LEGEND_LINES + GRAPH_LINES;
    lines * line_height(size)
}

fn draw_charts(
    canvas: &mut Canvas<'_>,
    font: &mut Font,
    readings: &Readings,
    size: usize,
    area: Area,
) {
    let line = line_height(size);
    let bar = Area {
        y: area.y + line / 8,
        height: line * 3 / 4,
        ..area
    };
    draw_bar(canvas, &readings.stages, bar);

    let cell = |at: usize| {
        let column = LEGEND_COLUMNS[at % LEGEND_COLUMNS.len()];
        let x = area.x + area.width * column / CHART_WIDTH;
        (x, area.y + (1 + at / LEGEND_COLUMNS.len()) * line)
    };

    for (at, name) in STAGES.into_iter().enumerate() {
        let (name, value) = ((name, STAGE_COLOURS[at]), readings.stages[at]);
        draw_value(canvas, font, size, cell(at), name, value);
    }

    let largest = readings.minute.iter().max().copied().unwrap_or_default();
    let caption = ("in ms; age (60 s) up to", TEXT);
    draw_value(canvas, font, size, cell(STAGES.len()), caption, largest);

    let height = GRAPH_LINES * line;
    let graph = Area {
        y: area.y + area.height - height + line / 8,
        height: height - line / 8,
        ..area
    };
    draw_graph(canvas, &readings.minute, graph);
}

/// A name and its milliseconds, without the unit.
fn draw_value(
    canvas: &mut Canvas<'_>,
    font: &mut Font,
    size: usize,
    (mut x, y): (usize, usize),
    (name, colour): (&str, Colour),
    value: Duration,
) {
    let mut digits = [0; 8];
    let value = tenths(value, &mut digits);
    for (text, colour) in [(name, colour), (value, TEXT)] {
        canvas.line(font, text, size, (x, y), colour);
        x += font.width(text, size) + size / 3;
    }
}

/// Milliseconds with one decimal, written without an allocation.
fn tenths(length: Duration, digits: &mut [u8; 8]) -> &str {
    let mut rest = length.as_micros().div_euclid(100).min(99_999);
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if at == digits.len() - 1 {
            at -= 1;
            digits[at] = b'.';
        } else if rest == 0 {
            return str::from_utf8(&digits[at..]).unwrap_or_default();
        }
    }
}

/// The stages side by side, as wide as they took of the whole.
fn draw_bar(canvas: &mut Canvas<'_>, stages: &[Duration], bar: Area) {
    let total: u128 = stages.iter().map(Duration::as_micros).sum();
    let mut until = 0;
    for (stage, colour) in stages.iter().zip(STAGE_COLOURS) {
        let x = bar.x + part(until, total, bar.width);
        until += stage.as_micros();
        let width = bar.x + part(until, total, bar.width) - x;
        canvas.fill_area(Area { x, width, ..bar }, colour);
    }
}

/// A column for each second of the last minute, as high as its age beside the largest.
fn draw_graph(canvas: &mut Canvas<'_>, ages: &[Duration], graph: Area) {
    let largest = ages.iter().max().map_or(0, Duration::as_micros);
    let newest = ages.iter().rev().take(GRAPH_SECONDS);
    for (at, age) in newest.enumerate() {
        let edge = |at: usize| graph.x + (GRAPH_SECONDS - at) * graph.width / GRAPH_SECONDS;
        let height = part(age.as_micros(), largest, graph.height);
        let column = Area {
            x: edge(at + 1),
            y: graph.y + graph.height - height,
            width: (edge(at) - edge(at + 1)).saturating_sub(1).max(1),
            height,
        };
        canvas.fill_area(column, GRAPH);
    }
}

/// `of` pixels times `value` by `total`.
fn part(value: u128, total: u128, of: usize) -> usize {
    (value * of as u128).checked_div(total).unwrap_or(0) as usize
}

/// Draws the lines of `text` as large as they fit on a dark ground in the middle, over whatever is there: the first by far
/// the largest.
pub(crate) fn announce(canvas: &mut Canvas<'_>, font: &mut Font, title: &str, text: &str) {
    let room = canvas.width() * 9 / 10;
    let mut large = (canvas.height() / 3).max(SMALLEST);
    while large > SMALLEST && font.width(title, large) > room {
        large = (large * 7 / 8).max(SMALLEST);
    }

    let small = (large / 4).clamp(SMALLEST, (canvas.height() / 12).max(SMALLEST));
    let height = line_height(large) + line_height(small) + small;
    let plate = Area {
        x: 0,
        y: canvas.height().saturating_sub(height) / 2,
        width: canvas.width(),
        height,
    };

    canvas.shade_area(plate, GROUND, OPACITY);
    let mut top = plate.y + small / 2;
    for (line, size) in [(title, large), (text, small)] {
        let left = canvas.width().saturating_sub(font.width(line, size)) / 2;
        canvas.line(font, line, size, (left, top), TEXT);
        top += line_height(size);
    }
}

/// Draws `text` on a dark ground in the middle, over whatever is there: in large letters, and smaller ones where it is long.
pub(crate) fn banner(canvas: &mut Canvas<'_>, font: &mut Font, text: &str) {
    let room = canvas.width() * 9 / 10;
    let block = fitted(font, text, canvas.height() / 8, (room, canvas.height() / 2));
    let margin = block.size;
    let height = (block.height() + margin).min(canvas.height());
    let plate = Area {
        x: 0,
        y: (canvas.height() - height) / 2,
        width: canvas.width(),
        height,
    };

    canvas.shade_area(plate, GROUND, OPACITY);
    let centre = Align::Centre(canvas.width());
    canvas.text(font, &block, (0, plate.y + margin / 2), centre, TEXT);
}

/// `text` in lines, in letters of `size` or, where those do not fit the room (width, height), as large as they do.
pub(crate) fn fitted(
    font: &mut Font,
    text: &str,
    size: usize,
    (width, height): (usize, usize),
) -> TextBlock {
    let mut size = size.max(SMALLEST);
    loop {
        let rows = (height / line_height(size)).max(1);
        let block = TextBlock::wrapped(font, text, size, width, usize::MAX);
        if block.lines.len() <= rows {
            return block;
        }
        if size == SMALLEST {
            return TextBlock::wrapped(font, text, size, width, rows);
        }
        size = (size * 7 / 8).max(SMALLEST);
    }
}

/// Draws a frame at the edges: what is within is not live.
pub(crate) fn frame(canvas: &mut Canvas<'_>) {
    let (width, height) = (canvas.width(), canvas.height());
    let thickness = (height / FRAME_PARTS).max(2);
    let edge = |x, y, width, height| Area {
        x,
        y,
        width,
        height,
    };
    for area in [
        edge(0, 0, width, thickness),
        edge(0, height.saturating_sub(thickness), width, thickness),
        edge(0, 0, thickness, height),
        edge(width.saturating_sub(thickness), 0, thickness, height),
    ] {
        canvas.fill_area(area, FRAME);
    }
}

#[cfg(test)]
mod tests;
