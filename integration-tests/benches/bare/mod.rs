//! The least that reading datagrams in batches can cost: `recvmmsg` into buffers laid out beforehand.
#![expect(
    unsafe_code,
    reason = "what is measured against is the bare system call"
)]

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use fanlight_proto::limits::MAX_DATAGRAM;

/// Datagrams that one call takes: more save nothing.
const BATCH: usize = 32;

/// Room for what one call reads.
pub(crate) struct Batch {
    messages: Vec<libc::mmsghdr>,
    /// What the messages point into. It does not move while they exist.
    _parts: (Vec<u8>, Vec<libc::iovec>),
}

impl Batch {
    /// Empty.
    pub(crate) fn new() -> Self {
        let mut bytes = vec![0; BATCH * MAX_DATAGRAM];
        let buffers = bytes.chunks_exact_mut(MAX_DATAGRAM);
        let as_iovec = |buffer: &mut [u8]| libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };

        let mut iovecs: Vec<libc::iovec> = buffers.map(as_iovec).collect();
        let messages = iovecs.iter_mut().map(message).collect();
        Self {
            messages,
            _parts: (bytes, iovecs),
        }
    }

    /// Reads what is there and has room: how many datagrams. None when there are none, or the socket fails.
    pub(crate) fn read(&mut self, socket: BorrowedFd<'_>) -> Option<usize> {
        let messages = self.messages.as_mut_ptr();
        let flags = libc::MSG_DONTWAIT as _;
        // SAFETY: there are BATCH messages, and what they point to is in `_parts`, which is alive and which nobody else
        // reads or writes.
        let read = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages,
                BATCH as _,
                flags,
                std::ptr::null_mut(),
            )
        };

        usize::try_from(read).ok().filter(|read| *read > 0)
    }
}

fn message(iovec: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all zeros is a message without address, bytes and control.
    let mut message: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_hdr.msg_iovlen = 1;
    message.msg_hdr.msg_iov = iovec;
    message
}
