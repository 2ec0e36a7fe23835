//! The decoders' threads: turn complete frames into pictures, and have link states told by cards. A second thread takes the
//! frames that come while the first is at work (decision 131).

use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_daemon::rate_limit::LogLimiter;
use fanlight_proto::clock::Time;
use fanlight_proto::frame_barcode::FrameBarcode;
use fanlight_proto::message::{
    CheckedFrame, FrameError, FrameHeader, FrameId, NotShown, StreamName, parse_frame, truth,
};
use parking_lot::Mutex;

use super::frame_slot::{FrameSlot, Work, Worker};
use super::link_card;
use crate::decode::{DecodeError, Decoder};
use crate::engine::ReceivedFrame;
use crate::picture::Picture;
use crate::scene::{Scene, SceneSlot, Shown};
use crate::stats::{Counters, FrameInfo, TraceInfo};
use crate::trace;

/// What to do beyond showing.
#[derive(Clone, Debug, Default)]
pub(super) struct DecodeOptions {
    /// Find out what a trace needs.
    pub(super) traced: bool,
    /// Keep each JPEG until its frame is shown.
    pub(super) kept: bool,
    /// The relay, to be named on cards.
    pub(super) relay: String,
    /// Largest frame, in bytes.
    pub(super) max_frame_bytes: usize,
    /// Largest width and height of a picture.
    pub(super) max_side: u32,
}

/// Why a whole frame is not shown.
#[derive(Debug, thiserror::Error)]
pub(super) enum RejectedFrame {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the frame calls itself {0}")]
    Identity(FrameId),
    #[error(transparent)]
    Picture(#[from] DecodeError),
    #[error("a canary of {0}x{1} pixels is too large")]
    Canary(usize, usize),
}

impl RejectedFrame {
    pub(super) const fn not_shown(&self) -> NotShown {
        match self {
            Self::Frame(_) | Self::Identity(_) => NotShown::InvalidFrame,
            Self::Picture(error) => error.not_shown(),
            Self::Canary(..) => NotShown::TooLarge,
        }
    }
}

/// What the threads of one stream share.
pub(super) struct Decoding {
    pub(super) frame_slot: Arc<FrameSlot>,
    pub(super) scenes: Arc<SceneSlot>,
    pub(super) counters: Arc<Counters>,
    pub(super) options: DecodeOptions,
    pub(super) told: Mutex<Told>,
}

/// What has been told of the stream.
pub(super) struct Told {
    /// The number of the newest work of which something is shown.
    newest: u64,
    /// Since when there is no picture.
    dark_since: Option<Time>,
    refused: LogLimiter,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            newest: 0,
            dark_since: Some(clock::now()),
            refused: LogLimiter::new(),
        }
    }
}

impl Decoding {
    /// Works until the hand-over is closed and empty.
    pub(super) fn run(&self, worker: Worker) {
        let mut decoder = Decoder::with_max_side(self.options.max_side);
        while let Some((number, work)) = self.frame_slot.take(worker) {
            match work {
                Work::LinkState(link_state) => {
                    let mut told = self.told.lock();
                    let since = *told.dark_since.get_or_insert_with(clock::now);
                    let card = link_card::card(&link_state, &self.options.relay, since);
                    self.publish(&mut told, number, Scene::Message(card));
                }
                Work::Frame(arrived) => {
                    let id = arrived.whole.id;
                    let shown = self.shown(arrived, &mut decoder);
                    let mut told = self.told.lock();
                    match shown {
                        Ok(shown) => self.publish(&mut told, number, Scene::Picture(shown)),
                        Err(error) => self.refuse(&mut told, id, &error),
                    }
                }
            }
        }
    }

    /// Shows what is newer than all that has been shown.
    fn publish(&self, told: &mut Told, number: u64, scene: Scene) {
        if number < told.newest {
            self.counters.on_superseded();
            self.scenes.recycle(scene);
            return;
        }

        told.newest = number;
        if matches!(scene, Scene::Picture(_)) {
            told.dark_since = None;
        }
        if self.scenes.publish(scene).is_some() {
            self.counters.on_superseded();
        }
    }

    fn refuse(&self, told: &mut Told, frame: FrameId, error: &RejectedFrame) {
        self.counters.on_rejected(error.not_shown());
        if let Some(count) = told.refused.note(clock::now()) {
            tracing::warn!(count, %frame, "a frame is not shown: {error}");
        }
    }

    fn shown(&self, arrived: ReceivedFrame, decoder: &mut Decoder) -> Result<Shown, RejectedFrame> {
        let Self {
            frame_slot,
            scenes,
            counters,
            options,
            ..
        } = self;
        let body = frame_slot.share(arrived.whole.body);
        let frame = parse_frame(&arrived.topic, body, options.max_frame_bytes)?;
        if frame.id != arrived.whole.id {
            return Err(RejectedFrame::Identity(frame.id));
        }

        let mut picture = scenes.spare();
        let began = clock::now();

        if let Err(error) = decoder.decode_for(&frame.jpeg, scenes.target(), &mut picture) {
            scenes.give_back(picture);
            return Err(error.into());
        }

        let decoded = clock::now();
        let CheckedFrame {
            stream,
            id,
            header,
            jpeg,
            ..
        } = frame;

        counters.on_decoded(FrameInfo {
            stream: stream.clone(),
            id,
            captured_ns: header.captured_ns,
            wall_offset_ns: header.wall_offset_ns,
            clock_id: header.clock_id,
            rate_millihertz: header.rate_millihertz,
            prepared: Duration::from_micros(header.prepared_us.into()),
            relayed: arrived.relayed,
            begun: arrived.whole.first,
            arrived: arrived.arrived,
            decoded,
            decoding: decoded.saturating_since(began),
            bytes: jpeg.len(),
            canary: canary(&header, &stream),
            traced: options.traced.then(|| trace_info(&header, &jpeg, &picture)),
            jpeg: options.kept.then(|| jpeg.clone()),
        });

        Ok(Shown {
            stream,
            id,
            picture,
            rate_millihertz: header.rate_millihertz,
            jpeg,
        })
    }
}

fn trace_info(header: &FrameHeader, jpeg: &[u8], picture: &Picture) -> TraceInfo {
    let truth = header.truth.as_ref().and_then(|truth| truth.kind);
    TraceInfo {
        jpeg_hash: trace::hash(jpeg),
        code: code_in(picture),
        ball: truth.map(|truth::Kind::Ball(ball)| ball),
    }
}

/// The canary that a frame names, unless it names itself.
fn canary(header: &FrameHeader, stream: &StreamName) -> Option<StreamName> {
    header.canary.parse().ok().filter(|canary| canary != stream)
}

/// The code painted in a picture, if there is one.
fn code_in(picture: &Picture) -> Option<FrameBarcode> {
    let width = picture.width() as usize;
    let pixels = picture.pixels();
    FrameBarcode::read_with(picture.width(), picture.height(), |x, y| {
        luma(pixels[y as usize * width + x as usize])
    })
}

/// ITU-R BT.601, in 256ths.
fn luma(pixel: u32) -> u8 {
    let [_, red, green, blue] = pixel.to_be_bytes().map(u32::from);
    ((77 * red + 150 * green + 29 * blue) >> 8) as u8
}
