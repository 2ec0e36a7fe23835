//! Settings that are one of a few words.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PictureOutput {
    /// One JPEG after the other, each as it was received.
    #[value(name = "pipe:mjpeg")]
    Mjpeg,
    /// Uncompressed pictures with their size and rate (YUV4MPEG2), in the size of the first one.
    #[value(name = "pipe:y4m")]
    Y4m,
}
