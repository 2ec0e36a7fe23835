//! The table of all viewers and streams of a source. No clock, no I/O.

mod evaluation;
mod reporting;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::{FeedbackReport, RefusedStreams, State, StreamName, ViewerReport};

use super::demand::{RelayPeer, StreamDemand};
use super::ground_truth::{GroundTruth, PublishedFrame};
use super::health::{Limits, ScreenHealth};
use super::report::RefusedBy;
use super::screen_log::HealthChanges;
use super::viewer::{Reference, Viewer};
use reporting::SummaryState;

/// Most viewers in the table: the thousand of one relay. Beyond that the relay with the most viewers yields a row.
pub const MAX_VIEWERS: usize = 1024;

/// How long a viewer that left stays in the table, so that reports still show it.
pub const LEFT_KEPT: Duration = Duration::from_secs(60);

/// Streams of one source: the camera, and its canary.
pub const MAX_STREAMS: usize = 2;

/// What the frames of a stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the source is for.
    Main,
    /// The synthetic stream beside it.
    Canary,
}

/// A stream of this source, by the order in which they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamIndex(pub(super) usize);

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: StreamName,
    pub(super) kind: Kind,
    pub(super) truths: GroundTruth,
    pub(super) demand: Arc<StreamDemand>,
    pub(super) state: State,
    pub(super) reason: String,
    pub(super) input: String,
}

/// Identifies a row: the connection, the run of the relay, the relay's id of the viewer, and the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) peer: u64,
    pub(super) relay: u64,
    pub(super) viewer: u64,
    pub(super) stream: StreamIndex,
}

#[derive(Debug)]
pub(super) struct Row {
    /// Counts the rows of this run of the source.
    pub(super) number: u64,
    /// The number of the screen, when it has said which it is: that of the first row of that screen.
    pub(super) screen: Option<u64>,
    pub(super) viewer: Viewer,
    pub(super) health: ScreenHealth,
    /// Whether the log has said that it left.
    pub(super) told_gone: bool,
}

/// The verification state of a source.
#[derive(Debug)]
pub struct VerificationState {
    pub(super) limits: Limits,
    pub(super) history: usize,
    pub(super) started: Time,
    pub(super) streams: Vec<Stream>,
    pub(super) peers: BTreeMap<u64, RelayPeer>,
    pub(super) rows: BTreeMap<Key, Row>,
    /// Rows so far.
    numbered: u64,
    /// Viewers that found no room, or that were removed to make room.
    pub(super) left_out: u64,
    pub(super) changes: HealthChanges,
    summary: SummaryState,
}

impl VerificationState {
    /// An empty table. Screens are evaluated by `limits`; the newest `history` detections of each viewer are kept.
    #[must_use]
    pub fn new(started: Time, limits: Limits, history: usize) -> Self {
        Self {
            limits,
            history,
            started,
            streams: Vec::new(),
            peers: BTreeMap::new(),
            rows: BTreeMap::new(),
            numbered: 0,
            left_out: 0,
            changes: HealthChanges::default(),
            summary: SummaryState::default(),
        }
    }

    /// Adds a stream in its run `epoch`.
    ///
    /// # Panics
    /// When there are [`MAX_STREAMS`] already.
    pub fn add_stream(
        &mut self,
        name: StreamName,
        kind: Kind,
        epoch: u64,
        input: &str,
    ) -> StreamIndex {
        assert!(
            self.streams.len() < MAX_STREAMS,
            "a source has a stream and its canary"
        );

        self.streams.push(Stream {
            name,
            kind,
            truths: GroundTruth::new(epoch),
            demand: Arc::default(),
            state: State::Opening,
            reason: String::new(),
            input: input.to_owned(),
        });

        let _ = self.count_demand();
        StreamIndex(self.streams.len() - 1)
    }

    /// Whether anybody watches a stream.
    #[must_use]
    pub fn demand(&self, stream: StreamIndex) -> Arc<StreamDemand> {
        Arc::clone(&self.streams[stream.0].demand)
    }

    /// Whether there is a screen to judge, or one that left lately.
    #[must_use]
    pub fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    /// A frame is about to be published.
    pub fn on_published(&mut self, stream: StreamIndex, frame: PublishedFrame) {
        self.streams[stream.0].truths.on_published(frame);
    }

    /// The pictures of a stream come from `input` now.
    pub fn set_input(&mut self, stream: StreamIndex, input: &str) {
        input.clone_into(&mut self.streams[stream.0].input);
    }

    /// The status of a stream's input changed.
    pub fn on_input_status(&mut self, stream: StreamIndex, state: State, reason: &str) {
        let stream = &mut self.streams[stream.0];
        stream.state = state;
        reason.clone_into(&mut stream.reason);
    }

    /// See [`FeedbackSink::on_subscriptions`](crate::publisher::FeedbackSink::on_subscriptions). Returns whether a stream gained its first viewer or lost its last.
    pub fn on_subscriptions(&mut self, peer: u64, topics: &[Vec<u8>]) -> bool {
        self.peers.entry(peer).or_default().on_subscriptions(topics);
        self.count_demand()
    }

