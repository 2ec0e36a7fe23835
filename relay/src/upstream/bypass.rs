//! Large messages, which the guard reads to where they stay and hands over past the `zeromq` library. It would fill its
//! buffer with zeros, read from a private socket what the guard had to pass through that, and grow. Whatever goes which
//! way, messages are taken in the order in which the source sent them.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// See the module. One connection has one, and one thread.
#[derive(Debug, Default)]
pub(super) struct Bypass {
    /// Messages that the library was given and has not given back.
    inside: AtomicUsize,
    /// One is enough: who reads it ends the next one's way past.
    waiting: Mutex<Option<Message>>,
    filled: Notify,
    room: Notify,
}

/// Topic and body.
pub(super) type Message = (Bytes, Bytes);

impl Bypass {
    /// Whether nothing is in the library that a message on the way past would overtake.
    pub(super) fn is_open(&self) -> bool {
        self.inside.load(Relaxed) == 0
    }

    /// A message goes into the library.
    pub(super) fn on_given(&self) {
        self.inside.fetch_add(1, Relaxed);
    }

    /// A message has come out of the library. Those on the way past are older: [`take`](Self::take) them first.
    pub(super) fn on_given_back(&self) {
        let before = self.inside.fetch_sub(1, Relaxed);
        debug_assert!(before > 0, "the library gives back what it was given");
    }

    /// Leaves a message as soon as there is room, for the library's reader to take.
    pub(super) async fn leave(&self, message: Message) {
        while self.waiting().is_some() {
            self.room.notified().await;
        }
        *self.waiting() = Some(message);
        self.filled.notify_one();
    }

    /// Takes the message that waits, if there is one.
    pub(super) fn take(&self) -> Option<Message> {
        let message = self.waiting().take();
        if message.is_some() {
            self.room.notify_one();
        }
        message
    }

    /// Waits until a message has been left since the last wait.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Message>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn message(body: &'static str) -> Message {
        (Bytes::from_static(b"cam/"), Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn the_way_past_is_open_while_nothing_is_inside() {
        let bypass = Bypass::default();
        assert!(bypass.is_open());
        bypass.on_given();
        bypass.on_given();
        bypass.on_given_back();
        assert!(!bypass.is_open());
        bypass.on_given_back();
        assert!(bypass.is_open());
    }

    #[tokio::test]
    async fn who_brings_more_than_is_taken_waits() {
        let bypass = Bypass::default();
        bypass.leave(message("one")).await;
        let mut second = pin!(bypass.leave(message("two")));
        let mut context = Context::from_waker(Waker::noop());
        assert!(second.as_mut().poll(&mut context).is_pending());
        bypass.filled().await;
        assert_eq!(bypass.take(), Some(message("one")));
        second.await;
        bypass.filled().await;
        assert_eq!((bypass.take(), bypass.take()), (Some(message("two")), None));
    }
}
