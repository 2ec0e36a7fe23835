//! The socket that viewers share, as one thread sends by it.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use quinn_udp::{Transmit, UdpSocketState};
use tokio::io::Interest;

use super::{Refused, SEND_BUFFER, Train, outlet};

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) io: tokio::net::UdpSocket,
    pub(super) state: UdpSocketState,
    /// What leaves in numbers leaves by this, when there is one.
    outlet: Option<UdpSocket>,
    any_local: bool,
    /// It was the outlet that had no room, which nobody tells when there is some.
    untold: Cell<bool>,
}

impl Shared {
    /// `socket` is bound to `address`. Must be called on the runtime of the thread.
    pub(super) fn new(socket: UdpSocket, address: SocketAddr) -> io::Result<Self> {
        let io = tokio::net::UdpSocket::from_std(socket)?;
        let state = UdpSocketState::new((&io).into())?;
        let outlet = outlet::open(address, SEND_BUFFER);
        let outlet = outlet
            .inspect_err(|error| tracing::debug!("no socket only to send by: {error}"))
            .ok();
        Ok(Self {
            io,
            state,
            outlet,
            any_local: address.ip().is_unspecified(),
            untold: Cell::new(false),
        })
    }

    /// Waits until there is room to send, when that will be told; for ever, when it has to be tried.
    pub(super) async fn writable(&self) {
        if self.untold.get() {
            return std::future::pending().await;
        }
        let _ = self.io.writable().await;
    }

    pub(super) fn send(&self, train: Train<'_>) -> Result<(), Refused> {
        let Train { to, bytes, segment } = train;
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

    /// Sends trains that all have the first one's segment size and leave from its address.
    #[cfg(target_os = "linux")]
    pub(super) fn send_many(&self, trains: &[Train<'_>]) -> (usize, Result<(), Refused>) {
        let outlet = self.outlet.as_ref().filter(|_| self.fit_the_outlet(trains));
        let socket = outlet.map_or(self.io.as_fd(), AsFd::as_fd);
        let mut sent = 0;
        while sent < trains.len() {
            match super::batch::send(socket, &trains[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if outlet.is_some() && error.kind() == io::ErrorKind::WouldBlock => {
                    self.untold.set(true);
                    return (sent, Err(Refused::Full));
                }
                Err(error) => return (sent, Err(self.refused(error))),
            }
        }
        (sent, Ok(()))
    }

    /// The outlet knows neither how to reach groups, nor, bound to all addresses, which of them to send from.
    fn fit_the_outlet(&self, trains: &[Train<'_>]) -> bool {
        let known = |train: &Train<'_>| train.to.local.is_some() || !self.any_local;
        trains
            .iter()
            .all(|train| known(train) && !train.to.remote.ip().is_multicast())
    }

    fn refused(&self, error: io::Error) -> Refused {
        if error.kind() != io::ErrorKind::WouldBlock {
            return Refused::Failed(error);
        }
        self.untold.set(false);
        // Tells the event loop, which has not been asked before, to look for room.
        let full = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = self.io.try_io(Interest::WRITABLE, full);
        Refused::Full
    }
}
