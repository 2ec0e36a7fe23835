//! The fan-out in time: which datagrams leave when, and what is given up when the way is blocked. Reads no clock.

mod counts;
mod job;
mod single;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanlight_proto::clock::Time;

use super::wire::{GsoBatch, Refused, Wire};
use crate::config::Gso;
use crate::engine::{FrameTransmit, Retransmit, Route};
pub use counts::Counts;
use job::{PendingTarget, TransmitJob};

/// Datagrams of one viewer that leave together, when it needs pauses.
const CHUNK: u16 = 27;

/// The same when it does not: as many sealed datagrams as one message holds (65 507 bytes, udp(7)).
const LARGE_CHUNK: u16 = 53;

/// Trains that leave by one call to the kernel, when the wire can: more save nothing that can be measured.
const BATCH: usize = 64;

/// Longest that a frame waits for the shared socket while that takes nothing at all. As long as it takes something the
/// frame goes on: a frame that is half out is worth finishing, and newer ones are left out whole.
const SHARED_TIMEOUT: Duration = Duration::from_millis(20);

/// Longest that a frame waits for a viewer's own socket that takes nothing: a way of 1 Mbit/s moves a train of
/// datagrams within it.
const DEDICATED_TIMEOUT: Duration = Duration::from_millis(250);

/// Whatever moves, nobody wants the rest of a frame so old.
const MAX_FRAME_AGE: Duration = Duration::from_secs(1);

/// A socket without room is tried again after so long. The kernel says that there is room only when the buffer is half
/// empty, which for a large one is late.
const RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// Frames of one stream that are on their way at a time: the newest, and those that viewers behind narrow ways still
/// get. A frame is spread over six intervals at most.
const MAX_JOBS: usize = 8;

/// Datagrams sent in batches before the loop looks after its other work: about a millisecond.
const DATAGRAMS_PER_RUN: u32 = 2500;

/// What a datagram costs that goes alone, in datagrams that go in batches.
const SINGLE_COST: u32 = 5;

/// A frame that one viewer did not get whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// Whose.
    pub to: SocketAddr,
    /// Whether some of it was sent.
    pub begun: bool,
}

/// When to call [`Sender::run`] again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextRun {
    /// There is nothing to send.
    Idle,
    /// As soon as the other work has had its turn.
    Again,
    /// At this time.
    At(Time),
    /// When there is room in the shared socket, or at this time.
    Blocked(Time),
}

impl NextRun {
    /// The time to wake up at, if there is one.
    #[must_use]
    pub const fn time(self) -> Option<Time> {
        match self {
            Self::At(time) | Self::Blocked(time) => Some(time),
            Self::Idle | Self::Again => None,
        }
    }
}

/// The frames on their way out.
#[derive(Debug)]
pub struct Sender {
    gso: Gso,
    segments: u16,
    jobs: VecDeque<TransmitJob>,
    spare: Vec<Vec<PendingTarget>>,
    aborted: VecDeque<Aborted>,
    batches: Vec<PendingBatch>,
    /// Since when the shared socket has taken nothing.
    full: Option<Time>,
    counts: Counts,
}

impl Sender {
    /// One for all viewers. `segments` is how many datagrams the kernel takes as a batch.
    #[must_use]
    pub fn new(gso: Gso, segments: usize) -> Self {
        let segments = if gso == Gso::Off {
            1
        } else {
            u16::try_from(segments)
                .unwrap_or(LARGE_CHUNK)
                .clamp(1, LARGE_CHUNK)
        };
        Self {
            gso,
            segments,
            jobs: VecDeque::new(),
            spare: Vec::new(),
            aborted: VecDeque::new(),
            batches: Vec::with_capacity(BATCH),
            full: None,
            counts: Counts::default(),
        }
    }

    /// Whether a frame of this stream is on its way for which the next has to wait.
    #[must_use]
    pub fn busy(&self, alias: u16) -> bool {
        self.jobs
            .iter()
            .any(|job| job.transmit.alias == alias && job.holds_the_stream())
    }

