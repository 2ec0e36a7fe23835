//! The memory that clients of the outputs hold while frames are on their way to them: each connection is charged for its
//! largest frame, as often as its output copies it, until it ends. Who cannot be charged gets no frame. Called by outputs'
//! threads, once for each frame that is larger than all before it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::client_network;

/// What all clients may hold together. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ClientMemory(Arc<Mutex<Held>>);

#[derive(Debug)]
struct Held {
    limit: usize,
    bytes: usize,
    /// As many as there are charges, which connections bound.
    by_network: HashMap<IpAddr, usize>,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            limit: usize::MAX,
            bytes: 0,
            by_network: HashMap::new(),
        }
    }
}

/// What one connection holds, until it is dropped.
#[derive(Debug)]
pub struct Charge {
    memory: ClientMemory,
    network: IpAddr,
    /// How often the output copies a frame.
    copies: usize,
    bytes: Mutex<usize>,
}

impl ClientMemory {
    /// Of a relay's memory budget for streams and clients the part for clients: a quarter, and half where their pictures are
    /// encoded. A quarter of the default budget holds 1300 connections with frames of 300 kB, or 96 with the largest there are.
    #[must_use]
    pub const fn part_of(budget: usize, encodes: bool) -> usize {
        if encodes { budget / 2 } else { budget / 4 }
    }

    /// All clients may hold `limit` bytes from now on.
    pub fn set_limit(&self, limit: usize) {
        self.0.lock().limit = limit;
    }

    /// What all clients hold.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.lock().bytes
    }

    /// A connection from `address`, whose output holds `copies` of a frame, begins. It holds nothing yet.
    #[must_use]
    pub fn open(&self, address: IpAddr, copies: usize) -> Charge {
        Charge {
            memory: self.clone(),
            network: client_network(address),
            copies,
            bytes: Mutex::new(0),
        }
    }

    /// Charges `network` for `bytes`; false when all have too much, or this network would have more than is left to all
    /// others: so the last to come find room too.
    fn take(&self, network: IpAddr, bytes: usize) -> bool {
        let mut held = self.0.lock();
        let own = held.by_network.get(&network).copied().unwrap_or_default() + bytes;
        let all = held.bytes + bytes;
        if own > held.limit.saturating_sub(all) {
            return false;
        }

        held.bytes = all;
        held.by_network.insert(network, own);
        true
    }

    fn give_back(&self, network: IpAddr, bytes: usize) {
        let mut held = self.0.lock();
        held.bytes -= bytes;
        if let Some(own) = held.by_network.get_mut(&network) {
            *own -= bytes;
            if *own == 0 {
                held.by_network.remove(&network);
            }
        }
    }
}

impl Charge {
    /// Whether the connection may hold a frame of `bytes`. If so it stays charged for it.
    #[must_use]
    pub fn covers(&self, bytes: usize) -> bool {
        let wanted = bytes * self.copies;
        let mut held = self.bytes.lock();
        let more = wanted.saturating_sub(*held);
        let covered = more == 0 || self.memory.take(self.network, more);
        if covered {
            *held += more;
        }
        covered
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        if bytes > 0 {
            self.memory.give_back(self.network, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(memory: &ClientMemory, host: u8, copies: usize) -> Charge {
        memory.open(IpAddr::from([10, 0, 0, host]), copies)
    }

    #[test]
    fn a_connection_is_charged_for_its_largest_frame_until_it_ends() {
        let memory = ClientMemory::default();
        memory.set_limit(1000);
        let charge = open(&memory, 1, 2);
        assert!(charge.covers(100) && charge.covers(50) && charge.covers(120));
        assert_eq!(memory.bytes(), 240);
        assert!(!charge.covers(400));
        assert_eq!(memory.bytes(), 240, "what is refused is not charged");
        drop(charge);
        assert_eq!(memory.bytes(), 0);
        assert!(memory.0.lock().by_network.is_empty());
    }

    #[test]
    fn one_address_leaves_as_much_as_it_has_and_the_next_ones_find_room() {
        let memory = ClientMemory::default();
        memory.set_limit(1000);
        let held = |host| {
            let charges = (0..100).map(|_| open(&memory, host, 1));
            charges
                .filter(|charge| charge.covers(10))
                .collect::<Vec<_>>()
        };

        let first = held(1);
        assert_eq!(first.len(), 50);
        let second = held(2);
        assert_eq!(second.len(), 25);
        let third = held(3);
        assert_eq!(third.len(), 12);
        drop(first);
        assert_eq!(held(4).len(), 31);
        drop((second, third));
        assert_eq!(memory.bytes(), 0);
    }
}
