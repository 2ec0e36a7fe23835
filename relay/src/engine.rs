//! The relay without its sockets: frames of the sources and datagrams of the viewers come in, what is to be sent comes
//! out. Reads no clock and no randomness.

mod admission;
mod fanout;
mod need;
mod rate;
mod streams;
mod viewers;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::logline::Limited;
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{CONTROL_HEADER, ToRelay, ToViewer};
use fanlight_proto::limits::{MAX_VIEWERS, SESSION_IDLE, SOURCE_STALE};
use fanlight_proto::message::{CheckedFrame, FrameId, Goodbye, KeepAlive, Pulse, Repair, StreamName};
use fanlight_proto::token::Minter;

pub use fanout::{Fan, Packets, RING_FRAMES, Resend, Route, Target};
use streams::{Stream, Streams, Unused};
pub use viewers::REPAIR_SHARDS_PER_SECOND;
use viewers::{Allowance, Viewers};

/// How often idle sessions are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// RESETs sent in a second, to whomever: a restarted relay calls a thousand viewers back within one second, and a flood
/// of forged datagrams gets no more than 24 kB/s of answers.
pub const RESETS_PER_SECOND: u32 = 2000;

/// The bounds of an engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Sessions at a time.
    pub max_viewers: usize,
    /// A source that has been silent for so long is gone.
    pub source_stale: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { max_viewers: MAX_VIEWERS, source_stale: SOURCE_STALE }
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
    Fan(Fan),
    /// Some shards of a frame to one viewer.
    Resend(Resend),
}

/// What happened. Counts never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames with a picture that came from sources and were not superseded.
    pub frames: u64,
    /// Frames that gave way to newer ones before they could be sent.
    pub superseded: u64,
    /// Frames given to the fan-out.
    pub fanned: u64,
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
}

/// See the module.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    minter: Minter,
    streams: Streams,
    viewers: Viewers,
    outputs: VecDeque<Output>,
    counts: Counts,
    sessions: u64,
    resets: Allowance,
    next_sweep: Time,
    lines: Lines,
}

/// The log lines that others can cause.
#[derive(Debug, Default)]
struct Lines {
    malformed: Limited,
    refused_frames: Limited,
    joined: Limited,
    left: Limited,
    refused_joins: Limited,
}

impl Engine {
    /// An engine without streams or viewers. `secret` is random and nobody else's.
    #[must_use]
    pub fn new(config: EngineConfig, secret: [u8; 16]) -> Self {
        Self {
            config,
            minter: Minter::new(secret),
            streams: Streams::new(config.source_stale),
            viewers: Viewers::default(),
            outputs: VecDeque::new(),
            counts: Counts::default(),
            sessions: 0,
            resets: Allowance::new(Time::default(), RESETS_PER_SECOND),
            next_sweep: Time::default(),
            lines: Lines::default(),
        }
    }

    /// Takes one datagram as it came.
    pub fn on_datagram(&mut self, now: Time, from: Route, datagram: &[u8]) {
        match ToRelay::parse(datagram) {
            Ok(ToRelay::Join(join)) => self.on_join(now, from, &join),
            Ok(ToRelay::KeepAlive(session, body)) => self.on_keep_alive(now, from, session, &body),
            Ok(ToRelay::Repair(session, body)) => self.on_repair(now, from, session, &body),
            Ok(ToRelay::Goodbye(session, _)) => {
                if self.viewers.session(from.remote, session).is_some() {
                    self.leave(now, from, "said goodbye");
                }
            }
            Ok(ToRelay::Sealed(session, ..)) => self.reset(now, from, session),
            Err(error) => {
                self.counts.malformed += 1;
                if let Some(count) = self.lines.malformed.note(now) {
                    tracing::info!(count, from = %from.remote, "malformed datagrams dropped, the last: {error}");
                }
            }
        }
    }

    /// Takes what an upstream had for us.
    pub fn on_arrival(&mut self, now: Time, arrival: &Arrival) {
        let picture = !arrival.frame.jpeg.is_empty();
        self.counts.superseded += arrival.superseded;
        let (stream, news) = match self.streams.hear(now, arrival) {
            Ok(heard) => heard,
            Err(unused) => return self.on_unused(now, arrival, unused),
        };
        let alias = stream.alias;
        let fan = if picture { stream.fan(arrival) } else { None };
        self.counts.frames += u64::from(picture);
        if news {
            self.tell_news(now, alias);
        }
        if let Some(fan) = fan {
            self.counts.fanned += 1;
            self.outputs.push_back(Output::Fan(fan));
        }
    }

