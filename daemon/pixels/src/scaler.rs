//! Scaling of pictures, for the pixel types that the programs have.

mod bilinear;
mod lines;

use bilinear::Bilinear;
use lines::{LANES, Lines, Rows, Stretch};

/// Width and height in pixels.
pub type Size = (u32, u32);

/// A rectangle of whole pixels, origin top left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Columns before it.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Its size.
    pub size: Size,
}

/// A rectangle in a picture that need not begin or end between two pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Columns before it.
    pub left: f64,
    /// Rows above it.
    pub top: f64,
    /// Columns.
    pub width: f64,
    /// Rows.
    pub height: f64,
}

/// Becoming smaller by more than this, a picture is smoothed: below, the four pixels around a point are enough (decision 132).
const UNSMOOTHED: f64 = 2.0;

/// Scales by linear interpolation, smoothed where the picture becomes smaller. Keeps memory for the next picture.
#[derive(Debug, Default)]
pub struct Scaler {
    lines: Lines,
    bilinear: Bilinear,
}

impl Scaler {
    /// Scales a plane of one byte a pixel to another.
    ///
    /// # Panics
    /// When a plane has not as many bytes as its size says.
    pub fn grey(&mut self, from: &[u8], from_size: Size, to: &mut [u8], to_size: Size) {
        self.whole::<1>(from, from_size, to, to_size);
    }

    /// Scales a picture of three bytes a pixel to another.
    ///
    /// # Panics
    /// When a picture has not as many bytes as its size says.
    pub fn rgb(&mut self, from: &[u8], from_size: Size, to: &mut [u8], to_size: Size) {
        self.whole::<3>(from, from_size, to, to_size);
    }

    /// Scales a part of a picture of four bytes a pixel, of which each is scaled by itself, to a place in another.
    ///
    /// # Panics
    /// When a picture has not as many bytes as its size says, or part or place lie not within theirs.
    pub fn rgbx(
        &mut self,
        from: &[u8],
        from_size: Size,
        part: Part,
        to: &mut [u8],
        to_size: Size,
        place: Place,
    ) {
        let (columns, rows) = place.size;
        let is_enough = part.width <= UNSMOOTHED * f64::from(columns)
            && part.height <= UNSMOOTHED * f64::from(rows);
        if is_enough {
            let from = (from.as_chunks().0, from_size.0 as usize);
            let to = (to.as_chunks_mut().0, to_size.0 as usize);
            self.bilinear.scale(from, part, to, place);
        } else {
            self.smooth::<4>(from, from_size, part, to, to_size, place);
        }
    }

    /// Scales a whole picture to a whole picture.
    fn whole<const CHANNELS: usize>(
        &mut self,
        from: &[u8],
        from_size: Size,
        to: &mut [u8],
        to_size: Size,
    ) {
        let part = Part::whole(from_size);
        let place = Place::whole(to_size);
        self.smooth::<CHANNELS>(from, from_size, part, to, to_size, place);
    }

    /// Scales pixels of `CHANNELS` bytes, smoothed where they become fewer.
    fn smooth<const CHANNELS: usize>(
        &mut self,
        from: &[u8],
        from_size: Size,
        part: Part,
        to: &mut [u8],
        to_size: Size,
        place: Place,
    ) {
        let bytes = |size: Size| size.0 as usize * size.1 as usize * CHANNELS;
        assert_eq!(from.len(), bytes(from_size), "{FITS}");
        assert_eq!(to.len(), bytes(to_size), "{FITS}");
        let [width, height] = [place.size.0, place.size.1].map(|side| side as usize);
        if from.is_empty() || width == 0 || height == 0 {
            return;
        }

        let from = Rows {
            bytes: from,
            width: from_size.0 as usize,
            channels: CHANNELS,
        };
        let stretch = |start, length, count| Stretch {
            start,
            length,
            count,
        };
        let columns = stretch(part.left, part.width, width);
        self.lines
            .prepare(from, columns, stretch(part.top, part.height, height));

        let left = place.left as usize * CHANNELS;
        let lines = to.chunks_exact_mut(to_size.0 as usize * CHANNELS);
        let lines = lines.skip(place.top as usize).take(height);
        for (row, line) in lines.enumerate() {
            if row % LANES == 0 {
                self.lines.scale(from, row / LANES);
            }
            line[left..left + width * CHANNELS].copy_from_slice(self.lines.line(row % LANES));
        }
    }
}

impl Place {
    const fn whole(size: Size) -> Self {
        Self {
            left: 0,
            top: 0,
            size,
        }
    }
}

impl Part {
    fn whole((width, height): Size) -> Self {
        Self {
            left: 0.0,
            top: 0.0,
            width: width.into(),
            height: height.into(),
        }
    }
}

const FITS: &str = "a picture has as many bytes as its size says";
