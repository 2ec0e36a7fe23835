//! The viewer's side of the conversation with a relay, without socket, clock or thread: datagrams and moments come in;
//! datagrams, frames and signals go out. Whatever restarts, in any order, the engine joins again by itself.

mod joining;
mod session;
mod signal;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DataHeader, ToRelay, ToViewer, VERSION};
use fanlight_proto::limits::{MAX_FRAME_BYTES, MAX_VIEWER_NAME};
use fanlight_proto::message::{
    Accept, Challenge, Goodbye, Join, Pulse, Refusal, Refuse, Report, StreamInfo, StreamName,
};
use fanlight_proto::reassembly::{Counts, Losses, Reassembly, Whole};

use joining::{Jitter, Joining};
use session::{Opening, Session};
use signal::Evidence;
pub use signal::{Signal, state_word};

/// Nothing of a session for so long, though keep-alives ask for answers: the relay may be gone, so try to join.
const SILENCE: Duration = Duration::from_millis(650);

/// How long to wait before asking again for a stream that is not there: at first, because a relay that has just
/// started finds its sources in a moment, and doubling up to the last, so that one that comes up later is seen well
/// within a second.
const STREAM_RETRY: (Duration, Duration) = (Duration::from_millis(60), Duration::from_millis(250));

/// Bounds on how long a relay may tell a viewer to wait.
const BUSY_RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// A viewer that may show any stream stays with the one it got until that is unknown for so long.
const STREAM_LOYALTY: Duration = Duration::from_secs(3);

/// Longest token taken from a relay, in bytes: with it a JOIN stays within its padding.
const MAX_TOKEN: usize = 256;

/// What to ask a relay for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A stream; none: whichever the relay has first.
    Stream(Option<StreamName>),
    /// The list of its streams, and no session.
    List,
}

/// How an [`Engine`] behaves.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// What to ask for.
    pub wish: Wish,
    /// What the operator calls this screen; cut to [`MAX_VIEWER_NAME`] bytes.
    pub name: String,
    /// Frames of more bytes are refused.
    pub max_frame_bytes: usize,
    /// Datagrams that the socket holds, for the relay to pace by.
    pub receive_capacity: u32,
}

/// What the engine wants done.
#[derive(Debug)]
pub enum Output {
    /// This datagram goes to the relay.
    Send(Vec<u8>),
    /// A frame is whole.
    Frame(Arrived),
    /// The signal is now this.
    Signal(Signal),
    /// The answer to [`Wish::List`]: streams, and how many there are in all.
    List(Vec<StreamInfo>, u32),
}

/// A whole frame, unopened.
#[derive(Debug)]
pub struct Arrived {
    /// The topic of the stream it came on.
    pub topic: Bytes,
    /// The frame.
    pub whole: Whole,
    /// When its last shard came.
    pub arrived: Time,
}

/// What became of frames after the engine, for the report to the relay. Counts never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presentation {
    /// Frames shown.
    pub shown: u64,
    /// Whole frames that were not shown.
    pub lost: u64,
    /// Median age over the last second at presentation, in microseconds; 0 when not known.
    pub age_us: u32,
}

/// Where things stand. Counts never fall.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The stream of the latest session.
    pub stream: Option<StreamName>,
    /// Sessions opened.
    pub joins: u64,
    /// Datagrams that came.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Datagrams that are not ours, or answer nothing we asked.
    pub foreign: u64,
    /// What became of the shards.
    pub counts: Counts,
    /// Frames lost before they were whole.
    pub losses: Losses,
    /// The latest round trip to the relay and back.
    pub round_trip: Option<Duration>,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    jitter: Jitter,
    nonce: u64,
    token: Bytes,
    joining: Option<Joining>,
    session: Option<Session>,
    stream_retry: Duration,
    /// The stream that a viewer of any stream stays with, and since when the relay does not know it.
    loyal_to: Option<(StreamName, Option<Time>)>,
    reassembly: Reassembly,
    evidence: Evidence,
    signal: Signal,
    signal_until: Option<Time>,
    outputs: VecDeque<Output>,
    presentation: Presentation,
    summary: Summary,
}

impl Engine {
    /// An engine that joins at its first tick. `seed` makes its nonces and jitter.
    #[must_use]
    pub fn new(mut config: EngineConfig, seed: u64) -> Self {
        config.name.truncate(config.name.floor_char_boundary(MAX_VIEWER_NAME));
        let mut jitter = Jitter::new(seed);
        Self {
            reassembly: Reassembly::new(config.max_frame_bytes.min(MAX_FRAME_BYTES)),
            nonce: jitter.next(),
            jitter,
            config,
            token: Bytes::new(),
            joining: Some(Joining::new(Time::default())),
            session: None,
            stream_retry: STREAM_RETRY.0,
            loyal_to: None,
            evidence: Evidence::default(),
            signal: Signal::default(),
            signal_until: None,
            outputs: VecDeque::new(),
            presentation: Presentation::default(),
            summary: Summary::default(),
        }
    }

