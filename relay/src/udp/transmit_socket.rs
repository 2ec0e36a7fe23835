//! A socket that only sends, on the port of the shared socket.
//!
//! The kernel wakes every epoll waiter of a socket for each datagram that the device has finished
//! sending. For a socket in an event loop that is a fifth of the cost of sending (`raw-watched` in
//! `./dev bench fanout`). So batches leave through this socket, which is in no epoll set. It is
//! connected to itself, so the kernel delivers nothing to it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

/// Sends batches and receives nothing.
#[derive(Debug)]
pub(super) struct TransmitSocket(UdpSocket);

impl TransmitSocket {
    /// Opens one beside the socket bound to `shared`, which has `SO_REUSEPORT` set.
    pub(super) fn open(shared: SocketAddr, send_buffer: usize) -> io::Result<Self> {
        let socket = super::unbound(shared, send_buffer)?;
        socket.set_reuse_port(true)?;
        socket.bind(&shared.into())?;

        let own = match shared.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };

        socket.connect(&SocketAddr::new(own, shared.port()).into())?;

        Ok(Self(socket.into()))
    }
}

impl AsFd for TransmitSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
