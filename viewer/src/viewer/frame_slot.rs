//! A slot from the socket thread to those that decode: the newest frame and the newest link state, in the order they came.
//! Memory of frames goes back the other way.

use std::sync::Arc;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_OPEN_FRAMES;
use parking_lot::{Condvar, Mutex};

use crate::engine::{LinkState, ReceivedFrame};
use crate::ready::Ready;

/// One slot for each; newest wins.
#[derive(Debug, Default)]
pub(super) struct FrameSlot {
    state: Mutex<State>,
    /// Each wakes one thread.
    for_first: Condvar,
    for_second: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How often something was taken, and whether the first thread works on what it took.
    taken: u64,
    first_is_busy: bool,
    ready: Ready,
    frame: Option<ReceivedFrame>,
    link_state: Option<LinkState>,
    frame_came_first: bool,
    closed: bool,
    /// Memory of frames that are no longer needed, for the engine to use again.
    spare: Vec<Vec<u8>>,
}

/// A thread that decodes. The second has work only while the first has more than it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worker {
    First,
    Second,
}

/// What a thread is to do next.
#[derive(Debug)]
pub(super) enum Work {
    Frame(ReceivedFrame),
    LinkState(LinkState),
}

impl FrameSlot {
    /// Puts the newest frame in; returns whether it displaced one.
    pub(super) fn put_frame(&self, frame: ReceivedFrame) -> bool {
        let mut state = self.state.lock();
        let former = state.frame.replace(frame);
        state.frame_came_first = false;
        self.wake(&mut state);
        former.map(|former| state.keep(former.whole.body)).is_some()
    }

    pub(super) fn put_link_state(&self, link_state: LinkState) {
        let mut state = self.state.lock();
        state.link_state = Some(link_state);
        state.frame_came_first = state.frame.is_some();
        self.wake(&mut state);
    }

    /// Ends all waits. What is in the slot can still be taken.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.for_first.notify_one();
        self.for_second.notify_one();
    }

    /// Blocks the thread until there is work for it, which is numbered in the order in which it came; `None` once the slot is
    /// closed and empty.
    pub(super) fn take(&self, worker: Worker) -> Option<(u64, Work)> {
        let mut state = self.state.lock();
        let work = match worker {
            Worker::First => {
                state.first_is_busy = false;
                self.for_first.wait_while(&mut state, State::is_idle);
                state.first_is_busy = true;
                state.take_oldest()
            }
            Worker::Second => {
                self.for_second
                    .wait_while(&mut state, |state| !state.closed && !state.has_too_much());
                state.has_too_much().then(|| state.take_frame()).flatten()
            }
        };

        if state.frame.is_none() && state.link_state.is_none() {
            state.ready.take();
        }
        state.taken += 1;
        work.map(|work| (state.taken, work))
    }

    /// Whether what lies here is not taken any more.
    pub(super) fn is_stuck(&self, now: Time) -> bool {
        self.state.lock().ready.is_stuck(now)
    }

    fn wake(&self, state: &mut State) {
        state.ready.put();
        if state.first_is_busy {
            self.for_second.notify_one();
        } else {
            self.for_first.notify_one();
        }
    }

    /// `body` as shared bytes, whose memory returns here when the last of them is dropped.
    pub(super) fn share(self: &Arc<Self>, body: Vec<u8>) -> Bytes {
        Bytes::from_owner(SharedBody {
            body,
            owner: Arc::clone(self),
        })
    }

    /// Memory of a frame that nobody needs.
    pub(super) fn give_back(&self, body: Vec<u8>) {
        self.state.lock().keep(body);
    }

    /// Memory to be used again.
    pub(super) fn spare(&self) -> Option<Vec<u8>> {
        self.state.lock().spare.pop()
    }
}

impl State {
    fn is_idle(&mut self) -> bool {
        self.frame.is_none() && self.link_state.is_none() && !self.closed
    }

    /// Whether a frame is next, and the first thread is at work.
    fn has_too_much(&self) -> bool {
        let is_next = self.link_state.is_none() || self.frame_came_first;
        self.first_is_busy && self.frame.is_some() && is_next
    }

    fn take_oldest(&mut self) -> Option<Work> {
        if self.frame_came_first {
            self.take_frame().or_else(|| self.take_link_state())
        } else {
            self.take_link_state().or_else(|| self.take_frame())
        }
    }

