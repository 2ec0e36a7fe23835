//! Candidates for discs: each edge votes for the centres on its bright side.

use std::f32::consts::TAU;

use super::circle::Circle;
use crate::grey::Grey;

/// Places whose edges are looked at, at most: those with most votes.
const MAX_PLACES: usize = 64;

/// Candidates that are measured, at most: those with most of their circle's edge.
const MAX_CANDIDATES: usize = 32;

/// Edge pixels that vote, at most: the steepest ones. A picture full of noise must not take longer than others.
const MAX_EDGES: usize = 8000;

/// Least steepness of an edge, in levels a pixel of the reduced picture.
const MIN_STEEPNESS: f32 = 6.0;

/// A steeper edge weighs no more than this, in the same levels.
const MAX_STEEPNESS: f32 = 40.0;

/// Edges that a circle's length has at most: the two pixels at both sides of it.
const DENSITY: f32 = 2.0;

/// Least radius, in pixels of the reduced picture.
const MIN_RADIUS: usize = 1;

/// How far outside the picture a centre may be, in pixels of the reduced one.
const MARGIN: usize = 16;

/// How near an edge's direction must pass to a centre for the edge to belong to its circle: the cosine of 25 degrees.
const AIM: f32 = 0.906;

/// The memory of a vote.
#[derive(Debug, Default)]
pub(super) struct Votes {
    edges: Vec<Edge>,
    /// One sum of votes for each place, with [`MARGIN`] around the picture.
    sums: Vec<u32>,
    smooth: Vec<u32>,
    width: usize,
    height: usize,
}

/// A pixel at which the brightness changes: its middle, the direction in which it grows, and how fast.
#[derive(Clone, Copy, Debug)]
struct Edge {
    x: f32,
    y: f32,
    way: [f32; 2],
    steepness: f32,
}

impl Votes {
    /// Circles that may be the edges of discs, the likeliest first.
    pub(super) fn candidates(&mut self, picture: &Grey) -> Vec<Circle> {
        self.find_edges(picture);
        let widest = picture.width().min(picture.height()) / 2;
        self.vote(picture, widest);
        let circles = self
            .peaks()
            .into_iter()
            .filter_map(|peak| self.circle_around(peak, widest));

        let mut ranked: Vec<(f32, Circle)> = circles
            .map(|(support, circle)| (rank(support, circle, picture), circle))
            .collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        ranked.truncate(MAX_CANDIDATES);
        ranked.into_iter().map(|(_, circle)| circle).collect()
    }

    fn find_edges(&mut self, picture: &Grey) {
        self.edges.clear();
        let width = picture.width();
        let pixels = picture.pixels();

        for y in 1..picture.height().saturating_sub(1) {
            let row = |y: usize| &pixels[y * width..][..width];
            let around = row(y - 1)
                .windows(3)
                .zip(row(y).windows(3))
                .zip(row(y + 1).windows(3));

            for (x, ((above, level), below)) in around.enumerate() {
                let [a, b, c] =
                    [above, level, below].map(|line| [line[0], line[1], line[2]].map(i32::from));
                let right = (a[2] + 2 * b[2] + c[2]) - (a[0] + 2 * b[0] + c[0]);
                let down = (c[0] + 2 * c[1] + c[2]) - (a[0] + 2 * a[1] + a[2]);
                // Eight times the steepness.
                let square = (right * right + down * down) as f32;

                if square >= (8.0 * MIN_STEEPNESS).powi(2) {
                    let length = square.sqrt();
                    let way = [right as f32 / length, down as f32 / length];
                    self.edges.push(Edge {
                        x: x as f32 + 1.5,
                        y: y as f32 + 0.5,
                        way,
                        steepness: length / 8.0,
                    });
                }
            }
        }

        if self.edges.len() > MAX_EDGES {
            self.edges
                .select_nth_unstable_by(MAX_EDGES, |a, b| b.steepness.total_cmp(&a.steepness));
            self.edges.truncate(MAX_EDGES);
        }
    }

    /// Each vote is weighted so that neither small circles, which have few edges, nor large ones are favoured much.
    fn vote(&mut self, picture: &Grey, widest: usize) {
        self.width = picture.width() + 2 * MARGIN;
        self.height = picture.height() + 2 * MARGIN;
        self.sums.clear();
        self.sums.resize(self.width * self.height, 0);
        let weights: Vec<f32> = (0..=widest)
            .map(|radius| 16.0 / (radius as f32).sqrt())
            .collect();
        for edge in &self.edges {
            let steepness = edge.steepness.min(MAX_STEEPNESS);
            for (radius, weight) in weights.iter().enumerate().skip(MIN_RADIUS) {
                let x = edge.x + radius as f32 * edge.way[0] + MARGIN as f32;
                let y = edge.y + radius as f32 * edge.way[1] + MARGIN as f32;
                if x < 0.0 || y < 0.0 || x as usize >= self.width || y as usize >= self.height {
                    break;
                }
                self.sums[y as usize * self.width + x as usize] += (weight * steepness) as u32;
            }
        }
    }

