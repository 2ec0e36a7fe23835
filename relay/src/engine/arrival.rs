//! What an upstream received.

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::message::CheckedFrame;

/// What an upstream took in: a frame, or with an empty picture a heartbeat.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Which upstream.
    pub origin: usize,
    /// What was in it.
    pub frame: CheckedFrame,
    /// The encoded `Frame` as it came.
    pub body: Bytes,
    /// When it came.
    pub received: Time,
    /// Frames of the same epoch that came before it, after the one taken last, and gave way to it.
    pub superseded: u64,
    /// As many more that gave way while there was no viewer to whom they were lost.
    pub unwatched: u64,
    /// Whether those who watch over HTTP have it already.
    pub shown: bool,
}
