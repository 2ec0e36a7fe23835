//! The relay without its sockets: frames of the sources and datagrams of the viewers come in, what is to be sent comes
//! out. Reads no clock and no randomness.

mod admission;
mod congestion;
mod delivery_ledger;
mod detections;
mod feedback;
mod handshake_limiter;
mod isolation;
mod key_rotation;
mod multicast;
mod packetize;
mod parity_control;
mod session;
mod source_clocks;
mod status;
mod streams;
mod viewers;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::logline::Limited;
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{CONTROL_HEADER, DatagramError, ToRelay, ToViewer};
use fanlight_proto::handshake::RelayAccess;
use fanlight_proto::limits::{MAX_VIEWERS, SESSION_IDLE, SOURCE_STALE};
use fanlight_proto::message::{
    CheckedFrame, FeedbackReport, Goodbye, SourceClock, StreamName, ViewerReport,
};
use fanlight_proto::parity::Encoder;
use fanlight_proto::secrets::Secrets;
use fanlight_proto::token::TokenKey;

pub use detections::KEPT_DETECTIONS_PER_SECOND;
use feedback::FeedbackScheduler;
use handshake_limiter::HandshakeLimiter;
pub(crate) use handshake_limiter::network;
pub use handshake_limiter::{HANDSHAKES_PER_SECOND, HANDSHAKES_PER_SOURCE};
pub use isolation::MAX_DEDICATED_SOCKETS;
pub use multicast::Multicast;
pub use packetize::{
    FrameTransmit, PacketizedFrame, RETRANSMIT_FRAMES, Retransmit, Route, SPREAD_BATCH, Target,
};
use source_clocks::SourceClocks;
pub use status::{EngineStatus, StreamEntry, ViewerEntry};
use streams::{Rejected, Stream, Streams};
pub use viewers::REPAIR_SHARDS_PER_SECOND;
use viewers::{TokenBucket, Viewer, Viewers};

/// How often idle sessions are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// RESETs sent in a second, to whomever: a restarted relay calls a thousand viewers back within one second, and a flood
/// of forged datagrams gets no more than 24 kB/s of answers.
pub const RESETS_PER_SECOND: u32 = 2000;

/// Viewers that get a stream's newest frame besides its turn, because they come or begin anew, in a second: a relay that
/// comes back shows a picture to all within two, and who comes and goes all the time costs no more than 500 frames.
pub const CATCH_UPS_PER_SECOND: u32 = 500;

/// How long a key seals a stream's media, unless configured otherwise.
pub const KEY_ROTATION: Duration = Duration::from_secs(3600);

/// The bounds of an engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Sessions at a time.
    pub max_viewers: usize,
    /// A source that has been silent for so long is gone.
    pub source_stale: Duration,
    /// A key seals a stream's media for so long.
    pub key_rotation: Duration,
    /// Where media goes for viewers that join a group; none: to each alone.
    pub multicast: Option<Multicast>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_viewers: MAX_VIEWERS,
            source_stale: SOURCE_STALE,
            key_rotation: KEY_ROTATION,
            multicast: None,
        }
    }
}

/// What an upstream took in: a frame, or with an empty picture a heartbeat.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Which upstream.
    pub origin: usize,
    /// What was in it.
    pub frame: CheckedFrame,
    /// The encoded `Frame` as it came.
    pub body: Bytes,
    /// When it came.
    pub received: Time,
    /// Frames of the same epoch that came before it, after the one taken last, and gave way to it.
    pub superseded: u64,
    /// As many more that gave way while there was no viewer to whom they were lost.
    pub unwatched: u64,
    /// Whether those who watch over HTTP have it already.
    pub shown: bool,
}

/// What is to be sent.
#[derive(Clone, Debug)]
pub enum Output {
    /// One datagram.
    Send {
        /// To whom.
        to: Route,
        /// What.
        datagram: Vec<u8>,
    },
    /// A frame to all viewers of its stream.
    Transmit(FrameTransmit),
    /// Some shards of a frame to one viewer.
    Retransmit(Retransmit),
    /// From now on, send to this viewer by a dedicated socket.
    Isolate(Route),
    /// From now on, send to this viewer by the shared socket.
    Rejoin(Route),
    /// Feedback for a source. If it cannot be delivered, pass it to
    /// [`Engine::on_feedback_undelivered`].
    Feedback {
        /// Which upstream.
        origin: usize,
        /// What; its sequence is the upstream's to set.
        feedback: FeedbackReport,
    },
}

