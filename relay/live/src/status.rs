//! What the engine of the UDP side publishes for other outputs to show. Plain data.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::limits::PRESENT_HOLDS;
use fanlight_proto::message::{
    Health, NotShown, Report, SourceClock, State, Status, StreamInfo, StreamName, Verdict,
};

use crate::ledger::Refusals;
use crate::screens::ScreenEntry;

/// A snapshot of the engine.
#[derive(Clone, Debug, Default)]
pub struct EngineStatus {
    /// When it was taken.
    pub at: Time,
    /// The streams, in the order in which they came: at most
    /// [`MAX_STREAMS`](fanlight_proto::limits::MAX_STREAMS).
    pub streams: Vec<StreamEntry>,
    /// The viewers, in the order of their addresses.
    pub viewers: Vec<ViewerEntry>,
    /// The screens that take directions, in the order of their names.
    pub screens: Vec<ScreenEntry>,
    /// What sources make of what clients of other outputs found, by the
    /// [numbers](crate::ClientHandle::number) of the clients.
    pub verdicts: BTreeMap<u64, Verdict>,
    /// What happened since the relay began.
    pub counters: Vec<Counter>,
    /// What viewers asked for and did not get.
    pub refusals: Refusals,
    /// Viewers that have a socket of their own.
    pub dedicated_sockets: usize,
}

impl EngineStatus {
    /// The screen of that name that takes directions.
    #[must_use]
    pub fn screen(&self, name: &str) -> Option<&ScreenEntry> {
        self.screens.iter().find(|entry| entry.name == name)
    }
}

/// A count that never falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Its name, as Prometheus has it, without prefix and `_total`.
    pub name: &'static str,
    /// What it counts, for people.
    pub help: &'static str,
    /// The count.
    pub value: u64,
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
    /// How the clock of that source relates to the relay's; none when not known.
    pub clock: Option<SourceClock>,
    /// Viewers over UDP, those that stand by included.
    pub viewers: u32,
    /// Clients of all other outputs.
    pub clients: u32,
}

impl StreamEntry {
    /// What becomes of the stream, as viewers are told.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            state: self.state.into(),
            reason: self.reason.clone(),
            source_gone: self.source_gone,
            epoch: self.epoch,
            newest: self.newest,
        }
    }

    /// The stream, as viewers are told.
    #[must_use]
    pub fn info(&self) -> StreamInfo {
        StreamInfo {
            name: self.name.to_string(),
            alias: 0,
            epoch: self.epoch,
            width: self.size.0,
            height: self.size.1,
            rate_millihertz: self.rate_millihertz,
            status: Some(self.status()),
        }
    }
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
    /// Since its last message.
    pub silent: Duration,
    /// What it said of itself.
    pub report: Report,
    /// Frames skipped because its link cannot take them.
    pub skipped: u64,
    /// Frames of which it was sent only a part.
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
    /// What the source makes of what was detected on its screen; none when it says nothing.
    pub verdict: Option<Verdict>,
}

impl ViewerEntry {
    /// How right its screen is, so long after the snapshot; none when nobody knows. The source's verdict ends later than what
    /// the screen says: what it judges by goes there and back.
    #[must_use]
    pub fn health(&self, aged: Duration) -> Option<Health> {
        let health = screen_health(self.report.not_shown(), self.verdict)?;
        let is_silent = self.silent + aged > PRESENT_HOLDS;
        Some(if is_silent { Health::Blind } else { health })
    }
}

/// How right a screen is; none when nobody knows.
pub(crate) fn screen_health(not_shown: NotShown, verdict: Option<Verdict>) -> Option<Health> {
    match not_shown {
        NotShown::Unspecified => verdict.map(|verdict| verdict.health()),
        // What it shows instead is no picture that a source could judge.
        NotShown::Directed => None,
        _ => Some(Health::Blind),
    }
}

/// One line of the stream list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedStream {
    /// As the engine knows it.
    pub entry: StreamEntry,
    /// The canary stream that runs beside it; empty: none.
    pub canary: String,
    /// Clients of all outputs but UDP.
    pub clients: u32,
    /// Pictures that came in the last second.
    pub fps: f64,
    /// How old the newest picture is, in microseconds.
    pub age_us: Option<u64>,
}

impl ListedStream {
    /// The same without what changes all the time: only if this differs, the list has a new version.
    pub(crate) fn lasting(&self) -> Self {
        let entry = StreamEntry {
            newest: 0,
            clock: None,
            clients: 0,
            ..self.entry.clone()
        };

        Self {
            entry,
            fps: 0.0,
            age_us: None,
            ..self.clone()
        }
    }
}
