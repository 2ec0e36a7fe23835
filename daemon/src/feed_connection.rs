//! A connection between a source and a subscriber, for plain threads: a socket that never blocks for long, and the ZMTP
//! codec. Used by the relay's upstream threads, by `fanlight-source status` and `verify`, and by tests.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::zmtp::{
    AcceptedSecurity, Decoder, Encoder, Established, Event, Handshake, ProtocolError, Security,
};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::endpoint::Endpoint;
use crate::{Shutdown, clock};

/// Longest that connecting may take, the name server included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest that greeting and handshake may take; from the other side of the earth they take one second.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// Nobody wakes a thread that waits for a socket when the program is to end, so it looks so often.
const SHUTDOWN_INTERVAL: Duration = Duration::from_millis(200);

/// Why there is no connection, or no more.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// Nobody listens, or there is no way there.
    #[error("cannot connect: {}", why(.0))]
    Connect(io::Error),
    /// The name of its host stands for no address.
    #[error("{host} cannot be resolved ({error}): check the name and the name server")]
    Unresolved {
        /// The name and the port.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// The other side has closed it.
    #[error("it closed the connection")]
    Closed,
    /// No connection or no handshake in time.
    #[error("it does not answer")]
    NoAnswer,
    /// Nothing came, or could be written, in time.
    #[error("it is silent")]
    Silent,
    /// The other side broke a rule.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The system ended it.
    #[error(transparent)]
    Io(io::Error),
    /// The program is to end.
    #[error("the program is to end")]
    Stopped,
}

/// The usual causes in words that say what to do.
fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nobody answers at this port: does the source run, and publish there?".to_owned()
        }
        io::ErrorKind::NotFound => {
            "there is no such socket: does the source run, and publish there?".to_owned()
        }
        _ => error.to_string(),
    }
}

/// A connection on which messages flow.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    decoder: Decoder,
    encoder: Encoder,
    /// Whether the source takes feedback and probes.
    pub takes_upstream: bool,
}

impl Connection {
    /// Connects to a source and completes the handshake.
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub fn open(
        endpoint: &Endpoint,
        security: &Security,
        resolver: &mut Resolver,
        shutdown: &Shutdown,
    ) -> Result<Self, ConnectionError> {
        let deadline = clock::now() + CONNECT_TIMEOUT;
        let addresses = match endpoint {
            Endpoint::Ipc(path) => vec![SockAddr::unix(path).map_err(ConnectionError::Connect)?],
            Endpoint::Tcp(host, port) => {
                resolver.resolve(&format!("{host}:{port}"), deadline, shutdown)?
            }
        };

        let mut failed = ConnectionError::NoAnswer;
        for address in addresses {
            match connect(&address, deadline, shutdown) {
                Ok(socket) => {
                    let handshake = Handshake::subscriber(security, clock::random_bytes());
                    return Self::shake_hands(socket, handshake, shutdown);
                }
                Err(ConnectionError::Stopped) => return Err(ConnectionError::Stopped),
                Err(error) => failed = error,
            }
        }

        Err(failed)
    }

    /// Serves a subscriber that has connected, like a source.
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub fn accept(
        socket: impl Into<OwnedFd>,
        security: Arc<AcceptedSecurity>,
        shutdown: &Shutdown,
    ) -> Result<Self, ConnectionError> {
        let socket = Socket::from(socket.into());
        socket
            .set_nonblocking(true)
            .map_err(ConnectionError::Connect)?;
        let handshake = Handshake::publisher(security, clock::random_bytes());
        Self::shake_hands(socket, handshake, shutdown)
    }

    fn shake_hands(
        socket: Socket,
        mut handshake: Handshake,
        shutdown: &Shutdown,
    ) -> Result<Self, ConnectionError> {
        let deadline = clock::now() + HANDSHAKE_TIMEOUT;
        loop {
            let advanced = handshake.advance();
            send(&socket, &handshake.output(), deadline, shutdown)?;

            if let Some(established) = advanced? {
                let Established {
                    decoder,
                    encoder,
                    takes_upstream,
                    ..
                } = established;

                return Ok(Self {
                    socket,
                    decoder,
                    encoder,
                    takes_upstream,
                });
            }

            if !wait(&[(socket.as_fd(), PollFlags::IN)], deadline, shutdown)? {
                return Err(ConnectionError::NoAnswer);
            }

            read(&socket, handshake.buffer())?;
        }
    }

    /// The next thing that the source said, of what has been read.
    ///
    /// # Errors
    /// [`ConnectionError`].
    #[expect(clippy::should_implement_trait, reason = "None does not mean the end")]
    pub fn next(&mut self) -> Result<Option<Event>, ConnectionError> {
        Ok(self.decoder.next()?)
    }

    /// Waits until there is something to read, `other` is readable, or it is `deadline`, and reads what there is.
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub fn wait(
        &mut self,
        other: Option<BorrowedFd<'_>>,
        deadline: Time,
        shutdown: &Shutdown,
    ) -> Result<(), ConnectionError> {
        let own = (self.socket.as_fd(), PollFlags::IN);
        let other = other.unwrap_or(self.socket.as_fd());
        if wait(&[own, (other, PollFlags::IN)], deadline, shutdown)? {
            read(&self.socket, self.decoder.buffer())?;
        }
        Ok(())
    }

