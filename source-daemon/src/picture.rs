//! From a capture to the JPEG that is published: turned, scaled, written upon and encoded as configured, and passed
//! through untouched when nothing is asked.

pub mod orientation;
pub mod pixel_buffer;

use fanlight_pixels::Scaler;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{Ball, FrameBuffer, Truth, truth};

use crate::camera::{CapturedFrame, Content, Raw};
use crate::jpeg::{self, Decoder, Encoder, JpegError, LosslessTransformer};
use crate::overlay::Overlay;

use orientation::Orientation;
use pixel_buffer::{PixelBuffer, RawError};

/// What is done to each picture.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureOptions {
    /// Quality of every JPEG that is encoded here, 1 to 100.
    pub quality: u8,
    /// Left and right change places.
    pub flip_horizontal: bool,
    /// Top and bottom change places.
    pub flip_vertical: bool,
    /// Degrees clockwise after flipping: 0, 90, 180 or 270.
    pub rotate: u16,
    /// Factor for width and height, 0.1 to 1. The scaled size is rounded to even numbers.
    pub scale: f32,
    /// Whether the stream's name and the time are written into the picture.
    pub overlay: bool,
    /// Whether figures of this program are written into the picture.
    pub figures: bool,
    /// The stream's name, for the overlay.
    pub name: String,
}

impl Default for PictureOptions {
    fn default() -> Self {
        Self {
            quality: 80,
            flip_horizontal: false,
            flip_vertical: false,
            rotate: 0,
            scale: 1.0,
            overlay: false,
            figures: false,
            name: String::new(),
        }
    }
}

/// A picture ready to be published.
#[derive(Debug)]
pub struct Prepared {
    /// The JPEG.
    pub jpeg: FrameBuffer,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// What is known to be in it, in its own pixels.
    pub truth: Option<Truth>,
}

