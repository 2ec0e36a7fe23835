//! One frame that is being sent: which viewer gets its next chunk when.

use std::time::Duration;

use fanlight_proto::clock::Time;

use super::{CHUNK, LARGE_CHUNK};
use crate::engine::{FrameTransmit, Route, SPREAD_BATCH, Target};

/// Datagrams a millisecond to one viewer, at least: a viewer that cannot take 10 Mbit/s misses frames anyway.
const SLOWEST: u32 = 8;

/// What the socket of a viewer holds that does not say: the kernel's default.
const DEFAULT_CAPACITY: u32 = 92;

/// Milliseconds of stall of a viewer's reader that its socket should bridge.
const STALL_MS: u32 = 3;

/// One frame that is being sent.
#[derive(Debug)]
pub(super) struct TransmitJob {
    pub(super) transmit: FrameTransmit,
    pub(super) started: Time,
    /// The viewers that have not got all of it, in the order in which they take turns.
    pub(super) open: Vec<PendingTarget>,
    /// The current viewer, as an index into `open`.
    pub(super) at: usize,
    /// The round of viewers has sent something.
    pub(super) moved: bool,
}

/// What one viewer has still to get.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingTarget {
    /// Index among the targets.
    pub(super) target: u32,
    /// The next datagram.
    pub(super) next: u16,
    /// The datagram after the last.
    pub(super) end: u16,
    /// The stream's next frame does not wait for this viewer.
    detached: bool,
    /// Datagrams that leave together.
    chunk: u16,
    /// The time from one such chunk to the next.
    gap: Duration,
    /// Since when its dedicated socket has taken nothing.
    pub(super) blocked: Option<Time>,
    /// When to try that socket again.
    pub(super) retry: Time,
}

impl PendingTarget {
    pub(super) const fn done(&self) -> bool {
        self.next >= self.end
    }

    /// The next datagram, and the one behind those that leave together with it.
    pub(super) fn chunk(&self) -> (u16, u16) {
        (
            self.next,
            self.end
                .min(self.next + self.chunk - self.next % self.chunk),
        )
    }

    /// Whether the viewer does not get the stream's next frame before it has got this one.
    pub(super) const fn holds(&self, welcome: bool) -> bool {
        !self.done() && (!welcome || self.blocked.is_some())
    }
}

impl TransmitJob {
    /// Uses the memory of `open`.
    pub(super) fn new(now: Time, transmit: FrameTransmit, mut open: Vec<PendingTarget>) -> Self {
        let count = transmit.targets.len();
        open.clear();
        let places = (0..count).map(|place| (transmit.first + place) % count);
        open.extend(places.map(|number| {
            let target = &transmit.targets[number];
            let end = transmit.packets.shards() + target.parity.min(transmit.packets.parity());
            let (chunk, gap) = pace(target, &transmit, end);
            PendingTarget {
                target: u32::try_from(number).expect("there are at most 100 000 viewers"),
                next: 0,
                end,
                chunk,
                gap,
                detached: transmit.catch_up || !target.spread.is_zero(),
                blocked: None,
                retry: now,
            }
        }));

        Self {
            transmit,
            started: now,
            open,
            at: 0,
            moved: false,
        }
    }

    /// Whether the stream's next frame waits for this one.
    pub(super) fn holds_the_stream(&self) -> bool {
        self.open
            .iter()
            .any(|pending| !pending.detached && pending.blocked.is_none())
    }

    pub(super) fn route(&self, at: usize) -> Route {
        self.route_of(&self.open[at])
    }

    pub(super) fn route_of(&self, pending: &PendingTarget) -> Route {
        self.transmit.targets[pending.target as usize].route
    }

    /// When the next chunk of the viewer at `at` is due.
    pub(super) fn due(&self, at: usize) -> Time {
        let pending = &self.open[at];
        if pending.done() {
            return Time::from_nanos(u64::MAX);
        }

        let paced = self.started + pending.gap * u32::from(pending.next / pending.chunk);
        if pending.blocked.is_some() {
            paced.max(pending.retry)
        } else {
            paced
        }
    }

    /// When there is something to do again, after `now`.
    pub(super) fn next_due(&self, now: Time) -> Option<Time> {
        (0..self.open.len())
            .map(|at| self.due(at))
            .filter(|due| *due > now)
            .min()
    }
}

/// How many of `datagrams` leave together for a viewer, and the time from one such chunk to the next, so that its
/// socket does not overflow. What the path holds nobody knows: where it loses, the engine spreads the next frames out.
fn pace(target: &Target, transmit: &FrameTransmit, datagrams: u16) -> (u16, Duration) {
    if !target.spread.is_zero() {
        return (SPREAD_BATCH, target.pause(transmit.packets.shards()));
    }

    let capacity = match target.capacity {
        0 => DEFAULT_CAPACITY,
        capacity => capacity,
    };

    let count = u32::from(datagrams);
    if count.saturating_mul(2) <= capacity {
        // Chunks of about equal size: a short last one costs as much as any other.
        return (
            datagrams
                .div_ceil(datagrams.div_ceil(LARGE_CHUNK).max(1))
                .max(1),
            Duration::ZERO,
        );
    }

    let a_millisecond = (capacity / STALL_MS).max(SLOWEST);
    let gap = Duration::from_millis(1) * u32::from(CHUNK) / a_millisecond;
    // The longest that the frame is spread over for viewers that others wait for.
    let spread = transmit.interval / 2;
    (
        CHUNK,
        gap.min(spread / count.div_ceil(u32::from(CHUNK)).max(1)),
    )
}
