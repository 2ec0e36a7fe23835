//! Who watches a stream, as relays say, and which relays do not take it. A subscriber that sends no feedback watches what it
//! subscribes to.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::{FeedbackReport, RefusedStreams};

use super::sanitize::sanitize_reason;

/// A relay repeats each second which streams it does not take.
const REFUSED_FOR: Duration = Duration::from_millis(2500);

/// Whether anybody watches a stream, for the loop that runs its input.
#[derive(Debug, Default)]
pub struct StreamDemand {
    wanted: AtomicBool,
    viewers: AtomicU32,
    clients: AtomicU32,
}

impl StreamDemand {
    /// Whether anybody watches, as far as is known.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    /// How many watch over all relays: by UDP, and by HTTP.
    #[must_use]
    pub fn counts(&self) -> (u32, u32) {
        (self.viewers.load(Relaxed), self.clients.load(Relaxed))
    }

    /// Sets the present demand. Returns whether the stream gained its first viewer or lost its last.
    pub(super) fn set(&self, wanted: bool, viewers: u32, clients: u32) -> bool {
        self.viewers.store(viewers, Relaxed);
        self.clients.store(clients, Relaxed);
        self.wanted.swap(wanted, Relaxed) != wanted
    }
}

/// A subscriber of the publisher, and its newest feedback.
#[derive(Debug, Default)]
pub(super) struct RelayPeer {
    topics: Vec<Vec<u8>>,
    feedback: Option<FeedbackState>,
    refusals: Option<Refusals>,
}

/// What a relay said last of streams that it does not take.
#[derive(Debug)]
struct Refusals {
    at: Time,
    relay: String,
    /// For each stream here.
    reasons: Vec<Option<String>>,
}

/// The newest feedback of a relay.
#[derive(Debug)]
pub(super) struct FeedbackState {
    pub(super) relay: u64,
    sequence: u64,
    /// Feedback messages so far.
    pub(super) reports: u64,
    /// Feedback messages that were lost.
    pub(super) lost: u64,
    /// For each stream here: viewers and clients.
    demand: Vec<(u32, u32)>,
}

impl RelayPeer {
    pub(super) fn on_subscriptions(&mut self, topics: &[Vec<u8>]) {
        self.topics = topics.to_vec();
    }

