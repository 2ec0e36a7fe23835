//! From a captured frame to the JPEG that is published: turned, scaled, written upon and encoded as configured, converted
//! when screens could not show it, and otherwise passed on untouched. Runs on the thread of its caller, without I/O.

use fanlight_pixels::Scaler;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::{
    DEFAULT_FRAME_BYTES, DEFAULT_SIDE, MAX_FRAME_BYTES, MAX_FRAME_PREFIX,
};
use fanlight_proto::message::{Ball, FrameBuffer, Truth, truth};

use crate::camera::{CapturedFrame, Content, Raw};
use crate::jpeg::{self, Conversion, Decoder, Encoder, Header, JpegError, LosslessTransformer};
use crate::orientation::Orientation;
use crate::overlay::Overlay;
use crate::pixel_buffer::{PixelBuffer, RawError};

/// Options of a [`PictureProcessor`].
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
    /// Largest width and height of a captured picture.
    pub max_side: u32,
    /// Largest frame to be published, in bytes.
    pub max_frame_bytes: usize,
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
            max_side: DEFAULT_SIDE,
            max_frame_bytes: DEFAULT_FRAME_BYTES,
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
    /// What is known to be in it (the ground truth), in its own pixels.
    pub truth: Option<Truth>,
    /// Whether it passed untouched, so that nobody knows whether it can be decoded.
    pub is_untouched: bool,
}

/// Why a picture cannot be published. The next one may be good, except after [`PictureError::Option`].
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
    /// More bytes than a frame may have.
    #[error(
        "a picture of {length} bytes is over the limit of {limit}: lower size, scale or quality, or set max_frame_bytes, up to {MAX_FRAME_BYTES}"
    )]
    TooLong {
        /// Bytes of the JPEG.
        length: usize,
        /// How many it may have.
        limit: usize,
    },
    /// What the input found wrong with it.
    #[error("{0}")]
    Unusable(String),
}

impl PictureError {
    /// Whether the input's format has to be changed, rather than this one picture being bad.
    #[must_use]
    pub fn is_format(&self) -> bool {
        match self {
            Self::Jpeg(error) => error.is_format(),
            Self::TooLong { .. } => true,
            _ => false,
        }
    }
}

/// Processes pictures. Buffers are reused, so that a picture costs one allocation: its own.
#[derive(Debug)]
pub struct PictureProcessor {
    orientation: Orientation,
    scale: f32,
    max_side: u32,
    max_frame_bytes: usize,
    overlay: Option<Overlay>,
    encoder: Encoder,
    decoder: Decoder,
    transformer: LosslessTransformer,
    scaler: Scaler,
    buffer: PixelBuffer,
    spare: PixelBuffer,
}

