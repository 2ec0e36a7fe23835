//! A picture in memory, in the pixel format of the window.

/// A picture of `0x00RRGGBB` pixels, row after row from the top left. What lies in the highest eight bits is
/// unspecified. A picture always has as many pixels as its size says.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    width: u32,
    height: u32,
    pixels: Vec<u32>,
}

impl Picture {
    /// A black picture.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Self {
        let mut picture = Self::default();
        picture.reshape(width, height);
        picture
    }

    /// Changes the size and keeps the memory; what the pixels are afterwards is unspecified.
    pub fn reshape(&mut self, width: u32, height: u32) {
        let count = width as usize * height as usize;
        self.pixels
            .reserve_exact(count.saturating_sub(self.pixels.len()));
        self.pixels.resize(count, 0);
        self.width = width;
        self.height = height;
    }

    /// Pixels in a row.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Width and height, for counting with.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.width as usize, self.height as usize)
    }

    /// All pixels, `width * height` of them.
    #[must_use]
    pub fn pixels(&self) -> &[u32] {
        &self.pixels
    }

    /// All pixels, to be written.
    #[must_use]
    pub fn pixels_mut(&mut self) -> &mut [u32] {
        &mut self.pixels
    }

    /// Bytes of memory held, used or not.
    #[cfg(test)]
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.pixels.capacity() * size_of::<u32>()
    }
}
