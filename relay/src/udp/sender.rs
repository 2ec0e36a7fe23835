//! The fan-out in time: which datagrams leave when, and what is given up when the way is blocked. Reads no clock.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::DATA_BYTES;

use crate::config::Gso;
use crate::engine::{Fan, Resend, Route};

/// Datagrams of one viewer that leave together. Larger trains save little more, and other viewers wait longer.
const CHUNK: u16 = 27;

/// A frame of so many datagrams, about 300 kB, is within what the queues of a LAN's switches hold: it leaves at once
/// to a viewer whose socket holds it twice.
const BURST: u32 = 256;

/// Datagrams a millisecond to one viewer, at most, when a frame does not leave at once: about 1 Gbit/s.
const FASTEST: u32 = 104;

/// Datagrams a millisecond, at least: a viewer that cannot take 10 Mbit/s misses frames either way.
const SLOWEST: u32 = 8;

/// What the socket of a viewer holds that does not say: the kernel's default.
const USUAL_CAPACITY: u32 = 92;

/// Milliseconds of stall of a viewer's reader that its socket should bridge.
const STALL_MS: u32 = 3;

/// Longest that a frame waits for room in the socket.
const PATIENCE: Duration = Duration::from_millis(20);

/// Calls to the kernel before the loop looks after its other work.
const CALLS_PER_TURN: u32 = 64;

/// Where datagrams go out; a socket in life.
pub trait Wire {
    /// Sends `bytes` as one datagram, or as a train of datagrams of `segment` bytes. Never waits.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room now, and whatever the system says.
    fn send(&self, to: Route, bytes: &[u8], segment: Option<usize>) -> io::Result<()>;
}

/// What happened. Counts never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams handed to the kernel.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames given up for one viewer because there was no room until their deadline.
    pub dropped: u64,
    /// Frames given up for one viewer, and other datagrams, because sending failed.
    pub failed: u64,
    /// Other datagrams that found no room.
    pub crowded_out: u64,
}

/// When to call [`Sender::run`] again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is nothing to send.
    Idle,
    /// As soon as the other work has had its turn.
    Again,
    /// At this time.
    At(Time),
    /// When there is room, or at this time.
    Blocked(Time),
}

impl Turn {
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
    jobs: VecDeque<Job>,
    spare: Vec<Vec<u16>>,
    counts: Counts,
}

impl Sender {
    /// `segments` is how many datagrams the kernel takes as a train.
    #[must_use]
    pub fn new(gso: Gso, segments: usize) -> Self {
        let segments = if gso == Gso::Off { 1 } else { u16::try_from(segments).unwrap_or(CHUNK).clamp(1, CHUNK) };
        Self { gso, segments, jobs: VecDeque::new(), spare: Vec::new(), counts: Counts::default() }
    }

    /// Whether a frame of this stream is on its way.
    #[must_use]
    pub fn busy(&self, alias: u16) -> bool {
        self.jobs.iter().any(|job| job.fan.alias == alias)
    }

