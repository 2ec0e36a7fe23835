//! Hand-over of values between threads and tasks: a bounded queue, and a slot that keeps only the newest value.
//!
//! Putting never waits: what finds no room displaces the oldest value, and the caller is told. Taking waits on a thread
//! (`wait`, `wait_timeout`), in a task (`next`, cancel safe), or not at all (`take`).

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

/// What a wait with a limit ended with.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited<T> {
    /// The value that was put first.
    Value(T),
    /// Nothing came within the limit.
    TimedOut,
    /// The mailbox is closed and empty.
    Closed,
}

/// A first-in, first-out queue with bounds. Several threads and tasks may take from it.
pub struct BoundedQueue<T> {
    max_items: usize,
    max_bytes: usize,
    size: fn(&T) -> usize,
    state: Mutex<State<T>>,
    thread_wakeup: Condvar,
    task_wakeup: Notify,
}

struct State<T> {
    items: VecDeque<T>,
    bytes: usize,
    closed: bool,
}

impl<T> BoundedQueue<T> {
    /// A queue of at most `max_items` values.
    ///
    /// # Panics
    /// When `max_items` is zero.
    #[must_use]
    pub fn new(max_items: usize) -> Self {
        Self::with_byte_limit(max_items, usize::MAX, |_| 0)
    }

    /// A queue of at most `max_items` values that are at most `max_bytes` together, by `size`. One value may always
    /// wait, whatever its size.
    ///
    /// # Panics
    /// When `max_items` is zero.
    #[must_use]
    pub fn with_byte_limit(max_items: usize, max_bytes: usize, size: fn(&T) -> usize) -> Self {
        assert!(max_items > 0, "a queue holds at least one value");
        Self {
            max_items,
            max_bytes,
            size,
            state: Mutex::new(State {
                items: VecDeque::new(),
                bytes: 0,
                closed: false,
            }),
            thread_wakeup: Condvar::new(),
            task_wakeup: Notify::new(),
        }
    }

    /// Appends `value` and returns how many values were displaced: the oldest, or `value` itself when the queue is
    /// closed.
    pub fn push(&self, value: T) -> u64 {
        let mut displaced = 0;
        self.push_displacing(value, |_| displaced += 1);
        displaced
    }

    /// Appends `value` if no value must be displaced for it.
    ///
    /// # Errors
    /// Gives `value` back when there is no room, or the queue is closed.
    pub fn try_push(&self, value: T) -> Result<(), T> {
        let mut state = self.state.lock();
        let bytes = (self.size)(&value);
        if state.closed || (!state.items.is_empty() && !self.has_room(&state, bytes)) {
            return Err(value);
        }

        state.bytes += bytes;
        state.items.push_back(value);
        self.wake_one(state);
        Ok(())
    }

    /// Takes the oldest value, if there is one.
    pub fn take(&self) -> Option<T> {
        self.pop(&mut self.state.lock())
    }

    /// Blocks the thread until there is a value; `None` once the queue is closed and empty.
    pub fn wait(&self) -> Option<T> {
        let mut state = self.state.lock();
        self.thread_wakeup.wait_while(&mut state, State::is_idle);
        self.pop(&mut state)
    }

    /// Blocks the thread until there is a value, for at most `limit`.
    pub fn wait_timeout(&self, limit: Duration) -> Waited<T> {
        let mut state = self.state.lock();
        self.thread_wakeup
            .wait_while_for(&mut state, State::is_idle, limit);
        match self.pop(&mut state) {
            Some(value) => Waited::Value(value),
            None if state.closed => Waited::Closed,
            None => Waited::TimedOut,
        }
    }

    /// Waits in a task until there is a value; `None` once the queue is closed and empty. Cancel safe.
    pub async fn next(&self) -> Option<T> {
        loop {
            // Made before the look, so that what is put between the look and the wait ends the wait.
            let woken = self.task_wakeup.notified();
            if let Some(ended) = self.look() {
                return ended;
            }
            woken.await;
        }
    }

    /// How many values wait.
    pub fn len(&self) -> usize {
        self.state.lock().items.len()
    }

    /// Whether no value waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses new values and ends all waits. What is in the queue can still be taken.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.thread_wakeup.notify_all();
        self.task_wakeup.notify_waiters();
    }

    /// Whether the queue was closed.
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    fn push_displacing(&self, value: T, mut displaced: impl FnMut(T)) {
        let mut state = self.state.lock();
        if state.closed {
            displaced(value);
            return;
        }

        let bytes = (self.size)(&value);
        while !state.items.is_empty() && !self.has_room(&state, bytes) {
            self.pop(&mut state).map(&mut displaced);
        }

        state.bytes += bytes;
        state.items.push_back(value);
        self.wake_one(state);
    }

    fn has_room(&self, state: &State<T>, bytes: usize) -> bool {
        state.items.len() < self.max_items && state.bytes.saturating_add(bytes) <= self.max_bytes
    }

    fn pop(&self, state: &mut State<T>) -> Option<T> {
        let value = state.items.pop_front()?;
        state.bytes -= (self.size)(&value);
        Some(value)
    }

    /// What [`next`](Self::next) gives, unless it must wait.
    fn look(&self) -> Option<Option<T>> {
        let mut state = self.state.lock();
        let value = self.pop(&mut state);
        if !state.items.is_empty() {
            // Of two wake-ups at one moment only one is remembered while no task waits.
            self.task_wakeup.notify_one();
        }
        (value.is_some() || state.closed).then_some(value)
    }

    fn wake_one(&self, state: MutexGuard<'_, State<T>>) {
        // Whoever wakes needs the lock.
        drop(state);
        self.thread_wakeup.notify_one();
        self.task_wakeup.notify_one();
    }
}

