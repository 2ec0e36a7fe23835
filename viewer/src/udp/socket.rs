//! A UDP socket connected to the relay, which receives trains of datagrams in one call (UDP_GRO and recvmmsg).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Once;
use std::task::{Context, Poll};

use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// What the kernel charges a receive buffer for one datagram of ours, in bytes, as measured.
const CHARGED_PER_DATAGRAM: usize = 2304;

/// Trains received by one call.
const TRAINS: usize = 8;

/// The longest train, in bytes: UDP's own limit.
const TRAIN_BYTES: usize = 1 << 16;

/// See the module.
#[derive(Debug)]
pub struct Socket {
    address: SocketAddr,
    inner: UdpSocket,
    state: UdpSocketState,
}

impl Socket {
    /// One that hears the relay at `address` only, for which the kernel is asked to keep `receive_buffer` bytes. Must be
    /// called on a runtime.
    ///
    /// # Errors
    /// When the system has no such socket to give.
    pub fn connect(address: SocketAddr, receive_buffer: usize) -> io::Result<Self> {
        let socket = unbound(address, receive_buffer)?;
        let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        socket.bind(&SocketAddr::new(any, 0).into())?;
        socket.connect(&address.into())?;
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { address, inner: UdpSocket::from_std(socket.into())?, state })
    }

    /// Where the relay is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its own address, as the relay sees it when no router is between them.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// Ready when there is something to receive.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        // An error is the socket's, and shows itself when it is read.
        self.inner.poll_recv_ready(context).map(|_| ())
    }

    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        self.inner.try_send(datagram)
    }

    /// Fills some of the trains and says how many.
    ///
    /// # Errors
    /// When there is nothing, and what the network said about datagrams sent before.
    pub fn receive(&self, trains: &mut Trains) -> io::Result<usize> {
        let mut chunks = trains.bytes.chunks_exact_mut(TRAIN_BYTES);
        let mut slices: [IoSliceMut<'_>; TRAINS] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        self.inner.try_io(Interest::READABLE, || self.state.recv((&self.inner).into(), &mut slices, &mut trains.meta))
    }
}

/// Room for what one call receives.
#[derive(Debug)]
pub struct Trains {
    bytes: Vec<u8>,
    meta: [RecvMeta; TRAINS],
}

impl Default for Trains {
    fn default() -> Self {
        Self { bytes: vec![0; TRAINS * TRAIN_BYTES], meta: [RecvMeta::default(); TRAINS] }
    }
}

impl Trains {
    /// The datagrams of the first `count` trains.
    pub fn datagrams(&mut self, count: usize) -> impl Iterator<Item = &mut [u8]> {
        let trains = self.bytes.chunks_exact_mut(TRAIN_BYTES).zip(&self.meta).take(count);
        trains.flat_map(|(bytes, meta)| bytes[..meta.len].chunks_mut(meta.stride.max(1)))
    }
}

/// How many datagrams a socket holds that asks for `receive_buffer` bytes.
pub(super) fn receive_capacity(receive_buffer: usize) -> io::Result<u32> {
    static TOLD: Once = Once::new();
    let probe = unbound(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), receive_buffer)?;
    // The kernel doubles what was asked, for its own bookkeeping (socket(7)).
    let granted = probe.recv_buffer_size()?;
    if granted / 2 < receive_buffer {
        TOLD.call_once(|| {
            tracing::warn!(
                "the kernel keeps {} KiB for the socket, not the {} KiB asked for; if pictures are lost under load: \
                 sudo sysctl -w net.core.rmem_max={receive_buffer}",
                granted / 2 / 1024,
                receive_buffer / 1024
            );
        });
    }
    Ok(u32::try_from(granted / CHARGED_PER_DATAGRAM).unwrap_or(u32::MAX))
}

fn unbound(address: SocketAddr, receive_buffer: usize) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(receive_buffer)?;
    Ok(socket)
}