    fn take_frame(&mut self) -> Option<Work> {
        self.frame.take().map(Work::Frame)
    }

    fn take_link_state(&mut self) -> Option<Work> {
        self.link_state.take().map(Work::LinkState)
    }

    fn keep(&mut self, body: Vec<u8>) {
        if self.spare.len() < MAX_OPEN_FRAMES {
            self.spare.push(body);
        }
    }
}

/// The body of a frame while its bytes are read; its memory then returns to `owner`.
struct SharedBody {
    body: Vec<u8>,
    owner: Arc<FrameSlot>,
}

impl AsRef<[u8]> for SharedBody {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for SharedBody {
    fn drop(&mut self) {
        self.owner.state.lock().keep(std::mem::take(&mut self.body));
    }
}

#[cfg(test)]
mod tests {
    use fanlight_proto::message::FrameId;
    use fanlight_proto::reassembly::CompleteFrame;

    use super::*;

    fn frame(number: u64) -> ReceivedFrame {
        let now = Time::default();
        let whole = CompleteFrame {
            id: FrameId { epoch: 1, number },
            body: vec![7; 10],
            first: now,
            received_us: 0,
        };

        ReceivedFrame {
            topic: Bytes::new(),
            whole,
            relayed: None,
            arrived: now,
        }
    }

    fn taken(frame_slot: &FrameSlot) -> String {
        named(frame_slot.take(Worker::First))
    }

    fn named(work: Option<(u64, Work)>) -> String {
        match work {
            Some((_, Work::Frame(frame))) => frame.whole.id.number.to_string(),
            Some((_, Work::LinkState(link_state))) => link_state.word().to_owned(),
            None => "end".to_owned(),
        }
    }

    #[test]
    fn the_newest_frame_and_signal_are_taken_in_the_order_they_came() {
        let frame_slot = FrameSlot::default();
        assert!(!frame_slot.put_frame(frame(1)));
        frame_slot.put_link_state(LinkState::NoFrames);
        assert_eq!([taken(&frame_slot), taken(&frame_slot)], ["1", "no-frames"]);
        frame_slot.put_frame(frame(2));
        frame_slot.put_link_state(LinkState::NoFrames);
        frame_slot.put_link_state(LinkState::SourceGone);
        assert!(frame_slot.put_frame(frame(3)));
        assert_eq!(
            [taken(&frame_slot), taken(&frame_slot)],
            ["source-gone", "3"]
        );

        frame_slot.put_frame(frame(4));
        frame_slot.close();
        assert_eq!([taken(&frame_slot), taken(&frame_slot)], ["4", "end"]);
    }

    #[test]
    fn a_second_thread_takes_the_frame_that_comes_while_the_first_is_at_work() {
        let slot = Arc::new(FrameSlot::default());
        slot.put_frame(frame(1));
        let (first, _) = slot.take(Worker::First).unwrap();
        let second = {
            let slot = Arc::clone(&slot);
            // Once: it would also take what comes while the first is at work again.
            std::thread::spawn(move || slot.take(Worker::Second).unwrap())
        };

        // Whether it waits for the frame already or not.
        slot.put_frame(frame(2));
        let (number, work) = second.join().unwrap();
        assert_eq!(
            (number, named(Some((number, work)))),
            (first + 1, "2".to_owned())
        );

        slot.put_link_state(LinkState::NoFrames);
        slot.put_frame(frame(3));
        let next = [taken(&slot), taken(&slot)];
        assert_eq!(
            next,
            ["no-frames", "3"],
            "a frame does not pass what came before it"
        );
    }

    #[test]
    fn the_memory_of_a_frame_comes_back_when_its_last_reader_is_done() {
        let frame_slot = Arc::new(FrameSlot::default());
        let shared = frame_slot.share(vec![7; 10]);
        let picture = shared.slice(3..);
        drop(shared);
        assert_eq!(frame_slot.spare(), None);
        drop(picture);
        assert_eq!(frame_slot.spare(), Some(vec![7; 10]));

        for _ in 0..100 {
            drop(frame_slot.share(vec![7; 10]));
        }

        assert_eq!(frame_slot.state.lock().spare.len(), MAX_OPEN_FRAMES);
    }
}
