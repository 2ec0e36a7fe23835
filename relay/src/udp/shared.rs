//! The socket that viewers share, as one thread sends by it.

use std::io;
use std::net::UdpSocket;

use quinn_udp::{Transmit, UdpSocketState};
use tokio::io::Interest;

use super::{Refused, Train};

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) io: tokio::net::UdpSocket,
    pub(super) state: UdpSocketState,
}

impl Shared {
    /// Must be called on the runtime of the thread.
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        let io = tokio::net::UdpSocket::from_std(socket)?;
        let state = UdpSocketState::new((&io).into())?;
        Ok(Self { io, state })
    }

    /// Waits until there is room to send.
    pub(super) async fn writable(&self) {
        let _ = self.io.writable().await;
    }

    pub(super) fn send(&self, train: Train<'_>) -> Result<(), Refused> {
        let Train { to, bytes, segment } = train;
        let transmit =
            Transmit { destination: to.remote, ecn: None, contents: bytes, segment_size: segment, src_ip: to.local };
        self.state.try_send((&self.io).into(), &transmit).map_err(|error| self.refused(error))
    }

    /// Sends trains that all have the first one's segment size and leave from its address.
    #[cfg(target_os = "linux")]
    pub(super) fn send_many(&self, trains: &[Train<'_>]) -> (usize, Result<(), Refused>) {
        use std::os::fd::AsFd as _;
        let mut sent = 0;
        while sent < trains.len() {
            match super::batch::send(self.io.as_fd(), &trains[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (sent, Err(self.refused(error))),
            }
        }
        (sent, Ok(()))
    }

    fn refused(&self, error: io::Error) -> Refused {
        if error.kind() != io::ErrorKind::WouldBlock {
            return Refused::Failed(error);
        }
        // Tells the event loop, which has not been asked before, to look for room.
        let full = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = self.io.try_io(Interest::WRITABLE, full);
        Refused::Full
    }
}