/// What happened. Counts never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames with a picture that came from sources and were not superseded.
    pub frames: u64,
    /// Frames that gave way to newer ones before they could be sent.
    pub superseded: u64,
    /// Frames given to the fan-out.
    pub frames_sent: u64,
    /// Arrivals that were not used: a stream too many, or a name that another source has.
    pub refused_frames: u64,
    /// Datagrams that are not ours or break a bound. Nothing is sent for them.
    pub malformed: u64,
    /// Challenges sent.
    pub challenges: u64,
    /// Sessions opened.
    pub joins: u64,
    /// Joins answered by a refusal.
    pub refusals: u64,
    /// Sessions ended by silence.
    pub expired: u64,
    /// Datagrams of sessions that do not exist.
    pub unknown_sessions: u64,
    /// Of those, how many were answered by RESET.
    pub resets: u64,
    /// Shards that viewers asked for again.
    pub repairs_asked: u64,
    /// Shards sent again.
    pub repairs_sent: u64,
    /// Handshakes that came to nothing: a wrong key, none, or one that is not known.
    pub handshakes_refused: u64,
    /// Handshakes that were not worked on, because there were too many.
    pub handshakes_put_off: u64,
    /// Messages of sealed sessions that were not sealed, or not by the viewer.
    pub unauthentic: u64,
    /// Frames left out for one viewer that has gone, for the sake of what its way could take; see [`Engine::skipped`].
    pub skipped: u64,
    /// Frames of which one viewer got a part only.
    pub aborted: u64,
    /// Viewers that were given a socket of their own because they had fallen behind.
    pub isolated: u64,
    /// Sessions ended because their key is known no more.
    pub revoked: u64,
    /// Keys that followed another.
    pub keys_rotated: u64,
    /// Viewers that were taken out of their group, because it did not serve them well.
    pub left_groups: u64,
    /// What viewers have found, as far as it came.
    pub detections: u64,
    /// Of that, what the sources will not be told.
    pub detections_dropped: u64,
    /// Feedback reports made for sources.
    pub feedback: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    access: RelayAccess,
    secrets: Secrets,
    token_key: TokenKey,
    handshakes: HandshakeLimiter,
    streams: Streams,
    clocks: SourceClocks,
    viewers: Viewers,
    encoder: Encoder,
    outputs: VecDeque<Output>,
    counts: Counts,
    sessions: u64,
    dedicated_sockets: usize,
    resets: TokenBucket,
    catch_ups: TokenBucket,
    next_sweep: Time,
    /// How often the condition of a stream has changed.
    state_version: u64,
    feedback: FeedbackScheduler,
    log_limits: LogLimits,
}

/// The log lines that others can cause.
#[derive(Debug, Default)]
struct LogLimits {
    malformed: Limited,
    refused_frames: Limited,
    joined: Limited,
    left: Limited,
    refused_joins: Limited,
    unauthentic: Limited,
    isolated: Limited,
    left_groups: Limited,
    detections: Limited,
}

