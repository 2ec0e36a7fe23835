//! Where the event loop leaves words for a source, for its upstream thread to say. One waits; neither side ever waits for
//! the other.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fanlight_proto::message::{Demand, Word};
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    word: Option<Word>,
    /// What the newest word said of who watches, and of which run of the relay it was.
    known: Option<(u64, Vec<Demand>)>,
}

impl Outbox {
    /// Leaves a word. One that waits there still gives way, and is given back.
    pub fn put(&self, word: Word) -> Option<Word> {
        let mut waiting = self.lock();
        waiting.known = Some((word.relay, word.demand.clone()));
        let unsaid = waiting.word.replace(word);
        drop(waiting);
        self.filled.notify_one();
        unsaid
    }

    /// A connection begins: its source is to be told at once who watches, also when that has been told to another.
    pub(super) fn begin(&self) {
        let mut waiting = self.lock();
        if waiting.word.is_none() {
            waiting.word = waiting.known.clone().map(|(relay, demand)| Word {
                relay,
                demand,
                ..Word::default()
            });
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Takes the word that waits.
    pub(super) fn take(&self) -> Option<Word> {
        self.lock().word.take()
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
    use fanlight_proto::message::Seen;

    use super::*;

    fn word(viewers: u32) -> Word {
        let demand = vec![Demand {
            stream: "cam".into(),
            viewers,
            clients: 0,
        }];
        Word {
            relay: 7,
            demand,
            seen: vec![Seen {
                viewer: 1,
                ..Seen::default()
            }],
            ..Word::default()
        }
    }

    #[test]
    fn the_newest_word_waits_and_the_older_one_is_given_back() {
        let outbox = Outbox::default();
        assert_eq!(outbox.put(word(1)), None);
        assert_eq!(outbox.put(word(2)), Some(word(1)));
        assert_eq!(outbox.take(), Some(word(2)));
        assert_eq!(outbox.take(), None);
        assert_eq!(outbox.put(word(3)), None);
    }

    #[test]
    fn who_watches_is_told_on_each_new_connection() {
        let outbox = Outbox::default();
        outbox.begin();
        assert_eq!(outbox.take(), None, "nothing is known yet");
        outbox.put(word(4));
        outbox.begin();
        assert_eq!(outbox.take(), Some(word(4)), "what waits is newer");
        outbox.begin();
        assert_eq!(
            outbox.take(),
            Some(Word {
                seen: Vec::new(),
                ..word(4)
            })
        );
    }
}
