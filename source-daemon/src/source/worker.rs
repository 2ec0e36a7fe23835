//! A thread that is waited for within limits. A driver may block for ever, and a picture may take long to decode: neither
//! may keep the program from ending. Used by the event loop for the capture thread and the preparing thread.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// The handle of a thread that runs one piece of work.
#[derive(Debug)]
pub(super) struct Worker {
    thread: JoinHandle<()>,
    /// Nothing is ever sent here: it is disconnected when the work ends, however it ends.
    ended: Receiver<()>,
}

impl Worker {
    /// Starts `work` on a thread called `name`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (alive, ended) = sync_channel(0);
        let thread = Builder::new().name(name.to_owned()).spawn(move || {
            let _alive: SyncSender<()> = alive;
            work();
        })?;
        Ok(Self { thread, ended })
    }

    /// Whether the work has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end of the work at most for `patience`, then leaves it behind. Returns whether it has ended.
    pub(super) fn end(self, patience: Duration) -> bool {
        let ended = self.ended.recv_timeout(patience);
        if ended == Err(RecvTimeoutError::Timeout) {
            return false;
        }

        if let Err(panic) = self.thread.join() {
            let panic: Option<&&str> = panic.downcast_ref();
            tracing::error!(panic, "a thread of the source panicked");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_does_not_end_is_left_behind() {
        let (end, ending) = sync_channel::<()>(0);
        let (left, leaving) = sync_channel(1);
        let worker = Worker::start("stuck", move || {
            let _ = ending.recv();
            let _ = left.send(());
        });

        assert!(!worker.unwrap().end(Duration::from_millis(1)));
        drop(end);
        leaving.recv().unwrap();
    }

    #[test]
    fn work_that_ends_is_waited_for_even_when_it_panics() {
        let patience = Duration::from_secs(60);
        assert!(Worker::start("works", || {}).unwrap().end(patience));
        let panics = Worker::start("panics", || panic!("as the test wants"));
        assert!(panics.unwrap().end(patience));
    }
}
