//! Sending to one viewer, train by train: where batches do not go, and where one of them failed.

use std::io;

use super::super::wire::{Refused, Train, Wire};
use super::Sender;
use crate::config::Gso;
use crate::engine::Route;

impl Sender {
    /// Sends datagrams of `stride` bytes; how many were sent, and why not more.
    pub(super) fn chunk(
        &mut self,
        wire: &impl Wire,
        to: Route,
        datagrams: &[u8],
        stride: usize,
    ) -> (u16, Result<(), Refused>) {
        let mut sent = 0;
        let mut rest = datagrams;
        while !rest.is_empty() {
            let train = rest.len().min(usize::from(self.segments) * stride);
            let segment = (train > stride).then_some(stride);
            match self.deliver(wire, to, &rest[..train], segment) {
                Ok(()) => {}
                Err(Refused::Failed(error))
                    if segment.is_some() && self.gso == Gso::Auto && means_no_trains(&error) =>
                {
                    let (more, result) = self.without_trains(wire, to, rest, stride, &error);
                    return (sent + more, result);
                }
                Err(refused) => return (sent, Err(refused)),
            }
            sent += (train / stride) as u16;
            rest = &rest[train..];
        }
        (sent, Ok(()))
    }

    /// A train has failed. When its datagrams go one by one, trains are to blame and are sent no more; when they do not
    /// either, it is this viewer's address.
    fn without_trains(
        &mut self,
        wire: &impl Wire,
        to: Route,
        datagrams: &[u8],
        stride: usize,
        error: &io::Error,
    ) -> (u16, Result<(), Refused>) {
        let mut sent = 0;
        for datagram in datagrams.chunks(stride) {
            match self.deliver(wire, to, datagram, None) {
                Ok(()) => sent += 1,
                Err(refused) => return (sent, Err(refused)),
            }
            if self.segments > 1 {
                self.segments = 1;
                tracing::info!(
                    "the network device takes no trains of datagrams ({error}); sending them one by one"
                );
            }
        }
        (sent, Ok(()))
    }

    pub(super) fn deliver(
        &mut self,
        wire: &impl Wire,
        to: Route,
        bytes: &[u8],
        segment: Option<usize>,
    ) -> Result<(), Refused> {
        let train = Train { to, bytes, segment };
        let mut sent = wire.send(train);
        if matches!(&sent, Err(Refused::Failed(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
        {
            // What the network said about a former datagram; this one has not been tried.
            sent = wire.send(train);
        }
        if sent.is_ok() {
            self.counts.datagrams +=
                segment.map_or(1, |segment| bytes.len().div_ceil(segment)) as u64;
            self.counts.bytes += bytes.len() as u64;
            if self.full.is_some() && !wire.has_lane(to.remote) {
                self.full = None;
            }
        }
        sent
    }
}

/// Whether an error can mean that the device or the kernel does not do trains (EIO, EINVAL, EOPNOTSUPP, EMSGSIZE).
fn means_no_trains(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        code,
        Some(Errno::IO | Errno::INVAL | Errno::OPNOTSUPP | Errno::MSGSIZE)
    )
}
