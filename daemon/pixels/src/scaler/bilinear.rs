//! Linear interpolation between the four pixels around a point: for pictures on a screen, thirty times a second. It reads and
//! writes pixels of four bytes, of which each is scaled by itself.

use bytemuck::cast;
use wide::{i16x8, i32x4, i32x8, u8x16, u32x4};

use super::{Part, Place};

/// Four bytes.
pub(super) type Pixel = [u8; 4];

/// Pixels of a row that are made at a time: a register of 16 bytes.
const AT_A_TIME: usize = 4;

/// Keeps memory for the next picture.
#[derive(Debug, Default)]
pub(super) struct Bilinear {
    columns: Columns,
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
    share: u16,
}

/// Between which pixels those of a row lie, and then as many more as make their number one of [`AT_A_TIME`].
#[derive(Debug, Default)]
struct Columns {
    firsts: Vec<usize>,
    /// Shares of a pixel and of the next one, again for each byte.
    shares: Vec<i16x8>,
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
        self.columns
            .set(between(part.left, part.width, columns, width));
        self.rows.clear();
        let height = from.len() / width;
        self.rows
            .extend(between(part.top, part.height, rows, height));
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
        self.columns.scale(&self.blended, line);
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
                self.columns.scale(pixels, &mut self.scaled[at]);
            }
        }

        let [first, next] = &self.scaled;
        blend(first, next, row.share, line);
    }
}

impl Columns {
    fn set(&mut self, points: impl Iterator<Item = Between>) {
        self.firsts.clear();
        self.shares.clear();
        for Between { first, share } in points {
            let next = share as i16;
            let first_share = 256 - next;
            self.firsts.push(first);
            self.shares.push(cast([[first_share, next]; 4]));
        }

        let padded = self.firsts.len().next_multiple_of(AT_A_TIME);
        self.firsts.resize(padded, 0);
        self.shares.resize(padded, i16x8::ZERO);
    }

    fn scale(&self, row: &[Pixel], into: &mut [Pixel]) {
        if let [pixel] = row {
            return into.fill(*pixel);
        }

        let firsts = self.firsts.as_chunks().0;
        let shares = self.shares.as_chunks().0;
        let mut points = firsts.iter().zip(shares);
        let (fours, rest) = into.as_chunks_mut();
        for (into, (firsts, shares)) in fours.iter_mut().zip(&mut points) {
            *into = mix_four(row, *firsts, shares);
        }

        if let Some((firsts, shares)) = points.next() {
            rest.copy_from_slice(&mix_four(row, *firsts, shares)[..rest.len()]);
        }
    }
}

/// Where the middles of `count` pixels lie that show `length` pixels from `start` on, of a picture that has `most`.
fn between(start: f64, length: f64, count: u32, most: usize) -> impl Iterator<Item = Between> {
    let step = length / f64::from(count);
    let last = (most - 1) as f64;
    (0..count).map(move |at| {
        let point = (start + (f64::from(at) + 0.5) * step - 0.5).clamp(0.0, last);
        let fixed = (point * 256.0).round() as usize;
        // The last pixel has none after it.
        let first = (fixed / 256).min(most.saturating_sub(2));
        let share = (fixed - 256 * first).min(256) as u16;
        Between { first, share }
    })
}

/// Mixes two rows, so many 256ths of the second.
fn blend(one: &[Pixel], other: &[Pixel], share: u16, into: &mut [Pixel]) {
    let (one, other) = (one.as_flattened(), other.as_flattened());
    for ((into, one), other) in into.as_flattened_mut().iter_mut().zip(one).zip(other) {
        let (one, other) = (u16::from(*one), u16::from(*other));
        let more = other.wrapping_sub(one).wrapping_mul(share);
        *into = ((one << 8).wrapping_add(more).wrapping_add(128) >> 8) as u8;
    }
}

/// Four pixels of a row, each from the one at its place of `firsts` and the next.
#[inline(always)]
fn mix_four(
    row: &[Pixel],
    firsts: [usize; AT_A_TIME],
    shares: &[i16x8; AT_A_TIME],
) -> [Pixel; AT_A_TIME] {
    let pixels = |firsts: [usize; AT_A_TIME]| -> u8x16 {
        let pixels = firsts.map(|at| u32::from_ne_bytes(row[at]));
        cast(u32x4::new(pixels))
    };
    let first = pixels(firsts);
    let next = pixels(firsts.map(|at| at + 1));

    // Bytes of a pixel beside those of the next one, and both in 16 bits each.
    let beside = [
        u8x16::unpack_low(first, next),
        u8x16::unpack_high(first, next),
    ];
    let [one, two, three, four] = [
        i16x8::from_u8x16_low(beside[0]),
        i16x8::from_u8x16_high(beside[0]),
        i16x8::from_u8x16_low(beside[1]),
        i16x8::from_u8x16_high(beside[1]),
    ];

    let mixed = |both: i16x8, shares: i16x8| (both.dot(shares) + i32x4::splat(128)) >> 8;
    let narrow = |pair: [i32x4; 2]| i16x8::from_i32x8_saturate(cast::<_, i32x8>(pair));
    cast(u8x16::narrow_i16x8(
        narrow([mixed(one, shares[0]), mixed(two, shares[1])]),
        narrow([mixed(three, shares[2]), mixed(four, shares[3])]),
    ))
}
