//! Where the event loop leaves feedback for a source, for its upstream thread to say. One waits; neither side ever waits for
//! the other.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fanlight_proto::message::{Demand, FeedbackReport};
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    feedback: Option<FeedbackReport>,
    /// What the newest feedback said of who watches, and of which run of the relay it was.
    known: Option<(u64, Vec<Demand>)>,
}

impl Outbox {
    /// Leaves a feedback. One that waits there still gives way, and is given back.
    pub fn put(&self, feedback: FeedbackReport) -> Option<FeedbackReport> {
        let mut waiting = self.lock();
        waiting.known = Some((feedback.relay, feedback.demand.clone()));
        let undelivered = waiting.feedback.replace(feedback);
        drop(waiting);
        self.filled.notify_one();
        undelivered
    }

    /// A connection begins: its source is to be told at once who watches, also when that has been told to another.
    pub(super) fn begin(&self) {
        let mut waiting = self.lock();
        if waiting.feedback.is_none() {
            waiting.feedback = waiting.known.clone().map(|(relay, demand)| FeedbackReport {
                relay,
                demand,
                ..FeedbackReport::default()
            });
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Takes the feedback that waits.
    pub(super) fn take(&self) -> Option<FeedbackReport> {
        self.lock().feedback.take()
    }

    /// Waits until something may have been left since the last wait.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use fanlight_proto::message::ViewerReport;

    use super::*;

    fn feedback(viewers: u32) -> FeedbackReport {
        let demand = vec![Demand {
            stream: "cam".into(),
            viewers,
            clients: 0,
        }];
        FeedbackReport {
            relay: 7,
            demand,
            viewers: vec![ViewerReport {
                viewer: 1,
                ..ViewerReport::default()
            }],
            ..FeedbackReport::default()
        }
    }

    #[test]
    fn the_newest_word_waits_and_the_older_one_is_given_back() {
        let outbox = Outbox::default();
        assert_eq!(outbox.put(feedback(1)), None);
        assert_eq!(outbox.put(feedback(2)), Some(feedback(1)));
        assert_eq!(outbox.take(), Some(feedback(2)));
        assert_eq!(outbox.take(), None);
        assert_eq!(outbox.put(feedback(3)), None);
    }

    #[test]
    fn who_watches_is_told_on_each_new_connection() {
        let outbox = Outbox::default();
        outbox.begin();
        assert_eq!(outbox.take(), None, "nothing is known yet");
        outbox.put(feedback(4));
        outbox.begin();
        assert_eq!(outbox.take(), Some(feedback(4)), "what waits is newer");
        outbox.begin();
        assert_eq!(
            outbox.take(),
            Some(FeedbackReport {
                viewers: Vec::new(),
                ..feedback(4)
            })
        );
    }
}
