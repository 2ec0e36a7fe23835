//! Where datagrams go out, as whoever sends them sees it.

use std::io;
use std::net::SocketAddr;

use crate::engine::Route;

/// One datagram, or several that leave together.
#[derive(Clone, Copy, Debug)]
pub struct GsoBatch<'a> {
    /// To whom.
    pub to: Route,
    /// The datagrams, one behind the other.
    pub bytes: &'a [u8],
    /// Bytes of each but the last, which may be shorter; none: it is one datagram.
    pub segment: Option<usize>,
}

/// Where datagrams go out: in life a socket for all, and some viewers' own.
pub trait Wire {
    /// Sends a batch. Never waits.
    ///
    /// # Errors
    /// When there is no room now, and whatever the system says.
    fn send(&self, batch: GsoBatch<'_>) -> Result<(), Refused>;

    /// Sends batches to viewers that have no socket of their own, in order: how many were sent, and why not more. All
    /// have the same segment size and leave from the same address. Never waits.
    fn send_many(&self, batches: &[GsoBatch<'_>]) -> (usize, Result<(), Refused>) {
        for (sent, batch) in batches.iter().enumerate() {
            if let Err(refused) = self.send(*batch) {
                return (sent, Err(refused));
            }
        }
        (batches.len(), Ok(()))
    }

    /// Whether what is sent to `to` goes by a socket of its own.
    fn has_dedicated_socket(&self, to: SocketAddr) -> bool;
}

/// Why nothing was sent.
#[derive(Debug)]
pub enum Refused {
    /// The shared socket is full: nobody else of it will have more luck now.
    Full,
    /// The viewer's own socket is full.
    DedicatedFull,
    /// The system says no.
    Failed(io::Error),
}
