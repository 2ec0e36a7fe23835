//! Where datagrams go out, as whoever sends them sees it.

use std::io;
use std::net::SocketAddr;

use crate::engine::Route;

/// One datagram, or several that leave together.
#[derive(Clone, Copy, Debug)]
pub struct Train<'a> {
    /// To whom.
    pub to: Route,
    /// The datagrams, one behind the other.
    pub bytes: &'a [u8],
    /// Bytes of each but the last, which may be shorter; none: it is one datagram.
    pub segment: Option<usize>,
}

/// Where datagrams go out: in life a socket for all, and some viewers' own.
pub trait Wire {
    /// Sends a train. Never waits.
    ///
    /// # Errors
    /// When there is no room now, and whatever the system says.
    fn send(&self, train: Train<'_>) -> Result<(), Refused>;

    /// Sends trains to viewers that have no socket of their own, in order: how many were sent, and why not more. All
    /// have the same segment size and leave from the same address. Never waits.
    fn send_many(&self, trains: &[Train<'_>]) -> (usize, Result<(), Refused>) {
        for (sent, train) in trains.iter().enumerate() {
            if let Err(refused) = self.send(*train) {
                return (sent, Err(refused));
            }
        }
        (trains.len(), Ok(()))
    }

    /// Whether what is sent to `to` goes by a socket of its own.
    fn has_lane(&self, to: SocketAddr) -> bool;
}

/// Why nothing was sent.
#[derive(Debug)]
pub enum Refused {
    /// The shared socket is full: nobody else of it will have more luck now.
    Full,
    /// The viewer's own socket is full.
    LaneFull,
    /// The system says no.
    Failed(io::Error),
}
