//! Scales rows of bytes, of which each belongs to one of the channels of a pixel, by a triangle filter: each point is mixed from
//! those around it, by 256ths.
//!
//! Rows are mixed first, and then the columns of [`LANES`] rows at once: these are interleaved, so that the bytes of a column lie side
//! by side, and the compiler makes SIMD of their mixing.

/// Rows whose columns are mixed at once: the bytes of an SSE or NEON register.
pub(super) const LANES: usize = 16;

type Lanes = [u8; LANES];

/// Half of what is cut off.
const ROUNDING: u16 = 128;

/// What is scaled: rows of pixels of `channels` bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    pub(super) bytes: &'a [u8],
    /// Pixels in a row.
    pub(super) width: usize,
    pub(super) channels: usize,
}

/// A stretch of rows or columns that becomes so many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    pub(super) start: f64,
    pub(super) length: f64,
    pub(super) count: usize,
}

/// [`LANES`] scaled rows. Keeps memory for the next.
#[derive(Debug, Default)]
pub(super) struct Lines {
    columns: Filter,
    rows: Filter,
    /// Bytes in a row of what comes of it.
    width: usize,
    bytes: Vec<u8>,
    spare: Vec<u8>,
    sums: Vec<u16>,
    scaled: Vec<Lanes>,
}

impl Lines {
    /// Begins with another picture.
    pub(super) fn prepare(&mut self, from: Rows<'_>, columns: Stretch, rows: Stretch) {
        let height = from.bytes.len() / (from.width * from.channels);
        self.columns.prepare(columns, from.width);
        self.rows.prepare(rows, height);
    }

    /// Scales the rows from [`LANES`] times `band` on; behind the last they are repeated.
    pub(super) fn scale(&mut self, from: Rows<'_>, band: usize) {
        let stride = from.width * from.channels;
        self.bytes.resize(LANES * stride, 0);
        self.spare.resize(LANES * stride, 0);
        for (lane, line) in self.bytes.chunks_exact_mut(stride).enumerate() {
            let (first, shares) = self.rows.at(LANES * band + lane);
            let rows = from.bytes[first * stride..].chunks_exact(stride);
            mix_rows(rows, shares, &mut self.sums, line);
        }

        for _ in 0..LANES.ilog2() {
            interleave(&self.bytes, &mut self.spare);
            std::mem::swap(&mut self.bytes, &mut self.spare);
        }

        let count = self.columns.firsts.len();
        self.width = count * from.channels;
        self.scaled.resize(self.width, Lanes::default());
        let columns = self.bytes.as_chunks().0;
        self.columns.mix(columns, from.channels, &mut self.scaled);

        self.bytes.resize(LANES * self.width, 0);
        self.spare.resize(LANES * self.width, 0);
        separate(self.scaled.as_flattened(), &mut self.bytes);
        for _ in 1..LANES.ilog2() {
            separate(&self.bytes, &mut self.spare);
            std::mem::swap(&mut self.bytes, &mut self.spare);
        }
    }

    /// A row of the last band.
    pub(super) fn line(&self, number: usize) -> &[u8] {
        &self.bytes[number * self.width..][..self.width]
    }
}

/// From which each point is mixed, and how.
#[derive(Debug, Default)]
struct Filter {
    firsts: Vec<u32>,
    /// For each point as many: 256 together.
    shares: Vec<u16>,
    taps: usize,
}

impl Filter {
    /// For a stretch of what there is `most` of.
    fn prepare(&mut self, stretch: Stretch, most: usize) {
        let step = stretch.length / stretch.count as f64;
        let reach = step.max(1.0);
        let last = most as isize - 1;
        self.taps = ((2.0 * reach).ceil() as usize).min(most);
        self.firsts.clear();
        self.shares.clear();

        let mut weights = Vec::new();
        for at in 0..stretch.count {
            let middle = stretch.start + (at as f64 + 0.5) * step - 0.5;
            let middle = middle.clamp(0.0, last as f64);
            let from = (middle - reach).floor() as isize + 1;
            let first = from.clamp(0, most as isize - self.taps as isize);
            weights.clear();
            weights.resize(self.taps, 0.0);
            for near in from..=(middle + reach).ceil() as isize - 1 {
                let weight = 1.0 - (near as f64 - middle).abs() / reach;
                weights[(near.clamp(0, last) - first) as usize] += weight.max(0.0);
            }
            self.firsts.push(first as u32);
            self.push_shares(&weights);
        }
    }

    /// What is rounded from one share goes into the next, so that all are 256.
    fn push_shares(&mut self, weights: &[f64]) {
        let whole: f64 = weights.iter().sum();
        let mut sum = 0.0;
        let mut before = 0;
        for weight in weights {
            sum += weight / whole;
            let now = (256.0 * sum).round() as u16;
            self.shares.push(now - before);
            before = now;
        }
    }

