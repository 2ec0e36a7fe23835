//! The viewer's side of the protocol with one or several relays, sans-IO: datagrams and times come in; datagrams, complete
//! frames and link states go out. It joins again by itself whatever restarts, in any order.
//!
//! The socket thread drives it (see [`drive`](crate::udp::drive)), the simulator does on a virtual clock.

mod detections;
mod directed;
mod display;
mod fallback;
mod frame_tally;
mod group;
mod join_attempt;
mod link_state;
mod messages;
mod path;
mod progress;
mod repair;
mod session;
mod standby;
mod summary;
mod tcp;
#[cfg(test)]
mod tests;
mod totals;

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DataHeader, ToViewer};
use fanlight_proto::handshake::ViewerAccess;
use fanlight_proto::limits::{MAX_FRAME_BYTES, MAX_VIEWER_NAME};
use fanlight_proto::message::{Direct, FrameId, NotShown, StreamInfo, StreamName};
use fanlight_proto::reassembly::Reassembly;
use fanlight_proto::secrets::Secrets;

pub use detections::DetectionCounts;
use detections::DetectionSender;
use directed::Directed;
pub use directed::ScreenState;
use display::DisplayMonitor;
use fallback::Fallback;
pub use fallback::Transport;
use join_attempt::SplitMix64;
pub use link_state::{LinkState, state_word};
use path::Path;
pub use path::PathSummary;
use session::Withheld;
use standby::Standby;
pub use summary::{ClockOffset, Presentation, ReceivedFrame, Summary};

/// Relays that one viewer receives from at a time.
pub const MAX_PATHS: usize = 4;

/// Longest time that the picture of one stream stays while another is asked for: less than any picture may be old.
const MAX_SWITCHING: Duration = Duration::from_millis(500);

/// What to ask a relay for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A stream; none: whichever the relay has first.
    Stream(Option<StreamName>),
    /// The list of its streams, and no session.
    List,
}

/// What several relays are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redundancy {
    /// All send: no frame is lost while one of them does.
    #[default]
    Both,
    /// One sends, and the others begin when it fails.
    Standby,
}

/// How a path reaches its relay.
#[derive(Clone, Debug)]
pub enum Carrier {
    /// By datagrams, with this proof of access.
    Udp(ViewerAccess),
    /// By a connection, which carries frames whole. It replaces the path `instead_of` over UDP to the same relay while
    /// that brings nothing; none: it is there all the time.
    Tcp {
        /// The number of that path.
        instead_of: Option<usize>,
    },
}

/// How an [`Engine`] behaves.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// What to ask for.
    pub request: Request,
    /// What the operator calls this screen; cut to [`MAX_VIEWER_NAME`] bytes.
    pub name: String,
    /// Frames of more bytes are refused.
    pub max_frame_bytes: usize,
    /// Datagrams that the socket holds, for the relay to pace by.
    pub receive_capacity: u32,
    /// How to reach each relay, 1 to [`MAX_PATHS`] of them; the paths are numbered from 0.
    pub paths: Vec<Carrier>,
    /// What more than one is for.
    pub redundancy: Redundancy,
    /// A sealed session has a new handshake after so long at most; usually [`REKEY_INTERVAL`].
    ///
    /// [`REKEY_INTERVAL`]: fanlight_proto::limits::REKEY_INTERVAL
    pub rekey_interval: Duration,
}

/// What the engine wants done.
#[derive(Debug)]
pub enum Output {
    /// This datagram goes to the relay of this path.
    Send(usize, Vec<u8>),
    /// A frame is whole.
    Frame(ReceivedFrame),
    /// The link state is now this.
    LinkState(LinkState),
    /// The answer to [`Request::List`]: streams, and how many there are in all.
    List(Vec<StreamInfo>, u32),
    /// Path `.0` may get its media by this group: join it if possible, and say so by [`Engine::on_group_joined`]. Stay in
    /// no other on account of this path.
    JoinGroup(usize, SocketAddrV4),
    /// Path `.0` has no group any more.
    LeaveGroup(usize),
    /// The relay of path `.0` may send `.2` more frames for subscription `.1`.
    Credit(usize, u32, u32),
    /// Pictures of a relay that can be reached by both are sought by this from now on, and why.
    Transport(Transport, &'static str),
    /// A relay says what the screen shall show; only after [`Engine::on_screen`].
    Direct(Box<Direct>),
}

/// What all paths have in common.
#[derive(Debug)]
struct Shared {
    config: EngineConfig,
    rng: SplitMix64,
    secrets: Secrets,
    /// The stream that a viewer of any stream stays with, and since when no relay knows it.
    sticky_stream: Option<(StreamName, Option<Time>)>,
    outputs: VecDeque<Output>,
}

impl Shared {
    /// The stream to ask for by name; empty: any.
    fn wanted(&self) -> &str {
        match (&self.config.request, &self.sticky_stream) {
            (Request::Stream(Some(name)), _) | (Request::Stream(None), Some((name, _))) => {
                name.as_str()
            }
            _ => "",
        }
    }

