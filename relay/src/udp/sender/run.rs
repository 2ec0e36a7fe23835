//! The body of [`Sender::run`]: goes round the frames and their viewers, and sends what is due.

use fanlight_proto::clock::Time;

use super::job::TransmitJob;
use super::{
    BATCHES_PER_CALL, CHUNK, CHUNKS_WHILE_CUT, DATAGRAMS_PER_RUN, DEDICATED_TIMEOUT, MAX_FRAME_AGE,
    NextRun, RETRY_INTERVAL, SHARED_TIMEOUT, SINGLE_COST, Sender,
};
use crate::udp::wire::{GsoBatch, Refused, Wire};

impl Sender {
    /// Sends what is due, for about a millisecond at most.
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

        let timeout = job.transmit.interval.min(SHARED_TIMEOUT);
        if self
            .full
            .is_some_and(|since| round.now.saturating_since(since.max(job.started)) >= timeout)
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

    /// Sends the next chunks of the viewers from the current one on, as many as one call takes, and moves
    /// on.
    fn send_chunks(&mut self, round: &mut Round, wire: &impl Wire, job: &mut TransmitJob) {
        self.gather(round, wire, job);
        let packets = &job.transmit.packets;
        let stride = packets.stride();
        let reach = self.batches.iter().map(|batch| batch.until).max();
        let datagrams = packets.up_to(reach.unwrap_or_default());
        let batch = |batch: &PendingBatch| GsoBatch {
            to: job.route(batch.at),
            bytes: datagrams.range(batch.next..batch.until),
            segment: (self.segments > 1).then_some(stride),
        };

        let batches: [GsoBatch<'_>; BATCHES_PER_CALL] = std::array::from_fn(|number| {
            batch(self.batches.get(number).unwrap_or(&self.batches[0]))
        });

        let (sent, stopped) = wire.send_many(&batches[..self.batches.len()]);
        drop(datagrams);
        for batch in &self.batches[..sent] {
            let count = batch.until - batch.next;
            let shards = job.transmit.packets.shards();
            self.counts.datagrams += u64::from(count);
            self.counts.bytes += u64::from(count) * stride as u64;
            self.counts.parity += u64::from(batch.until.saturating_sub(shards.max(batch.next)));
            round.spend(count, self.segments > 1);
            let pending = &mut job.open[batch.at];
            pending.next = batch.until;
            pending.blocked = None;
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
            // Sent alone it shows whether GSO is to blame, or this viewer's address.
            Refused::Failed(_) => {
                self.send_chunk(round, wire, job);
                job.at += 1;
            }
        }
    }

    /// Collects what can leave by one call, from the current viewer on, and moves on behind it. Of few viewers each gets
    /// several chunks, so that a call is not made for one.
    fn gather(&mut self, round: &Round, wire: &impl Wire, job: &mut TransmitJob) {
        self.batches.clear();
        let local = job.route(job.at).local;
        let at_once = if job.transmit.packets.is_cut() {
            BATCHES_PER_CALL
        } else {
            CHUNKS_WHILE_CUT
        };
        let chunks = (BATCHES_PER_CALL / job.open.len()).clamp(1, at_once);

        while job.at < job.open.len() {
            let route = job.route(job.at);
            let fits = route.local == local && !wire.has_dedicated_socket(route.remote);

            if fits && job.due(job.at) <= round.now {
                if !self.gather_target(job, chunks) {
                    return;
                }
            } else if !fits && !self.batches.is_empty() {
                return;
            }

            job.at += 1;
        }
    }

    /// Collects so many chunks of the current viewer, as far as they may leave now; false when the call is full.
    fn gather_target(&mut self, job: &TransmitJob, chunks: usize) -> bool {
        let pending = &job.open[job.at];
        let mut next = pending.next;

        for chunk in 0..chunks {
            if chunk > 0 && !pending.has_room(next) {
                break;
            }

            let until = pending.chunk_end(next);
            while next < until {
                if self.batches.len() == BATCHES_PER_CALL {
                    return false;
                }

                let end = until.min(next + self.segments);
                self.batches.push(PendingBatch {
                    at: job.at,
                    next,
                    until: end,
                });

                next = end;
            }
        }

        true
    }

    /// Sends the next chunk of the current viewer alone.
    fn send_chunk(&mut self, round: &mut Round, wire: &impl Wire, job: &mut TransmitJob) {
        let route = job.route(job.at);
        let shards = job.transmit.packets.shards();
        let stride = job.transmit.packets.stride();
        let next = job.open[job.at].next;
        let until = job.open[job.at].chunk_end(next).min(next + CHUNK);
        let (sent, stopped) = self.chunk(
            wire,
            route,
            &job.transmit.packets.datagrams(next..until),
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
pub(super) struct PendingBatch {
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
