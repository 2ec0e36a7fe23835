//! Stands between a source and the `zeromq` library, which takes the length in a frame's header at its word: nine bytes
//! that announce 2^40 make it abort the process. The guard connects to the source, reads every header first, and hands
//! the library, at a private socket, only what is within bounds.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdUnixListener};
use std::pin::Pin;

use fanlight_daemon::clock;
use fanlight_proto::limits::{MAX_FRAME_BYTES, MAX_FRAME_PREFIX, MAX_STREAM_NAME};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};

use super::Endpoint;

/// Bytes of a ZMTP greeting (<https://rfc.zeromq.org/spec/23/>).
const GREETING_BYTES: u64 = 64;

/// Largest command: READY with its properties has about 50 bytes.
const MAX_COMMAND: u64 = 512;

/// Parts of a message: topic and frame.
const MAX_PARTS: u8 = 2;

/// Largest message, both parts.
const MAX_MESSAGE: u64 = (MAX_STREAM_NAME + 1 + MAX_FRAME_PREFIX + MAX_FRAME_BYTES) as u64;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

type Reading = Pin<Box<dyn AsyncRead + Send>>;
type Writing = Pin<Box<dyn AsyncWrite + Send>>;

/// Why the guard gave up a source.
#[derive(Debug, thiserror::Error)]
pub(super) enum GuardError {
    #[error("it closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it does not speak ZMTP 3")]
    Greeting,
    #[error("it announces a {what} of {length} bytes, and {limit} is the limit")]
    TooLong { what: &'static str, length: u64, limit: u64 },
    #[error("it sends messages of more than {MAX_PARTS} parts")]
    Parts,
}

/// A connection to a source that the library has yet to take over.
pub(super) struct Guard {
    from_source: Reading,
    to_source: Writing,
    private: UnixListener,
    name: String,
}

impl Guard {
    /// Connects to the source.
    pub(super) async fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        // In the abstract namespace, which needs no directory and leaves no file. Others might find the name and come
        // first: `pump` turns away whoever is not this process.
        let name = format!("fanlight-{:016x}{:016x}", clock::random_u64(), clock::random_u64());
        let private = StdUnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        private.set_nonblocking(true)?;
        let private = UnixListener::from_std(private)?;
        let (from_source, to_source) = match endpoint {
            Endpoint::Ipc(path) => boxed(UnixStream::connect(path).await?.into_split()),
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address.as_str()).await?;
                stream.set_nodelay(true)?;
                boxed(stream.into_split())
            }
        };
        Ok(Self { from_source, to_source, private, name })
    }

    /// Where the library has to connect to.
    pub(super) fn endpoint(&self) -> String {
        format!("ipc://\0{}", self.name)
    }

    /// Waits for the library and passes on, both ways, until one side ends or the source breaks a bound.
    pub(super) async fn pump(mut self) -> GuardError {
        let library = match accept_own(&self.private).await {
            Ok(library) => library,
            Err(error) => return error.into(),
        };
        let (mut from_library, to_library) = library.into_split();
        tokio::select! {
            error = pass_checked(self.from_source, to_library) => error,
            ended = tokio::io::copy(&mut from_library, &mut self.to_source) => match ended {
                Ok(_) => GuardError::Closed,
                Err(error) => error.into(),
            },
        }
    }
}

fn boxed<R, W>((read, write): (R, W)) -> (Reading, Writing)
where
    R: AsyncRead + Send + 'static,
    W: AsyncWrite + Send + 'static,
{
    (Box::pin(read), Box::pin(write))
}

async fn accept_own(listener: &UnixListener) -> io::Result<UnixStream> {
    let own = i32::try_from(std::process::id()).ok();
    loop {
        let (peer, _) = listener.accept().await?;
        if peer.peer_cred()?.pid() == own {
            return Ok(peer);
        }
    }
}

async fn pass_checked(mut source: Reading, mut library: impl AsyncWrite + Unpin) -> GuardError {
    let mut inspector = Inspector::default();
    let mut chunk = vec![0; CHUNK];
    loop {
        let passed = match source.read(&mut chunk).await {
            Ok(0) => return GuardError::Closed,
            Ok(count) => match inspector.inspect(&chunk[..count]) {
                Ok(()) => library.write_all(&chunk[..count]).await,
                Err(error) => return error,
            },
            Err(error) => Err(error),
        };
        if let Err(error) = passed {
            return error.into();
        }
    }
}

