//! The relay without its sockets: frames of the sources and datagrams of the viewers come in, what is
//! to be sent comes out. Called by the event loop only. Reads no clock and no randomness.
//!
//! The modules form layers; each uses only those before it in this list: `output`, `congestion`,
//! `parity_control`, `isolation`, `multicast`; `delivery`, `auth`, `viewer_feedback`; `sessions`, `spent_nonces`;
//! `client_screens`, `stream`, `streams`, `standing`, `screens`, `feedback`; and what adds methods to [`Engine`]: `admission`,
//! `messages`, `directions`, `upkeep`, `status`.

mod admission;
mod auth;
mod client_screens;
mod congestion;
mod counts;
mod delivery;
mod delivery_ledger;
mod directions;
mod feedback;
mod isolation;
mod key_rotation;
mod log_limits;
mod messages;
mod multicast;
mod output;
mod packetize;
mod parity_control;
mod pulse;
mod screens;
mod sessions;
mod source_clocks;
mod spent_nonces;
mod standing;
mod status;
mod stream;
mod streams;
mod target_lists;
mod upkeep;
mod viewer_feedback;
mod wait_estimator;
mod waiting;

use std::collections::VecDeque;
use std::time::Duration;

use fanlight_live::Arrival;
use fanlight_live::ledger::{Ledger, Refusals, Resource, SessionLimits};
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{CONTROL_HEADER, DatagramError, ToRelay, ToViewer};
use fanlight_proto::handshake::{JoinMac, RelayAccess};
use fanlight_proto::limits::{MAX_VIEWERS, SOURCE_STALE};
use fanlight_proto::message::{Goodbye, SourceClock, StreamName, ViewerReport};
use fanlight_proto::parity::Encoder;
use fanlight_proto::secrets::Secrets;
use fanlight_proto::token::TokenKey;

use crate::memory::DEFAULT_BUDGET;
use client_screens::{ClientScreens, ScreenKey};
pub use counts::Counts;
use feedback::FeedbackScheduler;
pub use isolation::MAX_DEDICATED_SOCKETS;
use log_limits::{LogLimits, LogLine};
pub use multicast::Multicast;
pub use output::{
    FrameTransmit, Output, ReadProgress, Retransmit, Route, SPREAD_BATCH, Target, window,
};
pub use packetize::{Datagrams, PacketizedFrame, RETRANSMIT_FRAMES};
use screens::Screens;
use sessions::{Session, Sessions};
use source_clocks::SourceClocks;
use spent_nonces::SpentNonces;
use stream::Rejected;
use streams::{Heard, Streams};
use waiting::WaitingViewers;

/// How long a key seals a stream's media, unless configured otherwise.
pub const KEY_ROTATION: Duration = Duration::from_secs(3600);

/// The bounds of an engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Sessions at a time.
    pub max_viewers: usize,
    /// Of those, for one holder.
    pub sessions: SessionLimits,
    /// A source that has been silent for so long is gone.
    pub source_stale: Duration,
    /// A key seals a stream's media for so long.
    pub key_rotation: Duration,
    /// Bytes that all streams may take, of the budget that they share with clients of the outputs.
    pub memory_budget: usize,
    /// Where media goes for viewers that join a group; none: to each alone.
    pub multicast: Option<Multicast>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_viewers: MAX_VIEWERS,
            sessions: SessionLimits::default(),
            source_stale: SOURCE_STALE,
            key_rotation: KEY_ROTATION,
            memory_budget: DEFAULT_BUDGET,
            multicast: None,
        }
    }
}

/// The engine. Take all of [`Engine::poll_output`] after each input.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    access: RelayAccess,
    /// Of the JOINs that bring a handshake, where access asks for one.
    join_mac: Option<JoinMac>,
    secrets: Secrets,
    token_key: TokenKey,
    ledger: Ledger,
    streams: Streams,
    clocks: SourceClocks,
    sessions: Sessions,
    clients: ClientScreens,
    screens: Screens,
    spent_nonces: SpentNonces,
    waiting: WaitingViewers,
    encoder: Encoder,
    outputs: VecDeque<Output>,
    counts: Counts,
    /// Sessions made so far.
    session_count: u64,
    dedicated_sockets: usize,
    next_sweep: Time,
    /// How often the condition of a stream has changed.
    state_version: u64,
    feedback: FeedbackScheduler,
    log_limits: LogLimits,
}

