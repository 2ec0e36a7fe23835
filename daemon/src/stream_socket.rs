//! Connected stream sockets for the event loops of tokio that pass whole pictures on.
//!
//! Tokio's own are always woken for room to write as well. A Unix socket has room again whenever its peer has read
//! something, so that each picture would wake the task that has sent it once more, for nothing.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A connected stream socket that is woken for what can be read, and for room to write only while it is waited for. It
/// belongs to the runtime in which it was made.
#[derive(Debug)]
pub struct StreamSocket(AsyncFd<OwnedFd>);

impl StreamSocket {
    /// Takes a connected socket over, which must not block (`O_NONBLOCK`).
    ///
    /// # Errors
    /// When the system has no room to watch it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        watch(socket.into(), Interest::READABLE).map(Self)
    }

    /// Waits for bytes; 0 when there will be none any more.
    ///
    /// # Errors
    /// Those of recv(2).
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(buffer.len(), |socket| {
            Ok(recv(socket, &mut *buffer, RecvFlags::empty())?.0)
        })
        .await
    }

    /// Waits for bytes and appends at most `most` of them, which need no zeros first where `buffer` has room for no more
    /// than that; 0 when there will be none any more.
    ///
    /// # Errors
    /// Those of recv(2).
    pub async fn read_onto(&self, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        self.receive(most, |socket| {
            let length = buffer.len();
            if buffer.capacity() == length + most {
                return Ok(recv(socket, spare_capacity(buffer), RecvFlags::empty())?.0);
            }

            buffer.resize(length + most, 0);
            let received = recv(socket, &mut buffer[length..], RecvFlags::empty());
            buffer.truncate(length + received.map_or(0, |(count, _)| count));
            Ok(received?.0)
        })
        .await
    }

    /// Calls `act`, which asks for so many bytes, when there are some.
    async fn receive(
        &self,
        wanted: usize,
        mut act: impl FnMut(&OwnedFd) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            let Ok(received) = ready.try_io(|socket| act(socket.get_ref())) else {
                continue;
            };

            // That was all there is: another call would only say so.
            if received
                .as_ref()
                .is_ok_and(|count| (1..wanted).contains(count))
            {
                ready.clear_ready();
            }
            return received;
        }
    }

    /// Writes what there is room for, as soon as there is some.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub async fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.when_writable(|socket| send(socket, parts)).await
    }

    /// Writes what there is room for now. Callable from any thread.
    ///
    /// # Errors
    /// Those of sendmsg(2); [`WouldBlock`](io::ErrorKind::WouldBlock) when there is no room.
    pub fn try_write(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        send(self.as_fd(), parts)
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write(&[IoSlice::new(bytes)]).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Calls `act` at once, and then whenever there may be room to write, until it would not block any more.
    async fn when_writable<R>(
        &self,
        mut act: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        match act(self.as_fd()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }

        // What is watched is a descriptor of its own, for as long as this lasts.
        let waiting = watch(self.0.get_ref().try_clone()?, Interest::WRITABLE)?;
        waiting
            .async_io(Interest::WRITABLE, |socket| act(socket.as_fd()))
            .await
    }
}

fn send(socket: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    Ok(sendmsg(
        socket,
        parts,
        &mut SendAncillaryBuffer::default(),
        SendFlags::NOSIGNAL,
    )?)
}

#[expect(
    deprecated,
    reason = "what it warns of are descriptors that are not owned, and change"
)]
fn watch(socket: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(socket, interest)
}

impl AsFd for StreamSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::testing::stream_sockets;

    #[tokio::test]
    async fn more_than_the_kernel_holds_passes_in_order() {
        let (from, to) = stream_sockets();
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at * 7 / 3) as u8).collect();
        let receive = async {
            let (mut received, mut chunk) = (Vec::new(), vec![0; 10_000]);
            loop {
                match to.read(&mut chunk).await.unwrap() {
                    0 => break received,
                    count => received.extend_from_slice(&chunk[..count]),
                }
            }
        };

        let send = async {
            from.write_all(&bytes[..1_000_001]).await.unwrap();
            let (mut sent, rest) = (0, &bytes[1_000_001..]);

            while sent < rest.len() {
                let (one, two) = rest[sent..].split_at((rest.len() - sent) / 3);
                sent += from
                    .write(&[IoSlice::new(one), IoSlice::new(two)])
                    .await
                    .unwrap();
            }

            drop(from);
        };

        let (received, ()) = tokio::join!(receive, send);
        assert!(received == bytes);
    }

    #[tokio::test]
    async fn what_is_gone_is_an_error_to_write_to_and_an_end_to_read_from() {
        let (one, other) = stream_sockets();
        drop(other);
        assert_eq!(
            one.write_all(b"x").await.unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
        assert_eq!(one.read(&mut [0; 8]).await.unwrap(), 0);
    }

    /// What the kernel watches `socket` for (proc_pid_fdinfo(5)), by whichever descriptor.
    fn watched(socket: &StreamSocket) -> u32 {
        let inode = rustix::fs::fstat(socket).unwrap().st_ino;
        let descriptors = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
        // One that another test has closed meanwhile is none of ours.
        let infos: Vec<_> = descriptors
            .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
            .collect();
        let ours = infos
            .iter()
            .flat_map(|info| info.lines())
            .filter_map(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                let ["tfd:", _, "events:", events, _, _, rest @ ..] = &words[..] else {
                    return None;
                };
                rest.contains(&format!("ino:{inode:x}").as_str())
                    .then(|| u32::from_str_radix(events, 16).unwrap())
            });

        ours.fold(0, std::ops::BitOr::bitor)
    }

    #[tokio::test]
    async fn room_to_write_is_watched_for_while_it_is_waited_for_and_not_longer() {
        const IN: u32 = 1;
        const OUT: u32 = 4;
        let (one, other) = stream_sockets();
        one.write_all(&[1; 1000]).await.unwrap();
        assert_eq!(watched(&one) & (IN | OUT), IN);
        let bytes = [2; 1_000_000];
        let mut writing = Box::pin(one.write_all(&bytes));
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(writing.as_mut().poll(&mut context), Poll::Pending));
        assert_eq!(watched(&one) & (IN | OUT), IN | OUT);
        let read = async {
            let (mut left, mut chunk) = (1_001_000, vec![0; 100_000]);
            while left > 0 {
                left -= other.read(&mut chunk).await.unwrap();
            }
        };

        let (written, ()) = tokio::join!(writing, read);
        written.unwrap();
        assert_eq!(watched(&one) & (IN | OUT), IN);
    }
}
