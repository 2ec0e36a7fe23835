//! Sending to groups by the socket that all viewers share.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use socket2::SockRef;

/// Through which interface, and how far, datagrams to groups go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MulticastOptions {
    /// The interface, by its own address.
    pub interface: Ipv4Addr,
    /// Routers that they pass, and one.
    pub ttl: u8,
    /// Whether programs on this host get them too.
    pub looped: bool,
}

impl MulticastOptions {
    /// Sets `socket` up to send to groups.
    ///
    /// # Errors
    /// When no interface has the address, or the system says no.
    pub fn apply(&self, socket: &UdpSocket) -> io::Result<()> {
        let socket = SockRef::from(socket);
        socket.set_multicast_if_v4(&self.interface)?;
        socket.set_multicast_ttl_v4(self.ttl.into())?;
        socket.set_multicast_loop_v4(self.looped)?;
        // A viewer on this host that joins a group on the relay's own port would let the relay hear itself.
        socket.set_multicast_all_v4(false)
    }
}