impl PictureProcessor {
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
            max_side,
            max_frame_bytes,
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
            max_side,
            max_frame_bytes,
            overlay: (overlay || figures).then(|| Overlay::new(overlay.then_some(name), figures)),
            encoder: Encoder::new(quality)?,
            decoder: Decoder::new(),
            transformer: LosslessTransformer::new()?,
            scaler: Scaler::default(),
            buffer: PixelBuffer::default(),
            spare: PixelBuffer::default(),
        })
    }

    /// Whether JPEGs that every screen can show are passed on untouched.
    #[must_use]
    pub fn passes_jpeg(&self) -> bool {
        self.overlay.is_none() && self.scale >= 1.0 && self.orientation.is_identity()
    }

    /// Processes a frame that was captured `utc_ns` nanoseconds after 1970. `raw` holds arbitrary bytes afterwards.
    ///
    /// A JPEG is passed on untouched if it can be. It is turned and transcoded without loss where that suffices and its
    /// edges allow it. It is decoded and encoded again for scaling, for the overlay, for turns that would tear blocks, and
    /// for what viewers do not decode.
    ///
    /// # Errors
    /// When the picture is damaged, over the limits, or in a coding that cannot be converted.
    pub fn process(
        &mut self,
        frame: CapturedFrame,
        raw: &mut Raw,
        utc_ns: u64,
    ) -> Result<Prepared, PictureError> {
        let taken = (frame.captured, utc_ns);
        let mut is_untouched = false;
        let (jpeg, captured, orientation) = match frame.content {
            Content::Unusable(reason) => return Err(PictureError::Unusable(reason)),
            Content::Raw => {
                self.buffer.load(raw)?;
                let captured = (self.buffer.width(), self.buffer.height());
                let jpeg = self.finish(captured, self.orientation, taken)?;
                (jpeg, captured, self.orientation)
            }
            Content::Jpeg(jpeg) => {
                let header = jpeg::inspect(jpeg.jpeg())?;
                jpeg::check_size(header.width, header.height, self.max_side)?;
                let orientation = header.orientation.then(self.orientation);
                is_untouched = self.passes(&header);
                let jpeg = if is_untouched {
                    jpeg
                } else {
                    self.process_jpeg(jpeg.jpeg(), &header, orientation, taken)?
                };
                (jpeg, (header.width, header.height), orientation)
            }
        };

        let (length, limit) = (jpeg.jpeg().len(), self.max_frame_bytes - MAX_FRAME_PREFIX);
        if length > limit {
            return Err(PictureError::TooLong { length, limit });
        }

        let scaled = self.scaled(captured);
        let (width, height) = orientation.size(scaled.0, scaled.1);
        let truth = frame
            .truth
            .map(|truth| move_truth(truth, captured, scaled, orientation));
        Ok(Prepared {
            jpeg,
            width,
            height,
            truth,
            is_untouched,
        })
    }

    /// Looks whether a picture can be decoded.
    ///
    /// # Errors
    /// When it cannot.
    pub fn check(&mut self, jpeg: &[u8]) -> Result<(), PictureError> {
        // All of its scans are read for the smallest size too.
        Ok(self.decoder.decode(jpeg, (1, 1), &mut self.buffer)?)
    }

    /// Whether a JPEG passes untouched.
    fn passes(&self, header: &Header) -> bool {
        header.conversion == Conversion::None
            && header.orientation.is_identity()
            && self.passes_jpeg()
    }

    fn process_jpeg(
        &mut self,
        jpeg: &[u8],
        header: &Header,
        orientation: Orientation,
        taken: (Time, u64),
    ) -> Result<FrameBuffer, PictureError> {
        let captured = (header.width, header.height);
        let size = self.scaled(captured);

        if self.overlay.is_none()
            && size == captured
            && header.conversion != Conversion::Reencode
            && let Some(done) = self.transformer.transform(jpeg, orientation)?
        {
            return Ok(done);
        }

        self.decoder.decode(jpeg, size, &mut self.buffer)?;
        self.finish(captured, orientation, taken)
    }

    /// Scales, turns, writes upon and encodes the pixels in the buffer. It scales first because the rest is cheaper then.
    fn finish(
        &mut self,
        captured: (u32, u32),
        orientation: Orientation,
        (at, utc_ns): (Time, u64),
    ) -> Result<FrameBuffer, PictureError> {
        let (width, height) = self.scaled(captured);
        if (self.buffer.width(), self.buffer.height()) != (width, height) {
            self.buffer
                .resize(&mut self.scaler, width, height, &mut self.spare);
            std::mem::swap(&mut self.buffer, &mut self.spare);
        }

        if !orientation.is_identity() {
            self.buffer.turn(orientation, &mut self.spare);
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
}

/// Where the truth lies in the picture after scaling from `captured` to `scaled` and turning.
fn move_truth(
    truth: Truth,
    captured: (u32, u32),
    scaled: (u32, u32),
    orientation: Orientation,
) -> Truth {
    let across = scaled.0 as f32 / captured.0 as f32;
    let down = scaled.1 as f32 / captured.1 as f32;
    let kind = truth.kind.map(|truth::Kind::Ball(ball)| {
        let place = (ball.x * across, ball.y * down);
        let (x, y) = orientation.point(place, scaled.0, scaled.1);
        truth::Kind::Ball(Ball {
            x,
            y,
            radius: ball.radius * (across * down).sqrt(),
        })
    });

    Truth { kind }
}

#[cfg(test)]
mod tests;
