//! Draws a recorded frame as the screen shows it.

use super::Sample;
use crate::canvas::{Canvas, Painter};
use crate::decode::{DecodeError, Decoder};
use crate::overlay::{self, Panel};
use crate::picture::Picture;
use crate::readings::Readings;
use crate::view::View;
use crate::window;

/// Decodes and draws one sample after the other in reused memory.
#[derive(Debug, Default)]
pub struct ScreenRenderer {
    decoder: Decoder,
    picture: Picture,
    painter: Painter,
}

impl ScreenRenderer {
    /// Columns and rows of a sample's picture.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn size(&mut self, sample: &Sample) -> Result<(usize, usize), DecodeError> {
        self.decoder.size(&sample.jpeg)
    }

    /// Draws the sample, with its marker and figures, into `pixels` (`0x00RRGGBB`) of `width` columns and `height` rows.
    ///
    /// # Errors
    /// See [`DecodeError`]; nothing is drawn then.
    ///
    /// # Panics
    /// When there are not `width * height` pixels.
    pub fn draw(
        &mut self,
        sample: &Sample,
        pixels: &mut [u32],
        (width, height): (usize, usize),
    ) -> Result<(), DecodeError> {
        let target = Some((width as u32, height as u32));
        self.decoder
            .decode_for(&sample.jpeg, target, &mut self.picture)?;

        let mut canvas = Canvas::new(pixels, width, height);
        let marker = sample.marker.as_ref();
        let view = View::default();
        window::paint_picture(&mut canvas, &self.picture, &view, marker, &mut self.painter);
        let font = &mut self.painter.font;
        let readings = Readings {
            figures: sample.figures.clone(),
            ..Readings::default()
        };
        overlay::draw(&mut canvas, font, &[Panel::Figures], &readings, "", &[]);
        Ok(())
    }
}