    /// Whether `stream` is what is asked for.
    fn wants(&self, stream: &StreamName) -> bool {
        let wanted = self.wanted();
        wanted.is_empty() || wanted == stream.as_str()
    }
}

/// The viewer's side of the protocol, for all relays of one stream.
#[derive(Debug)]
pub struct Engine {
    shared: Shared,
    paths: Vec<Path>,
    standby: Option<Standby>,
    fallbacks: Vec<Fallback>,
    reassembly: Reassembly,
    /// What sessions that have ended withheld.
    withheld_before: Withheld,
    /// The frame last asked for again, and of which path.
    repaired: Option<(FrameId, usize)>,
    link_state: LinkState,
    link_state_until: Option<Time>,
    /// Until when the picture of the former stream stands in for the first one of another.
    switching_until: Option<Time>,
    presentation: Presentation,
    display: DisplayMonitor,
    detection_sender: DetectionSender,
    /// None: the screen takes no directions.
    directed: Option<Directed>,
    stream: Option<StreamName>,
    foreign: u64,
}

impl Engine {
    /// An engine that joins at its first tick. `seed` makes its nonces, keys and jitter: random, and nobody else's.
    #[must_use]
    pub fn new(mut config: EngineConfig, seed: [u8; 32]) -> Self {
        config
            .name
            .truncate(config.name.floor_char_boundary(MAX_VIEWER_NAME));
        let mut carriers = std::mem::take(&mut config.paths);
        carriers.truncate(MAX_PATHS);
        let fallbacks = Fallback::of(&carriers);
        let relays = carriers.len() - fallbacks.len();
        let standby = config.redundancy == Redundancy::Standby && relays > 1;
        let mut secrets = Secrets::new(seed);
        let mut rng = SplitMix64::new(secrets.number());
        let paths = carriers.into_iter().enumerate();
        Self {
            reassembly: Reassembly::new(config.max_frame_bytes.min(MAX_FRAME_BYTES)),
            paths: paths
                .map(|(at, carrier)| Path::new(at, carrier, rng.next(), standby && at > 0))
                .collect(),
            standby: standby.then(Standby::default),
            fallbacks,
            shared: Shared {
                config,
                rng,
                secrets,
                sticky_stream: None,
                outputs: VecDeque::new(),
            },
            withheld_before: Withheld::default(),
            repaired: None,
            link_state: LinkState::default(),
            link_state_until: None,
            switching_until: None,
            presentation: Presentation::default(),
            display: DisplayMonitor::default(),
            detection_sender: DetectionSender::default(),
            directed: None,
            stream: None,
            foreign: 0,
        }
    }

    /// Takes a datagram that came from the relay of path `at`.
    ///
    /// # Panics
    /// When there is no such path.
    pub fn on_datagram(&mut self, now: Time, at: usize, datagram: &mut [u8]) {
        let summary = &mut self.paths[at].summary;
        summary.datagrams += 1;
        summary.bytes += datagram.len() as u64;
        let ours = match &DataHeader::of_media(datagram) {
            Some(header) => header
                .as_ref()
                .is_ok_and(|header| self.on_unicast(now, at, header, datagram).is_some()),
            None => {
                ToViewer::parse(datagram).is_ok_and(|message| self.on_message(now, at, message))
            }
        };

        self.foreign += u64::from(!ours);
    }

    /// Asks the relays of all paths anew with these proofs of access, one for each path. Sessions go on meanwhile.
    pub fn set_accesses(&mut self, now: Time, accesses: Vec<ViewerAccess>) {
        for (path, access) in self.paths.iter_mut().zip(accesses) {
            path.set_access(now, &mut self.shared, access);
        }
    }

    /// The host of path `at` says that no relay listens there.
    ///
    /// # Panics
    /// When there is no such path.
    pub fn on_refused(&mut self, now: Time, at: usize) {
        self.paths[at].on_refused(now, &mut self.shared);
    }

    /// Why datagrams do not get to the relay of path `at`, for people: it is told while no session is open.
    ///
    /// # Panics
    /// When there is no such path.
    pub fn on_unreachable(&mut self, now: Time, at: usize, why: String) {
        self.paths[at].link.on_unreachable(now, why);
    }

    /// Does what is due. Call it when [`Engine::next_deadline`] has passed, and after a batch of datagrams.
    pub fn on_tick(&mut self, now: Time) {
        if let Some(standby) = &mut self.standby {
            standby.on_tick(now, &mut self.paths);
        }

        self.fall_back(now);
        let total = self.total_report(now);
        for path in &mut self.paths {
            path.on_tick(now, &mut self.shared, &total);
        }

        self.ask_for_repairs(now);
        self.send_detections(now);
        self.send_screen_reports(now);
        self.assess(now);
    }

    /// When [`Engine::on_tick`] has something to do; none: only a datagram changes anything.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let repair = self
            .reassembly
            .deadline()
            .filter(|_| self.paths.iter().any(Path::repairs));

        let standby = self
            .standby
            .as_ref()
            .and_then(|standby| standby.deadline(&self.paths));

