//! Socket options for sending to multicast groups by the shared socket.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};

use socket2::SockRef;

/// By which interface, and how far, datagrams to groups go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MulticastOptions {
    /// The interface, by its own address.
    pub interface: Ipv4Addr,
    /// Time to live: the routers that they pass, plus one.
    pub ttl: u8,
    /// Whether programs on this host receive them too.
    pub looped: bool,
}

impl MulticastOptions {
    /// Sets `socket` up to send to groups.
    ///
    /// # Errors
    /// When no interface has the address, or the system refuses.
    pub fn apply(&self, socket: &UdpSocket) -> io::Result<()> {
        let socket = SockRef::from(socket);
        socket.set_multicast_if_v4(&self.interface)?;
        socket.set_multicast_ttl_v4(self.ttl.into())?;
        socket.set_multicast_loop_v4(self.looped)?;
        // A viewer on this host that joins a group on the relay's own port would let the relay hear itself.
        socket.set_multicast_all_v4(false)
    }
}
