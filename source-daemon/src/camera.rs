//! Inputs: the traits that every input implements, and one module for each kind. All are called on the capture thread.

pub mod address;
pub mod ball;
pub mod file;
pub mod http;
pub mod pacer;
pub mod pattern;
pub mod pipe;
pub mod v4l;

use fanlight_proto::clock::Time;
use fanlight_proto::message::{FrameBuffer, Truth};

pub use crate::pixel_buffer::{PixelFormat, Raw};

/// An input that can be opened again and again: a device, a file, a generator.
pub trait Input: Send {
    /// Opens it. May block for as long as the driver does; the supervisor watches from another thread.
    ///
    /// # Errors
    /// What keeps it from opening, in words an operator can act on.
    fn open(&mut self) -> Result<Box<dyn Camera>, CameraError>;

    /// What an operator calls it, for log lines: "ball 640x480 at 30 fps", "/dev/v4l/by-id/…".
    fn describe(&self) -> String;
}

/// An open input that delivers pictures at its own pace.
pub trait Camera: Send {
    /// Waits for the next picture. A raw picture is written into `raw`, whose buffer is reused: all of it has to
    /// be written, because it holds arbitrary bytes. `number` is the frame number that the picture gets if none was lost
    /// before it: an input that paints the number paints `number + skipped`.
    ///
    /// # Errors
    /// After any error the camera is dropped and its [`Input`] opened again, save after [`CameraError::Ended`].
    fn next(&mut self, number: u64, raw: &mut Raw) -> Result<CapturedFrame, CameraError>;

    /// The rate the input runs at, in thousandths of a frame a second; 0 when it is not known.
    fn rate_millihertz(&self) -> u32;
}

/// One capture.
#[derive(Debug)]
pub struct CapturedFrame {
    /// When it was captured, on the host's monotonic clock (the driver's stamp where there is one).
    pub captured: Time,
    /// Pictures that the device delivered or should have delivered before this one and that were lost.
    pub skipped: u64,
    /// What is known to be in the picture, in pixels of the picture as captured.
    pub truth: Option<Truth>,
    /// The picture.
    pub content: Content,
}

/// A picture as captured.
#[derive(Debug)]
pub enum Content {
    /// A complete JPEG, from SOI to EOI, without the driver's padding.
    Jpeg(FrameBuffer),
    /// In the `raw` that was passed to [`Camera::next`].
    Raw,
    /// A picture came that cannot be used, and why. Viewers are told the reason if no usable picture comes for a while.
    Unusable(String),
}

/// Why an input cannot be opened or delivers no picture. Each message names the input and what to do.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// The device is gone, or was never there.
    #[error("{0}")]
    Unplugged(String),
    /// Another program holds the device.
    #[error("{0}")]
    Busy(String),
    /// It offers nothing that fits the configuration; the message lists what it offers.
    #[error("{0}")]
    WrongFormat(String),
    /// Open, but no picture came in time.
    #[error("{0}")]
    Stalled(String),
    /// The input is over and will not come again.
    #[error("{0}")]
    Ended(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}
