//! Sending by the socket that viewers share.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use quinn_udp::{Transmit, UdpSocketState};
use tokio::io::Interest;

use super::transmit_socket::TransmitSocket;
use super::{GsoBatch, Refused, SEND_BUFFER};

/// The shared socket, and the transmit socket beside it.
#[derive(Debug)]
pub(super) struct SharedSocket {
    pub(super) io: tokio::net::UdpSocket,
    pub(super) state: UdpSocketState,
    /// Batches leave by this, if the system gave one.
    transmit_socket: Option<TransmitSocket>,
    any_local: bool,
    /// The transmit socket was full: no event tells when it has room again.
    transmit_socket_full: AtomicBool,
}

impl SharedSocket {
    /// `socket` is bound to `address`. Must be called within a tokio runtime.
    pub(super) fn new(socket: UdpSocket, address: SocketAddr) -> io::Result<Self> {
        let io = tokio::net::UdpSocket::from_std(socket)?;
        let state = UdpSocketState::new((&io).into())?;
        let transmit_socket = TransmitSocket::open(address, SEND_BUFFER);
        let transmit_socket = transmit_socket
            .inspect_err(|error| tracing::debug!("no transmit socket: {error}"))
            .ok();
        Ok(Self {
            io,
            state,
            transmit_socket,
            any_local: address.ip().is_unspecified(),
            transmit_socket_full: AtomicBool::new(false),
        })
    }

    /// Waits until there is room to send. Pends for ever if no event will tell: then the sender retries.
    pub(super) async fn writable(&self) {
        if self.transmit_socket_full.load(Relaxed) {
            return std::future::pending().await;
        }
        let _ = self.io.writable().await;
    }

    pub(super) fn send(&self, batch: GsoBatch<'_>) -> Result<(), Refused> {
        let GsoBatch { to, bytes, segment } = batch;
        let transmit = Transmit {
            destination: to.remote,
            ecn: None,
            contents: bytes,
            segment_size: segment,
            src_ip: to.local,
        };

        self.state
            .try_send((&self.io).into(), &transmit)
            .map_err(|error| self.refused(error))
    }

    /// Sends batches that all have the first one's segment size and leave from its address.
    #[cfg(target_os = "linux")]
    pub(super) fn send_many(&self, batches: &[GsoBatch<'_>]) -> (usize, Result<(), Refused>) {
        let transmit_socket = self
            .transmit_socket
            .as_ref()
            .filter(|_| self.fit_transmit_socket(batches));

        let socket = transmit_socket.map_or(self.io.as_fd(), AsFd::as_fd);
        let mut sent = 0;

        while sent < batches.len() {
            match super::sendmmsg::send(socket, &batches[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if transmit_socket.is_some() && error.kind() == io::ErrorKind::WouldBlock =>
                {
                    self.transmit_socket_full.store(true, Relaxed);
                    return (sent, Err(Refused::Full));
                }
                Err(error) => return (sent, Err(self.refused(error))),
            }
        }

        (sent, Ok(()))
    }

    /// The transmit socket has no multicast options; bound to all addresses, it needs a source address.
    fn fit_transmit_socket(&self, batches: &[GsoBatch<'_>]) -> bool {
        let known = |batch: &GsoBatch<'_>| batch.to.local.is_some() || !self.any_local;
        batches
            .iter()
            .all(|batch| known(batch) && !batch.to.remote.ip().is_multicast())
    }

    fn refused(&self, error: io::Error) -> Refused {
        if error.kind() != io::ErrorKind::WouldBlock {
            return Refused::Failed(error);
        }

        self.transmit_socket_full.store(false, Relaxed);
        // Clears tokio's readiness, so that `writable` waits for the next event.
        let full = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = self.io.try_io(Interest::WRITABLE, full);
        Refused::Full
    }
}
