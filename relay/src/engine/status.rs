//! What the engine knows, copied out to be shown: nothing here changes anything.

use fanlight_live::{Counter, EngineStatus, StreamEntry, ViewerEntry};
use fanlight_proto::clock::Time;
use fanlight_proto::message::{SourceClock, State, Status};

use super::Engine;
use super::counts::Counts;
use super::sessions::Session;
use super::stream::Stream;

impl Engine {
    /// A snapshot. It costs as much as copying all names.
    #[must_use]
    pub fn status(&self, now: Time) -> EngineStatus {
        let entry_of = |session: &Session| {
            let stream = self.streams.by_alias(session.alias)?;
            let delivery = &session.delivery;
            Some(ViewerEntry {
                name: session.name.clone(),
                address: session.route.remote,
                stream: stream.name.clone(),
                since: now.saturating_since(session.since),
                silent: now.saturating_since(session.heard),
                report: delivery.report(now),
                skipped: delivery.skipped(),
                aborted: delivery.aborted(),
                share: delivery.share(),
                parity_level: delivery.parity_level(),
                own_socket: delivery.is_isolated(),
                in_group: delivery.is_by_multicast(),
                paused: delivery.is_paused(),
                verdict: session.feedback.verdict(now),
            })
        };

        EngineStatus {
            at: now,
            streams: self
                .streams
                .iter()
                .map(|stream| {
                    let clients = self.feedback.clients(&stream.name);
                    let clock = self.clocks.at(now, stream.origin, stream.clock_id);
                    entry(stream, clients, clock)
                })
                .collect(),
            verdicts: self
                .clients
                .iter()
                .filter_map(|(client, screen)| Some((*client, screen.feedback.verdict(now)?)))
                .collect(),
            viewers: self.sessions.iter().filter_map(entry_of).collect(),
            screens: self.screen_entries(now),
            counters: self.counts().named(),
            refusals: self.refusals(),
            dedicated_sockets: self.dedicated_sockets(),
        }
    }

    /// How many viewers get their stream by multicast.
    #[must_use]
    pub fn in_groups(&self) -> usize {
        let by_multicast = |session: &&Session| session.delivery.is_by_multicast();
        self.sessions.iter().filter(by_multicast).count()
    }
}

fn entry(stream: &Stream, clients: u32, clock: Option<SourceClock>) -> StreamEntry {
    let info = stream.info();
    let Status {
        state,
        reason,
        source_gone,
        epoch,
        newest,
    } = stream.status().clone();

    StreamEntry {
        name: stream.name.clone(),
        size: (info.width, info.height),
        rate_millihertz: info.rate_millihertz,
        state: State::try_from(state).unwrap_or(State::Unspecified),
        reason,
        source_gone,
        epoch,
        newest,
        origin: stream.origin,
        clock,
        viewers: u32::try_from(stream.members().len()).unwrap_or(u32::MAX),
        clients,
    }
}

type Count = (&'static str, &'static str, fn(&Counts) -> u64);

/// Name and help of each count that is published, and which it is.
const COUNTS: [Count; 21] = [
    (
        "sent_frames",
        "Frames sent to the viewers of their stream",
        |counts| counts.frames_sent,
    ),
    (
        "superseded_frames",
        "Frames that gave way to newer ones before they could be sent",
        |counts| counts.superseded,
    ),
    (
        "refused_frames",
        "Frames of a stream too many, or of a name that another source has",
        |counts| counts.refused_frames,
    ),
    ("joins", "Sessions of UDP viewers opened", |counts| {
        counts.joins
    }),
    ("refused_joins", "Joins of UDP viewers refused", |counts| {
        counts.refusals
    }),
    (
        "expired_sessions",
        "Sessions of UDP viewers ended by silence",
        |counts| counts.expired,
    ),
    (
        "revoked_sessions",
        "Sessions ended because their key is known no more",
        |counts| counts.revoked,
    ),
    (
        "challenges",
        "Challenges sent to who wants to join",
        |counts| counts.challenges,
    ),
    (
        "malformed_datagrams",
        "Datagrams that are not of the protocol or break a bound",
        |counts| counts.malformed,
    ),
    (
        "unknown_session_datagrams",
        "Datagrams of sessions that do not exist",
        |counts| counts.unknown_sessions,
    ),
    (
        "unauthentic_datagrams",
        "Messages of sealed sessions that are not the viewer's",
        |counts| counts.unauthentic,
    ),
    (
        "refused_handshakes",
        "Handshakes with a wrong key, none, or one that is not known",
        |counts| counts.handshakes_refused,
    ),
    (
        "evicted_sessions",
        "Sessions that gave way to others in a full relay",
        |counts| counts.evicted,
    ),
    (
        "asked_repair_shards",
        "Shards that UDP viewers asked for again",
        |counts| counts.repairs_asked,
    ),
    ("sent_repair_shards", "Shards sent again", |counts| {
        counts.repairs_sent
    }),
    (
        "isolated_viewers",
        "UDP viewers that were given a socket of their own, because they had fallen behind",
        |counts| counts.isolated,
    ),
    (
        "left_groups",
        "UDP viewers that were taken out of their multicast group",
        |counts| counts.left_groups,
    ),
    (
        "rotated_keys",
        "Keys of streams that followed another",
        |counts| counts.keys_rotated,
    ),
    (
        "screen_directions",
        "Directions given to screens",
        |counts| counts.directions,
    ),
    (
        "dropped_screen_reports",
        "Reports of screens dropped: too many, of too many screens or sessions, or without a name",
        |counts| counts.dropped_screen_reports,
    ),
    (
        "unproved_screen_frames",
        "Reports of screens that name a frame which the relay has not had",
        |counts| counts.unproved_screen_frames,
    ),
];

impl Counts {
    fn named(&self) -> Vec<Counter> {
        let counter = |(name, help, count): &Count| Counter {
            name,
            help,
            value: count(self),
        };
        COUNTS.iter().map(counter).collect()
    }
}
