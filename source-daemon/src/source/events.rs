//! Events from the capture and preparing threads to the event loop of the source.
//!
//! Only the newest event of each kind is kept, so that nothing grows when the loop is late.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use tokio::sync::Notify;

use crate::camera::CameraError;
use crate::supervisor::InputStatus;

/// What has happened since the loop last asked. The loop handles the fields in this order.
#[derive(Debug, Default)]
pub(super) struct PipelineEvents {
    /// The input was opened and runs at this rate, in thousandths of a frame per second.
    pub(super) opened: Option<u32>,
    /// When the driver last delivered a picture.
    pub(super) captured: Option<Time>,
    /// The newest picture could not be published: the status to announce if no other picture can.
    pub(super) unusable: Option<InputStatus>,
    /// Number of frames published.
    pub(super) published: u64,
    /// When the last of them was published.
    pub(super) published_at: Time,
    /// The camera failed, after everything above.
    pub(super) error: Option<CameraError>,
}

/// Collects events of one stream until the loop takes them.
#[derive(Debug)]
pub(super) struct EventMailbox {
    events: Mutex<PipelineEvents>,
    wake: Arc<Notify>,
    /// Whether the next published frame wakes the loop.
    wakes_on_frame: AtomicBool,
}

impl EventMailbox {
    /// An empty mailbox. Events notify `wake`.
    pub(super) fn new(wake: &Arc<Notify>) -> Self {
        Self {
            events: Mutex::default(),
            wake: Arc::clone(wake),
            wakes_on_frame: AtomicBool::new(true),
        }
    }

    /// Adds an event and wakes the loop.
    pub(super) fn post(&self, add: impl FnOnce(&mut PipelineEvents)) {
        add(&mut self.events());
        self.wake.notify_one();
    }

    /// Notes that the driver delivered a picture. Does not wake the loop.
    pub(super) fn on_captured(&self) {
        self.events().captured = Some(clock::now());
    }

    /// Notes that a frame was published. Wakes the loop only if it waits for a frame.
    pub(super) fn on_published(&self) {
        let mut events = self.events();
        events.published += 1;
        events.published_at = clock::now();
        drop(events);

        if self.wakes_on_frame.load(Relaxed) {
            self.wake.notify_one();
        }
    }

    /// Sets whether a published frame wakes the loop. Off while the stream is live, because there are up to 120 frames
    /// a second and none of them changes the state.
    pub(super) fn set_wakes_on_frame(&self, wakes: bool) {
        self.wakes_on_frame.store(wakes, Relaxed);
    }

    /// All events since the last call.
    pub(super) fn take(&self) -> PipelineEvents {
        std::mem::take(&mut self.events())
    }

    fn events(&self) -> MutexGuard<'_, PipelineEvents> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
