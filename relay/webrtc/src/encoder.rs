//! One stream as VP8: a thread that takes the newest frame, decodes and encodes it, once for all peers.
//!
//! It is made for the first peer of a stream and ends when the [`Encoder`] is dropped, with the last.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, SystemTime};

use fanlight_daemon::{clock, priority};
use fanlight_live::ledger::{Charge, Resource};
use fanlight_live::{FrameSubscription, LiveFrame, Output, StreamTable, Subscribe};
use fanlight_proto::clock::Time;
use fanlight_proto::message::{FrameId, StreamName};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};
use vpx_encode::{Config, VideoCodecId};

use crate::picture::{Picture, PictureDecoder, PictureError};
use crate::rung::Rung;

/// libvpx is told that frames follow each other so many times faster, with as many times the bits a second: it chooses its
/// effort to fill the time between two frames, which would make them late, and `vpx-encode` cannot set that otherwise.
const HASTE: u32 = 4;

/// libvpx's unit of time is a microsecond of its own time.
const TIMEBASE: [i32; 2] = [1, 1_000_000];

/// Peers' requests for key frames are met once in this.
const KEY_INTERVAL: Duration = Duration::from_secs(1);

/// A key frame is sent within so long at its encoder's bitrate, and at that which a peer has that joins. libvpx takes the bits
/// of six seconds for it: 235 kB for a picture of 1280x720 with noise, which stood before all others for a second.
const KEY_TIME: Duration = Duration::from_millis(150);

/// The coarsest key frame is of squares of so many pixels a side.
const MAX_SQUARE: usize = 16;

/// The encoder is made anew for another bitrate, with a key frame, at most once in this, and only for a change by a quarter: for
/// a lower one sooner, because what a network does not carry is lost or late.
const RAISE_INTERVAL: Duration = Duration::from_secs(5);
const LOWER_INTERVAL: Duration = Duration::from_secs(1);

/// Without a frame for so long, peers see a card: a picture that stands still must not pass for live.
const CARD_AFTER: Duration = Duration::from_millis(1500);

/// RTP's clock for video, in Hz (RFC 3551).
const RTP_HZ: u64 = 90_000;

/// A frame as peers get it.
#[derive(Clone, Debug)]
pub(crate) struct EncodedFrame {
    pub(crate) stream: StreamName,
    pub(crate) rung: Rung,
    /// How many pixels of the source one of its pixels stands for, across.
    pub(crate) scale: u8,
    pub(crate) data: Arc<[u8]>,
    pub(crate) is_key: bool,
    /// Ticks of the RTP clock.
    pub(crate) rtp_time: u64,
    /// Which frame of the source it is, and when that was published, as far as that is known by our clock; none: a card.
    pub(crate) origin: Option<(FrameId, Time)>,
    /// Its age when it was encoded, if that is known.
    pub(crate) age_us: Option<u64>,
    /// When it was captured by its source's wall clock.
    pub(crate) captured_utc: Option<SystemTime>,
}

/// Why a peer needs a key frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyRequest {
    /// It has none yet: the newest picture is sent as one at once.
    Joined,
    /// It asks (PLI, FIR): one comes, but not too often.
    Lost,
}

/// A running encoder; dropping it ends the thread after the frame that it works on.
#[derive(Debug)]
pub(crate) struct Encoder(Arc<Control>);

/// What the WebRTC thread tells the encoder's.
#[derive(Debug)]
struct Control {
    rung: Rung,
    stop: Notify,
    wake: Notify,
    joined: AtomicBool,
    key_wanted: AtomicBool,
    kbps: AtomicU32,
}