/// Why a picture cannot be published. The next one may be better, save after [`PictureError::Option`].
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// An option out of range.
    #[error("{0}")]
    Option(String),
    /// The camera's JPEG, or turbojpeg.
    #[error(transparent)]
    Jpeg(#[from] JpegError),
    /// The camera's pixels.
    #[error(transparent)]
    Raw(#[from] RawError),
}

/// Does it. Buffers are reused, so that a picture costs one allocation: its own.
#[derive(Debug)]
pub struct Pipeline {
    orientation: Orientation,
    scale: f32,
    overlay: Option<Overlay>,
    encoder: Encoder,
    decoder: Decoder,
    turner: LosslessTransformer,
    scaler: Scaler,
    buffer: PixelBuffer,
    spare: PixelBuffer,
}

impl Pipeline {
    /// # Errors
    /// When an option is out of its range, or memory is short.
    pub fn new(options: &PictureOptions) -> Result<Self, PictureError> {
        let PictureOptions {
            quality,
            flip_horizontal,
            flip_vertical,
            rotate,
            scale,
            overlay,
            figures,
            ref name,
        } = *options;
        if !(1..=100).contains(&quality) {
            return Err(PictureError::Option(format!(
                "quality must be 1 to 100, not {quality}"
            )));
        }
        if !(0.1..=1.0).contains(&scale) {
            return Err(PictureError::Option(format!(
                "scale must be 0.1 to 1, not {scale}"
            )));
        }
        let orientation =
            Orientation::new(flip_horizontal, flip_vertical, rotate).ok_or_else(|| {
                PictureError::Option(format!("rotate must be 0, 90, 180 or 270, not {rotate}"))
            })?;
        Ok(Self {
            orientation,
            scale,
            overlay: (overlay || figures).then(|| Overlay::new(overlay.then_some(name), figures)),
            encoder: Encoder::new(quality)?,
            decoder: Decoder::new()?,
            turner: LosslessTransformer::new()?,
            scaler: Scaler::default(),
            buffer: PixelBuffer::default(),
            spare: PixelBuffer::default(),
        })
    }

    /// Whether JPEGs are passed through untouched.
    #[must_use]
    pub fn passes_jpeg(&self) -> bool {
        self.overlay.is_none() && self.scale >= 1.0 && self.orientation.is_identity()
    }

    /// Prepares a capture, taken `utc_ns` nanoseconds after 1970. What `raw` holds afterwards is arbitrary.
    ///
    /// A JPEG stays a JPEG as long as it can: it is passed through untouched, or turned without loss where its edges
    /// allow, and decoded and encoded anew only for scaling, for the overlay, and for turns that would tear blocks.
    ///
    /// # Errors
    /// When the picture is damaged, over the limits, or coded as nobody here decodes it.
    pub fn process(
        &mut self,
        shot: CapturedFrame,
        raw: &mut Raw,
        utc_ns: u64,
    ) -> Result<Prepared, PictureError> {
        let at = (shot.captured, utc_ns);
        let (jpeg, captured) = match shot.content {
            Content::Raw => {
                self.buffer.load(raw)?;
                let captured = (self.buffer.width(), self.buffer.height());
                (self.finish(captured, at)?, captured)
            }
            Content::Jpeg(jpeg) => {
                let captured = jpeg::check(jpeg.jpeg())?;
                (self.process_jpeg(jpeg, captured, at)?, captured)
            }
        };
        let (width, height) = self.size(captured);
        let truth = shot.truth.map(|truth| self.move_truth(truth, captured));
        Ok(Prepared {
            jpeg,
            width,
            height,
            truth,
        })
    }

    fn process_jpeg(
        &mut self,
        jpeg: FrameBuffer,
        captured: (u32, u32),
        at: (Time, u64),
    ) -> Result<FrameBuffer, PictureError> {
        let (width, height) = self.scaled(captured);
        if self.overlay.is_none() && (width, height) == captured {
            if self.orientation.is_identity() {
                return Ok(jpeg);
            }
            if let Some(turned) = self.turner.turn(jpeg.jpeg(), self.orientation)? {
                return Ok(turned);
            }
        }
        self.decoder
            .decode(jpeg.jpeg(), (width, height), &mut self.buffer)?;
        self.finish(captured, at)
    }

    /// What is left to do once the pixels are on the canvas: the cheapest order is to scale first.
    fn finish(
        &mut self,
        captured: (u32, u32),
        (at, utc_ns): (Time, u64),
    ) -> Result<FrameBuffer, PictureError> {
        let (width, height) = self.scaled(captured);
        if (self.buffer.width(), self.buffer.height()) != (width, height) {
            self.buffer
                .resize(&mut self.scaler, width, height, &mut self.spare);
            std::mem::swap(&mut self.buffer, &mut self.spare);
        }
        if !self.orientation.is_identity() {
            self.buffer.turn(self.orientation, &mut self.spare);
            std::mem::swap(&mut self.buffer, &mut self.spare);
        }
        if let Some(overlay) = &mut self.overlay {
            overlay.draw(&mut self.buffer, at, utc_ns);
        }
        Ok(self.encoder.encode(&self.buffer)?)
    }

    /// The size after scaling, before turning.
    fn scaled(&self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.scale >= 1.0 {
            return (width, height);
        }
        let even = |length: u32| {
            ((length as f32 * self.scale / 2.0).round() as u32 * 2)
                .max(2)
                .min(length)
        };
        (even(width), even(height))
    }

    /// The size as published.
    fn size(&self, captured: (u32, u32)) -> (u32, u32) {
        let (width, height) = self.scaled(captured);
        self.orientation.size(width, height)
    }

    fn move_truth(&self, truth: Truth, captured: (u32, u32)) -> Truth {
        let (width, height) = self.scaled(captured);
        let (across, down) = (
            width as f32 / captured.0 as f32,
            height as f32 / captured.1 as f32,
        );
        let kind = truth.kind.map(|truth::Kind::Ball(Ball { x, y, radius })| {
            let (x, y) = self
                .orientation
                .point((x * across, y * down), width, height);
            truth::Kind::Ball(Ball {
                x,
                y,
                radius: radius * (across * down).sqrt(),
            })
        });
        Truth { kind }
    }
}

#[cfg(test)]
mod tests;