    /// Does what time asks for; call it when [`Engine::next_deadline`] has come. Earlier or more often does no harm.
    pub fn on_tick(&mut self, now: Time) {
        while let Some(alias) = self.streams.expire(now).map(|stream| stream.alias) {
            self.tell_news(now, alias);
        }
        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP_INTERVAL;
            while let Some(remote) = self.viewers.idle(now, SESSION_IDLE) {
                self.counts.expired += 1;
                self.leave(now, Route { remote, local: None }, "fell silent");
            }
            self.flush_lines(now);
        }
    }

    /// When [`Engine::on_tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let sweep = (self.viewers.len() > 0).then_some(self.next_sweep);
        sweep.into_iter().chain(self.streams.deadline()).min()
    }

    /// The next thing to send. Take all before the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Tells all viewers that the relay ends.
    pub fn shut_down(&mut self) {
        let reason = "the relay stops".to_owned();
        let farewell = |session| ToViewer::Goodbye(session, Goodbye { reason: reason.clone() });
        let sessions: Vec<_> = self
            .streams
            .iter()
            .flat_map(|stream| stream.targets())
            .filter_map(|target| self.viewers.at(target.route.remote).map(|viewer| (target.route, viewer.session)))
            .collect();
        for (route, session) in sessions {
            self.viewers.remove(route.remote);
            self.send(route, &farewell(session));
        }
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

    fn on_keep_alive(&mut self, now: Time, from: Route, session: u64, body: &KeepAlive) {
        let Some(viewer) = self.viewers.session(from.remote, session) else {
            return self.reset(now, from, session);
        };
        viewer.heard = now;
        if let Some(report) = body.report {
            viewer.report = report;
        }
        let stream = self.streams.by_alias(viewer.alias);
        let status = stream.map(|stream| stream.status().clone());
        let pulse = Pulse { echo_us: body.sent_us, relay_us: now.as_micros(), status, ..Pulse::default() };
        self.send(from, &ToViewer::Pulse(session, pulse));
    }

    fn on_repair(&mut self, now: Time, from: Route, session: u64, body: &Repair) {
        let Some(viewer) = self.viewers.session(from.remote, session) else {
            return self.reset(now, from, session);
        };
        viewer.heard = now;
        let id = FrameId { epoch: body.epoch, number: body.number };
        let stream = self.streams.by_alias(viewer.alias).filter(|stream| u32::from(stream.alias) == body.alias);
        let asked = body.ranges.chunks_exact(2).map(|pair| u64::from(pair[1]));
        self.counts.repairs_asked += asked.sum::<u64>();
        let Some(packets) = stream.and_then(|stream| stream.ring().find(id)) else { return };
        let ranges = fanout::asked_ranges(&body.ranges, packets.shards(), viewer.repairs.left(now));
        let count = ranges.iter().map(|range| u32::from(range.end - range.start)).sum();
        if count > 0 {
            viewer.repairs.spend(count);
            self.counts.repairs_sent += u64::from(count);
            self.outputs.push_back(Output::Resend(Resend { to: from, packets: packets.clone(), ranges }));
        }
    }

    fn on_unused(&mut self, now: Time, arrival: &Arrival, unused: Unused) {
        let reason = match unused {
            Unused::Old => return,
            Unused::TooMany => "the relay has all the streams it can carry",
            Unused::Taken => "another source has a stream of that name",
        };
        self.counts.refused_frames += 1;
        if let Some(count) = self.lines.refused_frames.note(now) {
            tracing::warn!(count, stream = %arrival.frame.stream, "frames refused: {reason}");
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
    fn tell_news(&mut self, now: Time, alias: u16) {
        let Some(stream) = self.streams.by_alias_mut(alias) else { return };
        if let Some(count) = stream.line.note(now) {
            stream.log(count);
        }
        if stream.tellings.left(now) == 0 {
            return;
        }
        stream.tellings.spend(1);
        let status = Some(stream.status().clone());
        let pulse = Pulse { relay_us: now.as_micros(), status, ..Pulse::default() };
        for target in stream.targets() {
            let Some(viewer) = self.viewers.at(target.route.remote) else { continue };
            let datagram = encoded(&ToViewer::Pulse(viewer.session, pulse.clone()));
            self.outputs.push_back(Output::Send { to: target.route, datagram });
        }
    }

    /// Ends the session of the viewer at `route`, if it has one.
    fn leave(&mut self, now: Time, route: Route, why: &str) {
        let Some(viewer) = self.viewers.remove(route.remote) else { return };
        if let Some(stream) = self.streams.by_alias_mut(viewer.alias) {
            stream.remove(&Target { route, capacity: 0 });
        }
        if let Some(count) = self.lines.left.note(now) {
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

    fn send(&mut self, to: Route, message: &ToViewer<'_>) {
        self.outputs.push_back(Output::Send { to, datagram: encoded(message) });
    }

    fn flush_lines(&mut self, now: Time) {
        let Lines { malformed, refused_frames, joined, left, refused_joins } = &mut self.lines;
        let classes = [
            ("malformed datagrams dropped", malformed),
            ("frames refused", refused_frames),
            ("viewers joined", joined),
            ("viewers left", left),
            ("joins refused", refused_joins),
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
