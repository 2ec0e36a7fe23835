//! The newest frame of each topic, for who subscribes between two of them: a relay that has just connected shows a picture at
//! once, and not up to a frame's interval later.

use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::HEARTBEAT_INTERVAL;

use super::subscriber::Message;

/// What is older says nothing of the present: something comes under each topic every heartbeat interval.
const LIFETIME: Duration = HEARTBEAT_INTERVAL.saturating_mul(2);

/// What a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Frame,
    Heartbeat {
        /// Whether the frame before it still tells how the stream is.
        is_live: bool,
    },
}

/// The newest frame of each topic of the present, and the heartbeat that came after it. Bodies are shared.
#[derive(Debug, Default)]
pub(super) struct Newest {
    topics: Vec<Topic>,
}

#[derive(Debug)]
struct Topic {
    name: Bytes,
    frame: Option<(Time, Message)>,
    heartbeat: Option<(Time, Message)>,
}

impl Newest {
    /// Keeps `message` in place of what was there, and gives a frame that was there back: to free a large one takes its time.
    pub(super) fn put(&mut self, now: Time, content: Content, message: Message) -> Option<Message> {
        let known = self
            .topics
            .iter()
            .position(|topic| topic.name == message.topic);

        let at = known.unwrap_or_else(|| {
            self.forget_old(now);
            self.topics.push(Topic {
                name: message.topic.clone(),
                frame: None,
                heartbeat: None,
            });
            self.topics.len() - 1
        });

        let topic = &mut self.topics[at];
        let replaced = match content {
            Content::Frame => {
                topic.heartbeat = None;
                topic.frame.replace((now, message))
            }
            Content::Heartbeat { is_live } => {
                topic.heartbeat = Some((now, message));
                topic.frame.take_if(|_| !is_live)
            }
        };

        replaced.map(|(_, replaced)| replaced)
    }

    /// Gives up what is not of the present any more.
    pub(super) fn forget_old(&mut self, now: Time) {
        self.topics.retain_mut(|topic| {
            for place in [&mut topic.frame, &mut topic.heartbeat] {
                place.take_if(|(at, _)| !is_of_the_present(*at, now));
            }
            topic.frame.is_some() || topic.heartbeat.is_some()
        });
    }

    /// What a subscription to `prefix` has missed, in order.
    pub(super) fn under(&self, prefix: &[u8], now: Time) -> impl Iterator<Item = &Message> {
        self.topics
            .iter()
            .filter(move |topic| topic.name.starts_with(prefix))
            .flat_map(|topic| topic.frame.iter().chain(&topic.heartbeat))
            .filter(move |(at, _)| is_of_the_present(*at, now))
            .map(|(_, message)| message)
    }
}

fn is_of_the_present(at: Time, now: Time) -> bool {
    now.saturating_since(at) < LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: Content = Content::Heartbeat { is_live: true };

    fn message(topic: &'static str, body: &'static str) -> Message {
        Message {
            topic: Bytes::from_static(topic.as_bytes()),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    fn under(newest: &Newest, prefix: &str, now: Time) -> Vec<Bytes> {
        let found = newest.under(prefix.as_bytes(), now);
        found.map(|message| message.body.clone()).collect()
    }

    #[test]
    fn the_newest_frame_of_each_topic_is_kept_while_it_is_of_the_present() {
        let mut newest = Newest::default();
        let start = Time::default() + Duration::from_secs(1);
        newest.put(start, Content::Frame, message("a/", "1"));
        newest.put(start, Content::Frame, message("a/", "2"));
        newest.put(start + LIFETIME / 2, Content::Frame, message("b/", "3"));
        assert_eq!(under(&newest, "a/", start), ["2"]);
        assert_eq!(under(&newest, "", start + LIFETIME / 2), ["2", "3"]);
        assert_eq!(under(&newest, "", start + LIFETIME), ["3"]);

        newest.put(start + LIFETIME, Content::Frame, message("c/", "4"));
        assert_eq!(newest.topics.len(), 2);
        newest.forget_old(start + LIFETIME * 3);
        assert!(newest.topics.is_empty());
    }

    #[test]
    fn a_heartbeat_stands_behind_its_frame_until_the_next() {
        let mut newest = Newest::default();
        let start = Time::default() + Duration::from_secs(1);
        newest.put(start, Content::Frame, message("a/", "1"));
        newest.put(start, LIVE, message("a/", "live"));
        assert_eq!(under(&newest, "a/", start), ["1", "live"]);

        newest.put(start, Content::Frame, message("a/", "2"));
        assert_eq!(under(&newest, "a/", start), ["2"]);

        newest.put(start + LIFETIME / 2, LIVE, message("a/", "live"));
        assert_eq!(under(&newest, "a/", start + LIFETIME), ["live"]);
    }

    #[test]
    fn a_frame_of_a_stream_that_is_not_live_any_more_is_given_to_nobody() {
        let mut newest = Newest::default();
        let start = Time::default() + Duration::from_secs(1);
        let unplugged = Content::Heartbeat { is_live: false };
        newest.put(start, Content::Frame, message("a/", "1"));
        newest.put(start, unplugged, message("a/", "unplugged"));
        assert_eq!(under(&newest, "a/", start), ["unplugged"]);
    }
}
