//! What is to be published: the newest message of each topic, and which of them the broker has not got. All are retained.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

/// Topics: three for each stream and screen that is remembered, and for what an earlier run left behind.
const MAX_TOPICS: usize = 4096;

/// The newest message of each topic.
#[derive(Debug, Default)]
pub(crate) struct RetainedMessages {
    messages: BTreeMap<String, Bytes>,
    /// Topics that are to be published on this connection; those without a message are to be emptied.
    waiting: BTreeSet<String>,
    connected: bool,
}

impl RetainedMessages {
    /// Replaces the message of a topic.
    pub(crate) fn put(&mut self, topic: String, payload: impl Into<Bytes>) {
        let payload = payload.into();
        let known = self.messages.get(&topic);
        if known == Some(&payload) || (known.is_none() && self.messages.len() >= MAX_TOPICS) {
            return;
        }

        self.messages.insert(topic.clone(), payload);
        self.wait(topic);
    }

    /// Empties a topic, which the broker then forgets.
    pub(crate) fn clear(&mut self, topic: String) {
        self.messages.remove(&topic);
        self.wait(topic);
    }

    /// All is to be published: on a new connection, or because somebody has come who knows nothing.
    pub(crate) fn publish_all(&mut self) {
        self.connected = true;
        self.waiting.extend(self.messages.keys().cloned());
    }

    /// Nothing is to be published until there is a connection again.
    pub(crate) fn disconnect(&mut self) {
        self.connected = false;
        self.waiting.clear();
    }

    /// Takes a topic that is to be published, and its message; an empty one empties it.
    pub(crate) fn next(&mut self) -> Option<(String, Bytes)> {
        let topic = self.waiting.pop_first()?;
        let payload = self.messages.get(&topic).cloned().unwrap_or_default();
        Some((topic, payload))
    }

    fn wait(&mut self, topic: String) {
        if self.connected && self.waiting.len() < 2 * MAX_TOPICS {
            self.waiting.insert(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(retained: &mut RetainedMessages) -> Vec<(String, Bytes)> {
        std::iter::from_fn(|| retained.next()).collect()
    }

    #[test]
    fn the_newest_message_of_a_topic_is_published_once() {
        let mut retained = RetainedMessages::default();
        retained.publish_all();
        for state in ["live", "frozen", "live"] {
            retained.put("a".to_owned(), state);
        }
        retained.put("b".to_owned(), "x");

        let all = drain(&mut retained);
        assert_eq!(
            all,
            [
                ("a".to_owned(), "live".into()),
                ("b".to_owned(), "x".into())
            ]
        );
        retained.put("b".to_owned(), "x");
        assert!(drain(&mut retained).is_empty(), "nothing has changed");
    }

    #[test]
    fn a_new_connection_gets_all_that_is_and_nothing_of_what_was() {
        let mut retained = RetainedMessages::default();
        retained.put("a".to_owned(), "1");
        assert!(retained.next().is_none(), "there is no broker");
        retained.publish_all();
        assert_eq!(drain(&mut retained).len(), 1);

        retained.put("b".to_owned(), "1");
        retained.clear("a".to_owned());
        retained.disconnect();
        retained.clear("b".to_owned());
        retained.put("c".to_owned(), "1");
        assert!(retained.next().is_none());
        retained.publish_all();
        assert_eq!(drain(&mut retained), [("c".to_owned(), Bytes::from("1"))]);
    }

    #[test]
    fn a_topic_without_a_message_is_emptied() {
        let mut retained = RetainedMessages::default();
        retained.publish_all();
        retained.clear("left behind".to_owned());
        assert_eq!(
            drain(&mut retained),
            [("left behind".to_owned(), Bytes::new())]
        );
    }

    #[test]
    fn there_are_only_so_many_topics() {
        let mut retained = RetainedMessages::default();
        retained.publish_all();
        for n in 0..2 * MAX_TOPICS {
            retained.put(n.to_string(), "x");
        }
        assert_eq!(drain(&mut retained).len(), MAX_TOPICS);
    }
}
