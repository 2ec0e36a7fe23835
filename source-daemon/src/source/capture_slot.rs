//! The hand-over from the capture thread to the preparing thread: one slot, the newest frame wins, nobody waits for room.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::camera::{CameraError, CapturedFrame, Raw};

/// A captured frame with its number, on its way to the preparing thread.
#[derive(Debug)]
pub(super) struct NumberedFrame {
    pub(super) number: u64,
    pub(super) rate_millihertz: u32,
    pub(super) frame: CapturedFrame,
    pub(super) raw: Raw,
}

/// What the preparing thread takes out of a [`CaptureSlot`].
#[derive(Debug)]
pub(super) enum Item {
    /// The newest frame.
    Captured(NumberedFrame),
    /// The camera failed after all frames before it, and has to be opened again.
    Failed(CameraError),
    /// A JPEG that was published as it is, to be looked at when there is nothing else to do.
    Sample(Bytes),
}

/// Holds at most one frame, the error that came after it, and one sample.
#[derive(Debug, Default)]
pub(super) struct CaptureSlot {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    newest: Option<NumberedFrame>,
    error: Option<CameraError>,
    sample: Option<Bytes>,
    /// A buffer that was handed back. Three exist: one is being filled, one waits, one is being prepared.
    spare: Option<Raw>,
    replaced: u64,
    closed: bool,
}

impl State {
    const fn is_empty(&self) -> bool {
        self.newest.is_none() && self.error.is_none() && self.sample.is_none()
    }
}

impl CaptureSlot {
    /// Puts a frame in and replaces one that still waits. Returns a buffer to fill next.
    pub(super) fn put(&self, frame: NumberedFrame) -> Raw {
        let mut state = self.state();
        let old = state.newest.replace(frame);
        state.replaced += u64::from(old.is_some());
        let empty = old.map(|old| old.raw).or_else(|| state.spare.take());

        // The woken thread needs the lock.
        drop(state);
        self.filled.notify_one();
        empty.unwrap_or_default()
    }

    /// Puts in the error of the camera. A frame that waits is still taken out first.
    pub(super) fn fail(&self, error: CameraError) {
        self.state().error = Some(error);
        self.filled.notify_one();
    }

    /// Puts in a JPEG to be looked at, in place of one that still waits.
    pub(super) fn put_sample(&self, jpeg: Bytes) {
        self.state().sample = Some(jpeg);
        self.filled.notify_one();
    }

    /// Waits for the next item; `None` when the slot was closed. `done` is a buffer to be used again.
    pub(super) fn take(&self, done: Option<Raw>) -> Option<Item> {
        let mut state = self.state();
        state.spare = done.or_else(|| state.spare.take());

        let mut state = self
            .filled
            .wait_while(state, |state| state.is_empty() && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);

        if state.closed {
            return None;
        }

        let frame = state.newest.take().map(Item::Captured);
        let frame = frame.or_else(|| state.error.take().map(Item::Failed));
        frame.or_else(|| state.sample.take().map(Item::Sample))
    }

    /// Ends the wait in [`take`](Self::take).
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_all();
    }

    /// Number of frames that a newer one replaced before they were taken.
    pub(super) fn replaced(&self) -> u64 {
        self.state().replaced
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use fanlight_proto::clock::Time;

    use super::*;
    use crate::camera::Content;

    fn capture(number: u64, raw: Raw) -> NumberedFrame {
        let frame = CapturedFrame {
            captured: Time::default(),
            skipped: 0,
            truth: None,
            content: Content::Raw,
        };

        NumberedFrame {
            number,
            rate_millihertz: 0,
            frame,
            raw,
        }
    }

    fn number(item: Option<Item>) -> u64 {
        let Some(Item::Captured(capture)) = item else {
            panic!("{item:?}")
        };
        capture.number
    }

    #[test]
    fn the_newest_capture_takes_the_place_of_one_that_waits() {
        let slot = CaptureSlot::default();
        for number in 0..3 {
            slot.put(capture(number, Raw::default()));
        }
        assert_eq!(slot.replaced(), 2);
        assert_eq!(number(slot.take(None)), 2);
    }

    #[test]
    fn an_error_comes_after_what_was_captured_before_it() {
        let slot = CaptureSlot::default();
        slot.put(capture(7, Raw::default()));
        slot.fail(CameraError::Ended("over".into()));
        assert_eq!(number(slot.take(None)), 7);
        assert!(matches!(
            slot.take(None),
            Some(Item::Failed(CameraError::Ended(_)))
        ));

        slot.close();
        assert!(slot.take(None).is_none());
    }

    #[test]
    fn three_buffers_go_round_for_ever() {
        let slot = CaptureSlot::default();
        let mut places = std::collections::HashSet::new();
        let (mut filling, mut done) = (Raw::default(), None);

        for number in 0..100 {
            filling.data.resize(1000, 0);
            places.insert(filling.data.as_ptr());
            filling = slot.put(capture(number, filling));

            if number % 3 != 0 {
                let Some(Item::Captured(taken)) = slot.take(done.take()) else {
                    panic!("it was just filled")
                };
                done = Some(taken.raw);
            }
        }

        assert!(places.len() <= 3, "{} buffers", places.len());
    }
}
