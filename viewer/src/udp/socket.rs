//! A UDP socket connected to a relay. One call receives several batches of datagrams (UDP_GRO and recvmmsg).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::sync::Once;
use std::task::{Context, Poll};

use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, SockRef, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// What the kernel charges a receive buffer for one datagram of ours, in bytes, as measured.
const CHARGED_PER_DATAGRAM: usize = 2304;

/// Batches received by one call.
const BATCHES: usize = 8;

/// The longest batch, in bytes: UDP's own limit.
const BATCH_BYTES: usize = 1 << 16;

/// The socket, registered with the runtime that made it.
#[derive(Debug)]
pub struct Socket {
    address: SocketAddr,
    inner: UdpSocket,
    state: UdpSocketState,
}

impl Socket {
    /// One that receives from the relay at `address` only. The kernel is asked to keep `receive_buffer` bytes; `own` is the
    /// local address towards an IPv4 relay. Must be called on a runtime.
    ///
    /// # Errors
    /// When the system refuses such a socket.
    pub fn connect(
        address: SocketAddr,
        receive_buffer: usize,
        own: Option<Ipv4Addr>,
    ) -> io::Result<Self> {
        let socket = unbound(address, receive_buffer)?;
        let from: IpAddr = match address {
            SocketAddr::V4(_) => own.unwrap_or(Ipv4Addr::UNSPECIFIED).into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        socket.bind(&SocketAddr::new(from, 0).into())?;
        Self::of(address, socket)
    }

    /// One that receives what this relay sends to `group`, by the interface on the way to it. Others on this host may
    /// have the same group. Must be called on a runtime.
    pub(super) fn join(&self, group: SocketAddrV4, receive_buffer: usize) -> io::Result<Self> {
        let IpAddr::V4(interface) = self.inner.local_addr()?.ip() else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };

        let socket = unbound(group.into(), receive_buffer)?;
        socket.set_reuse_address(true)?;
        // Without this the socket gets what other programs on this host joined the group for on other interfaces.
        socket.set_multicast_all_v4(false)?;
        socket.bind(&group.into())?;
        socket.join_multicast_v4(group.ip(), &interface)?;
        // Connected: the kernel drops what others send to the group.
        Self::of(self.address, socket)
    }

    fn of(address: SocketAddr, socket: socket2::Socket) -> io::Result<Self> {
        socket.connect(&address.into())?;
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self {
            address,
            inner: UdpSocket::from_std(socket.into())?,
            state,
        })
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
        // An error of the socket shows when it is read.
        self.inner.poll_recv_ready(context).map(|_| ())
    }

    /// Sends at once. (Tokio would refuse the first JOIN: it does not know that a new socket is writable before its first
    /// poll.)
    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        SockRef::from(&self.inner).send(datagram)
    }

    /// Fills some of the batches and says how many.
    ///
    /// # Errors
    /// When there is nothing, and what the network said about datagrams sent before.
    pub fn receive(&self, batches: &mut GroBatches) -> io::Result<usize> {
        let mut chunks = batches.bytes.chunks_exact_mut(BATCH_BYTES);
        let mut slices: [IoSliceMut<'_>; BATCHES] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        self.inner.try_io(Interest::READABLE, || {
            self.state
                .recv((&self.inner).into(), &mut slices, &mut batches.meta)
        })
    }
}

/// Room for what one call receives.
#[derive(Debug)]
pub struct GroBatches {
    bytes: Vec<u8>,
    meta: [RecvMeta; BATCHES],
}

impl Default for GroBatches {
    fn default() -> Self {
        Self {
            bytes: vec![0; BATCHES * BATCH_BYTES],
            meta: [RecvMeta::default(); BATCHES],
        }
    }
}

impl GroBatches {
    /// The datagrams of the first `count` batches.
    pub fn datagrams(&mut self, count: usize) -> impl Iterator<Item = &mut [u8]> {
        let batches = self
            .bytes
            .chunks_exact_mut(BATCH_BYTES)
            .zip(&self.meta)
            .take(count);
        batches.flat_map(|(bytes, meta)| bytes[..meta.len].chunks_mut(meta.stride.max(1)))
    }
}

/// How many datagrams a socket holds that asks for `receive_buffer` bytes.
pub(super) fn receive_capacity(receive_buffer: usize) -> io::Result<u32> {
    static LOGGED: Once = Once::new();
    let probe = unbound(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), receive_buffer)?;
    // The kernel doubles what was asked, for its own bookkeeping (socket(7)).
    let granted = probe.recv_buffer_size()?;

    if granted / 2 < receive_buffer {
        LOGGED.call_once(|| {
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
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_recv_buffer_size(receive_buffer)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as StdSocket;
    use std::time::Duration;

    use socket2::SockRef;

    use super::*;

    /// A socket on loopback that sends to groups there.
    fn sender() -> StdSocket {
        let socket = StdSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        SockRef::from(&socket)
            .set_multicast_if_v4(&Ipv4Addr::LOCALHOST)
            .unwrap();
        socket
    }

    /// Waits for the next datagram.
    async fn next(socket: &Socket) -> Vec<u8> {
        let mut batches = GroBatches::default();
        loop {
            std::future::poll_fn(|context| socket.poll_readable(context)).await;
            if let Ok(count) = socket.receive(&mut batches) {
                return batches
                    .datagrams(count)
                    .flat_map(|datagram| datagram.to_vec())
                    .collect();
            }
        }
    }

    #[tokio::test]
    async fn each_of_two_viewers_on_one_host_gets_what_its_relay_sends_to_a_group_that_two_relays_use()
     {
        let relays = [sender(), sender()];
        let free = StdSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let group = SocketAddrV4::new(Ipv4Addr::new(239, 255, 42, 7), free);
        let join = |relay: &StdSocket| {
            let unicast = Socket::connect(relay.local_addr().unwrap(), 1 << 16, None).unwrap();
            unicast.join(group, 1 << 16).unwrap()
        };
        let viewers = [join(&relays[0]), join(&relays[0]), join(&relays[1])];
        // Those of others do not come before the own one, nor behind the first of them.
        for (relay, word) in [(1, b"a"), (0, b"b"), (1, b"c"), (0, b"d"), (1, b"e")] {
            relays[relay].send_to(word, group).unwrap();
        }
        for (viewer, words) in viewers.iter().zip(["bd", "bd", "ace"]) {
            let mut came = String::new();
            while came.len() < words.len() {
                came.push_str(std::str::from_utf8(&next(viewer).await).unwrap());
            }
            assert_eq!(came, words);
        }
    }

    #[tokio::test]
    async fn a_new_socket_sends_before_the_event_loop_has_turned() {
        let relay = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        relay
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let own = Ipv4Addr::new(127, 1, 2, 3);
        let socket = Socket::connect(relay.local_addr().unwrap(), 1 << 16, Some(own)).unwrap();
        assert_eq!(socket.send(b"join").unwrap(), 4);
        let mut buffer = [0; 8];
        let (length, from) = relay.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (&b"join"[..], own.into()));
    }
}
