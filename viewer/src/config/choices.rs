//! Settings that are one of a few words.

use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;

use crate::engine;

/// What several relays are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Redundancy {
    /// All send.
    Both,
    /// One sends, the others begin when it falters.
    Standby,
}

fanlight_daemon::display_choice!(Redundancy);

/// Whether to receive by multicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Multicast {
    /// Where a relay offers it and the network brings it.
    Auto,
    /// Never.
    Off,
}

fanlight_daemon::display_choice!(Multicast);

/// Whether to watch the canary of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Canary {
    /// When it names one.
    Auto,
    /// Never.
    Off,
}

fanlight_daemon::display_choice!(Canary);

impl From<Redundancy> for engine::Redundancy {
    fn from(redundancy: Redundancy) -> Self {
        match redundancy {
            Redundancy::Both => Self::Both,
            Redundancy::Standby => Self::Standby,
        }
    }
}

/// Where pictures go instead of to a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PictureOutput {
    /// One JPEG after the other, each as it was received.
    Mjpeg,
    /// Uncompressed pictures with their size and rate (YUV4MPEG2), in the size of the first one.
    Y4m,
    /// To this video device, from which other programs take them as from a camera.
    Device(PathBuf),
}

/// A text that is no [`PictureOutput`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an output is pipe:mjpeg, pipe:y4m or v4l2:/dev/videoN")]
pub struct PictureOutputError;

impl FromStr for PictureOutput {
    type Err = PictureOutputError;

    fn from_str(text: &str) -> Result<Self, PictureOutputError> {
        match text {
            "pipe:mjpeg" => Ok(Self::Mjpeg),
            "pipe:y4m" => Ok(Self::Y4m),
            _ => match text.strip_prefix("v4l2:") {
                Some(device) if !device.is_empty() => Ok(Self::Device(device.into())),
                _ => Err(PictureOutputError),
            },
        }
    }
}
