//! Which viewers are whose, when several threads send.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;

use crate::engine::Target;

/// Which viewers a sender sends to, of several that each have a thread of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The sender's number. Number 0 has also all viewers with sockets of their own.
    pub number: usize,
    /// How many senders there are.
    pub of: usize,
}

impl Share {
    /// All viewers.
    pub const WHOLE: Self = Self { number: 0, of: 1 };

    /// Whether a viewer that shares the socket is this sender's.
    #[must_use]
    pub fn has(&self, viewer: SocketAddr) -> bool {
        if self.of <= 1 {
            return true;
        }
        let mut hasher = DefaultHasher::new();
        viewer.hash(&mut hasher);
        hasher.finish() % self.of as u64 == self.number as u64
    }

    pub(in crate::udp) fn takes(&self, target: &Target) -> bool {
        if target.own_socket {
            self.number == 0
        } else {
            self.has(target.route.remote)
        }
    }
}
