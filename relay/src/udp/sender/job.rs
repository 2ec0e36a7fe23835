//! One frame that is being sent: which viewer gets its next chunk when.

use std::time::Duration;

use fanlight_proto::clock::Time;

use super::{CHUNK, LARGE_CHUNK};
use crate::engine::{FrameTransmit, Route, SPREAD_BATCH, Target, window};

/// Datagrams a millisecond to one viewer that does not say what it reads, at least: one that cannot take 10 Mbit/s misses
/// frames anyway.
const SLOWEST: u32 = 8;

/// The same, at most: 1.2 Gbit/s. Of a viewer that does say it, a stall of 28 ms is bridged then.
const FASTEST: u32 = 125;

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
    /// One past the last datagram that the viewer is known to have read.
    read: u16,
    /// The stream's next frame does not wait for this viewer.
    detached: bool,
    pace: Pacing,
    /// Since when its dedicated socket has taken nothing.
    pub(super) blocked: Option<Time>,
    /// When to try that socket again.
    pub(super) retry: Time,
}

/// How fast a frame leaves for one viewer.
#[derive(Clone, Copy, Debug)]
struct Pacing {
    /// So many datagrams may be on their way beyond those that the viewer is known to have read, and leave as fast as they can.
    window: u16,
    /// Datagrams that leave together within the window.
    train: u16,
    /// Datagrams that leave together beyond it.
    chunk: u16,
    /// The time from one such chunk to the next, from the beginning of the frame on.
    gap: Duration,
}

impl PendingTarget {
    pub(super) const fn done(&self) -> bool {
        self.next >= self.end
    }

    /// One past the last datagram that the window has room for.
    fn window_end(&self) -> u16 {
        self.read.saturating_add(self.pace.window).min(self.end)
    }

    /// Whether the datagram `next` may leave at once.
    pub(super) fn has_room(&self, next: u16) -> bool {
        next < self.window_end()
    }

    /// The datagram behind those that leave together with `next`.
    pub(super) fn chunk_end(&self, next: u16) -> u16 {
        let (size, end) = if self.has_room(next) {
            (self.pace.train, self.window_end())
        } else {
            (self.pace.chunk, self.end)
        };

        end.min(next + size - next % size)
    }

    /// The viewer says that it has read all before `reach`.
    pub(super) fn on_read(&mut self, reach: u16) {
        self.read = self.read.max(reach.min(self.next));
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
            let pace = Pacing::new(target, &transmit, end);
            PendingTarget {
                target: u32::try_from(number).expect("there are at most 100 000 viewers"),
                next: 0,
                end,
                read: 0,
                pace,
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

        let pace = &pending.pace;
        let paced = if pending.has_room(pending.next) {
            self.started
        } else {
            self.started + pace.gap * u32::from(pending.next / pace.chunk)
        };

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

impl Pacing {
    /// For a frame of so many `datagrams`, so that the socket of `target` does not overflow. What the path holds nobody knows:
    /// where it loses, the engine spreads the next frames out.
    fn new(target: &Target, transmit: &FrameTransmit, datagrams: u16) -> Self {
        if !target.spread.is_zero() {
            return Self {
                window: 0,
                train: SPREAD_BATCH,
                chunk: SPREAD_BATCH,
                gap: target.pause(transmit.packets.shards()),
            };
        }

        let window = u16::try_from(window(target.capacity)).unwrap_or(u16::MAX);
        // Trains of about equal size: a short last one costs as much as any other.
        let at_once = datagrams.min(window).max(1);
        let train = at_once.div_ceil(at_once.div_ceil(LARGE_CHUNK));

        let chunk = CHUNK.min(window.max(SPREAD_BATCH));
        let a_millisecond = (target.capacity / STALL_MS).clamp(SLOWEST, FASTEST);
        let gap = Duration::from_millis(1) * u32::from(chunk) / a_millisecond;
        // The longest that the frame is spread over for viewers that others wait for.
        let spread = transmit.interval / 4 * 3;
        let chunks = u32::from(datagrams.div_ceil(chunk)).max(1);

        Self {
            window,
            train,
            chunk,
            gap: gap.min(spread / chunks),
        }
    }
}
