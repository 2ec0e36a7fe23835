//! A bounded queue of detections from the trackers' threads to the socket thread.

use std::sync::atomic::{AtomicU64, Ordering};

use fanlight_daemon::mailbox::BoundedQueue;
use fanlight_proto::message::{Detection, StreamName};

use crate::engine::Engine;

/// Most detections that wait. The socket thread takes them several times a second; so many come from 16 trackers in half
/// a second.
const MAX_WAITING: usize = 256;

/// The detections that wait, and the counts that the engine needs with them. No call waits.
#[derive(Debug)]
pub(super) struct DetectionQueue {
    waiting: BoundedQueue<(StreamName, Detection)>,
    /// Detections displaced by newer ones since the engine was last told.
    dropped: AtomicU64,
    /// Frames that no tracker looked at so far.
    untracked: AtomicU64,
}

impl Default for DetectionQueue {
    fn default() -> Self {
        Self {
            waiting: BoundedQueue::new(MAX_WAITING),
            dropped: AtomicU64::new(0),
            untracked: AtomicU64::new(0),
        }
    }
}

impl DetectionQueue {
    /// Appends what a tracker found in a frame of `stream`.
    pub(super) fn push(&self, stream: StreamName, detection: Detection) {
        let displaced = self.waiting.push((stream, detection));
        self.dropped.fetch_add(displaced, Ordering::Relaxed);
    }

    /// Sets how many frames no tracker looked at so far.
    pub(super) fn set_untracked(&self, total: u64) {
        self.untracked.store(total, Ordering::Relaxed);
    }

    /// Moves all of it into the engine.
    pub(super) fn drain_into(&self, engine: &mut Engine) {
        engine.on_detections_dropped(self.dropped.swap(0, Ordering::Relaxed));
        engine.on_untracked(self.untracked.load(Ordering::Relaxed));
        while let Some((stream, detection)) = self.waiting.take() {
            engine.on_detection(&stream, detection);
        }
    }
}