    /// Takes a datagram that came from the relay's address.
    pub fn on_datagram(&mut self, now: Time, datagram: &[u8]) {
        self.summary.datagrams += 1;
        self.summary.bytes += datagram.len() as u64;
        let ours = match ToViewer::parse(datagram) {
            Ok(ToViewer::Data(header, shard)) => self.on_data(now, &header, shard),
            Ok(ToViewer::Pulse(session, pulse)) => self.on_pulse(now, session, &pulse),
            Ok(ToViewer::Challenge(challenge)) => self.on_challenge(challenge),
            Ok(ToViewer::Accept(accept)) => self.on_accept(now, accept),
            Ok(ToViewer::Refuse(refuse)) => self.on_refuse(now, &refuse),
            Ok(ToViewer::Reset(session)) => self.on_end(now, session),
            Ok(ToViewer::Goodbye(session, _)) => self.on_end(now, session),
            // Nobody has sealed anything for us.
            Ok(ToViewer::Sealed(..)) | Err(_) => false,
        };
        self.summary.foreign += u64::from(!ours);
    }

    /// The host at the relay's address says that nobody listens there.
    pub fn on_refused(&mut self, now: Time) {
        self.start_joining(now);
    }

    /// Does what is due. Call it when [`Engine::next_deadline`] has passed, and after a batch of datagrams.
    pub fn on_tick(&mut self, now: Time) {
        if self.session.as_ref().is_some_and(|session| session.heard + SILENCE <= now) {
            self.start_joining(now);
        }
        if let Some(joining) = &mut self.joining
            && joining.is_due(now, &mut self.jitter)
        {
            self.send_join();
        }
        self.keep_alive(now);
        self.ask_for_repairs(now);
        self.assess(now);
    }

