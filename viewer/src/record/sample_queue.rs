//! A bounded queue of shown frames for the recording thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};

use super::Sample;

/// Most frames that wait: a disk that takes no bytes for a second loses none at 60 frames a second.
const MAX_WAITING: usize = 64;

/// Most bytes that wait; one frame may, whatever its size.
const MAX_WAITING_BYTES: usize = 32 << 20;

/// The hand-over. Putting never waits; what gives way is the oldest.
#[derive(Debug, Default)]
pub(super) struct SampleQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Sample>,
    bytes: usize,
    dropped: u64,
    closed: bool,
}

impl SampleQueue {
    pub(super) fn put(&self, sample: Sample) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        state.bytes += sample.jpeg.len();
        state.waiting.push_back(sample);
        while state.waiting.len() > MAX_WAITING
            || (state.bytes > MAX_WAITING_BYTES && state.waiting.len() > 1)
        {
            state.pop();
            state.dropped += 1;
        }
        self.changed.notify_one();
    }

    /// Waits for a frame; none after the end.
    pub(super) fn take(&self) -> Option<Sample> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
        self.changed
            .wait_while(self.state(), idle)
            .expect(UNPOISONED)
            .pop()
    }

    /// Nothing more comes; what is there can still be taken.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// How many gave way so far.
    pub(super) fn dropped(&self) -> u64 {
        self.state().dropped
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }
}

const UNPOISONED: &str = "no code panics while it holds the queue";

impl State {
    fn pop(&mut self) -> Option<Sample> {
        let sample = self.waiting.pop_front()?;
        self.bytes -= sample.jpeg.len();
        Some(sample)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fanlight_proto::clock::Time;
    use fanlight_proto::message::FrameId;

    use super::*;

    fn sample(number: u64, bytes: usize) -> Sample {
        Sample {
            stream: "cam".parse().unwrap(),
            id: FrameId { epoch: 1, number },
            captured_ns: 0,
            rate_millihertz: 0,
            at: Time::default(),
            jpeg: Bytes::from(vec![0; bytes]),
            marker: None,
            figures: String::new(),
        }
    }

    #[test]
    fn the_oldest_gives_way_and_is_counted() {
        let queue = SampleQueue::default();
        (0..MAX_WAITING as u64 + 3).for_each(|number| queue.put(sample(number, 10)));
        assert_eq!(queue.dropped(), 3);
        assert_eq!(queue.take().unwrap().id.number, 3);
    }

    #[test]
    fn large_frames_are_bounded_by_their_bytes_but_one_may_always_wait() {
        let queue = SampleQueue::default();
        (0..5).for_each(|number| queue.put(sample(number, MAX_WAITING_BYTES / 2)));
        assert_eq!(queue.dropped(), 3);
        queue.put(sample(9, 2 * MAX_WAITING_BYTES));
        assert_eq!(queue.take().unwrap().id.number, 9);
    }

    #[test]
    fn what_waits_at_the_end_can_be_taken_and_nothing_comes_after_it() {
        let queue = SampleQueue::default();
        queue.put(sample(1, 10));
        queue.close();
        queue.put(sample(2, 10));
        assert_eq!(queue.take().unwrap().id.number, 1);
        assert!(queue.take().is_none());
        assert_eq!(queue.dropped(), 0);
    }
}