impl Engine {
    /// An engine without streams or viewers. `seed` is random and nobody else's.
    #[must_use]
    pub fn new(config: EngineConfig, access: RelayAccess, seed: [u8; 32]) -> Self {
        let mut secrets = Secrets::new(seed);
        Self {
            config,
            join_mac: JoinMac::of_relay(&access),
            access,
            token_key: TokenKey::new(secrets.bytes()),
            feedback: FeedbackScheduler::new(secrets.number()),
            screens: Screens::new(secrets.number()),
            secrets,
            ledger: Ledger::default(),
            streams: Streams::new(config.source_stale, config.memory_budget),
            clocks: SourceClocks::default(),
            sessions: Sessions::default(),
            clients: ClientScreens::default(),
            spent_nonces: SpentNonces::default(),
            waiting: WaitingViewers::default(),
            encoder: Encoder::new(),
            outputs: VecDeque::new(),
            counts: Counts::default(),
            session_count: 0,
            dedicated_sockets: 0,
            next_sweep: Time::default(),
            state_version: 0,
            log_limits: LogLimits::default(),
        }
    }

    /// Takes one datagram as it came.
    pub fn on_datagram(&mut self, now: Time, from: Route, datagram: &[u8]) {
        match ToRelay::parse(datagram) {
            Ok(ToRelay::Join(join)) => self.on_join(now, from, &join),
            Ok(ToRelay::Sealed(session, counter, ciphertext)) => {
                self.on_sealed(now, from, session, (counter, ciphertext));
            }
            Ok(message) => self.on_message(now, from, message, false),
            Err(error) => self.on_malformed(now, from, error),
        }
    }

    /// Takes what an upstream had for us.
    pub fn on_arrival(&mut self, now: Time, arrival: &Arrival) {
        let picture = arrival.frame.is_picture();
        self.counts.superseded += arrival.superseded;
        let is_awaited =
            !self.waiting.is_empty() && self.streams.named(&arrival.frame.stream).is_none();
        let heard = match self.streams.hear(arrival) {
            Ok(heard) => heard,
            Err(unused) => return self.on_rejected(now, arrival, unused),
        };

        let Heard {
            stream,
            news,
            former,
        } = heard;
        let alias = stream.alias;
        let newer = picture && stream.note(arrival);
        self.counts.frames += u64::from(picture) + arrival.unwatched;

        if news || former.is_some() {
            self.feedback
                .schedule(now, arrival.frame.origin, feedback::INTERVAL);
        }
        if let Some(former) = former {
            self.feedback.schedule(now, former, feedback::INTERVAL);
        }
        if news {
            self.announce_status(now, alias);
        }

        if newer {
            self.fan_out(now, alias);
        }
        if is_awaited {
            self.tell_waiting(now, &arrival.frame.stream);
        }
    }

    /// Takes what is known of the clock of upstream `origin`.
    pub fn on_source_clock(&mut self, now: Time, origin: usize, clock: SourceClock) {
        self.clocks.note(now, origin, clock);
    }

    /// Changes when a stream comes, goes, or is in another condition than before.
    #[must_use]
    pub const fn state_version(&self) -> u64 {
        self.state_version
    }

    /// The next thing to send. Take all before the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Tells all viewers that the relay ends.
    pub fn shut_down(&mut self) {
        for session in self.sessions.iter_mut() {
            self.outputs.push_back(goodbye(session, "the relay stops"));
        }
        self.sessions = Sessions::default();
    }

    /// The alias of the stream `name`, if the relay has it.
    #[must_use]
    pub fn alias(&self, name: &StreamName) -> Option<u16> {
        self.streams.named(name).map(|stream| stream.alias)
    }

    /// Whether anybody watches the stream `name`.
    #[must_use]
    pub fn has_viewers(&self, name: &StreamName) -> bool {
        let stream = self.streams.named(name);
        stream.is_some_and(|stream| !stream.members().is_empty())
    }

    /// How many sessions there are.
    #[must_use]
    pub fn viewers(&self) -> usize {
        self.sessions.len()
    }

