//! The frames in flight to one viewer, and how long they have been there.

use std::collections::VecDeque;
use std::time::Duration;

use fanlight_proto::clock::Time;

use super::PARAMS;

/// Frames in flight that are remembered: half a second at 120 fps. Only the oldest matters.
const MAX_IN_FLIGHT: usize = 64;

/// A frame in flight for so much longer than the shortest delay: the viewer has fallen behind, and
/// its datagrams may stand in a queue of this host.
const BEHIND: Duration = Duration::from_millis(300);

/// No keep-alive for so long, two of them missing, while frames are in flight: the same.
const SILENT: Duration = Duration::from_millis(600);

/// The frames in flight to one viewer.
#[derive(Debug)]
pub(super) struct InFlight {
    /// Sequence and time of each frame, oldest first.
    sent: VecDeque<(u64, Time)>,
    heard: Time,
    /// Something new arrived since the last report.
    moved: bool,
    /// The highest sequence that the viewer has seen.
    newest: u64,
    /// Age of the oldest frame at the last keep-alive, less the shortest delay.
    delay: Duration,
    /// The shortest age at a keep-alive, in this window and the one before.
    shortest: [Option<Duration>; 2],
    window_start: Time,
}

impl InFlight {
    pub(super) fn new(now: Time) -> Self {
        Self {
            sent: VecDeque::with_capacity(MAX_IN_FLIGHT),
            heard: now,
            moved: false,
            newest: 0,
            delay: Duration::ZERO,
            shortest: [None; 2],
            window_start: now,
        }
    }

    /// The highest sequence that the viewer has seen.
    pub(super) const fn newest_seen(&self) -> u64 {
        self.newest
    }

    /// How long the oldest frame has been in flight.
    pub(super) fn age(&self, now: Time) -> Duration {
        let oldest = self.sent.front();
        oldest.map_or(Duration::ZERO, |(_, sent)| now.saturating_since(*sent))
    }

    /// How long the oldest frame after `newest` has been in flight.
    pub(super) fn age_after(&self, now: Time, newest: u64) -> Duration {
        let oldest = self.sent.iter().find(|(sequence, _)| *sequence > newest);
        oldest.map_or(Duration::ZERO, |(_, sent)| now.saturating_since(*sent))
    }

    pub(super) fn add(&mut self, now: Time, sequence: u64) {
        if self.sent.len() < MAX_IN_FLIGHT {
            self.sent.push_back((sequence, now));
        }
    }

    /// Gives how much longer than the shortest delay the oldest frame has been in flight; none for a
    /// viewer that has seen nothing yet.
    pub(super) fn on_keep_alive(&mut self, now: Time, newest: u64) -> Option<Duration> {
        self.heard = now;
        self.moved |= newest > self.newest;
        self.newest = self.newest.max(newest);
        let arrived = |(sequence, _): &(u64, Time)| *sequence <= newest;

        while self.sent.front().is_some_and(arrived) {
            self.sent.pop_front();
        }

        let age = self.age(now);
        if newest == 0 {
            self.delay = age;
            return None;
        }

        self.delay = age.saturating_sub(self.update_shortest(now, age));
        Some(self.delay)
    }

    /// Begins a new report; whether something arrived since the one before.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Whether what is sent does not arrive in time.
    pub(super) fn is_behind(&self, now: Time) -> bool {
        if self.sent.is_empty() {
            return false;
        }
        let silent = now.saturating_since(self.heard) > SILENT;
        self.delay > BEHIND || (silent && self.age(now) > BEHIND)
    }

    /// The shortest age of the last two windows, `age` included.
    fn update_shortest(&mut self, now: Time, age: Duration) -> Duration {
        if now.saturating_since(self.window_start) >= PARAMS.base_delay_window {
            self.window_start = now;
            self.shortest = [None, self.shortest[0]];
        }

        let current = self.shortest[0].map_or(age, |shortest| shortest.min(age));
        self.shortest[0] = Some(current);
        self.shortest[1].map_or(current, |before| before.min(current))
    }
}
