//! The dedicated socket of one viewer, on the shared port. It is connected, so the kernel gives it only
//! what comes from that viewer. Its send buffer is small, and a queue before the viewer delays only that
//! viewer.

use std::io;
use std::net::{IpAddr, SocketAddr};

use quinn_udp::{Transmit, UdpSocketState};

use super::{GsoBatch, Refused};
use crate::engine::Route;

/// Send buffer to ask for; the kernel grants twice as much. A frame of 100 kB fits, and at 2 Mbit/s what
/// stands in it is half a second old.
const DEDICATED_SEND_BUFFER: usize = 64 << 10;

/// A socket connected to one viewer.
#[derive(Debug)]
pub(super) struct DedicatedSocket {
    pub(super) io: tokio::net::UdpSocket,
    pub(super) state: UdpSocketState,
}

impl DedicatedSocket {
    /// Opens one for the viewer at `to` beside the socket bound to `shared`. Until it is connected the kernel may hand
    /// it datagrams of others; whoever reads it goes by their source address.
    pub(super) fn open(shared: SocketAddr, to: Route) -> io::Result<Self> {
        let local = SocketAddr::new(local_ip(shared, to)?, shared.port());
        let socket = super::unbound(shared, DEDICATED_SEND_BUFFER)?;
        socket.set_reuse_port(true)?;
        socket.bind(&local.into())?;
        socket.connect(&to.remote.into())?;
        let io = tokio::net::UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new((&io).into())?;
        Ok(Self { io, state })
    }

    pub(super) fn send(&self, batch: GsoBatch<'_>) -> Result<(), Refused> {
        let GsoBatch { to, bytes, segment } = batch;
        let transmit = Transmit {
            destination: to.remote,
            ecn: None,
            contents: bytes,
            segment_size: segment,
            src_ip: None,
        };

        self.state
            .try_send((&self.io).into(), &transmit)
            .map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => Refused::DedicatedFull,
                _ => Refused::Failed(error),
            })
    }
}

/// The relay's own address that the viewer talks to, in the family of the shared socket.
fn local_ip(shared: SocketAddr, to: Route) -> io::Result<IpAddr> {
    let ip = if shared.ip().is_unspecified() {
        to.local
    } else {
        Some(shared.ip())
    };

    match ip {
        Some(IpAddr::V4(ip)) if shared.is_ipv6() => Ok(ip.to_ipv6_mapped().into()),
        Some(ip) => Ok(ip),
        None => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}
