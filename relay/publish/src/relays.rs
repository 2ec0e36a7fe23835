//! What the relays say that have streams from this one: who watches, what their viewers found. Called on the publisher's thread.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_live::StreamTable;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{
    ControlAnswer, ControlRequest, FeedbackReport, RefusedStreams, SourceClock, StreamName,
    ViewerVerdict,
};
use fanlight_publisher::{ControlHandler, ControlReply, FeedbackSink};
use parking_lot::Mutex;
use serde::Serialize;

/// Viewers of one relay whose verdicts are passed on: those that were reported last.
const MAX_VIEWERS: usize = 4096;

/// A verdict is told for so long, as a viewer is told it.
const VERDICT_HOLDS: Duration = Duration::from_secs(3);

/// The relays that are connected.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    table: OnceLock<Arc<StreamTable>>,
    peers: Mutex<BTreeMap<u64, Peer>>,
}

/// One subscriber. As many as the publisher has places for.
#[derive(Debug, Default)]
struct Peer {
    /// Prefixes of what it is sent.
    topics: Vec<Vec<u8>>,
    /// How many watch, when it says so: a relay does, another subscriber watches what it subscribes to.
    demand: Option<BTreeMap<String, u32>>,
    /// Names its run.
    run: u64,
    /// The viewers that it reported, by their names here, and what their source made of each.
    viewers: BTreeMap<u64, Option<(Time, ViewerVerdict)>>,
}

/// What a viewer that its relay calls so is called here and above: relays count their viewers, and each run is a random number.
/// Turns the name here back, too.
const fn renamed(viewer: u64, run: u64) -> u64 {
    viewer ^ run
}

impl Peer {
    fn watching(&self, stream: &StreamName) -> u32 {
        match &self.demand {
            Some(demand) => demand.get(stream.as_str()).copied().unwrap_or_default(),
            None => {
                let topic = stream.topic();
                u32::from(self.topics.iter().any(|prefix| topic.starts_with(prefix)))
            }
        }
    }
}

/// What any subscriber may ask for, as of a source.
#[derive(Serialize)]
struct Status {
    version: u32,
    streams: Vec<StreamStatus>,
}

#[derive(Serialize)]
struct StreamStatus {
    name: String,
}

impl Relays {
    /// Streams are those of `table` from now on.
    pub(crate) fn serve(&self, table: Arc<StreamTable>) {
        // It is called once, at the start.
        let _ = self.table.set(table);
    }

    /// Tells the table how many watch each stream over all relays.
    pub(crate) fn tell_demand(&self, now: Time) {
        let Some(table) = self.table.get() else {
            return;
        };
        let peers = self.peers.lock();
        table.set_downstream_demand(now, |stream| {
            let watching = peers.values().map(|peer| peer.watching(stream));
            watching.fold(0, u32::saturating_add)
        });
    }

    /// Keeps what a source makes of viewers for the relays that reported them.
    pub(crate) fn on_verdicts(&self, now: Time, verdicts: &[ViewerVerdict]) {
        let mut peers = self.peers.lock();
        for verdict in verdicts {
            let known = peers
                .values_mut()
                .find_map(|peer| peer.viewers.get_mut(&verdict.viewer));
            if let Some(told) = known {
                *told = Some((now, *verdict));
            }
        }
    }

    fn change(&self, now: Time, change: impl FnOnce(&mut BTreeMap<u64, Peer>)) {
        change(&mut self.peers.lock());
        self.tell_demand(now);
    }
}

impl FeedbackSink for Relays {
    fn on_subscriptions(&self, now: Time, peer: u64, topics: &[Vec<u8>]) {
        self.change(now, |peers| {
            peers.entry(peer).or_default().topics = topics.to_vec();
        });
    }

    fn on_feedback(&self, now: Time, peer: u64, feedback: FeedbackReport) {
        let FeedbackReport {
            relay: run,
            demand,
            mut viewers,
            ..
        } = feedback;
        for report in &mut viewers {
            report.viewer = renamed(report.viewer, run);
        }
        // A source takes no report with a viewer 0.
        viewers.retain(|report| report.viewer != 0);

        let watching = demand.into_iter().map(|demand| {
            let watching = demand.viewers.saturating_add(demand.clients);
            (demand.stream, watching)
        });
        self.change(now, |peers| {
            let peer = peers.entry(peer).or_default();
            peer.demand = Some(watching.collect());
            if std::mem::replace(&mut peer.run, run) != run {
                peer.viewers.clear();
            }
            for report in &viewers {
                if report.left {
                    peer.viewers.remove(&report.viewer);
                } else {
                    peer.viewers.entry(report.viewer).or_default();
                }
            }
            while peer.viewers.len() > MAX_VIEWERS {
                peer.viewers.pop_first();
            }
        });

        if let Some(table) = self.table.get().filter(|_| !viewers.is_empty()) {
            table.put_viewer_reports(viewers);
        }
    }

    fn on_refused(&self, now: Time, peer: u64, refused: RefusedStreams) {
        // Only a relay says this: it watches nothing of what it does not take, and may have no other word for that.
        self.change(now, |peers| {
            let peer = peers.entry(peer).or_default();
            peer.demand.get_or_insert_default();
        });
        for stream in refused.streams {
            let reason = stream.reason;
            tracing::debug!(
                peer,
                stream = stream.stream,
                "a relay does not take it: {reason}"
            );
        }
    }

