//! Stands between a source and the `zeromq` library, which takes the length in a frame's header at its word: nine bytes
//! that announce 2^40 make it abort the process. The guard connects to the source, reads every header first, and hands
//! the library, at a private socket, only what is within bounds; of large bodies [a ticket](Bodies).

use std::convert::Infallible;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdUnixListener};
use std::sync::Arc;

use fanlight_daemon::clock;
use fanlight_daemon::stream_socket::StreamSocket;
use tokio::net::{TcpStream, UnixListener, UnixStream};

use super::Endpoint;
use super::bodies::{Bodies, TICKET_BYTES};
use super::inspector::{Breach, Inspector};

/// Bytes read at a time where a header is expected: with it comes the beginning of a body, which is copied once more.
const HEAD: usize = 4 << 10;

/// A body of so many bytes is large. A smaller one passes through the library.
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
        let name = format!("fanlight-{:016x}{:016x}", clock::random_u64(), clock::random_u64());
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
        Ok(Self { source, private, name })
    }

    /// Where the library has to connect to.
    pub(super) fn endpoint(&self) -> String {
        format!("ipc://\0{}", self.name)
    }

    /// Waits for the library and passes on, both ways, until one side ends or the source breaks a bound.
    pub(super) async fn pump(self, bodies: Arc<Bodies>) -> GuardError {
        let library = match accept_own(&self.private).await {
            Ok(library) => library,
            Err(error) => return error.into(),
        };
        let ended = tokio::select! {
            ended = pass_checked(&self.source, &library, &bodies) => ended,
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
    bodies: &Bodies,
) -> Result<Infallible, GuardError> {
    let (mut inspector, mut checked) = (Inspector::default(), Vec::with_capacity(LARGE));
    // Begins with a header.
    let mut unread = Vec::with_capacity(LARGE);
    loop {
        read(source, &mut unread, HEAD).await?;
        let mut at = 0;
        while let Some(header) = inspector.header(&unread[at..])? {
            let (body, whole) = (at + header.bytes, at + header.bytes + header.body);
            let here = whole.min(unread.len());
            if header.body < LARGE {
                checked.extend_from_slice(&unread[at..here]);
                read_all(source, &mut checked, whole - here).await?;
            } else {
                let mut large = Vec::with_capacity(header.body);
                large.extend_from_slice(&unread[body..here]);
                read_all(source, &mut large, whole - here).await?;
                let ticket = bodies.leave(large.into()).await;
                checked.extend_from_slice(&[u8::from(header.more), TICKET_BYTES as u8]);
                checked.extend_from_slice(&ticket);
            }
            at = here;
        }
        unread.drain(..at);
        library.write_all(&checked).await?;
        checked.clear();
    }
}

/// Waits for bytes and appends at most `most`.
async fn read(source: &StreamSocket, buffer: &mut Vec<u8>, most: usize) -> Result<usize, GuardError> {
    match source.read_onto(buffer, most).await? {
        0 => Err(GuardError::Closed),
        count => Ok(count),
    }
}

/// Appends so many bytes.
async fn read_all(source: &StreamSocket, buffer: &mut Vec<u8>, mut count: usize) -> Result<(), GuardError> {
    while count > 0 {
        count -= read(source, buffer, count).await?;
    }
    Ok(())
}

/// What the library says to the source.
async fn pass_words(library: &StreamSocket, source: &StreamSocket) -> Result<Infallible, GuardError> {
    let mut chunk = [0; WORDS];
    loop {
        match library.read(&mut chunk).await? {
            0 => return Err(GuardError::Closed),
            count => source.write_all(&chunk[..count]).await?,
        }
    }
}
