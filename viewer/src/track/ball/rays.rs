//! Rays from the middle of a ball to its edge.

use std::f32::consts::TAU;

use super::circle::Circle;
use crate::grey::Grey;

/// Rays to a circle: so many that their errors even out, at any radius.
pub(super) const RAYS: usize = 96;

/// Between two looks along a ray, in pixels.
const PACE: f32 = 0.5;

/// Least fall of brightness at the edge of a ball.
const MIN_FALL: f32 = 20.0;

/// How much of the fall along the ray may be seen across it: the edge of a disc is upright to the ray, within 19 degrees.
const MAX_SLANT: f32 = 0.35;

/// How far from the picture's end an edge must be, in pixels, to be measured.
const MARGIN: f32 = 2.0;

/// What the rays met.
#[derive(Debug, Default)]
pub(super) struct Cast {
    /// Points of the edge, in their order around it.
    pub(super) points: Vec<[f32; 2]>,
    /// Of each, how bright it is just inside and just outside.
    levels: Vec<[f32; 2]>,
}

/// Looks for the edge around `circle`, at most `reach` pixels from it.
pub(super) fn cast(picture: &Grey, circle: Circle, reach: f32) -> Cast {
    let mut cast = Cast::default();
    for way in ways() {
        if let Some((distance, levels)) = edge(picture, circle, way, reach) {
            cast.points
                .push([circle.x + distance * way[0], circle.y + distance * way[1]]);
            cast.levels.push(levels);
        }
    }

    cast
}

/// How many rays have their edge within the picture.
pub(super) fn visible(picture: &Grey, circle: Circle) -> usize {
    let seen = |way: &[f32; 2]| {
        picture.holds(
            circle.x + circle.radius * way[0],
            circle.y + circle.radius * way[1],
            MARGIN,
        )
    };

    ways().filter(seen).count()
}

/// Whether what lies within `circle` is about as bright as it is at its edge, which is much brighter than outside.
pub(super) fn is_even_inside(picture: &Grey, circle: Circle, cast: &Cast) -> bool {
    if cast.levels.is_empty() {
        return false;
    }

    let [inside, outside] =
        [0, 1].map(|side| median(cast.levels.iter().map(|levels| levels[side]).collect()));
    let fall = inside - outside;
    let mut even = 0;
    let mut all = 0;

    for way in ways().step_by(4) {
        for part in [0.0, 0.2, 0.35, 0.5, 0.65, 0.75] {
            let x = circle.x + part * circle.radius * way[0];
            let y = circle.y + part * circle.radius * way[1];
            if picture.holds(x, y, 1.0) {
                all += 1;
                even += u32::from((picture.at(x, y) - inside).abs() <= 0.35 * fall);
            }
        }
    }

    fall >= MIN_FALL && all > 0 && even * 4 >= all * 3
}

fn ways() -> impl Iterator<Item = [f32; 2]> {
    (0..RAYS).map(|ray| {
        let angle = ray as f32 * TAU / RAYS as f32;
        [angle.cos(), angle.sin()]
    })
}

fn median(mut values: Vec<f32>) -> f32 {
    values.sort_unstable_by(f32::total_cmp);
    values[values.len() / 2]
}

/// Where on the way the steepest fall of brightness is half done, and how bright it is before and behind it.
fn edge(picture: &Grey, circle: Circle, way: [f32; 2], reach: f32) -> Option<(f32, [f32; 2])> {
    let at = |distance: f32| picture.at(circle.x + distance * way[0], circle.y + distance * way[1]);
    let nearest = (circle.radius - reach).max(0.4 * circle.radius);
    let count = ((circle.radius + reach - nearest) / PACE).ceil() as usize;
    // The fall at a pace is from one pixel, two paces, before it to one behind it.
    let levels: Vec<f32> = (0..=count + 4)
        .map(|pace| at(nearest - 1.0 + pace as f32 * PACE))
        .collect();
    let falls = levels
        .iter()
        .zip(&levels[4..])
        .map(|(before, behind)| before - behind);

    let (pace, steepness) = falls.enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let steepest = nearest + pace as f32 * PACE;
    let x = circle.x + steepest * way[0];
    let y = circle.y + steepest * way[1];

    if steepness < MIN_FALL * 0.5 || !picture.holds(x, y, MARGIN) {
        return None;
    }

    // Just beside the edge, which JPEG and anti-aliasing make two or three pixels wide; within a small ball there is less room.
    let room = (0.3 * circle.radius).min(4.0);
    let level = |from: f32, to: f32| (at(from) + at((from + to) / 2.0) + at(to)) / 3.0;
    let inside = level(steepest - room, steepest - room / 2.0 - 0.25);
    let outside = level(steepest + 2.0, steepest + 4.0);
    let slant = (picture.at(x - 1.5 * way[1], y + 1.5 * way[0])
        - picture.at(x + 1.5 * way[1], y - 1.5 * way[0]))
    .abs();
    let drop = at(steepest - 1.5) - at(steepest + 1.5);
    if inside - outside < MIN_FALL || slant > MAX_SLANT * drop {
        return None;
    }

    crossing(&at, steepest, (inside + outside) / 2.0).map(|distance| (distance, [inside, outside]))
}

/// Where the brightness falls through `level`, near `around`.
fn crossing(at: &impl Fn(f32) -> f32, around: f32, level: f32) -> Option<f32> {
    let fallen = |distance: f32| at(distance) > level && at(distance + PACE) <= level;
    let starts = [0.0, -1.0, 1.0, -2.0, 2.0, -3.0, 3.0, -4.0, 4.0]
        .map(|paces| around + (paces - 0.5) * PACE);
    let start = starts.into_iter().find(|start| fallen(*start))?;
    let before = at(start);
    let after = at(start + PACE);
    Some(start + PACE * (before - level) / (before - after))
}
