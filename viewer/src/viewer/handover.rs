//! From the socket's thread to the decoder's: the newest frame and the newest signal, in the order they came.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use bytes::Bytes;
use fanlight_proto::limits::MAX_OPEN_FRAMES;

use crate::engine::{Arrived, Signal};

/// One slot for each; newest wins.
#[derive(Debug, Default)]
pub(super) struct HandOver {
    slot: Mutex<Slot>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    frame: Option<Arrived>,
    signal: Option<Signal>,
    frame_came_first: bool,
    closed: bool,
    /// Memory of frames that are done with, on its way back to the engine.
    spare: Vec<Vec<u8>>,
}

/// What the decoder's thread is to do next.
#[derive(Debug)]
pub(super) enum Work {
    Frame(Arrived),
    Signal(Signal),
}

impl HandOver {
    /// Puts the newest frame up; returns whether one gave way to it.
    pub(super) fn put_frame(&self, frame: Arrived) -> bool {
        let mut slot = self.slot();
        let former = slot.frame.replace(frame);
        slot.frame_came_first = false;
        self.changed.notify_one();
        former.map(|former| slot.keep(former.whole.body)).is_some()
    }

    pub(super) fn put_signal(&self, signal: Signal) {
        let mut slot = self.slot();
        slot.signal = Some(signal);
        slot.frame_came_first = slot.frame.is_some();
        self.changed.notify_one();
    }

    /// Nothing more will be put up; what is there can still be taken.
    pub(super) fn close(&self) {
        self.slot().closed = true;
        self.changed.notify_one();
    }

    /// Waits for work; none after the end.
    pub(super) fn take(&self) -> Option<Work> {
        let idle = |slot: &mut Slot| slot.frame.is_none() && slot.signal.is_none() && !slot.closed;
        let mut slot = self
            .changed
            .wait_while(self.slot(), idle)
            .expect(UNPOISONED);
        let frame = |slot: &mut Slot| slot.frame.take().map(Work::Frame);
        let signal = |slot: &mut Slot| slot.signal.take().map(Work::Signal);
        if slot.frame_came_first {
            frame(&mut slot).or_else(|| signal(&mut slot))
        } else {
            signal(&mut slot).or_else(|| frame(&mut slot))
        }
    }

    /// `body` as shared bytes whose memory comes back here when the last of them is dropped.
    pub(super) fn share(self: &Arc<Self>, body: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent {
            body,
            home: Arc::clone(self),
        })
    }

    /// Memory to be used again.
    pub(super) fn spare(&self) -> Option<Vec<u8>> {
        self.slot().spare.pop()
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().expect(UNPOISONED)
    }
}

const UNPOISONED: &str = "no code panics while it holds the slot";

impl Slot {
    fn keep(&mut self, body: Vec<u8>) {
        if self.spare.len() < MAX_OPEN_FRAMES {
            self.spare.push(body);
        }
    }
}

/// The memory of a frame while its bytes are read.
struct Lent {
    body: Vec<u8>,
    home: Arc<HandOver>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.slot().keep(std::mem::take(&mut self.body));
    }
}

#[cfg(test)]
mod tests {
    use fanlight_proto::clock::Time;
    use fanlight_proto::message::FrameId;
    use fanlight_proto::reassembly::CompleteFrame;

    use super::*;

    fn frame(number: u64) -> Arrived {
        let now = Time::default();
        let whole = CompleteFrame {
            id: FrameId { epoch: 1, number },
            body: vec![7; 10],
            first: now,
            received_us: 0,
        };
        Arrived {
            topic: Bytes::new(),
            whole,
            arrived: now,
        }
    }

    fn taken(handover: &HandOver) -> String {
        match handover.take() {
            Some(Work::Frame(frame)) => frame.whole.id.number.to_string(),
            Some(Work::Signal(signal)) => signal.word().to_owned(),
            None => "end".to_owned(),
        }
    }

    #[test]
    fn the_newest_frame_and_signal_are_taken_in_the_order_they_came() {
        let handover = HandOver::default();
        assert!(!handover.put_frame(frame(1)));
        handover.put_signal(Signal::NoFrames);
        assert_eq!([taken(&handover), taken(&handover)], ["1", "no-frames"]);
        handover.put_frame(frame(2));
        handover.put_signal(Signal::NoFrames);
        handover.put_signal(Signal::SourceGone);
        assert!(handover.put_frame(frame(3)));
        assert_eq!([taken(&handover), taken(&handover)], ["source-gone", "3"]);
        handover.put_frame(frame(4));
        handover.close();
        assert_eq!([taken(&handover), taken(&handover)], ["4", "end"]);
    }

    #[test]
    fn the_memory_of_a_frame_comes_back_when_its_last_reader_is_done() {
        let handover = Arc::new(HandOver::default());
        let shared = handover.share(vec![7; 10]);
        let picture = shared.slice(3..);
        drop(shared);
        assert_eq!(handover.spare(), None);
        drop(picture);
        assert_eq!(handover.spare(), Some(vec![7; 10]));
        for _ in 0..100 {
            drop(handover.share(vec![7; 10]));
        }
        assert_eq!(handover.slot().spare.len(), MAX_OPEN_FRAMES);
    }
}
