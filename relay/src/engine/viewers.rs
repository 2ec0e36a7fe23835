//! The sessions. One for each address, made only after the address has proved itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::Report;

/// Shards that one viewer gets again in a second: half of a stream of 300 kB frames at 30 fps. A viewer that misses
/// more is not helped by repair, and one that asks for more is not honest.
pub const REPAIR_SHARDS_PER_SECOND: u32 = 4096;

/// One session.
#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) session: u64,
    /// Of the JOIN that made it: the same JOIN again gets the same session.
    pub(super) nonce: u64,
    pub(super) alias: u16,
    pub(super) name: String,
    pub(super) heard: Time,
    pub(super) report: Report,
    pub(super) repairs: Allowance,
}

/// All sessions, in the order of their addresses, so that the same input always gives the same output.
#[derive(Debug, Default)]
pub(super) struct Viewers {
    by_address: BTreeMap<SocketAddr, Viewer>,
}

impl Viewers {
    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Whoever has a session at `address`.
    pub(super) fn at(&self, address: SocketAddr) -> Option<&Viewer> {
        self.by_address.get(&address)
    }

    /// The viewer of `session`, if that is the session of `address`.
    pub(super) fn session(&mut self, address: SocketAddr, session: u64) -> Option<&mut Viewer> {
        self.by_address.get_mut(&address).filter(|viewer| viewer.session == session)
    }

    pub(super) fn insert(&mut self, address: SocketAddr, viewer: Viewer) {
        self.by_address.insert(address, viewer);
    }

    pub(super) fn remove(&mut self, address: SocketAddr) -> Option<Viewer> {
        self.by_address.remove(&address)
    }

    /// One viewer that has not been heard for `limit`.
    pub(super) fn idle(&self, now: Time, limit: Duration) -> Option<SocketAddr> {
        let idle = |viewer: &Viewer| now.saturating_since(viewer.heard) >= limit;
        self.by_address.iter().find(|(_, viewer)| idle(viewer)).map(|(address, _)| *address)
    }
}

/// So many a second and no more; what is not used in one second is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    a_second: u32,
    left: u32,
    since: Time,
}

impl Allowance {
    pub(super) const fn new(now: Time, a_second: u32) -> Self {
        Self { a_second, left: a_second, since: now }
    }

    /// What is left at `now`.
    pub(super) fn left(&mut self, now: Time) -> u32 {
        if now.saturating_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.left = self.a_second;
        }
        self.left
    }

    /// Uses up to `count`.
    pub(super) fn spend(&mut self, count: u32) {
        self.left = self.left.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_renewed_each_second_and_not_saved_up() {
        let start = Time::from_nanos(7);
        let mut allowance = Allowance::new(start, 10);
        allowance.spend(9);
        assert_eq!(allowance.left(start + Duration::from_millis(999)), 1);
        assert_eq!(allowance.left(start + Duration::from_secs(60)), 10);
        allowance.spend(11);
        assert_eq!(allowance.left(start + Duration::from_secs(60)), 0);
    }
}