    /// See [`FeedbackSink::on_feedback`](crate::publisher::FeedbackSink::on_feedback). Returns whether a stream gained its first viewer or lost its last.
    pub fn on_feedback(&mut self, now: Time, peer: u64, feedback: &FeedbackReport) -> bool {
        let names = self.streams.iter().map(|stream| stream.name.as_str());
        self.peers
            .entry(peer)
            .or_default()
            .on_feedback(feedback, names);

        for seen in &feedback.viewers {
            self.on_viewer_report(now, peer, feedback.relay, seen);
        }

        self.count_demand()
    }

    /// A relay does not take some streams. Returns which of these refusals are news.
    pub fn on_refused(&mut self, now: Time, peer: u64, refused: &RefusedStreams) -> Vec<RefusedBy> {
        let streams = self.streams.iter().map(|stream| stream.name.as_str());
        let relay = self.peers.entry(peer).or_default();
        let news = relay.on_refused(now, refused, streams);
        news.into_iter()
            .map(|(relay, reason)| RefusedBy {
                peer,
                relay,
                reason,
            })
            .collect()
    }

    /// Which relays do not take a stream.
    pub fn refused_by(&self, now: Time, stream: StreamIndex) -> Vec<RefusedBy> {
        let refusals = self.peers.iter().filter_map(|(peer, known)| {
            let (relay, reason) = known.refusal(now, stream.0)?;
            Some(RefusedBy {
                peer: *peer,
                relay: relay.to_owned(),
                reason: reason.to_owned(),
            })
        });
        refusals.collect()
    }

    /// See [`FeedbackSink::on_gone`](crate::publisher::FeedbackSink::on_gone). Returns whether a stream gained its first viewer or lost its last.
    pub fn on_gone(&mut self, now: Time, peer: u64) -> bool {
        self.peers.remove(&peer);
        for (_, row) in self.rows.iter_mut().filter(|(key, _)| key.peer == peer) {
            row.viewer.left.get_or_insert(now);
        }
        self.count_demand()
    }

    fn on_viewer_report(&mut self, now: Time, peer: u64, relay: u64, seen: &ViewerReport) {
        let known = self
            .streams
            .iter()
            .position(|stream| stream.name.as_str() == seen.stream);

        let Some(stream) = known.map(StreamIndex) else {
            return;
        };

        let key = Key {
            peer,
            relay,
            viewer: seen.viewer,
            stream,
        };

        if !self.rows.contains_key(&key) && (seen.left || !self.make_room(peer)) {
            return;
        }

        let truths = &self.streams[stream.0].truths;
        let second = now.saturating_since(self.started).as_secs();
        let row = self.rows.entry(key).or_insert_with(|| {
            self.numbered += 1;
            let viewer = Viewer::new(now, self.history, truths);
            Row {
                number: self.numbered,
                screen: None,
                viewer,
                health: ScreenHealth::Unmeasured("it has just come"),
                told_gone: false,
            }
        });

        row.viewer.on_viewer_report(
            &Reference {
                truths,
                second,
                now,
            },
            seen,
        );

        self.number_screen(key);
    }

    /// Gives a row that has said which screen it is the number of that screen. The number stays when the row that it came
    /// from is removed.
    fn number_screen(&mut self, key: Key) {
        let row = &self.rows[&key];
        let screen = row.viewer.screen;
        if row.screen.is_some() || screen == 0 {
            return;
        }

        let known = self
            .rows
            .values()
            .filter(|other| other.viewer.screen == screen)
            .find_map(|other| other.screen);

        let row = self.rows.get_mut(&key).expect("the row was found above");
        row.screen = Some(known.unwrap_or(row.number));
    }

    /// Whether there is room for one more of `peer`: perhaps one who left long ago gives way, or one of the peer that has
    /// the most, as long as that is more than this one has.
    fn make_room(&mut self, peer: u64) -> bool {
        if self.rows.len() < MAX_VIEWERS {
            return true;
        }

        let gone = self
            .rows
            .iter()
            .filter_map(|(key, row)| Some((row.viewer.left?, *key)))
            .min();

        let yields = gone
            .map(|(_, key)| key)
            .or_else(|| self.quietest_of_the_largest(peer));
        self.left_out += u64::from(gone.is_none());
        yields.is_some_and(|key| self.rows.remove(&key).is_some())
    }

    fn quietest_of_the_largest(&self, newcomer: u64) -> Option<Key> {
        let mut sizes = BTreeMap::<u64, usize>::new();
        self.rows
            .keys()
            .for_each(|key| *sizes.entry(key.peer).or_default() += 1);
        let own = sizes.get(&newcomer).copied().unwrap_or_default();
        let (&largest, &size) = sizes.iter().max_by_key(|(_, size)| **size)?;
        let of_it = || self.rows.iter().filter(|(key, _)| key.peer == largest);
        (size > own + 1).then(|| {
            of_it()
                .min_by_key(|(_, row)| row.viewer.heard)
                .map(|(key, _)| *key)
        })?
    }

    fn count_demand(&self) -> bool {
        let mut changed = false;
        for (index, stream) in self.streams.iter().enumerate() {
            let topic = stream.name.topic();
            let (mut wanted, mut viewers, mut clients) = (false, 0_u32, 0_u32);
            for (there, by_udp, by_http) in
                self.peers.values().map(|peer| peer.demand(index, &topic))
            {
                wanted |= there;
                viewers = viewers.saturating_add(by_udp);
                clients = clients.saturating_add(by_http);
            }

            changed |= stream.demand.set(wanted, viewers, clients);
        }

        changed
    }
}
