//! Stands between a source and the `zeromq` library, which takes the length in a frame's header at its word: nine bytes
//! that announce 2^40 make it abort the process. The guard connects to the source, reads every header first, and hands
//! the library, at a private socket, only what is within bounds.

use std::convert::Infallible;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdUnixListener};

use fanlight_daemon::clock;
use fanlight_daemon::stream_socket::StreamSocket;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::yield_now;

use super::Endpoint;
use super::inspector::{Breach, Inspector};
use super::pipe::{Pipe, Spliced};

/// Bytes read at a time where a header is expected: with it comes the beginning of a body, which is copied once more by
/// the library, so that it is to be short.
const HEAD: usize = 4 << 10;

/// Bytes read at a time within a body.
const CHUNK: usize = 64 << 10;

/// What is left of a body is spliced from so many bytes on; for fewer the calls cost more than the copy.
const WORTH_SPLICING: u64 = 16 << 10;

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
    pub(super) async fn pump(self) -> GuardError {
        let library = match accept_own(&self.private).await {
            Ok(library) => library,
            Err(error) => return error.into(),
        };
        let ended = tokio::select! {
            ended = pass_checked(&self.source, &library) => ended,
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

/// What the source says, once its headers have been read. Bodies are spliced: of them nothing needs to be read, and the
/// library's buffer is the first memory of this process that they are copied to.
async fn pass_checked(source: &StreamSocket, library: &StreamSocket) -> Result<Infallible, GuardError> {
    let (mut inspector, mut pipe) = (Inspector::default(), Pipe::new());
    let mut chunk = vec![0; CHUNK];
    loop {
        let unseen = inspector.unseen();
        if let Some(open) = pipe.as_ref().filter(|_| unseen >= WORTH_SPLICING) {
            let most = usize::try_from(unseen).unwrap_or(usize::MAX);
            let passed = match open.pass(source, library, most).await? {
                Spliced::Passed(0) => return Err(GuardError::Closed),
                Spliced::Passed(count) => count,
                Spliced::Unsupported(count) => {
                    pipe = None;
                    count
                }
            };
            inspector.skip(passed as u64);
            continue;
        }
        let most = if unseen == 0 && pipe.is_some() { HEAD } else { CHUNK };
        let count = source.read(&mut chunk[..most]).await?;
        if count == 0 {
            return Err(GuardError::Closed);
        }
        inspector.inspect(&chunk[..count])?;
        library.write_all(&chunk[..count]).await?;
        if inspector.unseen() >= WORTH_SPLICING {
            // The library reads a header and makes room for the body before the body is there: it is read to where it
            // stays. Otherwise it would be moved there.
            yield_now().await;
        }
    }
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
