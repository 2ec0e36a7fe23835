//! What the capture and preparing threads tell the event loop. Only the newest of each kind is kept, so that nothing
//! grows when the loop is late.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use tokio::sync::Notify;

use crate::camera::CameraError;

/// News since the loop last looked. They are to be taken in the order of the fields.
#[derive(Debug, Default)]
pub(super) struct PipelineEvents {
    /// The input was opened and runs at so many thousandths of a frame a second.
    pub(super) opened: Option<u32>,
    /// When a picture last came from the driver.
    pub(super) captured: Option<Time>,
    /// The newest picture that could not be used, and why.
    pub(super) unusable: Option<String>,
    /// Frames published, and when the last was.
    pub(super) published: u64,
    pub(super) published_at: Time,
    /// The camera failed, after everything above.
    pub(super) error: Option<CameraError>,
}

/// Where the threads leave their news.
#[derive(Debug)]
pub(super) struct EventMailbox {
    news: Mutex<PipelineEvents>,
    wake: Arc<Notify>,
    /// Whether frames are awaited: the first is news, the next ones are none.
    awaits_frames: AtomicBool,
}

impl EventMailbox {
    /// No news yet; when there are any, `wake` tells the loop.
    pub(super) fn new(wake: &Arc<Notify>) -> Self {
        Self {
            news: Mutex::default(),
            wake: Arc::clone(wake),
            awaits_frames: AtomicBool::new(true),
        }
    }

    /// Adds to the news and wakes the loop.
    pub(super) fn tell(&self, add: impl FnOnce(&mut PipelineEvents)) {
        add(&mut self.news());
        self.wake.notify_one();
    }

    /// Notes that the driver gave a picture, which the loop need not know at once.
    pub(super) fn on_captured(&self) {
        self.news().captured = Some(clock::now());
    }

    /// Notes that a frame was published, and wakes the loop if it awaits one.
    pub(super) fn on_published(&self) {
        let mut news = self.news();
        news.published += 1;
        news.published_at = clock::now();
        drop(news);
        if self.awaits_frames.load(Relaxed) {
            self.wake.notify_one();
        }
    }

    /// Whether the loop is to be woken for a frame, as it is not for 120 a second of a stream that is live.
    pub(super) fn await_frames(&self, awaits: bool) {
        self.awaits_frames.store(awaits, Relaxed);
    }

    /// Everything since the last call.
    pub(super) fn take(&self) -> PipelineEvents {
        std::mem::take(&mut self.news())
    }

    fn news(&self) -> MutexGuard<'_, PipelineEvents> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
