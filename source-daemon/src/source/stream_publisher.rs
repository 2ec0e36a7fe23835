//! Writes the headers of frames and heartbeats and gives both to the publisher. Called by the capture, preparing and event
//! loop threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{
    Ball, Format, FrameBuffer, FrameHeader, State, StreamName, Truth, truth,
};

use crate::publisher::Publisher;
use crate::supervisor::InputStatus;
use crate::verification::ground_truth::PublishedFrame;
use crate::verification::state::Kind;
use crate::verification::{StreamHandle, Verifier};

/// A JPEG that is ready to be published, and what is known of it.
#[derive(Debug)]
pub(super) struct EncodedFrame {
    pub(super) number: u64,
    pub(super) captured: Time,
    pub(super) rate_millihertz: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) truth: Option<Truth>,
    pub(super) jpeg: FrameBuffer,
}

/// Where a stream is published and what its headers say.
#[derive(Debug)]
pub(super) struct StreamContext {
    pub(super) publisher: Arc<Publisher>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) stream: StreamName,
    /// The name of its canary.
    pub(super) canary: Option<StreamName>,
    pub(super) kind: Kind,
    /// Describes the input for people.
    pub(super) input: String,
}

/// Publishes the frames and heartbeats of one run of one stream.
#[derive(Debug)]
pub(super) struct StreamPublisher {
    publisher: Arc<Publisher>,
    handle: StreamHandle,
    stream: StreamName,
    canary: String,
    topic: Bytes,
    epoch: u64,
    clock_id: u64,
    newest: Arc<AtomicU64>,
    rate_millihertz: AtomicU32,
    last_published: AtomicU64,
    slow: AtomicBool,
}

impl StreamPublisher {
    /// A new run with a random epoch.
    pub(super) fn new(station: StreamContext) -> Self {
        let StreamContext {
            publisher,
            verifier,
            stream,
            canary,
            kind,
            input,
        } = station;

        let topic = stream.topic();
        let epoch = clock::random_u64().max(1);
        let clock_id = clock::clock_id();
        let handle = verifier.add_stream(&stream, kind, epoch, &input);
        Self {
            publisher,
            handle,
            stream,
            canary: canary.map(|name| name.to_string()).unwrap_or_default(),
            topic,
            epoch,
            clock_id,
            newest: Arc::default(),
            rate_millihertz: AtomicU32::new(0),
            last_published: AtomicU64::new(0),
            slow: AtomicBool::new(false),
        }
    }

    /// The stream in the verifier, which also knows who watches it.
    pub(super) fn handle(&self) -> &StreamHandle {
        &self.handle
    }

    /// Sets whether only few frames are published, because nobody watches.
    pub(super) fn set_slow(&self, slow: bool) {
        self.slow.store(slow, Relaxed);
    }

    /// Whether only few frames are published, because nobody watches.
    pub(super) fn is_slow(&self) -> bool {
        self.slow.load(Relaxed)
    }

    pub(super) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The number of the newest captured frame, for heartbeats. The capture thread gets this and not the whole publisher: a
    /// thread that is left behind in a driver must not keep the publisher open.
    pub(super) fn newest(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.newest)
    }

    /// When anything was last published.
    pub(super) fn last_published(&self) -> Time {
        Time::from_nanos(self.last_published.load(Relaxed))
    }

    /// Publishes a frame. Returns its JPEG.
    pub(super) fn frame(&self, picture: EncodedFrame) -> Bytes {
        let now = clock::now();
        let preparing = now.saturating_since(picture.captured).as_micros();
        let prepared_us = u32::try_from(preparing).unwrap_or(u32::MAX);
        let state = if self.is_slow() {
            State::Idle
        } else {
            State::Live
        };

        // Before anybody can have seen the frame.
        let ball = picture.truth.and_then(ball);
        self.handle.on_published(PublishedFrame {
            number: picture.number,
            at: now,
            prepared_us,
            ball,
        });

        self.rate_millihertz.store(picture.rate_millihertz, Relaxed);
        let header = FrameHeader {
            captured_ns: picture.captured.as_nanos(),
            width: picture.width,
            height: picture.height,
            format: Format::Jpeg as i32,
            truth: picture.truth,
            prepared_us,
            ..self.header(picture.number, state, now)
        };

        let length = picture.jpeg.jpeg().len();
        let body = picture.jpeg.finish(header);
        let jpeg = body.slice(body.len() - length..);
        self.publisher.publish(self.topic.clone(), body);
        self.note_published(now);
        jpeg
    }

    /// Publishes a heartbeat, which carries the status of the input and no picture.
    pub(super) fn heartbeat(&self, status: &InputStatus) {
        let now = clock::now();
        self.handle.on_input_status(status.state, &status.reason);
        let header = FrameHeader {
            reason: status.reason.clone(),
            ..self.header(self.newest.load(Relaxed), status.state, now)
        };
        let body = FrameBuffer::with_capacity(0).finish(header);
        self.publisher
            .publish_heartbeat(self.topic.clone(), body, status.state);
        self.note_published(now);
    }

    fn header(&self, number: u64, state: State, now: Time) -> FrameHeader {
        FrameHeader {
            stream: self.stream.to_string(),
            canary: self.canary.clone(),
            epoch: self.epoch,
            number,
            captured_ns: now.as_nanos(),
            wall_offset_ns: clock::wall_offset_ns(),
            clock_id: self.clock_id,
            state: state as i32,
            rate_millihertz: self.rate_millihertz.load(Relaxed),
            ..FrameHeader::default()
        }
    }

    fn note_published(&self, now: Time) {
        self.last_published.fetch_max(now.as_nanos(), Relaxed);
    }
}

fn ball(truth: Truth) -> Option<Ball> {
    truth.kind.map(|truth::Kind::Ball(ball)| ball)
}
