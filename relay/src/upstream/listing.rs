//! Asks a source which streams it has, when none of those comes that were asked for. Used by a session.

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::feed::{parse_answer, status_topic};
use fanlight_proto::message::StreamName;
use serde::Deserialize;

/// Streams that are named in one sentence.
const MAX_NAMED: usize = 8;

/// The question of one connection, asked once.
#[derive(Debug)]
pub(super) struct Listing {
    /// When to ask, if nothing has come until then; none when it has been asked, or need not be.
    pub(super) due: Option<Time>,
    topic: String,
}

/// As much of a source's status as is of interest here.
#[derive(Debug, Deserialize)]
struct Status {
    streams: Vec<Stream>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    name: String,
}

impl Listing {
    pub(super) fn new(due: Option<Time>) -> Self {
        Self {
            due,
            topic: status_topic(clock::random_bytes()),
        }
    }

    /// The topic to subscribe to, when the question is due.
    pub(super) fn take_due(&mut self, now: Time) -> Option<&str> {
        self.due.take_if(|due| *due <= now)?;
        Some(&self.topic)
    }

    /// Whether a message under this topic is the answer.
    pub(super) fn is_answer(&self, topic: &[u8]) -> bool {
        topic == self.topic.as_bytes()
    }

    /// What is wrong, by the source's answer; none when it cannot be read.
    pub(super) fn problem(&self, body: &[u8], wanted: &[StreamName]) -> Option<String> {
        let answer = parse_answer(self.topic.as_bytes(), body)?;
        let status: Status = serde_json::from_slice(&answer.status).ok()?;
        let names = status.streams.iter().take(MAX_NAMED);
        let names: Vec<StreamName> = names.filter_map(|it| it.name.parse().ok()).collect();
        let wanted = &wanted[..wanted.len().min(MAX_NAMED)];
        Some(format!(
            "it has no such stream: {} wanted, it has {}",
            joined(wanted),
            joined(&names)
        ))
    }
}

fn joined(names: &[StreamName]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names
            .iter()
            .map(StreamName::as_str)
            .collect::<Vec<_>>()
            .join(", "),
    }
}

#[cfg(test)]
mod tests {
    use fanlight_proto::feed::encode_answer;
    use fanlight_proto::message::Answer;

    use super::*;

    #[test]
    fn a_source_without_the_stream_is_said_to_have_others() {
        let now = Time::from_nanos(9);
        let mut listing = Listing::new(Some(now));
        assert_eq!(listing.take_due(Time::default()), None);
        let topic = listing.take_due(now).unwrap().to_owned();
        assert!(listing.is_answer(topic.as_bytes()));
        assert_eq!(listing.take_due(now), None, "asked once");

        let status =
            br#"{"version":2,"streams":[{"name":"ball"},{"name":"a b"},{"name":"ball2"}]}"#;
        let body = encode_answer(&Answer {
            status: status.to_vec(),
            ..Answer::default()
        });

        assert_eq!(
            listing.problem(&body, &["cam9".parse().unwrap()]).unwrap(),
            "it has no such stream: cam9 wanted, it has ball, ball2"
        );
        assert_eq!(listing.problem(b"noise", &[]), None);
    }
}
