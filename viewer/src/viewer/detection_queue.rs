//! A bounded queue of detections from the trackers' threads to the socket thread.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use fanlight_proto::message::{Detection, StreamName};

use crate::engine::Engine;

/// Detections that wait for the socket's thread, which comes for them several times a second: those of half a second of 16
/// trackers.
const MAX_HANDED: usize = 256;

/// The hand-over. No call waits.
#[derive(Debug, Default)]
pub(super) struct DetectionQueue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(StreamName, Detection)>,
    /// Those that gave way to newer ones.
    dropped: u64,
    untracked: u64,
}

impl DetectionQueue {
    /// Puts up what was found in a frame of `stream`.
    pub(super) fn put(&self, stream: StreamName, detection: Detection) {
        let mut state = self.state();
        if state.waiting.len() == MAX_HANDED {
            state.waiting.pop_front();
            state.dropped += 1;
        }
        state.waiting.push_back((stream, detection));
    }

    /// Takes how many frames no tracker looked at so far.
    pub(super) fn set_untracked(&self, total: u64) {
        self.state().untracked = total;
    }

    /// Gives all of it to the engine.
    pub(super) fn hand_to(&self, engine: &mut Engine) {
        let mut state = self.state();
        engine.on_detections_dropped(std::mem::take(&mut state.dropped));
        engine.on_untracked(state.untracked);
        for (stream, detection) in state.waiting.drain(..) {
            engine.on_detection(&stream, detection);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .expect("no code panics while it holds the detection_queue")
    }
}
