//! The thread that lives with the driver. It may block there for ever, so that nobody waits for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::capture_slot::{CaptureSlot, NumberedFrame};
use super::events::EventMailbox;
use super::preparation::{self, Preparer};
use crate::camera::{CameraError, Content, Input, Raw};

/// The order to open the input.
#[derive(Debug)]
struct Open;

/// The capture thread, seen from outside.
#[derive(Debug)]
pub(super) struct CaptureThread {
    orders: SyncSender<Open>,
    stop: Arc<AtomicBool>,
    close: Arc<AtomicBool>,
    /// Nothing is ever sent here: it is disconnected when the thread ends.
    ended: Receiver<()>,
}

impl CaptureThread {
    /// Starts the thread, which keeps `newest` at the number of the newest frame captured. It opens nothing before
    /// [`open`](Self::open).
    pub(super) fn start(
        input: Box<dyn Input>,
        ways: CaptureSinks,
        reports: Arc<EventMailbox>,
        newest: Arc<AtomicU64>,
    ) -> std::io::Result<Self> {
        let (orders, ordered) = sync_channel(1);
        let (alive, ended) = sync_channel(0);
        let (stop, close) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let mut thread = Thread {
            input,
            ways,
            reports,
            newest,
            stop: Arc::clone(&stop),
            close: Arc::clone(&close),
            number: 0,
            raw: Raw::default(),
        };
        std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || {
                let _alive: SyncSender<()> = alive;
                for Open in ordered {
                    thread.attempt();
                }
            })?;
        Ok(Self {
            orders,
            stop,
            close,
            ended,
        })
    }

    /// Orders the input to be opened. The outcome comes through the slot and the reports.
    pub(super) fn open(&self) {
        match self.orders.try_send(Open) {
            // Full: the order before this one is as good.
            Ok(()) | Err(TrySendError::Full(Open)) => {}
            Err(TrySendError::Disconnected(Open)) => {
                tracing::error!("the capture thread has ended");
            }
        }
    }

    /// Orders the input to be closed, as soon as the driver returns. An order to open it that comes meanwhile is obeyed
    /// after that.
    pub(super) fn close(&self) {
        self.close.store(true, Relaxed);
    }

    /// Asks the thread to close the camera and end, and waits at most for `patience`.
    pub(super) fn end(self, patience: Duration) -> bool {
        self.stop.store(true, Relaxed);
        drop(self.orders);
        matches!(
            self.ended.recv_timeout(patience),
            Err(RecvTimeoutError::Disconnected)
        )
    }
}

/// Where captures go.
pub(super) struct CaptureSinks {
    /// To the preparing thread.
    pub(super) slot: Arc<CaptureSlot>,
    /// Published from here, if they are JPEGs; none when there is something to be done to them. Weak: a thread that is left
    /// behind in a driver must not keep the publisher open.
    pub(super) direct: Weak<Mutex<Preparer>>,
}

impl CaptureSinks {
    /// Passes a capture on, and returns a buffer to fill next.
    fn pass(&self, capture: NumberedFrame) -> Raw {
        match self
            .direct
            .upgrade()
            .filter(|_| matches!(capture.shot.content, Content::Jpeg(_)))
        {
            Some(preparing) => preparation::lock(&preparing).handle(capture),
            None => self.slot.put(capture),
        }
    }
}

struct Thread {
    input: Box<dyn Input>,
    ways: CaptureSinks,
    reports: Arc<EventMailbox>,
    newest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    close: Arc<AtomicBool>,
    /// The number of the next frame.
    number: u64,
    raw: Raw,
}

impl Thread {
    /// Opens the input and captures until it fails. Camera libraries are known to panic on errors of the driver
    /// (facts.md); that is a failure like another.
    fn attempt(&mut self) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.capture()));
        let error = match outcome {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => CameraError::Failed(format!(
                "{}: its driver library panicked",
                self.input.describe()
            )),
        };
        self.ways.slot.fail(error);
    }

    fn capture(&mut self) -> Result<(), CameraError> {
        // An order that came when the input had failed already.
        self.close.store(false, Relaxed);
        let mut camera = self.input.open()?;
        let rate_millihertz = camera.rate_millihertz();
        self.reports
            .tell(|news| news.opened = Some(rate_millihertz));
        while !self.stop.load(Relaxed) && !self.close.swap(false, Relaxed) {
            let shot = camera.next(self.number, &mut self.raw)?;
            let number = self.number + shot.skipped;
            self.number = number + 1;
            self.newest.store(number, Relaxed);
            self.reports.on_captured();
            let raw = std::mem::take(&mut self.raw);
            self.raw = self.ways.pass(NumberedFrame {
                number,
                rate_millihertz,
                shot,
                raw,
            });
        }
        Ok(())
    }
}