    /// How many frames are on their way for which others have to wait, at most one of each stream.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.jobs
            .iter()
            .filter(|job| job.holds_the_stream())
            .count()
    }

    /// Whether trains of datagrams are sent.
    #[must_use]
    pub const fn uses_gso(&self) -> bool {
        self.segments > 1
    }

    /// What happened so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The next frame that a viewer did not get whole. Take all after each [`Sender::run`].
    pub fn take_aborted(&mut self) -> Option<Aborted> {
        self.aborted.pop_front()
    }

    /// Takes a frame; [`Sender::run`] sends it. A viewer whose last frame is still on its way does not get this one.
    pub fn start(&mut self, now: Time, transmit: FrameTransmit) {
        self.bound_jobs(transmit.alias);
        let mut job = TransmitJob::new(now, transmit, self.spare.pop().unwrap_or_default());
        if !job.transmit.catch_up {
            self.skip_busy_targets(&mut job);
        }
        self.jobs.push_back(job);
    }

    /// Sends one datagram now or not at all: whoever waits for it asks again.
    pub fn send(&mut self, wire: &impl Wire, to: Route, datagram: &[u8]) {
        match self.deliver(wire, to, datagram, None) {
            Ok(()) => {}
            Err(Refused::Full | Refused::DedicatedFull) => self.counts.buffer_full += 1,
            Err(Refused::Failed(_)) => self.counts.failed += 1,
        }
    }

    /// Sends shards again, now or not at all; not those that are still to be sent to this viewer for the first time,
    /// which it takes for lost when a frame is spread out.
    pub fn retransmit(&mut self, wire: &impl Wire, retransmit: &Retransmit) {
        let stride = retransmit.packets.stride();
        let sent = self.sent_of(retransmit);
        for range in &retransmit.ranges {
            let (mut start, last) = (range.start, range.end.min(sent));
            while start < last {
                let end = last.min(start + CHUNK);
                match self.chunk(
                    wire,
                    retransmit.to,
                    retransmit.packets.datagrams(start..end),
                    stride,
                ) {
                    (_, Ok(())) => start = end,
                    (_, Err(Refused::Full | Refused::DedicatedFull)) => {
                        return self.counts.buffer_full += 1;
                    }
                    (_, Err(Refused::Failed(_))) => return self.counts.failed += 1,
                }
            }
        }
    }

    /// How many datagrams of a frame have left for the viewer that asks for some again.
    fn sent_of(&self, retransmit: &Retransmit) -> u16 {
        let same_frame =
            |job: &&TransmitJob| Arc::ptr_eq(&job.transmit.packets, &retransmit.packets);
        let pending = self.jobs.iter().filter(same_frame).flat_map(|job| {
            let to_viewer = |pending: &&PendingTarget| {
                job.route_of(pending).remote == retransmit.first_sent_to.remote
            };
            job.open
                .iter()
                .filter(to_viewer)
                .filter(|pending| !pending.done())
        });
        pending
            .map(|pending| pending.next)
            .min()
            .unwrap_or(u16::MAX)
    }

    /// Sends what is due, but never for long.
    pub fn run(&mut self, now: Time, wire: &impl Wire) -> NextRun {
        let mut round = Round {
            now,
            full: false,
            left: DATAGRAMS_PER_RUN,
        };
        let mut wake: Option<Time> = None;
        for _ in 0..self.jobs.len() {
            let Some(mut job) = self.jobs.pop_front() else {
                break;
            };
            match self.advance(&mut round, wire, &mut job) {
                Step::Done => self.spare.push(job.open),
                Step::Wait(until) => {
                    self.jobs.push_back(job);
                    wake = Some(wake.map_or(until, |wake| wake.min(until)));
                }
                Step::More => {
                    self.jobs.push_back(job);
                    return NextRun::Again;
                }
            }
        }
        match wake {
            None => NextRun::Idle,
            Some(wake) if round.full => NextRun::Blocked(wake),
            Some(wake) => NextRun::At(wake),
        }
    }

    /// Goes round the viewers of a job, one chunk each, until nothing more is due.
    fn advance(&mut self, round: &mut Round, wire: &impl Wire, job: &mut TransmitJob) -> Step {
        if round.now.saturating_since(job.started) >= MAX_FRAME_AGE {
            self.abort(job, |_| true);
        }
        let patience = job.transmit.interval.min(SHARED_TIMEOUT);
        if self
            .full
            .is_some_and(|since| round.now.saturating_since(since.max(job.started)) >= patience)
        {
            self.abort(job, |to| !wire.has_dedicated_socket(to));
        }
        loop {
            while job.at < job.open.len() {
                let dedicated = wire.has_dedicated_socket(job.route(job.at).remote);
                if job.due(job.at) > round.now || (round.full && !dedicated) {
                    job.at += 1;
                } else if round.left == 0 {
                    return Step::More;
                } else if dedicated {
                    self.send_chunk(round, wire, job);
                    job.at += 1;
                } else {
                    self.send_chunks(round, wire, job);
                }
            }
            job.at = 0;
            job.open.retain(|pending| !pending.done());
            if job.open.is_empty() {
                return Step::Done;
            }
            if !std::mem::take(&mut job.moved) {
                let retry = round.full.then(|| round.now + RETRY_INTERVAL);
                return Step::Wait(
                    retry
                        .into_iter()
                        .chain(job.next_due(round.now))
                        .min()
                        .unwrap_or(round.now + RETRY_INTERVAL),
                );
            }
        }
    }

    /// Sends the next chunks of the viewers from the one whose turn it is on, as many as one call takes, and moves on.
    fn send_chunks(&mut self, round: &mut Round, wire: &impl Wire, job: &mut TransmitJob) {
        self.gather(round, wire, job);
        let (packets, stride) = (&job.transmit.packets, job.transmit.packets.stride());
        let batch = |batch: &PendingBatch| GsoBatch {
            to: job.route(batch.at),
            bytes: packets.datagrams(batch.next..batch.until),
            segment: (self.segments > 1).then_some(stride),
        };
        let batches: [GsoBatch<'_>; BATCH] = std::array::from_fn(|number| {
            batch(self.batches.get(number).unwrap_or(&self.batches[0]))
        });
        let (sent, stopped) = wire.send_many(&batches[..self.batches.len()]);
        for batch in &self.batches[..sent] {
            let (count, shards) = (batch.until - batch.next, job.transmit.packets.shards());
            self.counts.datagrams += u64::from(count);
            self.counts.bytes += u64::from(count) * stride as u64;
            self.counts.parity += u64::from(batch.until.saturating_sub(shards.max(batch.next)));
            round.spend(count, self.segments > 1);
            let pending = &mut job.open[batch.at];
            (pending.next, pending.blocked) = (batch.until, None);
            job.moved = true;
            self.full = None;
        }
        let Err(refused) = stopped else { return };
        job.at = self.batches[sent].at;
        match refused {
            Refused::Full | Refused::DedicatedFull => {
                round.full = true;
                self.full.get_or_insert(round.now);
            }
            // Alone it shows whether batches are to blame, or this viewer's address.
            Refused::Failed(_) => {
                self.send_chunk(round, wire, job);
                job.at += 1;
            }
        }
    }

    /// Notes what can leave by one call, from the viewer whose turn it is on, and moves on behind it.
    fn gather(&mut self, round: &Round, wire: &impl Wire, job: &mut TransmitJob) {
        self.batches.clear();
        let local = job.route(job.at).local;
        while job.at < job.open.len() {
            let route = job.route(job.at);
            let fits = route.local == local && !wire.has_dedicated_socket(route.remote);
            if fits && job.due(job.at) <= round.now {
                let (mut next, until) = job.open[job.at].chunk();
                while next < until {
                    if self.batches.len() == BATCH {
                        return;
                    }
                    let end = until.min(next + self.segments);
                    self.batches.push(PendingBatch {
                        at: job.at,
                        next,
                        until: end,
                    });
                    next = end;
                }
            } else if !fits && !self.batches.is_empty() {
                return;
            }
            job.at += 1;
        }
    }

    /// Sends the next chunk of the viewer whose turn it is, alone.
    fn send_chunk(&mut self, round: &mut Round, wire: &impl Wire, job: &mut TransmitJob) {
        let (route, shards, stride) = (
            job.route(job.at),
            job.transmit.packets.shards(),
            job.transmit.packets.stride(),
        );
        let (next, until) = job.open[job.at].chunk();
        let until = until.min(next + CHUNK);
        let (sent, stopped) = self.chunk(
            wire,
            route,
            job.transmit.packets.datagrams(next..until),
            stride,
        );
        self.counts.parity += u64::from((next + sent).saturating_sub(shards.max(next)));
        round.spend(sent.max(1), self.segments > 1);
        let pending = &mut job.open[job.at];
        pending.next += sent;
        if sent > 0 {
            job.moved = true;
            pending.blocked = None;
        }
        match stopped {
            Ok(()) => {}
            Err(Refused::Full) => {
                round.full = true;
                self.full.get_or_insert(round.now);
            }
            Err(Refused::DedicatedFull) => {
                let since = *pending.blocked.get_or_insert(round.now);
                pending.retry = round.now + RETRY_INTERVAL;
                if round.now.saturating_since(since) >= DEDICATED_TIMEOUT {
                    self.abort_target(pending, route.remote);
                }
            }
            Err(Refused::Failed(_)) => {
                self.counts.failed += 1;
                pending.next = pending.end;
            }
        }
    }

    /// Takes out of a job whoever still gets a former frame of the stream.
    fn skip_busy_targets(&mut self, job: &mut TransmitJob) {
        let former = self
            .jobs
            .iter()
            .filter(|former| former.transmit.alias == job.transmit.alias);
        let held = former.flat_map(|former| {
            former
                .open
                .iter()
                .filter(|p| p.holds(former.transmit.catch_up))
                .map(|p| former.route_of(p))
        });
        for route in held {
            let at = job
                .open
                .iter()
                .position(|pending| job.transmit.targets[pending.target as usize].route == route);
            if let Some(at) = at {
                job.open.remove(at);
                self.counts.skipped += 1;
                self.aborted.push_back(Aborted {
                    to: route.remote,
                    begun: false,
                });
            }
        }
    }

    /// Makes room for one more frame of the stream: the oldest is given up.
    fn bound_jobs(&mut self, alias: u16) {
        if self
            .jobs
            .iter()
            .filter(|job| job.transmit.alias == alias)
            .count()
            < MAX_JOBS
        {
            return;
        }
        let oldest = (0..self.jobs.len())
            .filter(|at| self.jobs[*at].transmit.alias == alias)
            .min_by_key(|at| self.jobs[*at].started);
        if let Some(mut job) = oldest.and_then(|at| self.jobs.remove(at)) {
            self.abort(&mut job, |_| true);
            self.spare.push(job.open);
        }
    }

    /// Gives a frame up for the viewers that `whom` names.
    fn abort(&mut self, job: &mut TransmitJob, whom: impl Fn(SocketAddr) -> bool) {
        for at in 0..job.open.len() {
            let to = job.route(at).remote;
            if whom(to) {
                self.abort_target(&mut job.open[at], to);
            }
        }
        job.open.retain(|pending| !pending.done());
        job.at = 0;
    }

    fn abort_target(&mut self, pending: &mut PendingTarget, to: SocketAddr) {
        if pending.done() {
            return;
        }
        let begun = pending.next > 0;
        self.counts.aborted += u64::from(begun);
        self.counts.skipped += u64::from(!begun);
        self.aborted.push_back(Aborted { to, begun });
        pending.next = pending.end;
    }
}

/// What holds for one call of [`Sender::run`].
struct Round {
    now: Time,
    /// The shared socket has no room.
    full: bool,
    /// Datagrams that may still be sent.
    left: u32,
}

impl Round {
    fn spend(&mut self, datagrams: u16, in_batches: bool) {
        self.left = self
            .left
            .saturating_sub(u32::from(datagrams) * if in_batches { 1 } else { SINGLE_COST });
    }
}

/// A batch that one call sends among others.
#[derive(Clone, Copy, Debug)]
struct PendingBatch {
    /// Whose, among those that have not got all.
    at: usize,
    next: u16,
    until: u16,
}

enum Step {
    Done,
    Wait(Time),
    More,
}

#[cfg(test)]
mod tests;
