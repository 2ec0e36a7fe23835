//! A socket that only sends, on the port that all share.
//!
//! The kernel wakes whoever waits for a socket each time that the device is done with something that it sent: for a socket
//! in an event loop that is a fifth of the cost of sending. So what leaves in numbers leaves by a socket that nobody waits
//! for. It is connected to itself, and so the kernel hands it nothing that viewers say.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Opens one beside the socket bound to `shared`, which allows others on its port.
pub(super) fn open(shared: SocketAddr, send_buffer: usize) -> io::Result<UdpSocket> {
    let socket = super::unbound(shared, send_buffer)?;
    socket.set_reuse_port(true)?;
    socket.bind(&shared.into())?;
    let own = match shared.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    socket.connect(&SocketAddr::new(own, shared.port()).into())?;
    Ok(socket.into())
}