    /// The places with most votes around them, none beside another.
    fn peaks(&mut self) -> Vec<Circle> {
        self.smooth.clear();
        self.smooth.resize(self.sums.len(), 0);
        let width = self.width;

        for y in 1..self.height - 1 {
            for x in 1..width - 1 {
                let at = y * width + x;
                let three = |at: usize| self.sums[at - 1] + self.sums[at] + self.sums[at + 1];
                self.smooth[at] = three(at - width) + three(at) + three(at + width);
            }
        }

        let mut peaks: Vec<(u32, usize)> = Vec::new();
        for y in 2..self.height - 2 {
            for x in 2..width - 2 {
                let at = y * width + x;
                if self.smooth[at] > 0 && self.is_highest(at) {
                    peaks.push((self.smooth[at], at));
                }
            }
        }

        peaks.sort_unstable_by_key(|(votes, at)| (std::cmp::Reverse(*votes), *at));
        peaks.truncate(MAX_PLACES);
        peaks.into_iter().map(|(_, at)| self.centroid(at)).collect()
    }

    /// Whether none of the places within two of it has more, nor an earlier one as many.
    fn is_highest(&self, at: usize) -> bool {
        let around = (0..5).flat_map(|row| (0..5).map(move |column| (row, column)));
        around
            .map(|(row, column)| at + row * self.width + column - 2 * self.width - 2)
            .all(|other| {
                self.smooth[other] < self.smooth[at]
                    || (self.smooth[other] == self.smooth[at] && other >= at)
            })
    }

    fn centroid(&self, at: usize) -> Circle {
        let mut mass = 0.0;
        let mut x = 0.0;
        let mut y = 0.0;

        for (row, column) in (0..3).flat_map(|row| (0..3).map(move |column| (row, column))) {
            let place = at + row * self.width + column - self.width - 1;
            let weight = self.sums[place] as f32;
            mass += weight;
            x += weight * ((place % self.width) as f32 + 0.5 - MARGIN as f32);
            y += weight * ((place / self.width) as f32 + 0.5 - MARGIN as f32);
        }

        Circle {
            x: x / mass,
            y: y / mass,
            radius: 0.0,
        }
    }

    /// The circle around a centre that most of its length has edges, and how many edges that is.
    fn circle_around(&self, centre: Circle, widest: usize) -> Option<(f32, Circle)> {
        let mut counts = vec![0.0f32; widest + 3];
        for edge in &self.edges {
            let dx = centre.x - edge.x;
            let dy = centre.y - edge.y;
            let distance = (dx * dx + dy * dy).sqrt();
            let radius = distance as usize;

            if radius <= widest && dx * edge.way[0] + dy * edge.way[1] >= AIM * distance {
                // Two pixels share an edge that lies between them.
                counts[radius] += 1.0 - distance.fract();
                counts[radius + 1] += distance.fract();
            }
        }

        let support = |radius: usize| {
            let edges = counts[radius - 1] + counts[radius] + counts[radius + 1];
            edges / (TAU * radius as f32).sqrt()
        };

        let best = (MIN_RADIUS..=widest).max_by(|a, b| support(*a).total_cmp(&support(*b)))?;
        let around = [best - 1, best, best + 1]
            .map(|radius| (counts[radius], counts[radius] * radius as f32));
        let (mass, moment) = around
            .iter()
            .fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        (mass > 0.0).then(|| {
            (
                mass,
                Circle {
                    radius: (moment / mass).max(1.0),
                    ..centre
                },
            )
        })
    }
}

/// How much a circle with `support` looks like a disc's: the part of it that lies in the picture and has edges. What is
/// large is less likely so by chance.
fn rank(support: f32, circle: Circle, picture: &Grey) -> f32 {
    let seen = |angle: f32| {
        picture.holds(
            circle.x + circle.radius * angle.cos(),
            circle.y + circle.radius * angle.sin(),
            1.0,
        )
    };

    let visible = (0..32u8)
        .filter(|step| seen(f32::from(*step) * TAU / 32.0))
        .count() as f32
        / 32.0;

    let length = TAU * circle.radius * visible.max(0.25);
    (support / (DENSITY * length)).min(1.0) * circle.radius.min(8.0).powf(0.75)
}