impl<T> State<T> {
    fn is_idle(&mut self) -> bool {
        self.items.is_empty() && !self.closed
    }
}

impl<T> fmt::Debug for BoundedQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedQueue")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// A slot for one value, in which the newest displaces the one that still waits.
#[derive(Debug)]
pub struct Latest<T>(BoundedQueue<T>);

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Latest<T> {
    /// An empty slot.
    #[must_use]
    pub fn new() -> Self {
        Self(BoundedQueue::new(1))
    }

    /// Puts `value` in and returns the value that it displaced; or `value` itself when the slot is closed.
    pub fn put(&self, value: T) -> Option<T> {
        let mut displaced = None;
        self.0.push_displacing(value, |old| displaced = Some(old));
        displaced
    }

    /// Takes the value, if there is one.
    pub fn take(&self) -> Option<T> {
        self.0.take()
    }

    /// Blocks the thread until there is a value; `None` once the slot is closed and empty.
    pub fn wait(&self) -> Option<T> {
        self.0.wait()
    }

    /// Blocks the thread until there is a value, for at most `limit`.
    pub fn wait_timeout(&self, limit: Duration) -> Waited<T> {
        self.0.wait_timeout(limit)
    }

    /// Waits in a task until there is a value; `None` once the slot is closed and empty. Cancel safe.
    pub async fn next(&self) -> Option<T> {
        self.0.next().await
    }

    /// Whether no value waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses new values and ends all waits. The value in the slot can still be taken.
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether the slot was closed.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(future)
    }

    #[test]
    fn the_newest_value_displaces_the_one_that_waits() {
        let latest = Latest::new();
        assert_eq!(latest.put(1), None);
        assert_eq!(latest.put(2), Some(1));
        assert_eq!(latest.take(), Some(2));
        assert_eq!(latest.take(), None);
    }

    #[test]
    fn a_full_queue_displaces_its_oldest_and_says_how_many() {
        let queue = BoundedQueue::new(2);
        assert_eq!([queue.push(1), queue.push(2), queue.push(3)], [0, 0, 1]);
        assert_eq!(queue.try_push(4), Err(4));
        assert_eq!(
            [queue.take(), queue.take(), queue.take()],
            [Some(2), Some(3), None]
        );
    }

    #[test]
    fn a_queue_is_bounded_by_bytes_but_one_value_may_always_wait() {
        let queue = BoundedQueue::with_byte_limit(10, 100, Vec::len);
        assert_eq!([queue.push(vec![0; 40]), queue.push(vec![0; 40])], [0, 0]);
        assert_eq!(queue.try_push(vec![0; 40]), Err(vec![0; 40]));
        assert_eq!(queue.push(vec![1; 1000]), 2);
        assert_eq!(queue.take(), Some(vec![1; 1000]));
        assert_eq!(queue.try_push(vec![2; 1000]), Ok(()));
    }

    #[test]
    fn a_closed_mailbox_gives_what_it_has_and_takes_nothing_more() {
        let latest = Latest::new();
        latest.put(1);
        latest.close();
        assert!(latest.is_closed());
        assert_eq!(latest.put(2), Some(2));
        assert_eq!(block_on(latest.next()), Some(1));
        assert_eq!(block_on(latest.next()), None);
        assert_eq!(latest.wait(), None);
        assert_eq!(latest.wait_timeout(LONG), Waited::Closed);
    }

    #[test]
    fn a_wait_with_a_limit_ends_at_the_limit_or_with_the_value() {
        let latest = Latest::new();
        assert_eq!(
            latest.wait_timeout(Duration::from_millis(1)),
            Waited::TimedOut
        );
        latest.put(1);
        assert_eq!(latest.wait_timeout(LONG), Waited::Value(1));
    }

    #[test]
    fn threads_and_tasks_that_wait_get_each_value_once() {
        const VALUES: u64 = 1000;
        let queue = Arc::new(BoundedQueue::new(VALUES as usize));
        let takers: Vec<_> = (0..4)
            .map(|number| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    let mut taken = Vec::new();
                    while let Some(value) = if number % 2 == 0 {
                        queue.wait()
                    } else {
                        block_on(queue.next())
                    } {
                        taken.push(value);
                    }

                    taken
                })
            })
            .collect();

        for value in 0..VALUES {
            assert_eq!(queue.push(value), 0);
        }

        queue.close();
        let mut taken: Vec<u64> = takers
            .into_iter()
            .flat_map(|taker| taker.join().unwrap())
            .collect();

        taken.sort_unstable();
        assert_eq!(taken, (0..VALUES).collect::<Vec<_>>());
    }

    #[test]
    fn two_values_put_at_one_moment_wake_two_tasks() {
        let queue = Arc::new(BoundedQueue::new(4));
        block_on(async {
            let other = Arc::clone(&queue);
            let local = tokio::task::LocalSet::new();
            local
                .run_until(async {
                    let tasks: Vec<_> = (0..2)
                        .map(|_| {
                            let queue = Arc::clone(&other);
                            tokio::task::spawn_local(async move { queue.next().await })
                        })
                        .collect();

                    queue.push(1);
                    queue.push(2);

                    for task in tasks {
                        assert!(
                            tokio::time::timeout(LONG, task)
                                .await
                                .unwrap()
                                .unwrap()
                                .is_some()
                        );
                    }
                })
                .await;
        });
    }

    #[test]
    fn a_wait_that_is_given_up_loses_nothing() {
        let latest = Latest::new();
        block_on(async {
            let waited = tokio::time::timeout(Duration::from_millis(1), latest.next()).await;
            assert!(waited.is_err());
            latest.put(1);
            assert_eq!(latest.next().await, Some(1));
        });
    }
}
