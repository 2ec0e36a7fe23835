//! The pipe through which bodies of frames get from one of the guard's connections to the other without being copied:
//! splice(2) passes the kernel's own pages on.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use fanlight_daemon::stream_socket::StreamSocket;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// Bytes asked for a pipe: what waits in a socket with the kernel's usual buffers fits.
const PIPE_BYTES: usize = 256 << 10;

/// Bytes copied at a time when what is in a pipe cannot be spliced on.
const COPY: usize = 16 << 10;

/// See the module. It is empty between calls.
#[derive(Debug)]
pub(super) struct Pipe {
    end: OwnedFd,
    beginning: OwnedFd,
}

/// What became of bytes that were to be spliced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spliced {
    /// So many were passed on; none when there will be none any more.
    Passed(usize),
    /// As many, but this system does not splice such sockets: copy from now on.
    Unsupported(usize),
}

impl Pipe {
    /// None when the system has none to give.
    pub(super) fn new() -> Option<Self> {
        let (end, beginning) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
        // A smaller one does as well, more slowly.
        let _ = fcntl_setpipe_size(&beginning, PIPE_BYTES);
        Some(Self { end, beginning })
    }

    /// Waits for bytes of `from` and passes at most `most` on to `to`.
    pub(super) async fn pass(&self, from: &StreamSocket, to: &StreamSocket, most: usize) -> io::Result<Spliced> {
        let fill =
            |socket: BorrowedFd<'_>| Ok(splice(socket, None, &self.beginning, None, most, SpliceFlags::NONBLOCK)?);
        let taken = match from.when_readable(fill).await {
            Ok(count) => count,
            Err(error) if is_unsupported(&error) => return Ok(Spliced::Unsupported(0)),
            Err(error) => return Err(error),
        };
        let mut left = taken;
        while left > 0 {
            let drain =
                |socket: BorrowedFd<'_>| Ok(splice(&self.end, None, socket, None, left, SpliceFlags::NONBLOCK)?);
            match to.when_writable(drain).await {
                Ok(count) => left -= count,
                Err(error) if is_unsupported(&error) => {
                    self.copy(to, left).await?;
                    return Ok(Spliced::Unsupported(taken));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Spliced::Passed(taken))
    }

    /// Writes the `left` bytes in the pipe to `to`.
    async fn copy(&self, to: &StreamSocket, mut left: usize) -> io::Result<()> {
        let mut chunk = vec![0; COPY];
        while left > 0 {
            let count = rustix::io::read(&self.end, &mut chunk[..COPY.min(left)])?;
            to.write_all(&chunk[..count]).await?;
            left -= count;
        }
        Ok(())
    }
}

/// Not by this kernel, for these sockets, or in this sandbox.
fn is_unsupported(error: &io::Error) -> bool {
    let unsupported = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::PERM];
    Errno::from_io_error(error).is_some_and(|errno| unsupported.contains(&errno))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use fanlight_daemon::testing::stream_sockets;

    use super::*;

    #[tokio::test]
    async fn what_is_spliced_arrives_as_it_was_and_no_more_than_asked() {
        let ((source, from), (to, sink), pipe) = (stream_sockets(), stream_sockets(), Pipe::new().unwrap());
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| (at * 7 / 3) as u8).collect();
        let written = async {
            source.write_all(&bytes).await.unwrap();
            drop(source);
        };
        let passed = async {
            let mut passed = 0;
            while passed < 900_000 {
                match pipe.pass(&from, &to, 900_000 - passed).await.unwrap() {
                    Spliced::Passed(count) if count > 0 => passed += count,
                    other => panic!("{other:?} after {passed}"),
                }
            }
            let mut rest = vec![0; 200_000];
            let mut length = 0;
            loop {
                match from.read(&mut rest[length..]).await.unwrap() {
                    0 => break rest[..length].to_vec(),
                    count => length += count,
                }
            }
        };
        let received = async {
            let mut received = vec![0; 900_000];
            let mut length = 0;
            while length < received.len() {
                length += sink.read(&mut received[length..]).await.unwrap();
            }
            received
        };
        let ((), rest, received) = tokio::join!(written, passed, received);
        assert!(received == bytes[..900_000] && rest == bytes[900_000..]);
        assert_eq!(pipe.pass(&from, &to, 1).await.unwrap(), Spliced::Passed(0), "there will be none any more");
    }

    #[tokio::test]
    async fn what_cannot_be_spliced_is_copied() {
        let ((source, from), (to, sink)) = (stream_sockets(), stream_sockets());
        let (good, wrong) = (Pipe::new().unwrap(), UnixStream::pair().unwrap());
        source.write_all(b"a picture").await.unwrap();
        // No pipe at all: nothing is taken.
        let none = Pipe { end: wrong.0.into(), beginning: wrong.1.into() };
        assert_eq!(none.pass(&from, &to, 100).await.unwrap(), Spliced::Unsupported(0));
        assert_eq!(good.pass(&from, &to, 100).await.unwrap(), Spliced::Passed(9));
        // What a pipe already holds is written.
        rustix::io::write(&good.beginning, b" and another").unwrap();
        good.copy(&to, 12).await.unwrap();
        let mut received = [0; 100];
        let mut length = 0;
        while length < 21 {
            length += sink.read(&mut received[length..]).await.unwrap();
        }
        assert_eq!(&received[..length], b"a picture and another");
    }
}
