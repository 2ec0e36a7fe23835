//! The state of the protocol with one relay: joining, the session, and the offset of the relay's clock.

mod asking;
mod clocks;
mod groups;

use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::clock_filter::ClockFilter;
use fanlight_proto::datagram::{DataHeader, ToRelay};
use fanlight_proto::handshake::{Initiator, ViewerAccess};
use fanlight_proto::message::{
    Accept, Access, Goodbye, Pulse, Refusal, Refuse, Repair, Report, SourceClock,
};
use prost::Message as _;

use super::frame_tally::FrameTally;
use super::group::Group;
use super::join_attempt::JoinAttempt;
use super::link_state::LinkMonitor;
use super::session::{Opening, Seal, Session};
use super::{Carrier, LinkState, Output, Request, Shared};

/// When nothing of a session came for so long, though keep-alives ask for answers, the relay may be gone: join anew.
const SESSION_TIMEOUT: Duration = Duration::from_millis(650);

/// How long to wait before asking again for a stream that is not there: at first and, doubling, at most. A relay that
/// has just started finds its sources in a moment; a source that starts later is found well within a second.
const STREAM_RETRY: (Duration, Duration) = (Duration::from_millis(60), Duration::from_millis(250));

/// Bounds on the wait that a busy relay may ask for.
const BUSY_RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// What one path brought. Counts never fall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathSummary {
    /// Sessions opened.
    pub joins: u64,
    /// Handshakes that gave a session another channel.
    pub renewals: u64,
    /// It is a connection.
    pub is_tcp: bool,
    /// Frames of which as much came by it as makes them whole, whatever other paths brought.
    pub frames: u64,
    /// Datagrams that came, or messages by TCP.
    pub datagrams: u64,
    /// Of those, the ones that came by multicast.
    pub by_multicast: u64,
    /// The bytes of all of them.
    pub bytes: u64,
    /// The latest round trip to the relay and back.
    pub round_trip: Option<Duration>,
    /// Whether there is a session without media at present.
    pub paused: bool,
}

#[derive(Debug)]
pub(super) struct Path {
    /// Its index among the paths.
    at: usize,
    pub(super) nonce: u64,
    token: Bytes,
    /// It is a connection, which the engine is told of: there is nothing to join without one.
    pub(super) is_tcp: bool,
    access: ViewerAccess,
    /// The handshake of this nonce and token, and its first message.
    handshake: Option<(Initiator, Bytes)>,
    pub(super) joining: Option<JoinAttempt>,
    /// The nonce of the last JOIN that was refused for want of a stream, until the relay says that this has come.
    refused_nonce: Option<u64>,
    /// Frames whole when the last JOIN went out. The relay may send the next ones before its answer is read here, and
    /// another path may have completed them by then.
    whole_at_join: u64,
    pub(super) session: Option<Session>,
    group: Group,
    stream_retry: Duration,
    pub(super) link: LinkMonitor,
    /// The relay's clock against ours.
    clock: ClockFilter,
    source_clock: Option<SourceClock>,
    /// The shortest round trip of the session.
    pub(super) shortest_round_trip: Option<Duration>,
    /// As RFC 6298 section 2 smooths it.
    pub(super) smoothed_round_trip: Option<Duration>,
    /// On standby: have a session, but ask for no media.
    paused: bool,
    tally: FrameTally,
    /// When a frame last came by this path, as [`PathSummary::frames`] counts them.
    pub(super) last_frame: Option<Time>,
    pub(super) summary: PathSummary,
}

impl Path {
    /// A path that joins at its first tick, or when it is connected.
    pub(super) fn new(at: usize, carrier: Carrier, nonce: u64, paused: bool) -> Self {
        let (is_tcp, access) = match carrier {
            Carrier::Udp(access) => (false, access),
            Carrier::Tcp { .. } => (true, ViewerAccess::Open),
        };

        Self {
            at,
            nonce,
            token: Bytes::new(),
            is_tcp,
            access,
            handshake: None,
            refused_nonce: None,
            joining: (!is_tcp).then(|| JoinAttempt::new(Time::default())),
            whole_at_join: 0,
            session: None,
            group: Group::default(),
            stream_retry: STREAM_RETRY.0,
            link: LinkMonitor::default(),
            clock: ClockFilter::new(),
            source_clock: None,
            shortest_round_trip: None,
            smoothed_round_trip: None,
            paused,
            tally: FrameTally::default(),
            last_frame: None,
            summary: PathSummary::default(),
        }
    }

