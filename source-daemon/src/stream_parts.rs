//! What the settings make of a stream, and a [`Source`](crate::source::Source) starts.

use std::time::Duration;

use fanlight_proto::message::StreamName;

use crate::camera::Input;
use crate::picture::PictureOptions;
use crate::supervisor::Supervisor;

/// The parts of a stream, apart from where it is published.
pub struct StreamParts {
    /// Its name.
    pub stream: StreamName,
    /// Where its pictures come from.
    pub input: Box<dyn Input>,
    /// How each picture is processed.
    pub picture: PictureOptions,
    /// Decides about the input.
    pub supervisor: Supervisor,
    /// Time between two frames while the stream is slow because nobody watches it.
    pub slow_interval: Duration,
}
