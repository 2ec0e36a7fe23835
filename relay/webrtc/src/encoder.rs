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

/// The encoder is made anew for another bitrate, with a key frame, at most once in this, and only for a change by a quarter.
const RATE_INTERVAL: Duration = Duration::from_secs(5);

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
    /// It has none yet: the next frame is one.
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
            KeyRequest::Joined => self.0.joined.store(true, Relaxed),
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
    codec: Option<Codec>,
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
            codec: None,
            last_key: None,
            last_rtp_time: 0,
        }
    }

    /// Encodes frames until the relay no longer has the stream.
    async fn run(mut self) {
        loop {
            let arrived = tokio::time::timeout(CARD_AFTER, self.subscription.next()).await;
            let now = clock::now();

            let encoded = match arrived {
                Ok(None) => return,
                Ok(Some(arrival)) => self.encode_frame(now, &arrival.frame),
                Err(_) => {
                    self.picture.show_card("no signal");
                    self.encode(now, &Shown::card(now))
                }
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
            Ok(scale) => self.scale = scale,
            Err(error) => {
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
        self.encode(now, &shown)
    }

    /// Encodes the picture and hands it over. Peers that have no room for it get a key frame later.
    fn encode(&mut self, now: Time, shown: &Shown) -> vpx_encode::Result<()> {
        self.prepare(now)?;
        let Some(codec) = &mut self.codec else {
            return Ok(());
        };

        let pts = now.saturating_since(codec.made).as_micros() as i64 / i64::from(HASTE);
        for frame in codec.encoder.encode(pts, &self.picture.planes)? {
            if frame.key {
                self.last_key = Some(now);
            }

            // Each frame has a time of its own, and none goes back: clients take that for 13 hours ahead.
            let rtp_time = shown.captured_us.saturating_mul(RTP_HZ) / 1_000_000;
            self.last_rtp_time = rtp_time.max(self.last_rtp_time + 1);
            let encoded = EncodedFrame {
                stream: self.subscription.stream().clone(),
                rung: self.control.rung,
                scale: self.scale,
                data: frame.data.into(),
                is_key: frame.key,
                rtp_time: self.last_rtp_time,
                origin: shown.origin,
                age_us: shown.age_us,
                captured_utc: shown.captured_utc,
            };
            if self.frames.try_send(encoded).is_err() {
                // What follows refers to the frame that is lost here.
                self.control.key_wanted.store(true, Relaxed);
            }
        }

        Ok(())
    }

    /// Makes the codec anew when size, bitrate or peers ask for it.
    fn prepare(&mut self, now: Time) -> vpx_encode::Result<()> {
        let size = (self.picture.width, self.picture.height);
        let kbps = self.control.kbps.load(Relaxed);
        let key_due = self
            .last_key
            .is_none_or(|last| now.saturating_since(last) >= KEY_INTERVAL);
        let asked = key_due && self.control.key_wanted.swap(false, Relaxed);
        let key = self.control.joined.swap(false, Relaxed) || asked;

        let fits = self.codec.as_ref().is_some_and(|codec| {
            let settled = now.saturating_since(codec.made) < RATE_INTERVAL;
            codec.size == size && (settled || codec.kbps.abs_diff(kbps) * 4 < codec.kbps)
        });

        if !fits || key {
            // The former one goes first: two would hold more than is charged for.
            self.codec = None;
            self.codec = Some(Codec::new(now, size, kbps)?);
        }
        Ok(())
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
}

#[cfg(test)]
mod tests {
    use fanlight_live::ledger::ClientMemory;

    use super::*;
    use crate::picture::BYTES_PER_PIXEL;
    use crate::rung::MAX_KBPS;

    /// Resident memory of this process, in bytes (proc(5)).
    fn resident() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    /// With pictures of noise, of which libvpx has most to keep. Alone, because the memory is that of the process.
    #[test]
    #[ignore = "./dev promises"]
    fn an_encoder_holds_no_more_than_it_is_charged_for() {
        let (width, height) = (1920, 1088);
        let noise: Vec<u8> = (0..width * height * 3)
            .map(|place| ((place * place) >> 7) as u8)
            .collect();
        let image = turbojpeg::Image {
            pixels: noise.as_slice(),
            width,
            pitch: width * 3,
            height,
            format: turbojpeg::PixelFormat::RGB,
        };
        let jpeg = turbojpeg::compress(image, 50, turbojpeg::Subsamp::None).unwrap();
        drop(noise);

        let charge = ClientMemory::default().open([127, 0, 0, 1].into(), 1);
        let before = resident();
        let (mut decoder, mut picture) = (PictureDecoder::default(), Picture::default());
        let scale = decoder.decode(&jpeg, Rung::Full, &mut picture, &charge);
        assert_eq!(scale.unwrap(), 1);
        let mut most = 0;
        for _ in 0..2 {
            let mut codec = Codec::new(Time::default(), (width, height), MAX_KBPS).unwrap();
            for pts in 0..3 {
                let frames = codec.encoder.encode(pts * 8_000, &picture.planes).unwrap();
                assert!(frames.into_iter().all(|frame| !frame.data.is_empty()));
                most = most.max(resident().saturating_sub(before));
            }
        }

        let of_pixel = most as f64 / (width * height) as f64;
        println!(
            "{width}x{height}: {} MiB, {of_pixel:.1} bytes a pixel",
            most >> 20
        );
        assert!(most <= width * height * BYTES_PER_PIXEL + jpeg.len());
    }
}