    /// When [`Engine::on_tick`] has something to do; none: only a datagram changes anything.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let joining = self.joining.as_ref().map(Joining::due);
        let session = self.session.as_ref();
        let keep_alive = session.map(|session| session.keep_alive_due);
        let silence = session.filter(|_| joining.is_none()).map(|session| session.heard + SILENCE);
        let repair = session.and_then(|_| self.reassembly.deadline());
        [joining, keep_alive, silence, repair, self.signal_until].into_iter().flatten().min()
    }

    /// What to do next; none: nothing until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes what became of the frames given out, to be told to the relay.
    pub fn on_presentation(&mut self, presentation: Presentation) {
        self.presentation = presentation;
    }

    /// Takes back the memory of a frame that is no longer needed.
    pub fn recycle(&mut self, body: Vec<u8>) {
        self.reassembly.recycle(body);
    }

    /// Ends the session; what is still to be sent comes from [`Engine::poll_output`].
    pub fn leave(&mut self) {
        self.joining = None;
        if let Some(session) = self.session.take() {
            let goodbye = Goodbye { reason: "viewer ends".to_owned() };
            self.send(&ToRelay::Goodbye(session.id, goodbye));
        }
    }

    /// Where things stand.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary { counts: *self.reassembly.counts(), losses: *self.reassembly.losses(), ..self.summary.clone() }
    }

    fn on_data(&mut self, now: Time, header: &DataHeader, shard: &[u8]) -> bool {
        let Some(session) = self.session.as_mut().filter(|session| session.alias == header.alias) else {
            return false;
        };
        session.heard = now;
        self.evidence.heard = Some(now);
        self.joining = None;
        if let Some(whole) = self.reassembly.on_shard(now, header, shard) {
            let topic = session.topic.clone();
            self.evidence.frame = Some(now);
            self.assess(now);
            self.outputs.push_back(Output::Frame(Arrived { topic, whole, arrived: now }));
        }
        true
    }

    fn on_pulse(&mut self, now: Time, id: u64, pulse: &Pulse) -> bool {
        let Some(session) = self.session.as_mut().filter(|session| session.id == id) else { return false };
        session.heard = now;
        self.evidence.heard = Some(now);
        self.joining = None;
        if pulse.echo_us != 0 {
            let round_trip = now.as_micros().saturating_sub(pulse.echo_us);
            self.summary.round_trip = Some(Duration::from_micros(round_trip));
        }
        if let Some(status) = &pulse.status {
            self.evidence.on_status(now, status);
        }
        self.assess(now);
        true
    }

    fn on_challenge(&mut self, challenge: Challenge) -> bool {
        let Some(joining) = self.joining.as_mut().filter(|_| challenge.nonce == self.nonce) else { return false };
        if challenge.token.len() > MAX_TOKEN {
            return false;
        }
        self.token = challenge.token;
        if joining.answers_challenge() {
            self.send_join();
        }
        true
    }

    fn on_accept(&mut self, now: Time, accept: Accept) -> bool {
        // Also a repeated answer to an attempt that has succeeded: the relay keeps the session it named last.
        if accept.nonce != self.nonce {
            return false;
        }
        if self.config.wish == Wish::List {
            self.joining = None;
            self.outputs.push_back(Output::List(accept.streams, accept.total_streams));
            return true;
        }
        let Some(opening) = Opening::of(&accept) else { return false };
        self.joining = None;
        if self.session.as_ref().is_none_or(|session| session.id != opening.id) {
            self.open_session(now, &opening);
        }
        true
    }

    fn open_session(&mut self, now: Time, opening: &Opening<'_>) {
        self.reassembly.on_away();
        self.session = Some(Session::new(now, opening, self.total_report()));
        self.stream_retry = STREAM_RETRY.0;
        self.loyal_to = Some((opening.name.clone(), None));
        self.summary.joins += 1;
        self.summary.stream = Some(opening.name.clone());
        self.evidence.on_session(now, opening.info);
        self.assess(now);
    }

    fn on_refuse(&mut self, now: Time, refuse: &Refuse) -> bool {
        if self.joining.is_none() || refuse.nonce != self.nonce {
            return false;
        }
        if self.config.wish == Wish::List && refuse.refusal() == Refusal::NoStreams {
            self.joining = None;
            self.outputs.push_back(Output::List(Vec::new(), 0));
            return true;
        }
        let signal = Signal::of_refusal(refuse, self.wanted());
        let retry = match signal {
            Signal::Busy(after) => after.clamp(BUSY_RETRY.0, BUSY_RETRY.1),
            _ => {
                let retry = self.stream_retry;
                self.stream_retry = (retry * 2).min(STREAM_RETRY.1);
                retry
            }
        };
        if matches!(signal, Signal::NoSuchStream(_)) {
            self.doubt_loyalty(now);
        }
        self.nonce = self.jitter.next();
        self.joining = Some(Joining::new(now + self.jitter.shorten(retry)));
        self.evidence.on_refusal(signal, now + retry);
        self.assess(now);
        true
    }

    /// RESET or GOODBYE.
    fn on_end(&mut self, now: Time, id: u64) -> bool {
        if self.session.as_ref().is_none_or(|session| session.id != id) {
            return false;
        }
        self.session = None;
        self.reassembly.on_away();
        self.evidence.joined = None;
        self.start_joining(now);
        true
    }

    fn start_joining(&mut self, now: Time) {
        if self.joining.is_none() {
            self.nonce = self.jitter.next();
            self.joining = Some(Joining::new(now));
        }
    }

    /// The stream to ask for by name; empty: any.
    fn wanted(&self) -> &str {
        match (&self.config.wish, &self.loyal_to) {
            (Wish::Stream(Some(name)), _) | (Wish::Stream(None), Some((name, _))) => name.as_str(),
            _ => "",
        }
    }

    /// The relay does not know the stream; who may show any one asks for any after a while.
    fn doubt_loyalty(&mut self, now: Time) {
        if let Some((_, unknown)) = &mut self.loyal_to
            && now.saturating_since(*unknown.get_or_insert(now)) >= STREAM_LOYALTY
        {
            self.loyal_to = None;
        }
    }

    fn send_join(&mut self) {
        let join = Join {
            version: VERSION,
            nonce: self.nonce,
            token: self.token.clone(),
            stream: self.wanted().to_owned(),
            list: self.config.wish == Wish::List,
            receive_capacity: self.config.receive_capacity,
            name: self.config.name.clone(),
            ..Join::default()
        };
        self.send(&ToRelay::Join(join));
    }

    fn keep_alive(&mut self, now: Time) {
        if self.session.as_ref().is_none_or(|session| now < session.keep_alive_due) {
            return;
        }
        let total = self.total_report();
        if let Some(session) = &mut self.session {
            let message = ToRelay::KeepAlive(session.id, session.keep_alive(now, &total));
            self.send(&message);
        }
    }

    fn ask_for_repairs(&mut self, now: Time) {
        let Some((id, alias)) = self.session.as_ref().map(|session| (session.id, session.alias)) else { return };
        while let Some(mut repair) = self.reassembly.poll_repair(now) {
            repair.alias = alias.into();
            self.send(&ToRelay::Repair(id, repair));
        }
    }

    fn assess(&mut self, now: Time) {
        let (signal, until) = self.evidence.assess(now);
        self.signal_until = until;
        if signal != self.signal {
            self.signal = signal.clone();
            self.outputs.push_back(Output::Signal(signal));
        }
    }

    fn send(&mut self, message: &ToRelay<'_>) {
        let mut datagram = Vec::new();
        message.encode(&mut datagram);
        self.outputs.push_back(Output::Send(datagram));
    }

    fn total_report(&self) -> Report {
        let counts = self.reassembly.counts();
        Report {
            frames_whole: counts.whole,
            frames_shown: self.presentation.shown,
            frames_lost: self.reassembly.losses().total() + self.presentation.lost,
            datagrams: self.summary.datagrams,
            bytes: self.summary.bytes,
            repairs_asked: counts.repairs_asked,
            repairs_received: counts.repairs_received,
            age_us: self.presentation.age_us,
            ..Report::default()
        }
    }
}