    /// Takes what feedback says of the relay; `names` are the streams here, in order.
    pub(super) fn on_feedback<'a>(
        &mut self,
        feedback: &FeedbackReport,
        names: impl Iterator<Item = &'a str>,
    ) {
        let before = self
            .feedback
            .take()
            .filter(|feedback_state| feedback_state.relay == feedback.relay);

        let (reports, lost, expected) = before.map_or((0, 0, feedback.sequence), |s| {
            (s.reports, s.lost, s.sequence + 1)
        });
        let demand = names.map(|name| {
            let asked = feedback.demand.iter().find(|demand| demand.stream == name);
            asked.map_or((0, 0), |demand| (demand.viewers, demand.clients))
        });

        self.feedback = Some(FeedbackState {
            relay: feedback.relay,
            sequence: feedback.sequence.min(u64::MAX - 1),
            reports: reports + 1,
            lost: lost.saturating_add(feedback.sequence.saturating_sub(expected)),
            demand: demand.collect(),
        });
    }

    /// Takes note of streams that the relay does not take; `names` are the streams here, in order. Returns the name of the
    /// relay and the reason of each that is news.
    pub(super) fn on_refused<'a>(
        &mut self,
        now: Time,
        refused: &RefusedStreams,
        names: impl Iterator<Item = &'a str>,
    ) -> Vec<(String, String)> {
        let reasons = names.map(|name| {
            let found = refused.streams.iter().find(|it| it.stream == name);
            found.map(|it| sanitize_reason(&it.reason))
        });
        let refusals = Refusals {
            at: now,
            relay: sanitize_reason(&refused.relay),
            reasons: reasons.collect(),
        };

        let is_news = |(index, reason): &(usize, String)| {
            self.refusal(now, *index).is_none_or(|it| it.1 != reason)
        };
        let told = refusals.reasons.iter().cloned().enumerate();
        let news = told
            .filter_map(|(index, reason)| Some((index, reason?)))
            .filter(is_news)
            .map(|(_, reason)| (refusals.relay.clone(), reason))
            .collect();
        self.refusals = Some(refusals);
        news
    }

    /// Why the relay does not take stream `index`, behind its name; none when it does.
    pub(super) fn refusal(&self, now: Time, index: usize) -> Option<(&str, &str)> {
        let refusals = self.refusals.as_ref()?;
        let reason = refusals.reasons.get(index)?.as_deref()?;
        let is_recent = now.saturating_since(refusals.at) < REFUSED_FOR;
        is_recent.then_some((&refusals.relay, reason))
    }

    pub(super) const fn feedback_state(&self) -> Option<&FeedbackState> {
        self.feedback.as_ref()
    }

    /// How many watch stream `index` by this peer, and whether anybody does: one that never sends feedback watches
    /// whatever it subscribes to.
    pub(super) fn demand(&self, index: usize, topic: &[u8]) -> (bool, u32, u32) {
        match &self.feedback {
            Some(feedback_state) => {
                let (viewers, clients) = feedback_state
                    .demand
                    .get(index)
                    .copied()
                    .unwrap_or_default();
                (viewers > 0 || clients > 0, viewers, clients)
            }
            None => (
                self.topics.iter().any(|prefix| topic.starts_with(prefix)),
                0,
                0,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use fanlight_proto::message::{Demand, RefusedStream};

    use super::*;

    fn feedback(relay: u64, sequence: u64, demand: &[(&str, u32, u32)]) -> FeedbackReport {
        let demand = demand.iter().map(|&(stream, viewers, clients)| Demand {
            stream: stream.into(),
            viewers,
            clients,
        });

        FeedbackReport {
            relay,
            sequence,
            demand: demand.collect(),
            viewers: Vec::new(),
        }
    }

    fn update(peer: &mut RelayPeer, feedback: &FeedbackReport) {
        peer.on_feedback(feedback, ["cam", "cam.canary"].into_iter());
    }

    #[test]
    fn a_peer_that_says_nothing_watches_what_it_is_sent() {
        let mut peer = RelayPeer::default();
        assert!(!peer.demand(0, b"cam/").0);
        peer.on_subscriptions(&[b"cam/".to_vec()]);
        assert!(peer.demand(0, b"cam/").0);
        assert!(!peer.demand(1, b"cam.canary/").0);
        peer.on_subscriptions(&[Vec::new()]);
        assert!(peer.demand(1, b"cam.canary/").0);
    }

    #[test]
    fn a_relay_watches_what_it_says_and_no_more() {
        let mut peer = RelayPeer::default();
        peer.on_subscriptions(&[Vec::new()]);
        update(
            &mut peer,
            &feedback(1, 1, &[("cam", 2, 0), ("other", 9, 9)]),
        );

        assert_eq!(peer.demand(0, b"cam/"), (true, 2, 0));
        assert_eq!(peer.demand(1, b"cam.canary/"), (false, 0, 0));
        update(&mut peer, &feedback(1, 2, &[("cam", 0, 1)]));
        assert_eq!(peer.demand(0, b"cam/"), (true, 0, 1));
        update(&mut peer, &feedback(1, 3, &[]));
        assert_eq!(peer.demand(0, b"cam/"), (false, 0, 0));
    }

    #[test]
    fn a_refusal_is_news_once_and_holds_while_it_is_repeated() {
        let mut peer = RelayPeer::default();
        let refused = RefusedStreams {
            relay: "lobby\u{1b} 0.0.0.0:5004".into(),
            streams: vec![RefusedStream {
                stream: "cam.canary".into(),
                reason: "taken".into(),
            }],
        };
        let tell = |peer: &mut RelayPeer, at| {
            peer.on_refused(at, &refused, ["cam", "cam.canary"].into_iter())
        };

        let now = Time::default() + REFUSED_FOR;
        assert_eq!(tell(&mut peer, now).len(), 1);
        assert!(tell(&mut peer, now).is_empty(), "the same again");
        assert_eq!(peer.refusal(now, 0), None);
        let known = peer.refusal(now, 1);
        assert_eq!(known, Some(("lobby? 0.0.0.0:5004", "taken")));
        assert_eq!(peer.refusal(now + REFUSED_FOR, 1), None);
        assert_eq!(tell(&mut peer, now + REFUSED_FOR).len(), 1);
    }

    #[test]
    fn words_that_did_not_come_are_counted_for_each_run_of_a_relay() {
        let mut peer = RelayPeer::default();
        for sequence in [5, 6, 9, 9, u64::MAX] {
            update(&mut peer, &feedback(1, sequence, &[]));
        }

        let feedback_state = peer.feedback_state().unwrap();
        assert_eq!(
            (feedback_state.reports, feedback_state.lost),
            (5, 2 + (u64::MAX - 10))
        );

        update(&mut peer, &feedback(2, 7, &[]));
        assert_eq!(
            peer.feedback_state()
                .map(|feedback_state| (feedback_state.reports, feedback_state.lost)),
            Some((1, 0))
        );
    }
}
