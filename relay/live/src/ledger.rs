//! Who may take how much of what a relay has. Every limit that outsiders can reach, and whoever counts against it, stands
//! here; what is asked for and not given is counted by [`Resource`], for `/metrics`. Time comes in; nothing waits.
//!
//! | of | one holder may take | all together |
//! |---|---|---|
//! | sessions | `sessions_per_key`, `sessions_per_address`; an equal share when the relay is full | `max_viewers` |
//! | connections | `http_connections_per_address` and the like ([`ConnectionLimits`]) | `http_connections` |
//! | handshakes | a fair share by address, network and site ([`Handshakes`]) | [`HANDSHAKES_PER_SECOND`] |
//! | RESETs, catch-up frames | | [`RESETS_PER_SECOND`], [`CATCH_UPS_PER_SECOND`] |
//! | repairs | [`REPAIR_SHARDS_PER_SECOND`] a session, less on a narrow path | |
//! | detections | [`KEPT_DETECTIONS_PER_SECOND`] a session | |
//! | memory | as much as is left to all others ([`ClientMemory`]); streams equal shares | `memory_budget` |
//! | log lines | one a second for each kind | |

mod connections;
mod handshakes;
mod memory;
mod network;
mod sessions;

use std::sync::Arc;

use fanlight_daemon::rate_limit::TokenBucket;
use fanlight_proto::clock::Time;
use parking_lot::Mutex;

pub use connections::{ConnectionLimits, ConnectionPermit};
pub use handshakes::{HANDSHAKES_PER_SECOND, HANDSHAKES_PER_SOURCE, Handshakes};
pub use memory::{Charge, ClientMemory};
pub use network::client_network;
pub use sessions::{Holder, Holders, SESSIONS_PER_KEY, SessionLimits, SessionShares, holders};

/// RESETs sent in a second, to whomever: a restarted relay calls a thousand viewers back within one
/// second, and a flood of forged datagrams gets no more than 24 kB/s of answers.
pub const RESETS_PER_SECOND: u32 = 2000;

/// Catch-up frames sent in a second, to viewers that join or resume: a restarted relay shows a picture to a
/// thousand viewers within two seconds, and viewers that come and go all the time cost no more than this.
pub const CATCH_UPS_PER_SECOND: u32 = 500;

/// Shards that one viewer gets again in a second: half of a stream of 300 kB frames at 30 fps. Repair
/// does not help a viewer that misses more, and one that asks for more is not honest.
pub const REPAIR_SHARDS_PER_SECOND: u32 = 4096;

/// Detections of one viewer that are kept in a second: four trackers at 30 fps.
pub const KEPT_DETECTIONS_PER_SECOND: u32 = 120;

/// What can run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Places of UDP viewers.
    Sessions,
    /// TCP connections of an output.
    Connections,
    /// Handshakes that are worked on.
    Handshakes,
    /// Answers to datagrams of sessions that do not exist.
    Resets,
    /// First frames of viewers that join or resume.
    CatchUps,
    /// Shards sent again.
    Repairs,
    /// What trackers found.
    Detections,
    /// Bytes of frames on their way to clients.
    Memory,
    /// Lines about what others cause.
    LogLines,
}

/// What metrics call them, in the order of [`Resource`].
const WORDS: [&str; 9] = [
    "sessions",
    "connections",
    "handshakes",
    "resets",
    "catch_ups",
    "repairs",
    "detections",
    "memory",
    "log_lines",
];

/// How much of each resource was asked for and not given. Never falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals([u64; WORDS.len()]);

impl Refusals {
    /// `count` of `resource` were not given.
    pub const fn note(&mut self, resource: Resource, count: u64) {
        let refused = &mut self.0[resource as usize];
        *refused = refused.saturating_add(count);
    }

    /// What was not given of `resource`.
    #[must_use]
    pub const fn of(&self, resource: Resource) -> u64 {
        self.0[resource as usize]
    }

    /// These and `others`, by the words that metrics have for them.
    pub fn sum_with(self, others: &SharedRefusals) -> impl Iterator<Item = (&'static str, u64)> {
        let others = *others.0.lock();
        let sums = self
            .0
            .into_iter()
            .zip(others.0)
            .map(|(one, other)| one + other);
        WORDS.into_iter().zip(sums)
    }
}

/// [`Refusals`] that several threads note.
#[derive(Clone, Debug, Default)]
pub struct SharedRefusals(Arc<Mutex<Refusals>>);

impl SharedRefusals {
    /// As [`Refusals::note`].
    pub fn note(&self, resource: Resource, count: u64) {
        self.0.lock().note(resource, count);
    }

    /// As [`Refusals::of`].
    #[must_use]
    pub fn of(&self, resource: Resource) -> u64 {
        self.0.lock().of(resource)
    }
}

/// What UDP viewers may take of the relay as a whole. The engine owns it.
#[derive(Debug)]
pub struct Ledger {
    /// What was not given.
    pub refusals: Refusals,
    /// Who may have a handshake.
    pub handshakes: Handshakes,
    resets: TokenBucket,
    catch_ups: TokenBucket,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            refusals: Refusals::default(),
            handshakes: Handshakes::default(),
            resets: TokenBucket::new(RESETS_PER_SECOND, RESETS_PER_SECOND),
            catch_ups: TokenBucket::new(CATCH_UPS_PER_SECOND, CATCH_UPS_PER_SECOND),
        }
    }
}

impl Ledger {
    /// Takes a RESET; whether there was one.
    pub fn take_reset(&mut self, now: Time) -> bool {
        let given = self.resets.try_take(now, 1);
        self.refusals.note(Resource::Resets, u64::from(!given));
        given
    }

    /// Whether a catch-up frame may be made now: [`take_catch_up`](Self::take_catch_up) when it is.
    pub fn has_catch_up(&mut self, now: Time) -> bool {
        let given = self.catch_ups.available(now) > 0;
        self.refusals.note(Resource::CatchUps, u64::from(!given));
        given
    }

    /// A catch-up frame is sent.
    pub fn take_catch_up(&mut self, now: Time) {
        self.catch_ups.take_up_to(now, 1);
    }
}
