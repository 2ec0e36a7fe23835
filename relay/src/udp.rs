//! The UDP side: one socket that all viewers share, and dedicated sockets for single viewers beside it.
//! Used by the event loop, on its thread.

mod dedicated;
mod gso;
mod multicast;
mod sender;
#[cfg(target_os = "linux")]
mod sendmmsg;
mod shared;
mod transmit_socket;
mod wire;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::task::{Context, Poll};

use fanlight_daemon::capture::{Capture, Direction};
use fanlight_proto::clock::Time;
use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;

use dedicated::DedicatedSocket;
pub use gso::Gso;
pub use multicast::MulticastOptions;
pub use sender::{Aborted, Counts, NextRun, Sender};
use shared::SharedSocket;
pub use wire::{GsoBatch, Refused, Wire};

use crate::engine::Route;

/// Send buffer to ask for: a frame of 300 kB for 25 viewers fits before anyone has to wait.
const SEND_BUFFER: usize = 8 << 20;

/// Receive buffer to ask for: it holds 20 000 requests a second for 50 ms.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Buffers that one receive call fills.
const RECEIVE_BATCH: usize = 8;

/// Bytes of each: with UDP GRO the kernel delivers several datagrams in one piece.
const BUFFER: usize = 1 << 16;

/// The socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program has the port.
    #[error("address {0} in use: another relay? choose another --listen")]
    InUse(SocketAddr),
    /// No interface of this host has the address.
    #[error("address {0} is none of this host's: choose another --listen")]
    NotHere(SocketAddr),
    /// The system refused.
    #[error("cannot listen on {address}: {error}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// The reason.
        error: io::Error,
    },
}

/// Binds the UDP port `address`; port 0 lets the system choose.
///
/// # Errors
/// When the address cannot be had.
pub fn bind(address: SocketAddr) -> Result<UdpSocket, BindError> {
    try_bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        io::ErrorKind::AddrNotAvailable => BindError::NotHere(address),
        _ => BindError::Other { address, error },
    })
}

/// A nonblocking socket, to be bound to `address` or to another address of this host on its port.
fn unbound(address: SocketAddr, send_buffer: usize) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;

    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }

    socket.set_send_buffer_size(send_buffer)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn try_bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = unbound(address, SEND_BUFFER)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(&address.into())?;
    // Only after the bind, which fails if another relay has this port. From here on dedicated sockets can share it.
    socket.set_reuse_port(true)?;
    let granted = socket.send_buffer_size()?;

    if granted < SEND_BUFFER {
        // The kernel doubles what it grants.
        tracing::info!(
            bytes = granted,
            "small send buffer; for many viewers: sysctl -w net.core.wmem_max={SEND_BUFFER} net.core.rmem_max={RECEIVE_BUFFER}"
        );
    }

    Ok(socket.into())
}

/// The bound socket in an event loop, and the dedicated sockets on the same port.
#[derive(Debug)]
pub struct Socket {
    shared: SharedSocket,
    address: SocketAddr,
    dedicated: BTreeMap<SocketAddr, DedicatedSocket>,
}

impl Socket {
    /// Takes over what [`bind`] made, within a runtime.
    ///
    /// # Errors
    /// When the socket cannot be registered or has gone bad.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let address = socket.local_addr()?;
        Ok(Self {
            shared: SharedSocket::new(socket, address)?,
            address,
            dedicated: BTreeMap::new(),
        })
    }

    /// From now on the viewer at `to` is sent to by a dedicated socket, whose buffer nobody else waits for.
    ///
    /// # Errors
    /// When the system gives no such socket: then the viewer goes on sharing.
    pub fn isolate(&mut self, to: Route) -> io::Result<()> {
        self.dedicated
            .insert(to.remote, DedicatedSocket::open(self.address, to)?);
        Ok(())
    }

    /// From now on the viewer at `to` shares the socket again. `each` gets what its dedicated socket still
    /// held.
    pub fn rejoin(&mut self, to: Route, buffers: &mut Buffers, mut each: impl FnMut(Route, &[u8])) {
        if let Some(dedicated) = self.dedicated.remove(&to.remote) {
            // Without asking tokio: it may not know yet that there is something to read.
            let from = ReceiveSocket {
                io: &dedicated.io,
                state: &dedicated.state,
                when_ready: false,
                any_local: self.any_local(),
            };

            while from.receive(buffers, &mut each) == Received::Some {}
        }
    }

    /// Waits until there is something to receive.
    pub async fn readable(&self) {
        poll_fn(|context| self.poll_readable(context)).await;
    }

    /// A socket's error comes again when it is read.
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        let ready = self.shared.io.poll_recv_ready(context).is_ready();
        let dedicated = self
            .dedicated
            .values()
            .filter(|dedicated| dedicated.io.poll_recv_ready(context).is_ready());

        // All are polled, so that each wakes this task.
        if dedicated.count() > 0 || ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Waits until there is room to send by the shared socket.
    pub async fn writable(&self) {
        self.shared.writable().await;
    }

    /// How many datagrams the kernel takes as one batch.
    #[must_use]
    pub fn max_segments(&self) -> usize {
        self.shared.state.max_gso_segments()
    }

    /// Gives `each` what one receive call brings, for each socket; whether there was anything. Ignores errors
    /// that the network sent for earlier datagrams.
    pub fn receive(&self, buffers: &mut Buffers, mut each: impl FnMut(Route, &[u8])) -> bool {
        let dedicated = self
            .dedicated
            .values()
            .map(|dedicated| (&dedicated.io, &dedicated.state));

        let mut any = false;
        for (io, state) in std::iter::once((&self.shared.io, &self.shared.state)).chain(dedicated) {
            let from = ReceiveSocket {
                io,
                state,
                when_ready: true,
                any_local: self.any_local(),
            };
            any |= from.receive(buffers, &mut each) != Received::Nothing;
        }

        any
    }

    /// Whether the socket is bound to all addresses: then answers must leave from the one that was asked.
    fn any_local(&self) -> bool {
        self.address.ip().is_unspecified()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Received {
    Some,
    Error,
    Nothing,
}

/// A socket to receive from.
struct ReceiveSocket<'a> {
    io: &'a tokio::net::UdpSocket,
    state: &'a UdpSocketState,
    /// Read only when tokio says that there is something.
    when_ready: bool,
    any_local: bool,
}

