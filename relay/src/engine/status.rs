//! What the engine knows, copied out to be shown: nothing here changes anything.

use std::net::SocketAddr;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::{Report, State, Status, StreamName, Verdict};

use super::Engine;
use super::arrival::Arrival;
use super::counts::Counts;
use super::sessions::Session;
use super::streams::Stream;

/// A snapshot of the engine.
#[derive(Clone, Debug, Default)]
pub struct EngineStatus {
    /// When it was taken.
    pub at: Time,
    /// The streams, in the order in which they came: at most [`MAX_STREAMS`](fanlight_proto::limits::MAX_STREAMS).
    pub streams: Vec<StreamEntry>,
    /// The viewers, in the order of their addresses.
    pub viewers: Vec<ViewerEntry>,
    /// What happened so far.
    pub counts: Counts,
    /// As [`Engine::skipped`].
    pub skipped: u64,
    /// Viewers that have a socket of their own.
    pub dedicated_sockets: usize,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its name.
    pub name: StreamName,
    /// Pixels of its coded pictures; zero before the first.
    pub size: (u32, u32),
    /// The rate its input says it runs at, in thousandths of a frame a second; 0: it does not say.
    pub rate_millihertz: u32,
    /// What its source said last.
    pub state: State,
    /// What a person should read about that.
    pub reason: String,
    /// The source is silent.
    pub source_gone: bool,
    /// The run of its source.
    pub epoch: u64,
    /// The newest number of that run that the relay knows of.
    pub newest: u64,
    /// The source it comes from, by its place in the settings.
    pub origin: usize,
    /// Viewers over UDP, those that stand by included.
    pub viewers: u32,
    /// Who watches it over HTTP.
    pub clients: u32,
}

/// One viewer over UDP.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewerEntry {
    /// What its operator calls it.
    pub name: String,
    /// Where it is.
    pub address: SocketAddr,
    /// What it watches.
    pub stream: StreamName,
    /// How long its session has lasted.
    pub since: Duration,
    /// Since its last word.
    pub silent: Duration,
    /// What it said of itself.
    pub report: Report,
    /// Frames left out for the sake of what its way can take.
    pub skipped: u64,
    /// Frames of which it was sent a part only.
    pub aborted: u64,
    /// The share of the stream's frames that it is sent: 1 is all.
    pub share: f64,
    /// The level of parity that it gets, 0 (none) to 3.
    pub parity_level: u8,
    /// It has a socket of its own.
    pub own_socket: bool,
    /// It gets the stream by multicast.
    pub in_group: bool,
    /// It stands by: another path brings it the stream.
    pub paused: bool,
    /// What the source makes of what was found on its screen; none when it says nothing.
    pub verdict: Option<Verdict>,
}

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
                report: *delivery.report(),
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
                .map(|stream| entry(stream, self.feedback.clients(&stream.name)))
                .collect(),
            viewers: self.sessions.iter().filter_map(entry_of).collect(),
            counts: *self.counts(),
            skipped: self.skipped(),
            dedicated_sockets: self.dedicated_sockets(),
        }
    }

    /// How many viewers get their stream by multicast.
    #[must_use]
    pub fn in_groups(&self) -> usize {
        let by_multicast = |session: &&Session| session.delivery.is_by_multicast();
        self.sessions.iter().filter(by_multicast).count()
    }

    /// Whether `arrival` belongs to the present of a stream, as it was when the engine took it: not when the engine
    /// refused it.
    #[must_use]
    pub fn carries(&self, arrival: &Arrival) -> bool {
        self.streams
            .named(&arrival.frame.stream)
            .is_some_and(|stream| {
                stream.origin == arrival.origin && stream.status().epoch == arrival.frame.id.epoch
            })
    }

    /// When `arrival` was captured by our clock, in microseconds; none when its source's clock is not known.
    #[must_use]
    pub fn captured_us(&self, now: Time, arrival: &Arrival) -> Option<i64> {
        let header = &arrival.frame.header;
        let clock = self
            .clocks
            .at(now, arrival.origin)
            .filter(|clock| clock.clock_id == header.clock_id)?;
        Some(
            i64::try_from(header.captured_ns)
                .ok()?
                .saturating_sub(clock.offset_ns)
                / 1_000,
        )
    }
}

fn entry(stream: &Stream, clients: u32) -> StreamEntry {
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
        viewers: u32::try_from(stream.members().len()).unwrap_or(u32::MAX),
        clients,
    }
}