    fn on_gone(&self, now: Time, peer: u64) {
        self.change(now, |peers| drop(peers.remove(&peer)));
    }

    fn verdicts(&self, now: Time, peer: u64) -> Vec<ViewerVerdict> {
        let mut peers = self.peers.lock();
        let Some(peer) = peers.get_mut(&peer) else {
            return Vec::new();
        };

        let run = peer.run;
        let told = peer.viewers.values_mut().filter_map(Option::take);
        told.filter(|(at, _)| now.saturating_since(*at) < VERDICT_HOLDS)
            .map(|(_, told)| ViewerVerdict {
                viewer: renamed(told.viewer, run),
                ..told
            })
            .collect()
    }

    fn status(&self, now: Time) -> Vec<u8> {
        let streams = self
            .table
            .get()
            .map(|table| table.list(now))
            .unwrap_or_default();
        let streams = streams.iter().map(|stream| StreamStatus {
            name: stream.entry.name.to_string(),
        });
        let status = Status {
            version: 2,
            streams: streams.collect(),
        };
        serde_json::to_vec(&status).unwrap_or_default()
    }

    fn source_clocks(&self) -> Vec<SourceClock> {
        let clocks = self.table.get().map(|table| table.source_clocks());
        let mut clocks = clocks.unwrap_or_default();
        // Who reads our clock is known by the answer itself.
        let own = clock::clock_id();
        clocks.retain(|clock| clock.clock_id != own);
        clocks.truncate(fanlight_proto::limits::MAX_STREAMS);
        clocks
    }
}

/// What the administrator of a relay below is told.
const CONTROLS_ELSEWHERE: &str = "the stream comes through another relay, which passes no controls on: set them at the relay that has it \
                                  from the source, or there with fanlight-source controls";

/// Answers that a camera is not to be controlled through this relay: a request does not say of which.
#[derive(Debug)]
pub(crate) struct NoControls;

impl ControlHandler for NoControls {
    fn request(self: Arc<Self>, request: ControlRequest, reply: ControlReply) {
        reply(ControlAnswer {
            request: request.request,
            refusal: CONTROLS_ELSEWHERE.to_owned(),
            ..ControlAnswer::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use fanlight_proto::limits::SOURCE_STALE;
    use fanlight_proto::message::{Demand, Verdict, ViewerReport};

    use super::*;

    const RUN: u64 = 0x5eed_0000_0000_0000;

    fn feedback(viewers: u32, clients: u32) -> FeedbackReport {
        let report = ViewerReport {
            stream: "cam".to_owned(),
            viewer: 7,
            ..ViewerReport::default()
        };
        FeedbackReport {
            relay: RUN,
            demand: vec![Demand {
                stream: "cam".to_owned(),
                viewers,
                clients,
            }],
            viewers: vec![report],
            ..FeedbackReport::default()
        }
    }

    fn watching(relays: &Relays) -> u32 {
        let cam = "cam".parse().unwrap();
        relays
            .peers
            .lock()
            .values()
            .map(|peer| peer.watching(&cam))
            .sum()
    }

    #[test]
    fn a_relay_watches_what_it_says_and_another_subscriber_what_it_gets() {
        let (relays, now) = (Relays::default(), Time::from_nanos(1));
        relays.serve(StreamTable::new(SOURCE_STALE));
        relays.on_subscriptions(now, 1, &[b"cam/".to_vec()]);
        assert_eq!(watching(&relays), 1);
        relays.on_feedback(now, 1, feedback(0, 0));
        assert_eq!(watching(&relays), 0);
        relays.on_feedback(now, 1, feedback(2, 3));
        relays.on_feedback(now, 2, feedback(1, 0));
        assert_eq!(watching(&relays), 6);
        relays.on_gone(now, 1);
        assert_eq!(watching(&relays), 1);

        relays.on_subscriptions(now, 3, &[Vec::new()]);
        assert_eq!(watching(&relays), 2);
        relays.on_refused(now, 3, RefusedStreams::default());
        assert_eq!(watching(&relays), 1);
    }

    #[test]
    fn a_verdict_goes_once_to_the_relay_that_reported_the_viewer() {
        let (relays, now) = (Relays::default(), Time::from_nanos(1));
        relays.on_subscriptions(now, 1, &[Vec::new()]);
        relays.on_feedback(now, 2, feedback(1, 0));
        let own = ViewerVerdict {
            viewer: 7,
            verdict: Some(Verdict::default()),
        };
        let theirs = ViewerVerdict {
            viewer: renamed(7, RUN),
            ..own
        };
        relays.on_verdicts(now, &[own, theirs]);
        assert!(relays.verdicts(now, 1).is_empty());
        assert_eq!(relays.verdicts(now, 2), [own]);
        assert!(relays.verdicts(now, 2).is_empty());

        relays.on_verdicts(now, &[theirs]);
        assert!(relays.verdicts(now + VERDICT_HOLDS, 2).is_empty());
    }
}
