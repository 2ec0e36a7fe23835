//! The hand-over from whoever logs to the thread that writes.

use std::mem;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Most lines that wait: half a minute of a program that is asked for `debug`, and less than a megabyte.
const MAX_LINES: usize = 4096;

/// Most bytes that wait, whatever the lines are like.
const MAX_BYTES: usize = 4 << 20;

/// Lines on their way to the file. What comes while it is full is dropped and counted: what went before explains better
/// than what comes after, and whoever logs does not wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

/// What waited together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// In the order of their coming.
    pub(super) lines: Vec<Box<[u8]>>,
    /// How many came after them and found no room.
    pub(super) dropped: u64,
}

#[derive(Debug, Default)]
struct State {
    waiting: Batch,
    bytes: usize,
    /// The thread has a batch that it has not written yet.
    writing: bool,
}

impl Queue {
    /// Takes a line when there is room for it, and counts it when not.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.waiting.lines.len() < MAX_LINES && state.bytes + line.len() <= MAX_BYTES {
            state.bytes += line.len();
            state.waiting.lines.push(line.into());
        } else {
            state.waiting.dropped += 1;
        }

        self.filled.notify_one();
    }

    /// Waits for lines and takes all there are. [`written`](Self::written) tells that they were.
    pub(super) fn take(&self) -> Batch {
        let mut state = self.state.lock();
        self.filled
            .wait_while(&mut state, |state| state.waiting.is_empty());
        state.bytes = 0;
        state.writing = true;
        mem::take(&mut state.waiting)
    }

    /// The batch taken last is done with.
    pub(super) fn written(&self) {
        self.state.lock().writing = false;
        self.emptied.notify_all();
    }

    /// Waits until all lines that were pushed are done with, but for `limit` at most.
    pub(super) fn flush(&self, limit: Duration) {
        let pending = |state: &mut State| state.writing || !state.waiting.is_empty();
        self.emptied
            .wait_while_for(&mut self.state.lock(), pending, limit);
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_in_order_and_what_finds_no_room_is_counted() {
        let queue = Queue::default();
        for number in 0..MAX_LINES + 3 {
            queue.push(number.to_string().as_bytes());
        }

        let batch = queue.take();
        assert_eq!((batch.lines.len(), batch.dropped), (MAX_LINES, 3));
        assert_eq!(&*batch.lines[17], b"17");
        queue.push(b"again");
        assert_eq!(queue.take().dropped, 0, "what was told is not told again");
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let queue = Queue::default();
        for _ in 0..10 {
            queue.push(&vec![b'x'; MAX_BYTES / 3]);
        }
        let batch = queue.take();
        assert_eq!((batch.lines.len(), batch.dropped), (3, 7));
    }

    #[test]
    fn a_thread_that_does_not_write_is_not_waited_for_without_end() {
        let queue = Queue::default();
        queue.flush(Duration::from_secs(3600));
        queue.push(b"line");
        let batch = queue.take();
        assert_eq!(batch.lines.len(), 1);
        queue.flush(Duration::from_millis(1));
        queue.written();
        queue.flush(Duration::from_secs(3600));
    }
}
