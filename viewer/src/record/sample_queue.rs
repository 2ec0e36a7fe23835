//! A bounded queue of shown frames, from the presenter on the main thread to the recording thread.

use std::sync::atomic::{AtomicU64, Ordering};

use fanlight_daemon::mailbox::BoundedQueue;

use super::Sample;

/// Most frames that wait: a disk that takes no bytes for a second loses none at 60 frames a second.
const MAX_WAITING: usize = 64;

/// Most bytes that wait; one frame may, whatever its size.
const MAX_WAITING_BYTES: usize = 32 << 20;

/// The frames that wait, and how many were displaced by newer ones.
#[derive(Debug)]
pub(super) struct SampleQueue {
    waiting: BoundedQueue<Sample>,
    dropped: AtomicU64,
}

impl Default for SampleQueue {
    fn default() -> Self {
        let size = |sample: &Sample| sample.jpeg.len();
        Self {
            waiting: BoundedQueue::with_byte_limit(MAX_WAITING, MAX_WAITING_BYTES, size),
            dropped: AtomicU64::new(0),
        }
    }
}

impl SampleQueue {
    /// Appends a frame and displaces the oldest when there is no room. Never waits.
    pub(super) fn push(&self, sample: Sample) {
        // What comes after the end is not part of the recording: no loss.
        if !self.waiting.is_closed() {
            let displaced = self.waiting.push(sample);
            self.dropped.fetch_add(displaced, Ordering::Relaxed);
        }
    }

    /// Blocks the thread until there is a frame; `None` once the queue is closed and empty.
    pub(super) fn wait(&self) -> Option<Sample> {
        self.waiting.wait()
    }

    /// Refuses new frames. What waits can still be taken.
    pub(super) fn close(&self) {
        self.waiting.close();
    }

    /// How many frames were displaced so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
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
    fn the_oldest_frame_is_displaced_and_counted() {
        let queue = SampleQueue::default();
        (0..MAX_WAITING as u64 + 3).for_each(|number| queue.push(sample(number, 10)));
        assert_eq!(queue.dropped(), 3);
        assert_eq!(queue.wait().unwrap().id.number, 3);
    }

    #[test]
    fn large_frames_are_bounded_by_their_bytes_but_one_may_always_wait() {
        let queue = SampleQueue::default();
        (0..5).for_each(|number| queue.push(sample(number, MAX_WAITING_BYTES / 2)));
        assert_eq!(queue.dropped(), 3);
        queue.push(sample(9, 2 * MAX_WAITING_BYTES));
        assert_eq!(queue.wait().unwrap().id.number, 9);
    }

    #[test]
    fn what_waits_at_the_end_can_be_taken_and_nothing_comes_after_it() {
        let queue = SampleQueue::default();
        queue.push(sample(1, 10));
        queue.close();
        queue.push(sample(2, 10));
        assert_eq!(queue.wait().unwrap().id.number, 1);
        assert!(queue.wait().is_none());
        assert_eq!(queue.dropped(), 0);
    }
}
