//! Where datagrams go out: a trait, so that tests and the simulator can take the sockets' place.

use std::io;
use std::net::SocketAddr;

use crate::engine::Route;

/// One datagram, or several of one size that leave together by UDP GSO.
#[derive(Clone, Copy, Debug)]
pub struct GsoBatch<'a> {
    /// To whom.
    pub to: Route,
    /// The datagrams, one behind the other.
    pub bytes: &'a [u8],
    /// Bytes of each but the last, which may be shorter; none: it is one datagram.
    pub segment: Option<usize>,
}

/// Where datagrams go out. [`Socket`](super::Socket) is the real one.
pub trait Wire {
    /// Sends a batch. Never waits.
    ///
    /// # Errors
    /// When there is no room now, or the system refuses.
    fn send(&self, batch: GsoBatch<'_>) -> Result<(), Refused>;

    /// Sends batches to viewers without a dedicated socket, in order: how many were sent, and why not more.
    /// All have the same segment size and leave from the same address. Never waits.
    fn send_many(&self, batches: &[GsoBatch<'_>]) -> (usize, Result<(), Refused>) {
        for (sent, batch) in batches.iter().enumerate() {
            if let Err(refused) = self.send(*batch) {
                return (sent, Err(refused));
            }
        }
        (batches.len(), Ok(()))
    }

    /// Whether what is sent to `to` goes by a dedicated socket.
    fn has_dedicated_socket(&self, to: SocketAddr) -> bool;
}

/// Why nothing was sent.
#[derive(Debug)]
pub enum Refused {
    /// The shared socket is full, for all of its viewers.
    Full,
    /// The viewer's dedicated socket is full.
    DedicatedFull,
    /// The system refused.
    Failed(io::Error),
}
