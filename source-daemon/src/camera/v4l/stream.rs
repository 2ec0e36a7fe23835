//! An open device that delivers pictures.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::message::FrameBuffer;
use v4l::Device;
use v4l::buffer::{Flags, Metadata, Type};
use v4l::device::Handle;
use v4l::io::traits::CaptureStream as _;
use v4l::prelude::MmapStream;

use super::formats::Rate;
use super::frame::{Geometry, capture_time, jpeg_length, missed};
use super::{Layout, failure, guarded};
use crate::camera::{Camera, CameraError, CapturedFrame, Content, Raw};

/// Buffers that the driver fills in turn: one is read while three ride out a pause of a tenth of a second.
const BUFFERS: u32 = 4;

/// So much longer may the first picture take: cameras measure the light first, and a busy USB bus takes its time.
const FIRST_EXTRA: Duration = Duration::from_secs(3);

/// A device that went away is closed so much later. The kernel wakes us in the midst of taking it apart; a close that
/// meets that (`media_devnode_remove` of Linux 6.1) may end in a general protection fault, and its thread never returns.
const PARTING: Duration = Duration::from_millis(500);

/// `POLLIN` of poll(2).
const READABLE: i16 = 1;

/// A device that streams.
pub(super) struct Capture {
    device_name: String,
    stream: Stream,
    handle: Arc<Handle>,
    geometry: Geometry,
    rate_millihertz: u32,
    interval: Duration,
    stall_limit: Duration,
    last_sequence: Option<u32>,
    /// When the last picture was handed over.
    returned: Option<Time>,
    /// From the capture of the last picture until it came out of the driver.
    usual_age: Option<Duration>,
    /// Since when all pictures are damaged.
    damaged_since: Option<Time>,
}

impl Capture {
    /// Takes the device for streaming; its format and rate are set.
    ///
    /// # Errors
    /// Those of the driver: above all that some other program streams.
    pub(super) fn new(
        device: &Device,
        device_name: &str,
        geometry: Geometry,
        rate: Option<Rate>,
        stall_limit: Duration,
    ) -> Result<Self, CameraError> {
        let mut stream = MmapStream::with_buffers(device, Type::VideoCapture, BUFFERS)
            .map_err(|error| failure(device_name, "stream from", &error))?;
        let interval = rate.map_or(Duration::from_millis(100), |rate| {
            Duration::from_secs_f64(1.0 / rate.per_second())
        });
        let stall_limit = stall_limit.max(interval * 3);
        stream.set_timeout(stall_limit + FIRST_EXTRA);
        Ok(Self {
            device_name: device_name.to_owned(),
            stream: Stream {
                mapped: Some(stream),
                gone: false,
            },
            handle: device.handle(),
            geometry,
            rate_millihertz: rate.map_or(0, Rate::millihertz),
            interval,
            stall_limit,
            last_sequence: None,
            returned: None,
            usual_age: None,
            damaged_since: None,
        })
    }

    fn take(&mut self, raw: &mut Raw) -> Result<CapturedFrame, CameraError> {
        let entered = clock::now();
        let paused = self
            .returned
            .is_some_and(|last| entered.saturating_since(last) > self.interval * 2);
        let (mut skipped, mut stale) = (0, 0);
        loop {
            let stream = self
                .stream
                .mapped
                .as_mut()
                .expect("a stream is taken out only when it is dropped");

            let (bytes, meta) = stream.next().map_err(|error| {
                let error = failure(&self.device_name, "read from", &error);
                self.stream.gone = matches!(error, CameraError::Unplugged(_));
                error
            })?;

            let meta = *meta;
            skipped += missed(self.last_sequence.replace(meta.sequence), meta.sequence);
            let now = clock::now();
            let captured = capture_time(&meta, now);
            let age = now.saturating_since(captured);
            // After a pause of ours, or of the whole process, the buffers hold pictures older than is usual here.
            let aged = self
                .usual_age
                .is_some_and(|usual| age > usual + self.interval * 2);
            let overtaken = || paused && self.handle.poll(READABLE, 0).is_ok_and(|ready| ready > 0);
            if stale < BUFFERS && (aged || overtaken()) {
                stale += 1;
                skipped += 1;
                continue;
            }

            let content = content(&self.geometry, bytes, &meta, raw);
            stream.set_timeout(self.stall_limit);
            (self.returned, self.usual_age) = (Some(now), Some(age));
            return Ok(CapturedFrame {
                captured,
                skipped,
                truth: None,
                content: self.usable(now, content)?,
            });
        }
    }

    /// The picture, or what is wrong with it. A device that sends only damaged ones is opened again.
    fn usable(&mut self, now: Time, content: Option<Content>) -> Result<Content, CameraError> {
        if let Some(content) = content {
            self.damaged_since = None;
            return Ok(content);
        }

        let reason = format!("{} sends damaged pictures", self.device_name);
        let since = *self.damaged_since.get_or_insert(now);
        if now.saturating_since(since) > self.stall_limit + FIRST_EXTRA {
            return Err(CameraError::Failed(reason));
        }
        Ok(Content::Unusable(reason))
    }
}

impl Camera for Capture {
    fn next(&mut self, _number: u64, raw: &mut Raw) -> Result<CapturedFrame, CameraError> {
        let name = self.device_name.clone();
        guarded(&name, || self.take(raw))
    }

    fn rate_millihertz(&self) -> u32 {
        self.rate_millihertz
    }
}

/// What a buffer holds; None when it is damaged.
fn content(geometry: &Geometry, bytes: &[u8], meta: &Metadata, raw: &mut Raw) -> Option<Content> {
    // Past the bytes used lies the tail of an older picture.
    let used = bytes.get(..meta.bytesused as usize)?;
    if meta.flags.contains(Flags::ERROR) {
        None
    } else if geometry.layout == Layout::Mjpeg {
        Some(Content::Jpeg(FrameBuffer::copy_of(
            &used[..jpeg_length(used)?],
        )))
    } else {
        geometry.copy(used, raw).then_some(Content::Raw)
    }
}

/// A stream whose end is survived: dropping one panics on any error of the driver but ENODEV.
struct Stream {
    mapped: Option<MmapStream<'static>>,
    /// The device was unplugged.
    gone: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.gone {
            std::thread::park_timeout(PARTING);
        }
        let mapped = self.mapped.take();
        if catch_unwind(AssertUnwindSafe(|| drop(mapped))).is_err() {
            tracing::warn!("the camera's driver did not let go in order");
        }
    }
}
