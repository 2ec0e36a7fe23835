//! Large bodies, which the guard reads to where they stay. Through the `zeromq` library goes a ticket for each instead:
//! it would fill its buffer with zeros, read from a private socket what the guard had to pass through that, and grow.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fanlight_daemon::clock;
use tokio::sync::Notify;

/// Bodies that wait: the one whose ticket is on its way, and the next.
const MOST_WAITING: usize = 2;

const SECRET_BYTES: usize = 16;

/// Bytes of a ticket: something that no source can know, and a number.
pub(super) const TICKET_BYTES: usize = SECRET_BYTES + 8;

/// What of a connection is on its way past the library.
#[derive(Debug)]
pub(super) struct Bodies {
    secret: [u8; SECRET_BYTES],
    waiting: Mutex<Waiting>,
    room: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The number of the first of them.
    first: u64,
    bodies: VecDeque<Bytes>,
}

impl Bodies {
    pub(super) fn new() -> Self {
        Self { secret: clock::random_bytes(), waiting: Mutex::default(), room: Notify::new() }
    }

    /// Leaves a body as soon as there is room, and gives the ticket for it.
    pub(super) async fn leave(&self, body: Bytes) -> [u8; TICKET_BYTES] {
        while self.waiting().bodies.len() == MOST_WAITING {
            self.room.notified().await;
        }
        let mut waiting = self.waiting();
        let number = waiting.first + waiting.bodies.len() as u64;
        waiting.bodies.push_back(body);
        let mut ticket = [0; TICKET_BYTES];
        ticket[..SECRET_BYTES].copy_from_slice(&self.secret);
        ticket[SECRET_BYTES..].copy_from_slice(&number.to_be_bytes());
        ticket
    }

    /// What a part of a message stands for: the body if it is a ticket, itself if not. The library keeps their order.
    pub(super) fn collect(&self, part: Bytes) -> Bytes {
        let Some(number) = part.strip_prefix(&self.secret).and_then(|rest| rest.try_into().ok()) else { return part };
        let (number, mut waiting) = (u64::from_be_bytes(number), self.waiting());
        let at = usize::try_from(number - waiting.first).expect("a ticket is of a body that waits");
        // Before it are those of messages that the library gave to nobody.
        let body = waiting.bodies.drain(..=at).next_back().expect("the last of one or more");
        waiting.first = number + 1;
        drop(waiting);
        self.room.notify_one();
        body
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn each_ticket_is_good_for_its_body_and_what_is_none_is_itself() {
        let bodies = Bodies::new();
        for number in 0..10_u8 {
            let ticket = bodies.leave(Bytes::from(vec![number; 100])).await;
            let other = Bytes::from(vec![number; TICKET_BYTES]);
            assert_eq!(bodies.collect(other.clone()), other);
            assert_eq!(bodies.collect(Bytes::copy_from_slice(&ticket)), [number; 100][..]);
        }
        let secret = Bytes::copy_from_slice(&bodies.secret);
        assert_eq!(bodies.collect(secret.clone()), secret);
    }

    #[tokio::test]
    async fn a_message_that_never_came_out_takes_no_room() {
        let bodies = Bodies::new();
        bodies.leave(Bytes::from_static(b"lost")).await;
        let ticket = bodies.leave(Bytes::from_static(b"found")).await;
        assert_eq!(bodies.collect(Bytes::copy_from_slice(&ticket)), "found");
        assert!(bodies.waiting().bodies.is_empty());
    }

    #[tokio::test]
    async fn who_brings_more_than_is_collected_waits() {
        let bodies = Bodies::new();
        let tickets = [bodies.leave(Bytes::from_static(b"one")).await, bodies.leave(Bytes::from_static(b"two")).await];
        let mut third = pin!(bodies.leave(Bytes::from_static(b"three")));
        let mut context = Context::from_waker(Waker::noop());
        assert!(third.as_mut().poll(&mut context).is_pending());
        assert_eq!(bodies.collect(Bytes::copy_from_slice(&tickets[0])), "one");
        let Poll::Ready(ticket) = third.as_mut().poll(&mut context) else { panic!("there is room") };
        let rest = [tickets[1], ticket].map(|ticket| bodies.collect(Bytes::copy_from_slice(&ticket)));
        assert_eq!(rest, ["two", "three"]);
    }
}