impl Engine {
    /// An engine without streams or viewers. `seed` is random and nobody else's.
    #[must_use]
    pub fn new(config: EngineConfig, access: RelayAccess, seed: [u8; 32]) -> Self {
        let mut secrets = Secrets::new(seed);
        Self {
            config,
            access,
            token_key: TokenKey::new(secrets.bytes()),
            feedback: FeedbackScheduler::new(secrets.number()),
            secrets,
            handshakes: HandshakeLimiter::new(),
            streams: Streams::new(config.source_stale),
            clocks: SourceClocks::default(),
            viewers: Viewers::default(),
            encoder: Encoder::new(),
            outputs: VecDeque::new(),
            counts: Counts::default(),
            sessions: 0,
            dedicated_sockets: 0,
            resets: TokenBucket::new(Time::default(), RESETS_PER_SECOND),
            catch_ups: TokenBucket::new(Time::default(), CATCH_UPS_PER_SECOND),
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

    /// Lets in whom `access` names from now on. Sessions of viewers whose key it does not know end, and the keys of
    /// their streams with them. What is asked of a viewer (nothing, a shared key, a key of its own) stays as it was.
    pub fn set_access(&mut self, now: Time, access: RelayAccess) {
        let mut streams = Vec::new();
        if let RelayAccess::Keys { viewers, .. } = &access {
            while let Some(route) = self
                .viewers
                .find_unauthorized(|key| viewers.iter().any(|(known, _)| known == key))
            {
                let Some(viewer) = self.viewers.at_mut(route.remote) else {
                    break;
                };
                streams.push(viewer.alias);
                let goodbye = Goodbye {
                    reason: "its key is known no more".to_owned(),
                };
                let datagram = viewer.datagram(&ToViewer::Goodbye(viewer.session, goodbye));
                self.outputs.push_back(Output::Send {
                    to: route,
                    datagram,
                });
                self.counts.revoked += 1;
                drop(self.remove_viewer(now, route));
            }
        }
        self.access = access;
        streams.sort_unstable();
        streams.dedup();
        for alias in streams {
            self.announce_key(now, alias, key_rotation::REVOKE_SWITCH_TIMEOUT);
        }
    }

    /// Changes the keys of all streams before their time.
    pub fn rotate_keys(&mut self, now: Time) {
        let aliases: Vec<u16> = self.streams.iter().map(|stream| stream.alias).collect();
        for alias in aliases {
            self.announce_key(now, alias, key_rotation::KEY_SWITCH_TIMEOUT);
        }
    }

    /// Takes what an upstream had for us.
    pub fn on_arrival(&mut self, now: Time, arrival: &Arrival) {
        let picture = !arrival.frame.jpeg.is_empty();
        self.counts.superseded += arrival.superseded;
        let (stream, news) = match self.streams.hear(now, arrival) {
            Ok(heard) => heard,
            Err(unused) => return self.on_rejected(now, arrival, unused),
        };
        let alias = stream.alias;
        let newer = picture && stream.note(arrival);
        self.counts.frames += u64::from(picture) + arrival.unwatched;
        if news {
            self.feedback
                .schedule(now, arrival.origin, feedback::INTERVAL);
            self.announce_status(now, alias);
        }
        if newer {
            self.fan_out(now, alias);
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

    /// Does what time asks for; call it when [`Engine::next_deadline`] has come. Earlier or more often does no harm.
    pub fn on_tick(&mut self, now: Time) {
        while let Some(alias) = self.streams.expire(now).map(|stream| stream.alias) {
            self.announce_status(now, alias);
        }
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP_INTERVAL;
            while let Some(remote) = self.viewers.idle(now, SESSION_IDLE) {
                self.counts.expired += 1;
                self.leave(
                    now,
                    Route {
                        remote,
                        local: None,
                    },
                    "fell silent",
                );
            }
            self.update_isolation(now);
            self.update_keys(now);
            self.flush_lines(now);
        }
        self.send_feedback(now);
    }

    /// When [`Engine::on_tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let sweep = (self.viewers.len() > 0).then_some(self.next_sweep);
        sweep
            .into_iter()
            .chain(self.streams.deadline())
            .chain(self.feedback.deadline())
            .min()
    }

    /// The next thing to send. Take all before the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Tells all viewers that the relay ends.
    pub fn shut_down(&mut self) {
        for viewer in self.viewers.iter_mut() {
            let goodbye = Goodbye {
                reason: "the relay stops".to_owned(),
            };
            let datagram = viewer.datagram(&ToViewer::Goodbye(viewer.session, goodbye));
            self.outputs.push_back(Output::Send {
                to: viewer.route,
                datagram,
            });
        }
        self.viewers = Viewers::default();
    }

    /// The alias of the stream `name`, if the relay has it.
    #[must_use]
    pub fn alias(&self, name: &StreamName) -> Option<u16> {
        self.streams.named(name).map(|stream| stream.alias)
    }

    /// How many sessions there are.
    #[must_use]
    pub fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// Frames left out for one viewer, for the sake of what its way can take.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.counts.skipped
            + self
                .viewers
                .iter()
                .map(|viewer| viewer.congestion.skipped())
                .sum::<u64>()
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

    fn on_rejected(&mut self, now: Time, arrival: &Arrival, rejected: Rejected) {
        let reason = match rejected {
            Rejected::Old => return,
            Rejected::TooMany => "the relay has all the streams it can carry",
            Rejected::Taken => "another source has a stream of that name",
        };
        self.counts.refused_frames += 1;
        if let Some(count) = self.log_limits.refused_frames.note(now) {
            tracing::warn!(count, stream = %arrival.frame.stream, "frames refused: {reason}");
        }
    }

    fn on_malformed(&mut self, now: Time, from: Route, error: DatagramError) {
        self.counts.malformed += 1;
        if let Some(count) = self.log_limits.malformed.note(now) {
            tracing::info!(count, from = %from.remote, "malformed datagrams dropped, the last: {error}");
        }
    }

    /// Sends the newest frame of a stream to whoever is to have it.
    fn fan_out(&mut self, now: Time, alias: u16) {
        let Self {
            config,
            streams,
            viewers,
            encoder,
            ..
        } = self;
        let transmit = streams.by_alias_mut(alias).and_then(|stream| {
            let group = config
                .multicast
                .map(|multicast| multicast.route(stream.slot));
            stream.transmit(now, viewers, encoder, group)
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
        if self.resets.left(now) > 0 {
            self.resets.spend(1);
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
        if stream.status_messages.left(now) == 0 {
            return;
        }
        stream.status_messages.spend(1);
        self.pulse_all(now, alias);
    }

    /// Ends the session of the viewer at `route`, if it has one.
    fn leave(&mut self, now: Time, route: Route, why: &str) {
        let Some(viewer) = self.remove_viewer(now, route) else {
            return;
        };
        self.counts.skipped += viewer.congestion.skipped();
        if let Some(count) = self.log_limits.left.note(now) {
            tracing::info!(
                count,
                viewer = %route.remote,
                name = ?viewer.name,
                shown = viewer.report.frames_shown,
                lost = viewer.report.frames_lost,
                "viewers left, the last {why}"
            );
        }
    }

    /// Takes a viewer out of everything that knows it.
    fn remove_viewer(&mut self, now: Time, route: Route) -> Option<Viewer> {
        let viewer = self.viewers.remove(route.remote)?;
        if let Some(stream) = self.streams.by_alias_mut(viewer.alias) {
            stream.remove(route.remote);
            self.feedback.note_departed(
                now,
                stream.origin,
                ViewerReport {
                    left: true,
                    ..viewer.seen(&stream.name)
                },
            );
        }
        if viewer.isolation.is_own() {
            self.dedicated_sockets -= 1;
            self.outputs.push_back(Output::Rejoin(viewer.route));
        }
        Some(viewer)
    }

    fn send(&mut self, to: Route, message: &ToViewer<'_>) {
        self.outputs.push_back(Output::Send {
            to,
            datagram: encoded(message),
        });
    }

    fn flush_lines(&mut self, now: Time) {
        let LogLimits {
            malformed,
            refused_frames,
            joined,
            left,
            refused_joins,
            unauthentic,
            isolated,
            left_groups,
            detections,
        } = &mut self.log_limits;
        let classes = [
            ("malformed datagrams dropped", malformed),
            ("frames refused", refused_frames),
            ("viewers joined", joined),
            ("viewers left", left),
            ("joins refused", refused_joins),
            ("messages of sealed sessions dropped", unauthentic),
            ("viewers fell behind", isolated),
            (
                "viewers that multicast serves badly get unicast",
                left_groups,
            ),
            ("detections dropped", detections),
        ];
        for (what, line) in classes {
            if let Some(count) = line.flush(now) {
                tracing::info!(count, "{what}");
            }
        }
        for stream in self.streams.iter_mut() {
            if let Some(count) = stream.line.flush(now) {
                stream.log(count);
            }
        }
    }
}

fn encoded(message: &ToViewer<'_>) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(8 * CONTROL_HEADER);
    message.encode(&mut datagram);
    datagram
}

#[cfg(test)]
mod tests;
