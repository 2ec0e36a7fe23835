//! Linear interpolation between the four pixels around a point: for pictures on a screen, thirty times a second. It reads and
//! writes pixels of four bytes, of which each is scaled by itself.

use super::{Part, Place};

/// Half of what is cut off, for each byte of a spread pixel.
const ROUNDING: u64 = 0x0080_0080_0080_0080;

/// Four bytes.
pub(super) type Pixel = [u8; 4];

/// Keeps memory for the next picture.
#[derive(Debug, Default)]
pub(super) struct Bilinear {
    columns: Vec<Between>,
    rows: Vec<Between>,
    /// Two rows of the picture in the place's width, and which they are.
    scaled: [Vec<Pixel>; 2],
    scaled_from: [Option<usize>; 2],
    /// A row between two of the picture, in its own width.
    blended: Vec<Pixel>,
}

/// A point between a pixel and the next one.
#[derive(Clone, Copy, Debug)]
struct Between {
    first: usize,
    /// Of the next one, in 256ths.
    share: u32,
}

impl Bilinear {
    /// Scales `part` of a picture, whose rows have `width` pixels, to `place` in another, whose rows have `stride`.
    pub(super) fn scale(
        &mut self,
        (from, width): (&[Pixel], usize),
        part: Part,
        (to, stride): (&mut [Pixel], usize),
        place: Place,
    ) {
        let (columns, rows) = place.size;
        between(&mut self.columns, part.left, part.width, columns, width);
        between(
            &mut self.rows,
            part.top,
            part.height,
            rows,
            from.len() / width,
        );
        self.scaled_from = [None; 2];
        let becomes_lower = part.height > f64::from(rows);
        let left = place.left as usize;
        let lines = to.chunks_exact_mut(stride).skip(place.top as usize);

        for (line, row) in lines.zip(0..self.rows.len()) {
            let line = &mut line[left..left + columns as usize];
            // What costs more is done for fewer rows.
            if becomes_lower {
                self.blend_first((from, width), self.rows[row], line);
            } else {
                self.scale_first((from, width), self.rows[row], line);
            }
        }
    }

    fn blend_first(&mut self, (from, width): (&[Pixel], usize), row: Between, line: &mut [Pixel]) {
        self.blended.resize(width, Pixel::default());
        let rows = &from[row.first * width..];
        let next = rows.get(width..2 * width).unwrap_or(&rows[..width]);
        blend(&rows[..width], next, row.share, &mut self.blended);
        scale_row(&self.blended, &self.columns, line);
    }

    fn scale_first(&mut self, (from, width): (&[Pixel], usize), row: Between, line: &mut [Pixel]) {
        if self.scaled_from[1] == Some(row.first) {
            self.scaled.swap(0, 1);
            self.scaled_from.swap(0, 1);
        }

        let last = from.len() / width - 1;
        for (at, wanted) in [row.first, last.min(row.first + 1)].into_iter().enumerate() {
            if self.scaled_from[at] != Some(wanted) {
                self.scaled_from[at] = Some(wanted);
                self.scaled[at].resize(line.len(), Pixel::default());
                let pixels = &from[wanted * width..][..width];
                scale_row(pixels, &self.columns, &mut self.scaled[at]);
            }
        }

        let [first, next] = &self.scaled;
        blend(first, next, row.share, line);
    }
}

/// Where the middles of `count` pixels lie that show `length` pixels from `start` on, of a picture that has `most`.
fn between(points: &mut Vec<Between>, start: f64, length: f64, count: u32, most: usize) {
    let step = length / f64::from(count);
    let last = (most - 1) as f64;
    points.clear();
    points.extend((0..count).map(|at| {
        let point = (start + (f64::from(at) + 0.5) * step - 0.5).clamp(0.0, last);
        let fixed = (point * 256.0).round() as usize;
        // The last pixel has none after it.
        let first = (fixed / 256).min(most.saturating_sub(2));
        let share = (fixed - 256 * first).min(256) as u32;
        Between { first, share }
    }));
}

/// Mixes two rows, so many 256ths of the second.
fn blend(one: &[Pixel], other: &[Pixel], share: u32, into: &mut [Pixel]) {
    let (one, other) = (one.as_flattened(), other.as_flattened());
    let share = share as u16;
    for ((into, one), other) in into.as_flattened_mut().iter_mut().zip(one).zip(other) {
        let (one, other) = (u16::from(*one), u16::from(*other));
        let more = other.wrapping_sub(one).wrapping_mul(share);
        *into = ((one << 8).wrapping_add(more).wrapping_add(128) >> 8) as u8;
    }
}

fn scale_row(row: &[Pixel], columns: &[Between], into: &mut [Pixel]) {
    for (into, column) in into.iter_mut().zip(columns) {
        let (first, next) = match row[column.first..] {
            [first, next, ..] => (first, next),
            _ => (row[column.first], row[column.first]),
        };
        let (first, next) = (spread(first), spread(next));
        let more = next.wrapping_sub(first).wrapping_mul(column.share.into());
        let mixed = (first << 8).wrapping_add(more).wrapping_add(ROUNDING);
        *into = gathered(mixed >> 8);
    }
}

/// The four bytes of a pixel in 16 bits each: mixed by two multiplications in place of eight.
fn spread(pixel: Pixel) -> u64 {
    let pixel = u64::from(u32::from_le_bytes(pixel));
    pixel & 0x00ff_00ff | (pixel & 0xff00_ff00) << 24
}

fn gathered(bytes: u64) -> Pixel {
    ((bytes & 0x00ff_00ff | bytes >> 24 & 0xff00_ff00) as u32).to_le_bytes()
}
