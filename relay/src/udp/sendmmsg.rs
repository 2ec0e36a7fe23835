//! Several GSO batches by one call to the kernel: sendmmsg(2) with `UDP_SEGMENT` (udp(7)). The only
//! `unsafe` code of this program: no crate offers the call with these control messages.

#![allow(unsafe_code)]

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_uint, cmsghdr, iovec, mmsghdr};
use socket2::SockAddr;

use super::GsoBatch;

/// Batches of one call, at most. More save nothing measurable.
pub(super) const BATCH: usize = 64;

/// Trains of a small call.
const FEW: usize = 4;

/// Room for the control messages of a batch: its segment size, and the address that it leaves from.
const CONTROL: usize = 64;

/// Control messages one behind the other, each aligned as cmsg(3) wants it.
#[repr(align(8))]
struct Control {
    bytes: [u8; CONTROL],
    length: usize,
}

impl Control {
    fn new(segment: Option<usize>, local: Option<IpAddr>) -> Self {
        let mut control = Self {
            bytes: [0; CONTROL],
            length: 0,
        };

        if let Some(segment) = segment.and_then(|segment| u16::try_from(segment).ok()) {
            control.add(libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
        }

        match local {
            None => {}
            // in_pktinfo: the interface, the address to send from, and one that counts only in receiving (ip(7)).
            Some(IpAddr::V4(ip)) => {
                let [a, b, c, d] = ip.octets();
                control.add(
                    libc::IPPROTO_IP,
                    libc::IP_PKTINFO,
                    &[0, 0, 0, 0, a, b, c, d, 0, 0, 0, 0],
                );
            }
            // in6_pktinfo: the address, then the interface (ipv6(7)).
            Some(IpAddr::V6(ip)) => {
                let mut info = [0; 20];
                info[..16].copy_from_slice(&ip.octets());
                control.add(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }

        control
    }

    fn add(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let header = size_of::<cmsghdr>();
        let place = &mut self.bytes[self.length..];
        place[..size_of::<usize>()].copy_from_slice(&(header + data.len()).to_ne_bytes());
        place[header - 8..header - 4].copy_from_slice(&level.to_ne_bytes());
        place[header - 4..header].copy_from_slice(&kind.to_ne_bytes());
        place[header..header + data.len()].copy_from_slice(data);
        self.length += header + data.len().next_multiple_of(size_of::<usize>());
    }
}

/// Sends the first of `batches`, as many as there is room for and [`BATCH`] at most, and says how many: at least one. All
/// of them have the first one's segment size and leave from its address. Never waits.
///
/// # Errors
/// Why the first was not sent.
pub(super) fn send(socket: BorrowedFd<'_>, batches: &[GsoBatch<'_>]) -> io::Result<usize> {
    // Each call builds its table: a small one for few batches.
    if batches.len() <= FEW {
        send_up_to::<FEW>(socket, batches)
    } else {
        send_up_to::<BATCH>(socket, batches)
    }
}

fn send_up_to<const MOST: usize>(
    socket: BorrowedFd<'_>,
    batches: &[GsoBatch<'_>],
) -> io::Result<usize> {
    let Some(first) = batches.first() else {
        return Ok(0);
    };

    let count = batches.len().min(MOST);
    let mut control = Control::new(first.segment, first.to.local);
    let mut parts: [iovec; MOST] = std::array::from_fn(|at| {
        let bytes = batches.get(at).map_or(&[][..], |batch| batch.bytes);
        iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        }
    });

    let addresses: [SockAddr; MOST] = std::array::from_fn(|at| {
        batches
            .get(at)
            .map_or(first.to.remote, |batch| batch.to.remote)
            .into()
    });

    let mut headers: [mmsghdr; MOST] = std::array::from_fn(|at| {
        // SAFETY: a header of numbers and pointers, for which zero and null are values.
        let mut header: mmsghdr = unsafe { std::mem::zeroed() };
        header.msg_hdr.msg_name = addresses[at].as_ptr().cast_mut().cast();
        header.msg_hdr.msg_namelen = addresses[at].len();
        header.msg_hdr.msg_iov = &raw mut parts[at];
        header.msg_hdr.msg_iovlen = 1;

        if control.length > 0 {
            header.msg_hdr.msg_control = (&raw mut control.bytes).cast();
            header.msg_hdr.msg_controllen = control.length as _;
        }

        header
    });

    let length = count as c_uint;
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `headers` has at least `count` entries, and what they point to (bytes, addresses, parts, control) outlives
    // the call, which only reads it and writes each header's `msg_len`.
    let sent =
        unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), length, flags as _) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
