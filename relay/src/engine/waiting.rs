//! Viewers that have asked for a stream that was not there. They ask again by themselves; one whose stream comes before that
//! is told so, and shows it a round trip after its first frame.

use std::collections::VecDeque;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::ToViewer;
use fanlight_proto::message::{Join, Refusal, Refuse, StreamName};

use super::Engine;
use super::output::Route;

/// Viewers remembered; the oldest go when there are more, and ask again when it is their time.
const MAX_WAITING: usize = 1024;

/// A viewer is remembered for so long: longer than it waits until it asks again.
const REMEMBERED: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Waiting {
    since: Time,
    route: Route,
    nonce: u64,
    /// None: whatever comes.
    stream: Option<StreamName>,
}

/// The viewers, in the order in which they asked.
#[derive(Debug, Default)]
pub(super) struct WaitingViewers(VecDeque<Waiting>);

impl WaitingViewers {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The JOIN with `nonce` from `route` was refused, because there is no `stream`, or none at all.
    pub(super) fn note(&mut self, now: Time, route: Route, nonce: u64, stream: Option<StreamName>) {
        self.forget_old(now);
        // Whoever asks again is told once.
        self.0
            .retain(|waiting| waiting.route.remote != route.remote);
        if self.0.len() == MAX_WAITING {
            self.0.pop_front();
        }

        self.0.push_back(Waiting {
            since: now,
            route,
            nonce,
            stream,
        });
    }

    /// Takes out who waits for `stream`: where they are, and the nonces of their JOINs.
    pub(super) fn take(&mut self, now: Time, stream: &StreamName) -> Vec<(Route, u64)> {
        self.forget_old(now);
        let mut taken = Vec::new();
        self.0.retain(|waiting| {
            let waits = waiting.stream.as_ref().is_none_or(|name| name == stream);
            if waits {
                taken.push((waiting.route, waiting.nonce));
            }
            !waits
        });
        taken
    }

    fn forget_old(&mut self, now: Time) {
        let is_old = |waiting: &Waiting| now.saturating_since(waiting.since) > REMEMBERED;
        while self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
    }
}

impl Engine {
    /// Remembers whom to tell when the stream comes that this JOIN asks for.
    pub(super) fn note_waiting(&mut self, now: Time, from: Route, join: &Join) {
        let stream = (!join.stream.is_empty()).then(|| join.stream.parse().ok());
        // No stream ever has a name that is none.
        if stream != Some(None) {
            self.waiting.note(now, from, join.nonce, stream.flatten());
        }
    }

    /// Tells those who asked for `stream` before it came to ask again now.
    pub(super) fn tell_waiting(&mut self, now: Time, stream: &StreamName) {
        for (route, nonce) in self.waiting.take(now, stream) {
            let refuse = Refuse {
                nonce,
                refusal: Refusal::NoSuchStream.into(),
                message: "the stream has come".to_owned(),
                retry_after_ms: 0,
                ..Refuse::default()
            };
            self.send(route, &ToViewer::Refuse(refuse));
        }
    }
}