/// Follows the frames of a stream of bytes, however it is cut.
#[derive(Debug, Default)]
struct Inspector {
    expects: Expects,
    /// Bytes still to pass before the next header.
    body: u64,
    /// Of the message that has begun.
    parts: u8,
    message: u64,
}

#[derive(Debug, Default)]
enum Expects {
    #[default]
    Greeting,
    Flags,
    Length {
        flags: u8,
        /// Bytes of it still to come, and what the others make so far.
        missing: u8,
        length: u64,
    },
}

impl Inspector {
    /// Looks at the next bytes; after an error nothing of them may be passed on.
    fn inspect(&mut self, mut bytes: &[u8]) -> Result<(), GuardError> {
        loop {
            let skipped = usize::try_from(self.body).unwrap_or(usize::MAX).min(bytes.len());
            self.body -= skipped as u64;
            bytes = &bytes[skipped..];
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(()) };
            bytes = rest;
            match self.expects {
                Expects::Greeting if byte != 0xff => return Err(GuardError::Greeting),
                Expects::Greeting => {
                    self.body = GREETING_BYTES - 1;
                    self.expects = Expects::Flags;
                }
                Expects::Flags => {
                    let missing = if byte & LONG == 0 { 1 } else { 8 };
                    self.expects = Expects::Length { flags: byte, missing, length: 0 };
                }
                Expects::Length { flags, missing, length } => {
                    let length = length << 8 | u64::from(byte);
                    self.expects = Expects::Length { flags, missing: missing - 1, length };
                    if missing == 1 {
                        self.check(flags, length)?;
                        self.body = length;
                        self.expects = Expects::Flags;
                    }
                }
            }
        }
    }

    fn check(&mut self, flags: u8, length: u64) -> Result<(), GuardError> {
        if flags & COMMAND != 0 {
            let fits = length <= MAX_COMMAND;
            return fits.then_some(()).ok_or(GuardError::TooLong { what: "command", length, limit: MAX_COMMAND });
        }
        self.parts += 1;
        self.message = self.message.saturating_add(length);
        if self.message > MAX_MESSAGE {
            return Err(GuardError::TooLong { what: "message", length: self.message, limit: MAX_MESSAGE });
        }
        if flags & MORE == 0 {
            (self.parts, self.message) = (0, 0);
        } else if self.parts == MAX_PARTS {
            return Err(GuardError::Parts);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let mut bytes = vec![0xff; 64];
        bytes.extend_from_slice(b"\x04\x05READY");
        for length in [0_u64, 300, 100_000] {
            bytes.extend_from_slice(b"\x01\x04cam/");
            bytes.push(LONG);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.resize(bytes.len() + usize::try_from(length).unwrap(), 0xfe);
        }
        bytes
    }

    #[test]
    fn a_good_stream_passes_however_it_is_cut() {
        let bytes = stream();
        for size in [1, 2, 3, 7, 64, 1000, bytes.len()] {
            let mut inspector = Inspector::default();
            bytes.chunks(size).for_each(|chunk| inspector.inspect(chunk).unwrap());
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_at_its_last_header_byte() {
        for (flags, length) in [(0, 1 << 40), (MORE, 1 << 36), (0, u64::MAX), (COMMAND, 513), (0, MAX_MESSAGE + 1)] {
            let mut bytes = stream();
            bytes.push(flags | LONG);
            bytes.extend_from_slice(&u64::to_be_bytes(length));
            let mut inspector = Inspector::default();
            inspector.inspect(&bytes[..bytes.len() - 1]).unwrap();
            let last = &bytes[bytes.len() - 1..];
            assert!(matches!(inspector.inspect(last), Err(GuardError::TooLong { length: l, .. }) if l == length));
        }
    }

    #[test]
    fn a_message_that_never_ends_is_refused() {
        let mut inspector = Inspector::default();
        inspector.inspect(&stream()).unwrap();
        inspector.inspect(b"\x01\x00").unwrap();
        assert!(matches!(inspector.inspect(b"\x01\x00"), Err(GuardError::Parts)));
    }

    #[test]
    fn another_protocol_is_refused_at_its_first_byte() {
        assert!(matches!(Inspector::default().inspect(b"HTTP/1.1 400"), Err(GuardError::Greeting)));
    }
}
