//! The capture thread: the only one that calls the driver. A driver may block for ever, so nobody waits for this thread.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::capture_slot::{CaptureSlot, NumberedFrame};
use super::events::EventMailbox;
use super::preparation::Preparer;
use super::worker::Worker;
use crate::camera::{CameraError, Content, Input, Raw};

/// The command to open the input.
#[derive(Debug)]
struct Open;

/// What the thread is to use instead of what it has.
#[derive(Default)]
struct Replacement {
    /// From the next opening on.
    input: Option<Box<dyn Input>>,
    /// From the next frame on: [`CaptureSinks::direct`].
    direct: Option<Option<Preparer>>,
}

impl fmt::Debug for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replacement")
    }
}

/// The event loop's handle of the capture thread.
#[derive(Debug)]
pub(super) struct CaptureThread {
    commands: SyncSender<Open>,
    stop: Arc<AtomicBool>,
    close: Arc<AtomicBool>,
    replacement: Arc<Mutex<Replacement>>,
    worker: Worker,
}

impl CaptureThread {
    /// Starts the thread, which writes the number of the newest captured frame to `newest`. The input stays closed
    /// until [`open`](Self::open).
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(
        input: Box<dyn Input>,
        sinks: CaptureSinks,
        events: Arc<EventMailbox>,
        newest: Arc<AtomicU64>,
    ) -> std::io::Result<Self> {
        let (commands, received) = sync_channel(1);
        let stop = Arc::<AtomicBool>::default();
        let close = Arc::<AtomicBool>::default();
        let replacement = Arc::<Mutex<Replacement>>::default();
        let mut capture = CaptureLoop {
            input,
            sinks,
            events,
            newest,
            stop: Arc::clone(&stop),
            close: Arc::clone(&close),
            replacement: Arc::clone(&replacement),
            number: 0,
            raw: Raw::default(),
        };

        let worker = Worker::start("capture", move || {
            for Open in received {
                capture.run_once();
            }
        })?;

        Ok(Self {
            commands,
            stop,
            close,
            replacement,
            worker,
        })
    }

    /// Publishes by `direct` from the next frame on, as [`CaptureSinks::direct`].
    pub(super) fn replace_direct(&self, direct: Option<Preparer>) {
        replacement(&self.replacement).direct = Some(direct);
    }

    /// Closes the input and opens `input` instead. Frames go on with the next number.
    pub(super) fn replace_input(&self, input: Box<dyn Input>) {
        // Before the thread is told to close, because it may be about to open.
        replacement(&self.replacement).input = Some(input);
        self.close();
        self.open();
    }

    /// Tells the thread to open the input. The outcome comes through the slot and the events.
    pub(super) fn open(&self) {
        match self.commands.try_send(Open) {
            // Full: the same command waits already.
            Ok(()) | Err(TrySendError::Full(Open)) => {}
            Err(TrySendError::Disconnected(Open)) => {
                tracing::error!("the capture thread has ended");
            }
        }
    }

    /// Tells the thread to close the input as soon as the driver returns. A later [`open`](Self::open) is carried out
    /// after that.
    pub(super) fn close(&self) {
        self.close.store(true, Relaxed);
    }

    /// Asks the thread to close the camera and end, and waits for it at most for `patience`. Returns whether it ended.
    pub(super) fn end(self, patience: Duration) -> bool {
        self.stop.store(true, Relaxed);
        drop(self.commands);
        self.worker.end(patience)
    }
}

/// Where captured frames go.
pub(super) struct CaptureSinks {
    /// To the preparing thread; also samples of what was published directly.
    pub(super) slot: Arc<CaptureSlot>,
    /// Publishes JPEGs on the capture thread, when they are published as they are: that saves a frame a thread switch.
    /// `None` when every picture is decoded.
    pub(super) direct: Option<Preparer>,
}

impl CaptureSinks {
    /// Passes a frame on, and returns a buffer to fill next.
    fn pass(&mut self, frame: NumberedFrame) -> Raw {
        match &mut self.direct {
            Some(preparer) if !matches!(frame.frame.content, Content::Raw) => {
                let (raw, sample) = preparer.handle(frame);
                if let Some(jpeg) = sample {
                    self.slot.put_sample(jpeg);
                }
                raw
            }
            _ => self.slot.put(frame),
        }
    }
}

struct CaptureLoop {
    input: Box<dyn Input>,
    sinks: CaptureSinks,
    events: Arc<EventMailbox>,
    newest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    close: Arc<AtomicBool>,
    replacement: Arc<Mutex<Replacement>>,
    /// The number of the next frame.
    number: u64,
    raw: Raw,
}

impl CaptureLoop {
    /// Opens the input and captures until it fails or is closed. A panic is a failure too: camera libraries panic on some
    /// errors of the driver.
    fn run_once(&mut self) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.capture()));
        let error = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => CameraError::Failed(format!(
                "{}: its driver library panicked",
                self.input.describe()
            )),
        };

        self.sinks.slot.fail(error);
    }

    fn capture(&mut self) -> Result<(), CameraError> {
        // This command may have come when the input had already failed.
        self.close.store(false, Relaxed);

        if let Some(input) = replacement(&self.replacement).input.take() {
            self.input = input;
        }

        let mut camera = self.input.open()?;
        let rate_millihertz = camera.rate_millihertz();
        self.events
            .post(|events| events.opened = Some(rate_millihertz));

        while !self.stop.load(Relaxed) && !self.close.swap(false, Relaxed) {
            let frame = camera.next(self.number, &mut self.raw)?;
            if let Some(direct) = replacement(&self.replacement).direct.take() {
                self.sinks.direct = direct;
            }

            let number = self.number + frame.skipped;
            self.number = number + 1;
            self.newest.store(number, Relaxed);
            self.events.on_captured();

            let raw = std::mem::take(&mut self.raw);
            self.raw = self.sinks.pass(NumberedFrame {
                number,
                rate_millihertz,
                frame,
                raw,
            });
        }

        Ok(())
    }
}

fn replacement(shared: &Mutex<Replacement>) -> MutexGuard<'_, Replacement> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
