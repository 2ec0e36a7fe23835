//! A pipe whose reader may be slow or stopped: it never keeps the viewer from ending.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use fanlight_daemon::Shutdown;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A pipe that is ready takes so many bytes without waiting (PIPE_BUF, pipe(7)).
const CHUNK: usize = 4096;

/// How often to see whether the viewer is to end.
const TURN: Duration = Duration::from_millis(100);

/// Writes to a file descriptor, past the buffers of the standard library.
pub(super) struct Pipe<'a, F> {
    file: &'a F,
    shutdown: &'a Shutdown,
}

impl<'a, F: AsFd> Pipe<'a, F> {
    pub(super) const fn new(file: &'a F, shutdown: &'a Shutdown) -> Self {
        Self { file, shutdown }
    }
}

impl<F: AsFd> Write for Pipe<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let turn = Timespec::try_from(TURN).expect("it is short");
        loop {
            let mut ready = [PollFd::new(self.file, PollFlags::OUT)];
            match poll(&mut ready, Some(&turn)) {
                Ok(0) | Err(rustix::io::Errno::INTR) if self.shutdown.requested() => {
                    return Err(io::Error::other("asked to stop"));
                }
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => {
                    return Ok(rustix::io::write(
                        self.file,
                        &bytes[..bytes.len().min(CHUNK)],
                    )?);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_up_at_the_end() {
        let (_reader, writer) = io::pipe().unwrap();
        let shutdown = Shutdown::new();
        let writing = {
            let shutdown = shutdown.clone();
            std::thread::spawn(move || Pipe::new(&writer, &shutdown).write_all(&[7; 1 << 20]))
        };
        shutdown.trigger();
        assert!(writing.join().unwrap().is_err());
    }

    #[test]
    fn all_comes_through_and_a_reader_that_has_gone_is_a_broken_pipe() {
        let (mut reader, writer) = io::pipe().unwrap();
        let shutdown = Shutdown::new();
        let sent: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let reading = std::thread::spawn(move || {
            let mut all = vec![0; expected.len()];
            reader.read_exact(&mut all).unwrap();
            assert_eq!(all, expected);
        });
        let mut pipe = Pipe::new(&writer, &shutdown);
        pipe.write_all(&sent).unwrap();
        reading.join().unwrap();

        let error = pipe.write_all(&sent).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