impl Encoder {
    /// Starts one, whose memory is charged to `charge`; none when the relay has no such stream.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(crate) fn start(
        table: &Arc<StreamTable>,
        stream: &StreamName,
        rung: Rung,
        frames: mpsc::Sender<EncodedFrame>,
        charge: Charge,
    ) -> io::Result<Option<Self>> {
        let output = Output::new(Arc::clone(table));
        let Some(subscription) = output.subscribe(stream, Subscribe::default()) else {
            return Ok(None);
        };

        let control = Arc::new(Control {
            rung,
            stop: Notify::new(),
            wake: Notify::new(),
            joined: AtomicBool::new(false),
            key_wanted: AtomicBool::new(false),
            kbps: AtomicU32::new(rung.start_kbps()),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let (shared, table) = (Arc::clone(&control), Arc::clone(table));

        thread::Builder::new()
            .name("vp8".to_owned())
            .spawn(move || {
                priority::to_background();
                // libvpx's state stays on this thread.
                let stop = Arc::clone(&shared);
                let task = EncoderTask::new(table, subscription, frames, shared, charge);
                runtime.block_on(async {
                    tokio::select! {
                        () = stop.stop.notified() => {}
                        () = output.run() => {}
                        () = task.run() => {}
                    }
                });
            })?;
        Ok(Some(Self(control)))
    }

    /// A peer needs a key frame.
    pub(crate) fn want_key(&self, request: KeyRequest) {
        match request {
            KeyRequest::Joined => {
                self.0.joined.store(true, Relaxed);
                self.0.wake.notify_one();
            }
            KeyRequest::Lost => self.0.key_wanted.store(true, Relaxed),
        }
    }

    /// Whether it works: it ends by itself when the relay no longer has the stream.
    pub(crate) fn is_running(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// What the slowest acceptable peer can take.
    pub(crate) fn set_kbps(&self, kbps: u32) {
        let bounds = self.0.rung.bounds();
        let kbps = kbps.clamp(*bounds.start(), *bounds.end());
        self.0.kbps.store(kbps, Relaxed);
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        self.0.stop.notify_one();
    }
}

/// What the thread has.
struct EncoderTask {
    table: Arc<StreamTable>,
    subscription: FrameSubscription,
    frames: mpsc::Sender<EncodedFrame>,
    control: Arc<Control>,
    charge: Charge,
    decoder: PictureDecoder,
    picture: Picture,
    /// How many pixels of the JPEG one of the picture stands for, across.
    scale: u8,
    shown: Option<Shown>,
    codec: Option<Codec>,
    /// Bytes of the JPEG, as many of them as its part that is encoded has.
    detail: usize,
    last_key: Option<Time>,
    last_rtp_time: u64,
}

/// libvpx, set up for one size and bitrate. The first frame is a key frame, and further ones are made anew.
struct Codec {
    encoder: vpx_encode::Encoder,
    size: (usize, usize),
    kbps: u32,
    made: Time,
}

/// What libvpx makes of a picture, and whether it is a key frame.
type Packet = (Arc<[u8]>, bool);

/// What is known of the picture that is encoded, as in [`EncodedFrame`].
struct Shown {
    captured_us: u64,
    origin: Option<(FrameId, Time)>,
    age_us: Option<u64>,
    captured_utc: Option<SystemTime>,
}

impl Shown {
    const fn card(now: Time) -> Self {
        Self {
            captured_us: now.as_micros(),
            origin: None,
            age_us: None,
            captured_utc: None,
        }
    }

    /// The same when it is sent once more.
    fn aged(self, now: Time) -> Self {
        let age_us = self
            .age_us
            .map(|_| now.as_micros().saturating_sub(self.captured_us));
        Self { age_us, ..self }
    }
}

impl EncoderTask {
    fn new(
        table: Arc<StreamTable>,
        subscription: FrameSubscription,
        frames: mpsc::Sender<EncodedFrame>,
        control: Arc<Control>,
        charge: Charge,
    ) -> Self {
        Self {
            table,
            subscription,
            frames,
            control,
            charge,
            decoder: PictureDecoder::default(),
            picture: Picture::default(),
            scale: 1,
            shown: None,
            codec: None,
            detail: 0,
            last_key: None,
            last_rtp_time: 0,
        }
    }

    /// Encodes frames from the first peer's on until the relay no longer has the stream.
    async fn run(mut self) {
        // While its connection is made nobody takes a frame, and the first one would wait for those.
        self.control.wake.notified().await;

        let mut card_at = Instant::now() + CARD_AFTER;
        loop {
            let arrived = tokio::select! {
                arrived = timeout_at(card_at, self.subscription.next()) => Some(arrived),
                () = self.control.wake.notified() => None,
            };
            let now = clock::now();
            if arrived.is_some() {
                card_at = Instant::now() + CARD_AFTER;
            }

            let encoded = match arrived {
                Some(Ok(None)) => return,
                Some(Ok(Some(arrival))) => self.encode_frame(now, &arrival.frame),
                Some(Err(_)) => {
                    self.detail = 0;
                    self.picture.show_card("no signal");
                    self.encode(now, Shown::card(now))
                }
                // Who joins need not wait for the camera's next picture.
                None => self.encode_again(now),
            };

            if let Err(error) = encoded {
                // The next picture may be good; what comes again and again is in the log at most once a second.
                tracing::debug!(stream = %self.subscription.stream(), "not encoded: {error}");
            }
        }
    }

    fn encode_frame(&mut self, now: Time, frame: &LiveFrame) -> vpx_encode::Result<()> {
        let (rung, picture) = (self.control.rung, &mut self.picture);
        match self
            .decoder
            .decode(&frame.jpeg, rung, picture, &self.charge)
        {
            Ok(scale) => {
                self.scale = scale;
                self.detail = frame.jpeg.len() / usize::from(scale).pow(2);
            }
            Err(error) => {
                self.detail = 0;
                if matches!(error, PictureError::NoMemory(..)) {
                    self.table.refusals().note(Resource::Memory, 1);
                }
                self.picture.show_card(&error.to_string());
            }
        }

        let captured = frame
            .captured_us
            .and_then(|captured| u64::try_from(captured).ok());
        let published = match captured {
            Some(captured) => captured.saturating_add(frame.header.prepared_us.into()),
            None => frame.received.as_micros(),
        };
        let published = Time::from_nanos(published.saturating_mul(1_000));
        let since_1970 = u64::try_from(frame.captured_utc_us()).ok();
        let shown = Shown {
            captured_us: captured.unwrap_or_else(|| frame.received.as_micros()),
            origin: Some((frame.id, published)),
            age_us: frame.age_us(now),
            captured_utc: since_1970
                .and_then(|us| SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(us))),
        };
        self.encode(now, shown)
    }

    /// Encodes the newest picture once more, if there is one.
    fn encode_again(&mut self, now: Time) -> vpx_encode::Result<()> {
        match self.shown.take() {
            Some(shown) => self.encode(now, shown.aged(now)),
            None => Ok(()),
        }
    }

    /// Encodes the picture and hands it over. Peers that have no room for it get a key frame later.
    fn encode(&mut self, now: Time, shown: Shown) -> vpx_encode::Result<()> {
        let renewed = self.needs_codec(now);
        let packet = match &mut self.codec {
            Some(codec) if !renewed => codec.encode(now, &self.picture.planes)?,
            _ => self.encode_key(now)?,
        };
        let Some((data, is_key)) = packet else {
            return Ok(());
        };
        if is_key {
            self.last_key = Some(now);
        }

        // Each frame has a time of its own, and none goes back: clients take that for 13 hours ahead.
        let rtp_time = shown.captured_us.saturating_mul(RTP_HZ) / 1_000_000;
        self.last_rtp_time = rtp_time.max(self.last_rtp_time + 1);
        let encoded = EncodedFrame {
            stream: self.subscription.stream().clone(),
            rung: self.control.rung,
            scale: self.scale,
            data,
            is_key,
            rtp_time: self.last_rtp_time,
            origin: shown.origin,
            age_us: shown.age_us,
            captured_utc: shown.captured_utc,
        };
        if self.frames.try_send(encoded).is_err() {
            // What follows refers to the frame that is lost here.
            self.control.key_wanted.store(true, Relaxed);
        }
        self.shown = Some(shown);
        Ok(())
    }

    /// Encodes the picture with a codec made anew, as a key frame of so much detail as [`KEY_TIME`] allows. The frames that
    /// follow bring the rest.
    fn encode_key(&mut self, now: Time) -> vpx_encode::Result<Option<Packet>> {
        let size = (self.picture.width, self.picture.height);
        let kbps = self.control.kbps.load(Relaxed);
        let least = kbps.min(self.control.rung.start_kbps());
        let most = least as usize * KEY_TIME.as_millis() as usize / 8;
        let mut square = 1;
        // It has about one and a half of the JPEG's bytes, and half as many or fewer with squares of twice the side.
        let mut expected = self.detail * 3 / 2;
        while expected > most && square < MAX_SQUARE {
            expected /= 2;
            square *= 2;
        }

        loop {
            // The former one goes first: two would hold more than is charged for.
            self.codec = None;
            let codec = self.codec.insert(Codec::new(now, size, kbps)?);
            let packet = if square == 1 {
                codec.encode(now, &self.picture.planes)?
            } else {
                codec.encode(now, &self.picture.coarse(square))?
            };

            let length = packet.as_ref().map_or(0, |(data, _)| data.len());
            if length <= most || square >= MAX_SQUARE {
                return Ok(packet);
            }
            square *= 2;
        }
    }

    /// Whether size, bitrate or peers ask for a codec made anew.
    fn needs_codec(&self, now: Time) -> bool {
        let key_due = self
            .last_key
            .is_none_or(|last| now.saturating_since(last) >= KEY_INTERVAL);
        let asked = key_due && self.control.key_wanted.swap(false, Relaxed);
        let joined = self.control.joined.swap(false, Relaxed);

        let size = (self.picture.width, self.picture.height);
        let kbps = self.control.kbps.load(Relaxed);
        let fits = self.codec.as_ref().is_some_and(|codec| {
            let interval = if kbps < codec.kbps {
                LOWER_INTERVAL
            } else {
                RAISE_INTERVAL
            };
            let settled = now.saturating_since(codec.made) < interval;
            codec.size == size && (settled || codec.kbps.abs_diff(kbps) * 4 < codec.kbps)
        });
        joined || asked || !fits
    }
}

impl Codec {
    fn new(now: Time, size: (usize, usize), kbps: u32) -> vpx_encode::Result<Self> {
        let config = Config {
            width: size.0 as u32,
            height: size.1 as u32,
            timebase: TIMEBASE,
            bitrate: kbps * HASTE,
            codec: VideoCodecId::VP8,
        };

        Ok(Self {
            encoder: vpx_encode::Encoder::new(config)?,
            size,
            kbps,
            made: now,
        })
    }

    /// Encodes I420. There is always a packet: libvpx is asked to delay none.
    fn encode(&mut self, now: Time, planes: &[u8]) -> vpx_encode::Result<Option<Packet>> {
        let pts = now.saturating_since(self.made).as_micros() as i64 / i64::from(HASTE);
        let mut packets = self.encoder.encode(pts, planes)?;
        Ok(packets
            .next()
            .map(|packet| (packet.data.into(), packet.key)))
    }
}

#[cfg(test)]
mod tests;