    /// How many frames are on their way, at most one of each stream.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.jobs.len()
    }

    /// Whether trains of datagrams are sent.
    #[must_use]
    pub const fn uses_trains(&self) -> bool {
        self.segments > 1
    }

    /// What happened so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes a frame; [`Sender::run`] sends it.
    pub fn start(&mut self, now: Time, fan: Fan) {
        let mut next = self.spare.pop().unwrap_or_default();
        next.clear();
        next.resize(fan.targets.len(), 0);
        self.jobs.push_back(Job::new(now, fan, next));
    }

    /// Sends one datagram now or not at all: whoever waits for it asks again.
    pub fn send(&mut self, wire: &impl Wire, to: Route, datagram: &[u8]) {
        match self.deliver(wire, to, datagram, None) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.counts.crowded_out += 1,
            Err(_) => self.counts.failed += 1,
        }
    }

    /// Sends shards again, now or not at all.
    pub fn resend(&mut self, wire: &impl Wire, resend: &Resend) {
        for range in &resend.ranges {
            let mut start = range.start;
            while start < range.end {
                let end = range.end.min(start + CHUNK);
                match self.chunk(wire, resend.to, resend.packets.datagrams(start..end)) {
                    (_, Ok(())) => start = end,
                    (_, Err(Stopped::Full)) => return self.counts.crowded_out += 1,
                    (_, Err(Stopped::Failed)) => return self.counts.failed += 1,
                }
            }
        }
    }

    /// Sends what is due, but never for long.
    pub fn run(&mut self, now: Time, wire: &impl Wire) -> Turn {
        let mut calls = CALLS_PER_TURN;
        let mut wake = None;
        for _ in 0..self.jobs.len() {
            let Some(mut job) = self.jobs.pop_front() else { break };
            if now >= job.deadline {
                self.counts.dropped += job.unfinished as u64;
                self.finish(job);
                continue;
            }
            let step = self.advance(now, wire, &mut job, &mut calls);
            let deadline = job.deadline;
            match step {
                Step::Done => self.finish(job),
                Step::Wait(until) => {
                    self.jobs.push_back(job);
                    let until = until.min(deadline);
                    wake = Some(wake.map_or(until, |wake: Time| wake.min(until)));
                }
                Step::Full => {
                    self.jobs.push_front(job);
                    let deadline = self.jobs.iter().map(|job| job.deadline).min().unwrap_or(deadline);
                    return Turn::Blocked(deadline);
                }
                Step::More => {
                    self.jobs.push_back(job);
                    return Turn::Again;
                }
            }
        }
        wake.map_or(Turn::Idle, Turn::At)
    }

    /// Goes round the viewers of a job, one chunk each, until nothing more is due.
    fn advance(&mut self, now: Time, wire: &impl Wire, job: &mut Job, calls: &mut u32) -> Step {
        loop {
            while job.at < job.next.len() {
                let target = (job.fan.first + job.at) % job.next.len();
                if job.due(target).is_some_and(|due| due <= now) {
                    if *calls == 0 {
                        return Step::More;
                    }
                    *calls = calls.saturating_sub(if self.segments > 1 { 1 } else { u32::from(CHUNK) });
                    let start = job.next[target];
                    let end = job.shards().min(start + CHUNK - start % CHUNK);
                    let route = job.fan.targets[target].route;
                    let (sent, stopped) = self.chunk(wire, route, job.fan.packets.datagrams(start..end));
                    job.next[target] += sent;
                    job.moved = true;
                    match stopped {
                        Ok(()) => {}
                        Err(Stopped::Full) => return Step::Full,
                        Err(Stopped::Failed) => {
                            self.counts.failed += 1;
                            job.next[target] = job.shards();
                        }
                    }
                    job.unfinished -= usize::from(job.next[target] == job.shards());
                }
                job.at += 1;
            }
            job.at = 0;
            if job.unfinished == 0 {
                return Step::Done;
            }
            if !std::mem::take(&mut job.moved) {
                return Step::Wait(job.next_due());
            }
        }
    }

    /// Sends up to [`CHUNK`] datagrams; how many were sent, and why not more.
    fn chunk(&mut self, wire: &impl Wire, to: Route, datagrams: &[u8]) -> (u16, Result<(), Stopped>) {
        let mut sent = 0;
        let mut rest = datagrams;
        while !rest.is_empty() {
            let train = rest.len().min(usize::from(self.segments) * DATA_BYTES);
            let segment = (train > DATA_BYTES).then_some(DATA_BYTES);
            match self.deliver(wire, to, &rest[..train], segment) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (sent, Err(Stopped::Full)),
                Err(error) if segment.is_some() && self.gso == Gso::Auto && means_no_trains(&error) => {
                    return self.without_trains(wire, to, rest, sent, &error);
                }
                Err(_) => return (sent, Err(Stopped::Failed)),
            }
            sent += (train / DATA_BYTES) as u16;
            rest = &rest[train..];
        }
        (sent, Ok(()))
    }

    /// A train has failed. When its datagrams go one by one, trains are to blame and are sent no more; when they do not
    /// either, it is this viewer's address.
    fn without_trains(
        &mut self,
        wire: &impl Wire,
        to: Route,
        datagrams: &[u8],
        mut sent: u16,
        error: &io::Error,
    ) -> (u16, Result<(), Stopped>) {
        for datagram in datagrams.chunks(DATA_BYTES) {
            match self.deliver(wire, to, datagram, None) {
                Ok(()) => sent += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (sent, Err(Stopped::Full)),
                Err(_) => return (sent, Err(Stopped::Failed)),
            }
            if self.segments > 1 {
                self.segments = 1;
                tracing::info!("the network device takes no trains of datagrams ({error}); sending them one by one");
            }
        }
        (sent, Ok(()))
    }

    fn deliver(&mut self, wire: &impl Wire, to: Route, bytes: &[u8], segment: Option<usize>) -> io::Result<()> {
        let mut sent = wire.send(to, bytes, segment);
        if sent.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            // What the network said about a former datagram; this one has not been tried.
            sent = wire.send(to, bytes, segment);
        }
        if sent.is_ok() {
            self.counts.datagrams += segment.map_or(1, |segment| bytes.len().div_ceil(segment)) as u64;
            self.counts.bytes += bytes.len() as u64;
        }
        sent
    }

    fn finish(&mut self, job: Job) {
        self.spare.push(job.next);
    }
}

