//! What the publisher hears from relays, and tells them back.

use std::fmt;
use std::sync::Arc;

use fanlight_proto::clock::Time;
use fanlight_proto::message::{
    ControlAnswer, ControlRequest, FeedbackReport, RefusedStreams, SourceClock, ViewerVerdict,
};

/// Listens to relays. Called on the publisher's thread, which sends frames: each call must return at once.
pub trait FeedbackSink: fmt::Debug + Send + Sync {
    /// Peer `peer` has connected, or its subscriptions have changed: it is sent what begins with one of `topics`. A peer
    /// that never sends a feedback watches whatever it subscribes to.
    fn on_subscriptions(&self, now: Time, peer: u64, topics: &[Vec<u8>]);

    /// A relay says who watches and what they saw. It has proved by the feed key, where there is one, that it may.
    fn on_feedback(&self, now: Time, peer: u64, feedback: FeedbackReport);

    /// A relay says which streams of this source it does not take.
    fn on_refused(&self, now: Time, peer: u64, refused: RefusedStreams);

    /// The peer has gone.
    fn on_gone(&self, now: Time, peer: u64);

    /// What to tell a relay of its viewers with its next answer.
    fn verdicts(&self, now: Time, peer: u64) -> Vec<ViewerVerdict>;

    /// What to answer to who asks how things stand: JSON of at most [`MAX_STATUS_BYTES`] bytes.
    ///
    /// [`MAX_STATUS_BYTES`]: fanlight_proto::feed::MAX_STATUS_BYTES
    fn status(&self, now: Time) -> Vec<u8>;

    /// What is known of the clocks of the sources whose frames are published, where that is not this host's.
    fn source_clocks(&self) -> Vec<SourceClock> {
        Vec::new()
    }
}

/// Takes the answer to a [`ControlRequest`], on any thread.
pub type ControlReply = Box<dyn FnOnce(ControlAnswer) + Send>;

/// Answers relays that ask for the camera's controls. Called on the publisher's thread: each call must return at once.
pub trait ControlHandler: fmt::Debug + Send + Sync {
    /// Does what a relay asks for, and calls `reply`.
    fn request(self: Arc<Self>, request: ControlRequest, reply: ControlReply);
}

/// Listens to nobody.
#[derive(Debug)]
pub struct NullSink;

impl FeedbackSink for NullSink {
    fn on_subscriptions(&self, _: Time, _: u64, _: &[Vec<u8>]) {}

    fn on_feedback(&self, _: Time, _: u64, _: FeedbackReport) {}

    fn on_refused(&self, _: Time, _: u64, _: RefusedStreams) {}

    fn on_gone(&self, _: Time, _: u64) {}

    fn verdicts(&self, _: Time, _: u64) -> Vec<ViewerVerdict> {
        Vec::new()
    }

    fn status(&self, _: Time) -> Vec<u8> {
        Vec::new()
    }
}
