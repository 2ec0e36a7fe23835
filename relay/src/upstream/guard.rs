//! Stands between a source and the `zeromq` library, which takes the length in a frame's header at its word: nine bytes
//! that announce 2^40 make it abort the process. The guard connects to the source, reads every header first, and hands
//! the library, at a private socket, only what is within bounds. Large messages it gives to the [`Taker`] itself: the library
//! would fill its buffer with zeros, read from the private socket what had to pass through that, and grow.

use std::convert::Infallible;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdUnixListener};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_daemon::stream_socket::StreamSocket;
use tokio::net::{TcpStream, UnixListener, UnixStream};

use super::Endpoint;
use super::inspector::{Breach, Inspector, Role};
use super::session::{Taker, lock};

/// Bytes for which there is room at least where a header is expected: topic and header of a frame have a tenth of that.
const HEAD: usize = 4 << 10;

/// A body of so many bytes goes past the library where it can.
const LARGE: usize = 16 << 10;

/// Bytes read at a time from the library, which only subscribes.
const WORDS: usize = 1 << 10;

/// Why the guard gave up a source.
#[derive(Debug, thiserror::Error)]
pub(super) enum GuardError {
    #[error("it closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Breach(#[from] Breach),
}

/// A connection to a source that the library has yet to take over.
pub(super) struct Guard {
    source: StreamSocket,
    private: UnixListener,
    name: String,
}

impl Guard {
    /// Connects to the source.
    pub(super) async fn connect(endpoint: &Endpoint) -> io::Result<Self> {
        // In the abstract namespace, which needs no directory and leaves no file. Others might find the name and come
        // first: `pump` turns away whoever is not this process.
        let name = format!(
            "fanlight-{:016x}{:016x}",
            clock::random_u64(),
            clock::random_u64()
        );
        let private = StdUnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        private.set_nonblocking(true)?;
        let private = UnixListener::from_std(private)?;
        let source = match endpoint {
            Endpoint::Ipc(path) => StreamSocket::new(UnixStream::connect(path).await?.into_std()?)?,
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address.as_str()).await?;
                stream.set_nodelay(true)?;
                StreamSocket::new(stream.into_std()?)?
            }
        };
        Ok(Self {
            source,
            private,
            name,
        })
    }

    /// Where the library has to connect to.
    pub(super) fn endpoint(&self) -> String {
        format!("ipc://\0{}", self.name)
    }

    /// Waits for the library and passes on, both ways, until one side ends or the source breaks a bound.
    pub(super) async fn pump(self, taker: Arc<Mutex<Taker>>) -> GuardError {
        let library = match accept_own(&self.private).await {
            Ok(library) => library,
            Err(error) => return error.into(),
        };
        let ended = tokio::select! {
            ended = pass_checked(&self.source, &library, &taker) => ended,
            ended = pass_words(&library, &self.source) => ended,
        };
        match ended {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }
}

async fn accept_own(listener: &UnixListener) -> io::Result<StreamSocket> {
    let own = i32::try_from(std::process::id()).ok();
    loop {
        let (peer, _) = listener.accept().await?;
        if peer.peer_cred()?.pid() == own {
            return StreamSocket::new(peer.into_std()?);
        }
    }
}

/// What the source says, once its headers have been read.
async fn pass_checked(
    source: &StreamSocket,
    library: &StreamSocket,
    taker: &Mutex<Taker>,
) -> Result<Infallible, GuardError> {
    let (mut inspector, mut checked) = (Inspector::default(), Vec::new());
    // Begins with a header. With room for a message like the last large one, so that the next is read in one call.
    let (mut unread, mut room) = (Vec::new(), HEAD);
    // Of the message that has begun, the first part, and where its body begins.
    let (mut first, mut topic) = (Vec::new(), 0);
    loop {
        fill(source, &mut unread, room).await?;
        let mut at = 0;
        while let Some(header) = inspector.header(&unread[at..])? {
            let (body, whole) = (at + header.bytes, at + header.bytes + header.body);
            let here = whole.min(unread.len());
            match header.role {
                Role::First => {
                    first.extend_from_slice(&unread[at..here]);
                    read_all(source, &mut first, whole - here).await?;
                    topic = header.bytes;
                }
                Role::Last
                    if header.body >= LARGE && !first.is_empty() && lock(taker).is_free() =>
                {
                    while unread.len() < whole {
                        let lacking = whole - unread.len();
                        fill(source, &mut unread, lacking).await?;
                    }
                    let rest = unread.split_off(whole);
                    let large = Bytes::from(std::mem::replace(&mut unread, rest)).slice(body..);
                    lock(taker).take(&first[topic..], large);
                    first.clear();
                    (at, room) = (0, HEAD + whole);
                    continue;
                }
                Role::Last | Role::Other => {
                    checked.append(&mut first);
                    checked.extend_from_slice(&unread[at..here]);
                    read_all(source, &mut checked, whole - here).await?;
                    if header.role == Role::Last {
                        lock(taker).on_given();
                    }
                }
            }
            at = here;
        }
        unread.drain(..at);
        pass(&mut checked, library).await?;
    }
}

/// Writes all of `checked` to the library. What a large message took in memory is given back.
async fn pass(checked: &mut Vec<u8>, library: &StreamSocket) -> io::Result<()> {
    if !checked.is_empty() {
        library.write_all(checked).await?;
        checked.clear();
        checked.shrink_to(HEAD + LARGE);
    }
    Ok(())
}

/// Waits for bytes and appends what there is room for, which is `room` at least.
async fn fill(
    source: &StreamSocket,
    buffer: &mut Vec<u8>,
    room: usize,
) -> Result<usize, GuardError> {
    buffer.reserve_exact(room);
    read(source, buffer, buffer.capacity() - buffer.len()).await
}

/// Waits for bytes and appends at most `most`.
async fn read(
    source: &StreamSocket,
    buffer: &mut Vec<u8>,
    most: usize,
) -> Result<usize, GuardError> {
    match source.read_onto(buffer, most).await? {
        0 => Err(GuardError::Closed),
        count => Ok(count),
    }
}

/// Appends so many bytes.
async fn read_all(
    source: &StreamSocket,
    buffer: &mut Vec<u8>,
    mut count: usize,
) -> Result<(), GuardError> {
    while count > 0 {
        count -= read(source, buffer, count).await?;
    }
    Ok(())
}

/// What the library says to the source.
async fn pass_words(
    library: &StreamSocket,
    source: &StreamSocket,
) -> Result<Infallible, GuardError> {
    let mut chunk = [0; WORDS];
    loop {
        match library.read(&mut chunk).await? {
            0 => return Err(GuardError::Closed),
            count => source.write_all(&chunk[..count]).await?,
        }
    }
}
