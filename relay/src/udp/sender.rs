//! Sends frames to their viewers: which datagrams leave when, and what is aborted when a socket is full.
//!
//! Called by the event loop on its thread: it adds a frame, then calls [`Sender::run`] again and again.
//! Reads no clock and never waits.

mod counts;
mod job;
mod run;
mod single;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanlight_proto::clock::Time;

use super::Gso;
use super::wire::{Refused, Wire};
use crate::engine::{FrameTransmit, ReadProgress, Retransmit, Route};
pub use counts::Counts;
use job::{PendingTarget, TransmitJob};
use run::PendingBatch;

/// Datagrams of one viewer that leave together, when it needs pauses.
const CHUNK: u16 = 27;

/// The same when it does not: as many sealed datagrams as one message holds (65 507 bytes, udp(7)).
const LARGE_CHUNK: u16 = 53;

/// Batches that leave by one call to the kernel, when the wire can: more save nothing measurable.
const BATCHES_PER_CALL: usize = 64;

/// Chunks of one viewer that leave by one call while the frame is being cut: it reads them while the next are cut.
const CHUNKS_WHILE_CUT: usize = 8;

/// How long a frame waits for a shared socket that takes nothing at all. As long as it takes something,
/// the frame goes on: a frame that is half sent is worth finishing, and newer ones are skipped whole.
const SHARED_TIMEOUT: Duration = Duration::from_millis(20);

/// How long a frame waits for a dedicated socket that takes nothing: a path of 1 Mbit/s moves a batch
/// within it.
const DEDICATED_TIMEOUT: Duration = Duration::from_millis(250);

/// A frame so old is aborted, whatever moves.
const MAX_FRAME_AGE: Duration = Duration::from_secs(1);

/// A full socket is tried again after so long. The kernel says that there is room only when the buffer
/// is half empty, which for a large one is late.
const RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// Frames of one stream that are being sent at a time: the newest, and those that viewers behind narrow
/// paths still get. A frame is spread over six intervals at most.
const MAX_JOBS: usize = 8;

/// Datagrams sent in batches before the event loop does its other work: about a millisecond.
const DATAGRAMS_PER_RUN: u32 = 2500;

/// The cost of a datagram that is sent alone, in datagrams that are sent in batches.
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

/// The frames that are being sent.
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
    /// `segments` is how many datagrams the kernel takes as one batch.
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
            batches: Vec::with_capacity(BATCHES_PER_CALL),
            full: None,
            counts: Counts::default(),
        }
    }

    /// Whether a frame of this stream is being sent for which the next has to wait.
    #[must_use]
    pub fn busy(&self, alias: u16) -> bool {
        self.jobs
            .iter()
            .any(|job| job.transmit.alias == alias && job.holds_the_stream())
    }

    /// How many frames are being sent for which others have to wait, at most one of each stream.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.jobs
            .iter()
            .filter(|job| job.holds_the_stream())
            .count()
    }

    /// Whether datagrams are sent in batches.
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

    /// Adds a frame; [`Sender::run`] sends it. A viewer whose last frame is still being sent does not get
    /// this one.
    pub fn start(&mut self, now: Time, transmit: FrameTransmit) {
        self.bound_jobs(transmit.alias);
        let mut job = TransmitJob::new(now, transmit, self.spare.pop().unwrap_or_default());
        if !job.transmit.catch_up {
            self.skip_busy_targets(&mut job);
        }
        self.jobs.push_back(job);
    }

    /// A viewer has read a part of its frame: [`Sender::run`] sends more of it.
    pub fn on_progress(&mut self, progress: &ReadProgress) {
        let of_frame = |job: &&mut TransmitJob| {
            let transmit = &job.transmit;
            transmit.alias == progress.alias && transmit.packets.sequence() == progress.sequence
        };

        for job in self.jobs.iter_mut().filter(of_frame) {
            let at = (0..job.open.len()).find(|at| job.route(*at).remote == progress.from);
            if let Some(at) = at {
                job.open[at].on_read(progress.reach);
            }
        }
    }

    /// Sends one datagram now or not at all: its receiver asks again.
    pub fn send(&mut self, wire: &impl Wire, to: Route, datagram: &[u8]) {
        match self.deliver(wire, to, datagram, None) {
            Ok(()) => {}
            Err(Refused::Full | Refused::DedicatedFull) => self.counts.buffer_full += 1,
            Err(Refused::Failed(_)) => self.counts.failed += 1,
        }
    }

    /// Sends shards again, now or not at all. Leaves out those that are still to be sent for the first
    /// time: when a frame is spread out, a viewer may take them for lost.
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
                    &retransmit.packets.datagrams(start..end),
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

    /// How many datagrams of a frame have been sent to the viewer that asks for some again.
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

    /// Removes from a job the viewers that still get an earlier frame of the stream.
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

    /// Makes room for one more frame of the stream: the oldest is aborted.
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

    /// Aborts a frame for the viewers for which `whom` holds.
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

#[cfg(test)]
mod tests;
