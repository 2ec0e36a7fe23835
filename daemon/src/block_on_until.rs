//! Waiting for a future and a deadline on a thread that has no event loop.
//!
//! Tokio's timers are exact up to 64 ms. For what is farther away they wake their thread once more on the way, and with
//! it the processor, which costs more than what a quiet loop does.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use fanlight_proto::clock::Time;

use crate::clock;

/// Drives `future` on this thread until it is done, or else until `deadline`. It must need no runtime: channels, locks
/// and notifications of tokio do not, its timers and sockets do.
pub fn until<T>(deadline: Time, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Parked(thread::current())));

    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }

        let left = deadline.saturating_since(clock::now());
        if left.is_zero() {
            return None;
        }

        thread::park_timeout(left);
    }
}

struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_done_already_is_not_waited_for_even_when_the_deadline_is_over() {
        assert_eq!(until(Time::default(), ready(7)), Some(7));
    }

    #[test]
    fn the_deadline_ends_the_wait_and_not_before_it_has_come() {
        let deadline = clock::now() + Duration::from_millis(20);
        assert_eq!(until(deadline, pending::<()>()), None);
        assert!(clock::now() >= deadline);
    }

    #[test]
    fn another_thread_ends_the_wait() {
        let notify = Notify::new();
        thread::scope(|scope| {
            let other = scope.spawn(|| until(clock::now() + LONG, notify.notified()));
            notify.notify_one();
            assert_eq!(other.join().unwrap(), Some(()));
        });
    }
}