enum Step {
    Done,
    Wait(Time),
    Full,
    More,
}

enum Stopped {
    Full,
    Failed,
}

/// One frame on its way.
#[derive(Debug)]
struct Job {
    fan: Fan,
    started: Time,
    /// The longest that the frame is spread over.
    spread: Duration,
    deadline: Time,
    /// For each target, the first shard that it has not got.
    next: Vec<u16>,
    unfinished: usize,
    /// Where in the round of targets this is, and whether the round has moved anything.
    at: usize,
    moved: bool,
}

impl Job {
    fn new(now: Time, fan: Fan, next: Vec<u16>) -> Self {
        let spread = fan.interval / 2;
        let deadline = now + spread + fan.interval.min(PATIENCE);
        let unfinished = next.len();
        Self { fan, started: now, spread, deadline, next, unfinished, at: 0, moved: false }
    }

    fn shards(&self) -> u16 {
        self.fan.packets.shards()
    }

    /// When the target's next chunk is due; none when it has got all.
    fn due(&self, target: usize) -> Option<Time> {
        let next = self.next[target];
        (next < self.shards()).then(|| self.started + self.gap(target) * u32::from(next / CHUNK))
    }

    fn next_due(&self) -> Time {
        (0..self.next.len()).filter_map(|target| self.due(target)).min().unwrap_or(self.deadline)
    }

    /// The time between two chunks for a target, so that its socket does not overflow.
    fn gap(&self, target: usize) -> Duration {
        let shards = u32::from(self.shards());
        let capacity = match self.fan.targets[target].capacity {
            0 => USUAL_CAPACITY,
            capacity => capacity,
        };
        if shards <= BURST && shards.saturating_mul(2) <= capacity {
            return Duration::ZERO;
        }
        let a_millisecond = (capacity / STALL_MS).clamp(SLOWEST, FASTEST);
        let gap = Duration::from_millis(1) * u32::from(CHUNK) / a_millisecond;
        gap.min(self.spread / shards.div_ceil(u32::from(CHUNK)))
    }
}

/// Whether an error can mean that the device or the kernel does not do trains (EIO, EINVAL, EOPNOTSUPP, EMSGSIZE).
fn means_no_trains(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::IO | Errno::INVAL | Errno::OPNOTSUPP | Errno::MSGSIZE))
}

#[cfg(test)]
mod tests;
