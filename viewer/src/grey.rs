//! A greyscale picture.

/// Pixels of one byte, 0 black and 255 white, row after row from the top left. A picture always has as many pixels as its
/// size says.
///
/// A place in it is given in pixels from its upper left corner, so that the middle of the first pixel is at 0.5, 0.5.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grey {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Grey {
    /// A black picture.
    #[must_use]
    pub fn new(width: usize, height: usize) -> Self {
        let mut grey = Self::default();
        grey.reshape(width, height);
        grey
    }

    /// Changes the size and keeps the memory; what the pixels are afterwards is unspecified.
    pub fn reshape(&mut self, width: usize, height: usize) {
        self.pixels.resize(width * height, 0);
        self.width = width;
        self.height = height;
    }

    /// Pixels in a row.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    #[must_use]
    pub const fn height(&self) -> usize {
        self.height
    }

    /// All pixels.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// All pixels, to be written.
    #[must_use]
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// Whether the place lies at least `margin` pixels within the picture.
    #[must_use]
    pub fn holds(&self, x: f32, y: f32, margin: f32) -> bool {
        x >= margin
            && y >= margin
            && x <= self.width as f32 - margin
            && y <= self.height as f32 - margin
    }

    /// The brightness between the middles of the four pixels around a place; beyond the edge it is as at the edge. The
    /// picture must have a pixel.
    #[must_use]
    pub fn at(&self, x: f32, y: f32) -> f32 {
        let across = (x - 0.5).clamp(0.0, (self.width - 1) as f32);
        let down = (y - 0.5).clamp(0.0, (self.height - 1) as f32);
        let left = across as usize;
        let top = down as usize;
        let right = (left + 1).min(self.width - 1);
        let below = (top + 1).min(self.height - 1);
        let across = across - left as f32;
        let down = down - top as f32;
        let pixel = |x: usize, y: usize| f32::from(self.pixels[y * self.width + x]);
        let upper = pixel(left, top) * (1.0 - across) + pixel(right, top) * across;
        let lower = pixel(left, below) * (1.0 - across) + pixel(right, below) * across;
        upper * (1.0 - down) + lower * down
    }

    /// Makes `into` this picture with `factor` by `factor` pixels averaged to one; what is left over at the right and below
    /// is left out.
    pub fn reduce(&self, factor: usize, into: &mut Self) {
        into.reshape(self.width / factor, self.height / factor);
        let mut sums = vec![0u32; into.width];
        let area = (factor * factor) as u32;
        let strips = self.pixels.chunks_exact(self.width.max(1) * factor);

        for (strip, row) in strips.zip(into.pixels.chunks_exact_mut(into.width.max(1))) {
            sums.fill(0);
            for line in strip.chunks_exact(self.width) {
                for (sum, pixels) in sums.iter_mut().zip(line.chunks_exact(factor)) {
                    *sum += pixels.iter().map(|pixel| u32::from(*pixel)).sum::<u32>();
                }
            }

            for (pixel, sum) in row.iter_mut().zip(&sums) {
                *pixel = ((sum + area / 2) / area) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brightness_runs_evenly_between_the_middles_of_pixels_and_stays_beyond_the_edge() {
        let mut grey = Grey::new(2, 2);
        grey.pixels_mut().copy_from_slice(&[0, 100, 200, 100]);

        for (x, y, expected) in [
            (0.5, 0.5, 0.0),
            (1.0, 0.5, 50.0),
            (0.5, 1.0, 100.0),
            (1.0, 1.0, 100.0),
            (-9.0, -9.0, 0.0),
            (9.0, 0.0, 100.0),
        ] {
            assert_eq!(grey.at(x, y), expected, "{x} {y}");
        }
    }

    #[test]
    fn a_reduced_picture_has_the_means_and_leaves_out_what_is_left_over() {
        let mut grey = Grey::new(5, 3);
        grey.pixels_mut()
            .copy_from_slice(&[0, 10, 100, 200, 9, 20, 30, 100, 200, 9, 9, 9, 9, 9, 9]);
        let mut small = Grey::default();
        grey.reduce(2, &mut small);
        assert_eq!(
            (small.width(), small.height(), small.pixels()),
            (2, 1, &[15, 150][..])
        );

        Grey::new(1, 1).reduce(2, &mut small);
        assert_eq!((small.width(), small.height()), (0, 0));
    }
}