    /// Mixes columns: the bytes of a pixel's channels lie behind each other.
    fn mix(&self, from: &[Lanes], channels: usize, into: &mut [Lanes]) {
        match self.taps {
            1 => self.mix_some::<1>(from, channels, into),
            2 => self.mix_some::<2>(from, channels, into),
            3 => self.mix_some::<3>(from, channels, into),
            4 => self.mix_some::<4>(from, channels, into),
            5 => self.mix_some::<5>(from, channels, into),
            6 => self.mix_some::<6>(from, channels, into),
            _ => self.mix_many(from, channels, into),
        }
    }

    /// Mixes columns from `TAPS` each. So many are known to the compiler, which makes SIMD of their mixing.
    fn mix_some<const TAPS: usize>(&self, from: &[Lanes], channels: usize, into: &mut [Lanes]) {
        let points = self.firsts.iter().zip(self.shares.as_chunks::<TAPS>().0);
        for (pixel, (first, shares)) in into.chunks_exact_mut(channels).zip(points) {
            let from = &from[*first as usize * channels..];
            for (channel, into) in pixel.iter_mut().enumerate() {
                let taps: [&Lanes; TAPS] =
                    std::array::from_fn(|tap| &from[tap * channels + channel]);
                for (lane, into) in into.iter_mut().enumerate() {
                    let mut sum = ROUNDING;
                    for (tap, share) in taps.iter().zip(shares) {
                        sum += u16::from(tap[lane]) * share;
                    }
                    *into = (sum >> 8) as u8;
                }
            }
        }
    }

    fn mix_many(&self, from: &[Lanes], channels: usize, into: &mut [Lanes]) {
        for (at, pixel) in into.chunks_exact_mut(channels).enumerate() {
            let (first, shares) = self.at(at);
            for (channel, into) in pixel.iter_mut().enumerate() {
                let mut sums = [ROUNDING; LANES];
                let taps = from[first * channels + channel..].iter().step_by(channels);
                for (share, tap) in shares.iter().zip(taps) {
                    for (sum, byte) in sums.iter_mut().zip(tap) {
                        *sum += u16::from(*byte) * share;
                    }
                }
                *into = sums.map(|sum| (sum >> 8) as u8);
            }
        }
    }

    /// The first of those from which this point is mixed, and their shares; of the last one behind it.
    fn at(&self, point: usize) -> (usize, &[u16]) {
        let point = point.min(self.firsts.len() - 1);
        (
            self.firsts[point] as usize,
            &self.shares[point * self.taps..][..self.taps],
        )
    }
}

fn mix_rows<'a>(
    mut rows: impl Iterator<Item = &'a [u8]>,
    shares: &[u16],
    sums: &mut Vec<u16>,
    into: &mut [u8],
) {
    let mut next = || rows.next().expect("a filter lies in its picture");
    if let [_, other] = *shares {
        for ((into, first), second) in into.iter_mut().zip(next()).zip(next()) {
            let (first, second) = (u16::from(*first), u16::from(*second));
            let more = second.wrapping_sub(first).wrapping_mul(other);
            *into = ((first << 8).wrapping_add(more).wrapping_add(ROUNDING) >> 8) as u8;
        }
        return;
    }

    sums.clear();
    sums.resize(into.len(), ROUNDING);
    for share in shares {
        for (sum, byte) in sums.iter_mut().zip(next()) {
            *sum += u16::from(*byte) * share;
        }
    }
    for (into, sum) in into.iter_mut().zip(sums) {
        *into = (*sum >> 8) as u8;
    }
}

/// The bytes of the first half and those of the second in turn.
fn interleave(from: &[u8], into: &mut [u8]) {
    let (one, other) = from.split_at(from.len() / 2);
    let pairs = into.as_chunks_mut().0;
    for ((pair, one), other) in pairs.iter_mut().zip(one).zip(other) {
        *pair = [*one, *other];
    }
}

/// The bytes at even places, and then those at odd ones: undoes [`interleave`].
fn separate(from: &[u8], into: &mut [u8]) {
    let (one, other) = into.split_at_mut(from.len() / 2);
    let pairs = from.as_chunks().0;
    // Two loops, and numbers of two bytes: the compiler makes no SIMD of less.
    for (one, pair) in one.iter_mut().zip(pairs) {
        *one = u16::from_le_bytes(*pair) as u8;
    }
    for (other, pair) in other.iter_mut().zip(pairs) {
        *other = (u16::from_le_bytes(*pair) >> 8) as u8;
    }
}