        let paths = self.paths.iter().filter_map(Path::next_deadline);
        paths
            .chain(
                [
                    repair,
                    standby,
                    self.fallback_due(),
                    self.detections_due(),
                    self.screen_report_due(),
                    self.link_state_until,
                ]
                .into_iter()
                .flatten(),
            )
            .min()
    }

    /// Whether [`Engine::poll_output`] has something.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.shared.outputs.is_empty()
    }

    /// What to do next; none: nothing until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.shared.outputs.pop_front()
    }

    /// Takes what became of the frames given out, for the reports to the relays.
    pub fn on_presentation(&mut self, presentation: Presentation) {
        self.presentation = presentation;
    }

    /// Takes back the memory of a frame that is no longer needed.
    pub fn recycle(&mut self, body: Vec<u8>) {
        self.reassembly.recycle(body);
    }

    /// Ends the sessions; what is still to be sent comes from [`Engine::poll_output`].
    pub fn leave(&mut self) {
        for at in 0..self.paths.len() {
            self.retire_session(at);
            self.paths[at].leave(&mut self.shared);
        }
    }

    /// Asks for `stream` in place of the present one: ends the sessions and joins anew, unless it is the same; none: any. A
    /// picture that is live stays for a moment, so that no card flashes up between two streams.
    pub fn watch(&mut self, now: Time, stream: Option<StreamName>) {
        let is_same = stream
            .as_ref()
            .is_some_and(|stream| stream.as_str() == self.shared.wanted());
        self.shared.config.request = Request::Stream(stream);
        self.shared.sticky_stream = None;
        if is_same {
            return;
        }

        let is_live = self.link_state == LinkState::Live;
        self.switching_until = is_live.then(|| now + MAX_SWITCHING);
        for at in 0..self.paths.len() {
            self.retire_session(at);
            self.paths[at].ask_anew(now, &mut self.shared);
        }

        self.reassembly.on_other_stream();
        self.assess(now);
    }

    /// Whether the relay on path `at` has opened a session, and none was asked for anew.
    #[must_use]
    pub fn has_session(&self, at: usize) -> bool {
        let path = self.paths.get(at);
        path.is_some_and(|path| path.session.is_some())
    }

    /// Sessions opened so far.
    #[must_use]
    pub fn joins(&self) -> u64 {
        self.paths.iter().map(|path| path.summary.joins).sum()
    }

    /// The state and the counts at `now`.
    #[must_use]
    pub fn summary(&self, now: Time) -> Summary {
        let sum = |count: fn(&PathSummary) -> u64| {
            self.paths.iter().map(|path| count(&path.summary)).sum()
        };
        Summary {
            stream: self.stream.clone(),
            joins: self.joins(),
            transport: self.transport(),
            datagrams: sum(|path| path.datagrams),
            bytes: sum(|path| path.bytes),
            foreign: self.foreign,
            counts: *self.reassembly.counts(),
            losses: self.losses(),
            round_trip: self
                .paths
                .iter()
                .filter_map(|path| path.summary.round_trip)
                .min(),
            paths: self.paths.iter().map(Path::summary).collect(),
            detections: self.detection_sender.counts(),
            verdict: self.detection_sender.verdict(now),
            source_clock: self
                .paths
                .iter()
                .filter_map(|path| path.source_clock(now))
                .min_by_key(|clock| clock.error),
        }
    }

    /// Derives the link state anew: of what the paths say the best, and of frames that come what the screen says.
    fn assess(&mut self, now: Time) {
        let assessed = || self.paths.iter().map(|path| path.link.assess(now));
        let mut best = assessed()
            .map(|(link_state, _)| link_state)
            .min_by_key(LinkState::rank)
            .unwrap_or_default();

        self.link_state_until = assessed().filter_map(|(_, until)| until).min();
        if best == LinkState::NoFrames && self.reassembly.is_oversized() {
            best = LinkState::NotShown(NotShown::TooLarge);
        }

        if best == LinkState::Live {
            let live = self.link_state == LinkState::Live;
            let (shown, until) = self.display.assess(now, self.frame_timeout(), live);
            // The next picture takes the card away, and no frame that is only on its way.
            best = if shown == LinkState::Live && !live && self.display.is_waiting() {
                self.link_state.clone()
            } else {
                shown
            };

            self.link_state_until = self.link_state_until.into_iter().chain(until).min();
        }

        // One relay may be gone while the other has not answered yet.
        let is_open = best != LinkState::Live
            && assessed().any(|(link_state, _)| link_state == LinkState::Connecting);
        if is_open && let Some(until) = self.switching_until.filter(|until| now < *until) {
            best = self.link_state.clone();
            self.link_state_until = self.link_state_until.into_iter().chain([until]).min();
        }

        if best != self.link_state {
            self.link_state = best.clone();
            self.shared.outputs.push_back(Output::LinkState(best));
        }
    }

    /// How long a stream that is live may show no new frame.
    fn frame_timeout(&self) -> Duration {
        let timeouts = self.paths.iter().map(|path| path.link.frame_timeout());
        timeouts.max().unwrap_or_default()
    }
}
