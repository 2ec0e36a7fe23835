//! The queue of frames for trackers: at most one for each idle tracker, and one when none is idle.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Frame;

/// The frames that wait. Pushing never waits.
#[derive(Debug, Default)]
pub(super) struct JobQueue {
    state: Mutex<State>,
    wakeup: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Frame>,
    idle: usize,
}

impl JobQueue {
    /// Appends a frame; returns how many older ones it displaced, which no tracker will see.
    pub(super) fn push(&self, frame: Frame) -> u64 {
        let mut state = self.state.lock();
        state.waiting.push_back(frame);
        let most = state.idle.max(1);
        let mut displaced = 0;

        while state.waiting.len() > most {
            state.waiting.pop_front();
            displaced += 1;
        }

        drop(state);
        // Trackers are woken in the order in which they became idle.
        self.wakeup.notify_one();
        displaced
    }

    /// Waits for a frame. Cancel safe.
    pub(super) async fn take(&self) -> Frame {
        let _idle = Idle::among(self);
        loop {
            let came = self.wakeup.notified();
            let (frame, more) = self.first();

            if more {
                // Of two wake-ups at one moment only one is remembered while no task waits.
                self.wakeup.notify_one();
            }

            match frame {
                Some(frame) => return frame,
                None => came.await,
            }
        }
    }

    /// The frame that waits longest, and whether another does.
    fn first(&self) -> (Option<Frame>, bool) {
        let mut state = self.state.lock();
        (state.waiting.pop_front(), !state.waiting.is_empty())
    }

    /// How many frames wait.
    pub(super) fn waiting(&self) -> u64 {
        self.state.lock().waiting.len() as u64
    }
}

/// One idle tracker, for as long as this lives.
struct Idle<'a>(&'a JobQueue);

impl<'a> Idle<'a> {
    fn among(queue: &'a JobQueue) -> Self {
        queue.state.lock().idle += 1;
        Self(queue)
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.state.lock().idle -= 1;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fanlight_proto::clock::Time;
    use fanlight_proto::message::FrameId;

    use super::*;
    use crate::track::StageTimings;

    fn frame(number: u64) -> Frame {
        let id = FrameId { epoch: 1, number };
        Frame {
            stream: "cam".parse().unwrap(),
            id,
            captured_ns: 0,
            jpeg: Bytes::new(),
            shown: Time::default(),
            timings: StageTimings::default(),
        }
    }

    #[tokio::test]
    async fn the_newest_waits_when_nobody_is_idle() {
        let queue = JobQueue::default();
        assert_eq!(
            (1..=5).map(|number| queue.push(frame(number))).sum::<u64>(),
            4
        );

        assert_eq!(queue.waiting(), 1);
        assert_eq!(queue.take().await.id.number, 5);
        assert_eq!(queue.waiting(), 0);
    }

    #[tokio::test]
    async fn each_idle_tracker_gets_a_frame_and_those_idle_longest_come_first() {
        let queue = std::sync::Arc::new(JobQueue::default());
        let takers: Vec<_> = (0..3)
            .map(|_| {
                let queue = std::sync::Arc::clone(&queue);
                tokio::spawn(async move { queue.take().await.id.number })
            })
            .collect();

        while queue.state.lock().idle < 3 {
            tokio::task::yield_now().await;
        }

        assert_eq!(
            (1..=3).map(|number| queue.push(frame(number))).sum::<u64>(),
            0
        );

        for (taker, number) in takers.into_iter().zip(1..) {
            assert_eq!(taker.await.unwrap(), number);
        }

        assert_eq!(queue.state.lock().idle, 0);
    }

    #[tokio::test]
    async fn a_tracker_that_gives_up_waiting_is_not_idle() {
        let queue = JobQueue::default();
        let gone = tokio::time::timeout(std::time::Duration::from_millis(1), queue.take()).await;
        assert!(gone.is_err() && queue.state.lock().idle == 0);
        queue.push(frame(1));
        assert_eq!(queue.take().await.id.number, 1);
    }
}
