//! The decoder's thread: whole frames become pictures, signals become cards.

use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::{clock, logline};
use fanlight_proto::frame_barcode::FrameBarcode;
use fanlight_proto::message::{
    CheckedFrame, FrameError, FrameHeader, FrameId, StreamName, parse_frame, truth,
};

use super::handover::{HandOver, Work};
use crate::decode::{DecodeError, Decoder};
use crate::engine::{Arrived, Signal};
use crate::feed::{Feed, Scene, Shown};
use crate::picture::Picture;
use crate::stats::{Facts, Tally, Traced};
use crate::trace;

/// What to do beyond showing.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// Find out what a trace tells.
    pub(super) traced: bool,
    /// Keep each JPEG until its frame is shown.
    pub(super) kept: bool,
    /// The relay, to be named on cards.
    pub(super) relay: String,
    /// Largest frame, in bytes.
    pub(super) max_frame_bytes: usize,
}

/// Why a whole frame is not shown.
#[derive(Debug, thiserror::Error)]
enum Unshowable {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the frame calls itself {0}")]
    Identity(FrameId),
    #[error(transparent)]
    Picture(#[from] DecodeError),
}

/// Works until the hand-over is closed and empty.
pub(super) fn run(handover: &Arc<HandOver>, feed: &Feed, tally: &Tally, wanted: &Wanted) {
    let mut decoder = Decoder::new();
    let mut refused = logline::Limited::new();
    while let Some(work) = handover.take() {
        let scene = match work {
            Work::Signal(signal) => card(&signal, &wanted.relay),
            Work::Frame(arrived) => {
                let id = arrived.whole.id;
                match shown(arrived, &mut decoder, handover, feed, tally, wanted) {
                    Ok(shown) => Scene::Picture(shown),
                    Err(error) => {
                        tally.on_undecodable();
                        if let Some(count) = refused.note(clock::now()) {
                            tracing::warn!(count, frame = %id, "a frame is not shown: {error}");
                        }
                        continue;
                    }
                }
            }
        };
        if feed.publish(scene).is_some() {
            tally.on_superseded();
        }
    }
}

/// What the screen says in place of a picture.
pub(super) fn card(signal: &Signal, relay: &str) -> Scene {
    let reason = match signal {
        Signal::Connecting => format!("{signal} at {relay}"),
        _ => signal.to_string(),
    };
    let title = if signal.is_asleep() {
        "one moment"
    } else {
        "no signal"
    };
    Scene::Message {
        title: title.to_owned(),
        reason,
    }
}

fn shown(
    arrived: Arrived,
    decoder: &mut Decoder,
    handover: &Arc<HandOver>,
    feed: &Feed,
    tally: &Tally,
    wanted: &Wanted,
) -> Result<Shown, Unshowable> {
    let body = handover.share(arrived.whole.body);
    let frame = parse_frame(&arrived.topic, body, wanted.max_frame_bytes)?;
    if frame.id != arrived.whole.id {
        return Err(Unshowable::Identity(frame.id));
    }
    let mut picture = feed.spare();
    let began = clock::now();
    if let Err(error) = decoder.decode_for(&frame.jpeg, feed.target(), &mut picture) {
        feed.give_back(picture);
        return Err(error.into());
    }
    let decoded = clock::now();
    let CheckedFrame {
        stream,
        id,
        header,
        jpeg,
    } = frame;
    tally.on_decoded(Facts {
        stream: stream.clone(),
        id,
        captured_ns: header.captured_ns,
        wall_offset_ns: header.wall_offset_ns,
        clock_id: header.clock_id,
        rate_millihertz: header.rate_millihertz,
        prepared: Duration::from_micros(header.prepared_us.into()),
        arrived: arrived.arrived,
        decoded,
        decoding: decoded.saturating_since(began),
        bytes: jpeg.len(),
        canary: canary(&header, &stream),
        traced: wanted.traced.then(|| Traced {
            jpeg_hash: trace::hash(&jpeg),
            code: code_in(&picture),
            ball: header
                .truth
                .and_then(|truth| truth.kind)
                .map(|truth::Kind::Ball(ball)| ball),
        }),
        jpeg: wanted.kept.then(|| jpeg.clone()),
    });
    Ok(Shown {
        stream,
        id,
        picture,
        jpeg,
    })
}

/// The canary that a frame names, unless it names itself.
fn canary(header: &FrameHeader, stream: &StreamName) -> Option<StreamName> {
    header.canary.parse().ok().filter(|canary| canary != stream)
}

/// The code painted in a picture, if there is one.
fn code_in(picture: &Picture) -> Option<FrameBarcode> {
    let (width, pixels) = (picture.width() as usize, picture.pixels());
    FrameBarcode::read_with(picture.width(), picture.height(), |x, y| {
        luma(pixels[y as usize * width + x as usize])
    })
}

/// ITU-R BT.601, in 256ths.
fn luma(pixel: u32) -> u8 {
    let [_, red, green, blue] = pixel.to_be_bytes().map(u32::from);
    ((77 * red + 150 * green + 29 * blue) >> 8) as u8
}
