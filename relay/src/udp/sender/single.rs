//! Sending to one viewer at a time: by dedicated sockets, for repairs, and after a batch has failed.

use std::io;

use super::super::wire::{GsoBatch, Refused, Wire};
use super::Sender;
use crate::engine::Route;
use crate::udp::Gso;

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
            let batch = rest.len().min(usize::from(self.segments) * stride);
            let segment = (batch > stride).then_some(stride);

            match self.deliver(wire, to, &rest[..batch], segment) {
                Ok(()) => {}
                Err(Refused::Failed(error))
                    if segment.is_some() && self.gso == Gso::Auto && is_gso_unsupported(&error) =>
                {
                    let (more, result) = self.without_gso(wire, to, rest, stride, &error);
                    return (sent + more, result);
                }
                Err(refused) => return (sent, Err(refused)),
            }

            sent += (batch / stride) as u16;
            rest = &rest[batch..];
        }

        (sent, Ok(()))
    }

    /// A batch has failed. If its datagrams go one by one, GSO is to blame and is not used any more; if
    /// they do not go either, it is this viewer's address.
    fn without_gso(
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
                    "the network device does not support UDP GSO ({error}); sending datagrams one by one"
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
        let batch = GsoBatch { to, bytes, segment };
        let mut sent = wire.send(batch);
        if matches!(&sent, Err(Refused::Failed(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
        {
            // The error is about an earlier datagram (ICMP); this one was not sent.
            sent = wire.send(batch);
        }

        if sent.is_ok() {
            self.counts.datagrams +=
                segment.map_or(1, |segment| bytes.len().div_ceil(segment)) as u64;
            self.counts.bytes += bytes.len() as u64;
            if self.full.is_some() && !wire.has_dedicated_socket(to.remote) {
                self.full = None;
            }
        }

        sent
    }
}

/// Whether an error can mean that the device or the kernel does not support UDP GSO.
fn is_gso_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        code,
        Some(Errno::IO | Errno::INVAL | Errno::OPNOTSUPP | Errno::MSGSIZE)
    )
}