    /// Writes what `encode` makes. A source that is stopped may have no room for it until `deadline`.
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub fn send(
        &mut self,
        encode: impl FnOnce(&mut Encoder) -> Bytes,
        deadline: Time,
        shutdown: &Shutdown,
    ) -> Result<(), ConnectionError> {
        send(&self.socket, &encode(&mut self.encoder), deadline, shutdown)
    }
}

/// Asks the name server, on a thread of its own: such a question cannot be broken off.
#[derive(Debug, Default)]
pub struct Resolver {
    /// The answer to the last question, if it is still awaited.
    pending: Option<Receiver<io::Result<Vec<SockAddr>>>>,
}

impl Resolver {
    fn resolve(
        &mut self,
        host: &str,
        deadline: Time,
        shutdown: &Shutdown,
    ) -> Result<Vec<SockAddr>, ConnectionError> {
        if let Ok(address) = host.parse::<SocketAddr>() {
            return Ok(vec![address.into()]);
        }

        let pending = match self.pending.take() {
            Some(pending) => pending,
            None => ask(host).map_err(ConnectionError::Connect)?,
        };

        loop {
            let left = deadline.saturating_since(clock::now());
            match pending.recv_timeout(left.min(SHUTDOWN_INTERVAL)) {
                Ok(Ok(addresses)) => return Ok(addresses),
                Ok(Err(error)) => {
                    let host = host.to_owned();
                    return Err(ConnectionError::Unresolved { host, error });
                }
                Err(RecvTimeoutError::Disconnected) => return Err(ConnectionError::NoAnswer),
                Err(RecvTimeoutError::Timeout) if shutdown.requested() => {
                    return Err(ConnectionError::Stopped);
                }
                Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                    self.pending = Some(pending);
                    return Err(ConnectionError::NoAnswer);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

fn ask(host: &str) -> io::Result<Receiver<io::Result<Vec<SockAddr>>>> {
    let (tell, told) = mpsc::channel();
    let host = host.to_owned();
    thread::Builder::new()
        .name("resolver".into())
        .spawn(move || {
            let addresses = host.to_socket_addrs();
            // Nobody listens any more when the program ends.
            let _ = tell.send(addresses.map(|found| found.map(SockAddr::from).collect()));
        })?;

    Ok(told)
}

fn connect(
    address: &SockAddr,
    deadline: Time,
    shutdown: &Shutdown,
) -> Result<Socket, ConnectionError> {
    let tcp = address.domain() != Domain::UNIX;
    let socket = Socket::new(address.domain(), Type::STREAM.nonblocking(), None)
        .map_err(ConnectionError::Connect)?;
    match socket.connect(address) {
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            if !wait(&[(socket.as_fd(), PollFlags::OUT)], deadline, shutdown)? {
                return Err(ConnectionError::NoAnswer);
            }
            if let Some(error) = socket.take_error().map_err(ConnectionError::Connect)? {
                return Err(ConnectionError::Connect(error));
            }
        }
        connected => connected.map_err(ConnectionError::Connect)?,
    }

    if tcp {
        socket
            .set_tcp_nodelay(true)
            .map_err(ConnectionError::Connect)?;
    }

    Ok(socket)
}

/// Waits until one of the descriptors is ready; false when it is `deadline` first.
fn wait(
    awaited: &[(BorrowedFd<'_>, PollFlags)],
    deadline: Time,
    shutdown: &Shutdown,
) -> Result<bool, ConnectionError> {
    let mut descriptors: Vec<_> = awaited
        .iter()
        .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
        .collect();

    loop {
        if shutdown.requested() {
            return Err(ConnectionError::Stopped);
        }

        let left = deadline.saturating_since(clock::now());
        let length = left.min(SHUTDOWN_INTERVAL);
        let length = Timespec {
            tv_sec: length.as_secs().cast_signed(),
            tv_nsec: length.subsec_nanos().into(),
        };

        match poll(&mut descriptors, Some(&length)) {
            Ok(0) | Err(rustix::io::Errno::INTR) if left.is_zero() => return Ok(false),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(ConnectionError::Io(error.into())),
        }
    }
}

/// Reads what there is, at most what `buffer` has room for.
fn read(socket: &Socket, buffer: &mut Vec<u8>) -> Result<(), ConnectionError> {
    match recv(socket, spare_capacity(buffer), RecvFlags::DONTWAIT) {
        Ok((0, _)) => Err(ConnectionError::Closed),
        Ok(_) | Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(ConnectionError::Io(error.into())),
    }
}

fn send(
    socket: &Socket,
    mut bytes: &[u8],
    deadline: Time,
    shutdown: &Shutdown,
) -> Result<(), ConnectionError> {
    while !bytes.is_empty() {
        // socket2 writes without SIGPIPE.
        match socket.send(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !wait(&[(socket.as_fd(), PollFlags::OUT)], deadline, shutdown)? {
                    return Err(ConnectionError::Silent);
                }
            }
            Err(error) => return Err(ConnectionError::Io(error)),
        }
    }

    Ok(())
}