impl ReceiveSocket<'_> {
    fn receive(&self, buffers: &mut Buffers, each: &mut impl FnMut(Route, &[u8])) -> Received {
        let mut meta = [RecvMeta::default(); RECEIVE_BATCH];
        let mut read = || {
            let mut rest = buffers.0.chunks_exact_mut(BUFFER);
            let mut slices: [IoSliceMut<'_>; RECEIVE_BATCH] = std::array::from_fn(|_| {
                IoSliceMut::new(rest.next().expect("there are RECEIVE_BATCH buffers"))
            });
            self.state.recv(self.io.into(), &mut slices, &mut meta)
        };

        let received = if self.when_ready {
            self.io.try_io(Interest::READABLE, read)
        } else {
            read()
        };

        let count = match received {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Received::Nothing,
            Err(_) => return Received::Error,
        };

        for (meta, buffer) in meta[..count].iter().zip(buffers.0.chunks_exact(BUFFER)) {
            let route = Route {
                remote: meta.addr,
                local: meta.dst_ip.filter(|_| self.any_local),
            };
            buffer[..meta.len]
                .chunks(meta.stride.max(1))
                .for_each(|datagram| each(route, datagram));
        }

        Received::Some
    }
}

impl Wire for Socket {
    fn send(&self, batch: GsoBatch<'_>) -> Result<(), Refused> {
        match self.dedicated.get(&batch.to.remote) {
            Some(dedicated) => dedicated.send(batch),
            None => self.shared.send(batch),
        }
    }

    #[cfg(target_os = "linux")]
    fn send_many(&self, batches: &[GsoBatch<'_>]) -> (usize, Result<(), Refused>) {
        self.shared.send_many(batches)
    }

    fn has_dedicated_socket(&self, to: SocketAddr) -> bool {
        self.dedicated.contains_key(&to)
    }
}

/// A wire that records its datagrams in a capture.
#[derive(Debug)]
pub struct Captured<'a, W> {
    /// Where they go.
    pub wire: &'a W,
    /// Where they are recorded, a batch as one.
    pub capture: &'a RefCell<Capture>,
    /// The present.
    pub now: Time,
}

impl<W: Wire> Wire for Captured<'_, W> {
    fn send(&self, batch: GsoBatch<'_>) -> Result<(), Refused> {
        self.wire.send(batch)?;
        self.capture
            .borrow_mut()
            .note(self.now, Direction::Out, batch.to.remote, batch.bytes);
        Ok(())
    }

    fn send_many(&self, batches: &[GsoBatch<'_>]) -> (usize, Result<(), Refused>) {
        let (sent, result) = self.wire.send_many(batches);
        let mut capture = self.capture.borrow_mut();
        batches[..sent]
            .iter()
            .for_each(|batch| capture.note(self.now, Direction::Out, batch.to.remote, batch.bytes));
        (sent, result)
    }

    fn has_dedicated_socket(&self, to: SocketAddr) -> bool {
        self.wire.has_dedicated_socket(to)
    }
}

/// The buffers to receive into.
#[derive(Debug)]
pub struct Buffers(Vec<u8>);

impl Default for Buffers {
    fn default() -> Self {
        Self(vec![0; RECEIVE_BATCH * BUFFER])
    }
}

#[cfg(test)]
mod tests;
