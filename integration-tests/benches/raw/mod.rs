//! The least that sending can cost: a table of messages made beforehand, handed to the kernel again and again.
#![expect(
    unsafe_code,
    reason = "what is measured against is the bare system call"
)]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use socket2::SockAddr;

/// Most bytes of a message: what UDP over IPv4 carries.
const MAX_MESSAGE: usize = 65_507;

/// Messages that one call to the kernel takes: more save nothing.
const BATCH: usize = 64;

/// Longest wait for room, in milliseconds, before the kernel is asked again.
const ROOM_MILLIS: i32 = 100;

/// The control message that makes a message a train, laid out as the kernel reads it.
#[repr(C)]
struct Segment {
    header: libc::cmsghdr,
    bytes: u16,
    padding: [u8; size_of::<usize>() - 2],
}

/// All messages that bring some datagrams to some viewers.
pub(crate) struct Table {
    messages: Vec<libc::mmsghdr>,
    /// What the messages point into. None of it moves or changes while they exist.
    _parts: (Vec<u8>, Vec<SockAddr>, Vec<libc::iovec>, Vec<Segment>),
}

impl Table {
    /// `bytes` are datagrams of `stride` each, which leave for each of `targets` in messages of at most `segments`
    /// datagrams.
    pub(crate) fn new(
        bytes: Vec<u8>,
        stride: usize,
        segments: usize,
        targets: &[SocketAddr],
    ) -> Self {
        let segments = segments.min(MAX_MESSAGE / stride).max(1);
        let addresses: Vec<SockAddr> = targets.iter().map(|address| (*address).into()).collect();
        let mut iovecs: Vec<libc::iovec> = bytes.chunks(segments * stride).map(as_iovec).collect();
        let mut segment = vec![Segment::of(stride)];
        let mut messages = Vec::with_capacity(addresses.len() * iovecs.len());

        for address in &addresses {
            messages.extend(
                iovecs
                    .iter_mut()
                    .map(|iovec| message(address, iovec, stride, &mut segment[0])),
            );
        }

        Self {
            messages,
            _parts: (bytes, addresses, iovecs, segment),
        }
    }

    /// Sends it all, waiting for room where there is none.
    ///
    /// # Errors
    /// Whatever the system says.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let mut at = 0;
        while at < self.messages.len() {
            let batch = &mut self.messages[at..];
            let count = batch.len().min(BATCH) as u32;
            // SAFETY: `batch` has at least `count` messages, and all that they point to is in `_parts`, which is alive
            // and is not written by the kernel.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), batch.as_mut_ptr(), count, 0) };

            match usize::try_from(sent) {
                Ok(sent) => at += sent,
                Err(_) => wait_for_room(socket, io::Error::last_os_error())?,
            }
        }

        Ok(())
    }
}

impl Segment {
    fn of(stride: usize) -> Self {
        let payload = size_of::<u16>() as u32;
        // SAFETY: it computes a number from a number.
        let length = unsafe { libc::CMSG_LEN(payload) } as _;
        let header = libc::cmsghdr {
            cmsg_len: length,
            cmsg_level: libc::SOL_UDP,
            cmsg_type: libc::UDP_SEGMENT,
        };

        Self {
            header,
            bytes: stride as u16,
            padding: [0; size_of::<usize>() - 2],
        }
    }
}

fn as_iovec(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

fn message(
    address: &SockAddr,
    iovec: &mut libc::iovec,
    stride: usize,
    segment: &mut Segment,
) -> libc::mmsghdr {
    // SAFETY: all zeros is a message without address, bytes and control.
    let mut message: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    let header = &mut message.msg_hdr;
    header.msg_name = address.as_ptr().cast_mut().cast();
    header.msg_namelen = address.len();

    if iovec.iov_len > stride {
        header.msg_controllen = size_of::<Segment>() as _;
        header.msg_control = std::ptr::from_mut(segment).cast();
    }

    header.msg_iovlen = 1;
    header.msg_iov = iovec;
    message
}

fn wait_for_room(socket: BorrowedFd<'_>, error: io::Error) -> io::Result<()> {
    if error.kind() != io::ErrorKind::WouldBlock {
        return Err(error);
    }

    let mut wait = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };

    // SAFETY: it is told of one descriptor, and `wait` is one.
    unsafe { libc::poll(&mut wait, 1, ROOM_MILLIS) };
    Ok(())
}