    /// Frames left out for one viewer, for the sake of what its way can take.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        let skipped = self
            .sessions
            .iter()
            .map(|session| session.delivery.skipped());
        self.counts.skipped + skipped.sum::<u64>()
    }

    /// How many viewers have a socket of their own.
    #[must_use]
    pub const fn dedicated_sockets(&self) -> usize {
        self.dedicated_sockets
    }

    /// How many streams there are, also those whose source is gone.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// What happened so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What was asked for and not given.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        let mut refusals = self.ledger.refusals;
        refusals.note(Resource::LogLines, self.log_limits.withheld());
        refusals
    }

    fn on_rejected(&mut self, now: Time, arrival: &Arrival, rejected: Rejected) {
        let reason = match rejected {
            Rejected::Old => return,
            Rejected::TooMany => "the relay has all the streams it can carry",
        };

        self.counts.refused_frames += 1;
        if let Some(count) = self.log_limits.note(LogLine::RefusedFrames, now) {
            tracing::warn!(count, stream = %arrival.frame.stream, "frames refused: {reason}");
        }
    }

    fn on_malformed(&mut self, now: Time, from: Route, error: DatagramError) {
        self.counts.malformed += 1;
        if let Some(count) = self.log_limits.note(LogLine::Malformed, now) {
            tracing::info!(count, from = %from.remote, "malformed datagrams dropped, the last: {error}");
        }
    }

    /// Sends the newest frame of a stream to its viewers.
    fn fan_out(&mut self, now: Time, alias: u16) {
        let Self {
            config,
            streams,
            sessions,
            encoder,
            ..
        } = self;

        let transmit = streams.by_alias_mut(alias).and_then(|stream| {
            let group = config
                .multicast
                .map(|multicast| multicast.route(stream.slot));
            stream.transmit(now, sessions, encoder, group)
        });

        if let Some(transmit) = transmit {
            self.counts.frames_sent += 1;
            self.outputs.push_back(Output::Transmit(transmit));
        }
    }

    /// Answers a datagram of a session that is not there. The answer is never longer than what it answers: both have
    /// the same header, and RESET has no body.
    fn reset(&mut self, now: Time, to: Route, session: u64) {
        self.counts.unknown_sessions += 1;
        if self.ledger.take_reset(now) {
            self.counts.resets += 1;
            self.send(to, &ToViewer::Reset(session));
        }
    }

    /// Tells the viewers of a stream its status; the answers to their keep-alives repeat it, should this be lost, or
    /// not be said because the status changes all the time.
    fn announce_status(&mut self, now: Time, alias: u16) {
        let Some(stream) = self.streams.by_alias_mut(alias) else {
            return;
        };

        self.state_version += 1;
        if let Some(count) = stream.line.note(now) {
            stream.log(count);
        }

        if stream.status_messages.try_take(now, 1) {
            self.pulse_all(now, alias);
        }
    }

    /// Ends the session of the viewer at `route`, if it has one.
    fn leave(&mut self, now: Time, route: Route, why: &str) {
        let Some(session) = self.remove_session(now, route) else {
            return;
        };

        self.counts.skipped += session.delivery.skipped();
        if let Some(count) = self.log_limits.note(LogLine::Left, now) {
            let report = session.delivery.report(now);
            session.span.in_scope(|| {
                tracing::info!(
                    count,
                    name = %session.label,
                    shown = report.frames_shown,
                    lost = report.frames_lost,
                    "viewers left, the last {why}"
                );
            });
        }
    }

    /// Removes the session of `route` from everything that knows it.
    fn remove_session(&mut self, now: Time, route: Route) -> Option<Session> {
        let session = self.sessions.remove(route.remote)?;
        if let Some(stream) = self.streams.by_alias_mut(session.alias) {
            stream.remove(route.remote);
            let report = ViewerReport {
                left: true,
                ..feedback::viewer_report(now, &session, &stream.name)
            };
            self.feedback.on_viewer_left(now, stream.origin, report);
        }

        if session.delivery.is_isolated() {
            self.dedicated_sockets -= 1;
            self.outputs.push_back(Output::Rejoin(session.route));
        }

        if session.screen.is_some() {
            self.leave_screen(now, &session.name, ScreenKey::Viewer(route.remote));
        }

        Some(session)
    }

    fn send(&mut self, to: Route, message: &ToViewer<'_>) {
        self.outputs.push_back(Output::Send {
            to,
            datagram: encoded(message),
        });
    }
}

/// The datagram that ends a session.
fn goodbye(session: &mut Session, reason: &str) -> Output {
    let goodbye = Goodbye {
        reason: reason.to_owned(),
    };
    Output::Send {
        to: session.route,
        datagram: session.encode(&ToViewer::Goodbye(session.id, goodbye)),
    }
}

fn encoded(message: &ToViewer<'_>) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(8 * CONTROL_HEADER);
    message.encode(&mut datagram);
    datagram
}

#[cfg(test)]
mod tests;