    /// Whether media is asked for and a relay is there to send it.
    pub(super) fn is_active(&self) -> bool {
        self.session.is_some() && !self.paused
    }

    /// Whether shards can be asked for again.
    pub(super) fn repairs(&self) -> bool {
        self.is_active() && !self.is_tcp
    }

    /// The session, if `id` is its name.
    pub(super) fn session_named(&mut self, id: u64) -> Option<&mut Session> {
        self.session.as_mut().filter(|session| session.id == id)
    }

    /// Another proof of access, with which the relay is asked anew. The session goes on until it answers.
    pub(super) fn set_access(&mut self, now: Time, shared: &mut Shared, access: ViewerAccess) {
        if self.is_tcp {
            return;
        }

        self.access = access;
        if let Some(session) = &mut self.session {
            session.renew_at(now);
        }
        self.begin(now, shared);
    }

    /// Asks for media, or for none, by a keep-alive at once.
    pub(super) fn set_paused(&mut self, now: Time, paused: bool) {
        if std::mem::replace(&mut self.paused, paused) != paused
            && let Some(session) = &mut self.session
        {
            session.keep_alive_due = now;
            session.on_resumed();
        }
    }

    /// Something of the session came.
    pub(super) fn note_received(&mut self, now: Time) {
        self.link.on_received(now);
        let renews = self
            .session
            .as_ref()
            .is_some_and(|session| session.needs_renewal(now));
        if !renews {
            self.joining = None;
        }

        if let Some(session) = &mut self.session {
            session.last_received = now;
        }
    }

    /// A datagram of media came.
    pub(super) fn note_media(&mut self, now: Time, header: &DataHeader) {
        if self.tally.note(header) {
            self.note_frame(now);
        }
    }

    /// As much of a frame has come as makes it whole.
    pub(super) const fn note_frame(&mut self, now: Time) {
        self.summary.frames += 1;
        self.last_frame = Some(now);
    }

    /// Does what is due by time.
    pub(super) fn on_tick(&mut self, now: Time, shared: &mut Shared, total: &Report) {
        let is_over = |session: &Session| {
            session.last_received + SESSION_TIMEOUT <= now || session.needs_renewal(now)
        };
        if !self.is_tcp && self.session.as_ref().is_some_and(is_over) {
            self.start_joining(now, shared);
        }
        if let Some(joining) = &mut self.joining
            && joining.is_due(now, &mut shared.rng)
        {
            if joining.needs_nonce(now) {
                self.nonce = shared.rng.next();
                self.handshake = None;
            }
            self.send_join(now, shared, total.frames_whole);
        }
        let due = self.keep_alive_due().is_some_and(|due| due <= now);
        if let Some(session) = self.session.as_mut().filter(|_| due) {
            let keep_alive = self
                .group
                .fill(now, session.keep_alive(now, total, self.paused));
            let message = ToRelay::KeepAlive(session.id, keep_alive);
            let datagram = session.encode(&message);
            shared.outputs.push_back(Output::Send(self.at, datagram));
        }
    }

