//! Stands between a source and the `zeromq` library, which takes the length in a frame's header at its word: nine bytes
//! that announce 2^40 make it abort the process. The guard connects to the source, reads every header first, and hands
//! the library, at a private socket, only what is within bounds.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener as StdUnixListener};
use std::pin::Pin;

use fanlight_daemon::clock;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};

use super::Endpoint;
use super::inspector::{Breach, Inspector};

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

type Reading = Pin<Box<dyn AsyncRead + Send>>;
type Writing = Pin<Box<dyn AsyncWrite + Send>>;

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
                Err(breach) => return breach.into(),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = passed {
            return error.into();
        }
    }
}