    /// When [`Path::on_tick`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        let joining = self.joining.as_ref().map(JoinAttempt::due);
        let session = self.session.as_ref();
        let keep_alive = self.keep_alive_due();
        let begins = session.filter(|_| joining.is_none() && !self.is_tcp);
        let silence = begins.map(|session| session.last_received + SESSION_TIMEOUT);
        let renewal = begins.and_then(Session::renewal_due);
        [joining, keep_alive, silence, renewal]
            .into_iter()
            .flatten()
            .min()
    }

    fn keep_alive_due(&self) -> Option<Time> {
        let session = self.session.as_ref()?;
        let due = session.due(self.paused);
        Some(
            self.group
                .silence_due()
                .map_or(due, |silence| silence.min(due)),
        )
    }

    /// Opens the session that an ACCEPT offers, unless it is open already. Returns whether the ACCEPT is valid, and whether
    /// the session is new.
    pub(super) fn on_accept(
        &mut self,
        now: Time,
        shared: &mut Shared,
        accept: &Accept,
        seal: Option<Seal>,
        total: Report,
    ) -> (bool, bool) {
        let Some(opening) = Opening::of(accept) else {
            return (false, false);
        };

        if !shared.wants(&opening.name) {
            self.on_foreign_stream(now, shared);
            return (false, false);
        }

        self.joining = None;
        if let Some(session) = self
            .session
            .as_mut()
            .filter(|session| session.id == opening.id)
        {
            if let Some(seal) = seal {
                session.renew(now, seal);
                self.summary.renewals += 1;
            }
            return (true, false);
        }

        shared.outputs.extend(self.group.leave(self.at));
        let base = Report {
            frames_whole: self.whole_at_join,
            ..total
        };

        self.shortest_round_trip = None;
        self.session = Some(Session::new(now, &opening, seal, base));
        self.stream_retry = STREAM_RETRY.0;
        self.summary.joins += 1;
        self.link.on_session(now, opening.info);
        (true, true)
    }

    /// The relay opened a session for another stream than the one asked for: asks again, as another JOIN. The request was
    /// changed on its way, or another path has found the stream since.
    fn on_foreign_stream(&mut self, now: Time, shared: &mut Shared) {
        if self.joining.is_none() {
            return;
        }

        let retry = STREAM_RETRY.1;
        self.begin(now + shared.rng.shorten(retry), shared);
        self.link.on_refusal(LinkState::OtherStream, now + retry);
    }

    /// Takes what the relay says of the session and its stream; none if it is not of this session.
    pub(super) fn on_pulse(&mut self, now: Time, id: u64, pulse: &Pulse) -> Option<&mut Session> {
        self.session_named(id)?;
        self.note_received(now);

        if pulse.echo_us != 0 {
            let round_trip = Duration::from_micros(now.as_micros().saturating_sub(pulse.echo_us));
            self.summary.round_trip = Some(round_trip);
            let shortest = self.shortest_round_trip.unwrap_or(round_trip);
            self.shortest_round_trip = Some(shortest.min(round_trip));
            let smoothed = self.smoothed_round_trip.unwrap_or(round_trip);
            self.smoothed_round_trip = Some(smoothed - smoothed / 8 + round_trip / 8);
            let [sent, relay] =
                [pulse.echo_us, pulse.relay_us].map(|us| Time::from_nanos(us.saturating_mul(1000)));
            self.clock.on_answer(sent, now, relay);
            self.source_clock = pulse.source_clock;
        }

        if let Some(status) = &pulse.status {
            self.link.on_status(now, status);
        }

        self.session.as_mut()
    }

    /// The relay does not open a session: asks again later. Returns the link state that follows; none when it does not
    /// answer this viewer's JOIN.
    pub(super) fn on_refuse(
        &mut self,
        now: Time,
        shared: &mut Shared,
        refuse: &Refuse,
    ) -> Option<LinkState> {
        if self.joining.is_none() || refuse.nonce != self.nonce {
            return None;
        }

        let lacks_stream = [Refusal::NoSuchStream, Refusal::NoStreams].contains(&refuse.refusal());
        self.refused_nonce = lacks_stream.then_some(refuse.nonce);
        let link_state = LinkState::of_refusal(&self.opened_refusal(refuse), shared.wanted());
        let retry = match link_state {
            LinkState::Busy(after) => after.clamp(BUSY_RETRY.0, BUSY_RETRY.1),
            _ => {
                let retry = self.stream_retry;
                self.stream_retry = (retry * 2).min(STREAM_RETRY.1);
                retry
            }
        };

        self.begin(now + shared.rng.shorten(retry), shared);
        self.link.on_refusal(link_state.clone(), now + retry);
        Some(link_state)
    }

    /// Asks now instead of later when the relay says, once, that the stream has come which it refused. Returns whether it
    /// says that.
    pub(super) fn on_stream_available(
        &mut self,
        now: Time,
        shared: &mut Shared,
        refuse: &Refuse,
    ) -> bool {
        let come = refuse.retry_after_ms == 0 && self.refused_nonce == Some(refuse.nonce);
        if come && self.joining.is_some() {
            self.refused_nonce = None;
            self.begin(now, shared);
        }
        come
    }

    /// A REFUSE with the streams that it names, which are sealed where a key is asked for.
    fn opened_refusal(&mut self, refuse: &Refuse) -> Refuse {
        let mut opened = refuse.clone();
        if self.access.kind() != Access::Open {
            let handshake = self.handshake.as_mut();
            let payload =
                handshake.and_then(|(initiator, _)| initiator.finish(&refuse.handshake).ok());
            let named = payload.and_then(|(payload, _)| Refuse::decode(&payload[..]).ok());
            let Refuse {
                streams,
                total_streams,
                ..
            } = named.unwrap_or_default();
            opened.streams = streams;
            opened.total_streams = total_streams;
        }
        opened
    }

    /// Whether `refuse` says that there is nothing to list.
    pub(super) fn has_nothing_to_list(&self, shared: &Shared, refuse: &Refuse) -> bool {
        let asked = self.joining.is_some() && refuse.nonce == self.nonce;
        asked && shared.config.request == Request::List && refuse.refusal() == Refusal::NoStreams
    }

    /// The relay says, and proves that it is the relay, that session `id` is over: join anew.
    pub(super) fn on_end(&mut self, now: Time, shared: &mut Shared, id: u64) -> bool {
        if self.session_named(id).is_none() {
            return false;
        }

        self.session = None;
        shared.outputs.extend(self.group.leave(self.at));
        self.link.joined = None;
        self.start_joining(now, shared);
        true
    }

    /// The connection is gone, and the session with it.
    pub(super) fn on_disconnected(&mut self) {
        self.joining = None;
        self.session = None;
        self.link.joined = None;
    }

    /// The relay's host says that nobody listens there.
    pub(super) fn on_refused(&mut self, now: Time, shared: &mut Shared) {
        match &mut self.joining {
            Some(joining) => joining.on_refused(now, &mut shared.rng),
            None => self.begin(now, shared),
        }
    }

    pub(super) fn start_joining(&mut self, now: Time, shared: &mut Shared) {
        if self.joining.is_none() {
            self.begin(now, shared);
        }
    }

    fn begin(&mut self, due: Time, shared: &mut Shared) {
        self.nonce = shared.rng.next();
        self.handshake = None;
        self.joining = Some(JoinAttempt::new(due));
    }

    /// Ends the session and does not join again.
    pub(super) fn leave(&mut self, shared: &mut Shared) {
        self.joining = None;
        shared.outputs.extend(self.group.leave(self.at));

        if let Some(mut session) = self.session.take() {
            let goodbye = Goodbye {
                reason: "viewer ends".to_owned(),
            };
            let datagram = session.encode(&ToRelay::Goodbye(session.id, goodbye));
            shared.outputs.push_back(Output::Send(self.at, datagram));
        }
    }

    /// Ends the session and asks for what is wanted now.
    pub(super) fn ask_anew(&mut self, now: Time, shared: &mut Shared) {
        let is_connected = self.session.is_some() || self.joining.is_some();
        self.leave(shared);
        self.link = LinkMonitor::default();
        self.stream_retry = STREAM_RETRY.0;
        // A connection that is not there yet asks when it is.
        if is_connected || !self.is_tcp {
            self.begin(now, shared);
        }
    }

    /// Asks for shards again.
    pub(super) fn send_repair(&mut self, shared: &mut Shared, mut repair: Repair) {
        if let Some(session) = &mut self.session {
            repair.alias = session.alias.into();
            let datagram = session.encode(&ToRelay::Repair(session.id, repair));
            shared.outputs.push_back(Output::Send(self.at, datagram));
        }
    }

    /// The counts of this path.
    pub(super) fn summary(&self) -> PathSummary {
        PathSummary {
            is_tcp: self.is_tcp,
            paused: self.paused && self.session.is_some(),
            ..self.summary.clone()
        }
    }
}
