//! The listeners of a publisher, bound at its endpoints. Used on the publisher's thread.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fanlight_daemon::endpoint::{Endpoint, Host};
use fanlight_daemon::stream_socket::StreamSocket;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use super::PublishError;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// What the kernel may hold for one subscriber. A frame of 100 KB passes in one piece, and a subscriber that stops has
/// no more than a few old frames before it when it goes on. The kernel doubles it for its own bookkeeping.
const SEND_BUFFER: usize = 256 << 10;

/// A TCP connection is closed when the peer's host has been silent for so long: data unacknowledged, or keepalives.
const DEAD_PEER_LIMIT: Duration = Duration::from_secs(3);

/// Between keepalives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// Who has connected.
#[derive(Debug)]
pub(super) struct PeerAddress {
    /// What to call it in log lines.
    pub(super) name: String,
    /// None over a Unix socket.
    pub(super) address: Option<IpAddr>,
}

/// A bound endpoint.
#[derive(Debug)]
pub(super) enum Listener {
    Ipc(UnixListener, BoundPath),
    Tcp(TcpListener),
}

impl Listener {
    /// Binds `endpoint`, within a tokio runtime.
    pub(super) fn bind(endpoint: &Endpoint) -> Result<Self, PublishError> {
        let failed = |source| PublishError::Bind {
            endpoint: endpoint.clone(),
            source,
        };

        match endpoint {
            Endpoint::Ipc(path) => {
                let listener = bind_path(path, endpoint)?;
                let bound = BoundPath::of(path).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                Ok(Self::Ipc(
                    UnixListener::from_std(listener).map_err(failed)?,
                    bound,
                ))
            }
            Endpoint::Tcp(host, port) => {
                let listener = bind_host(host, *port)
                    .and_then(TcpListener::from_std)
                    .map_err(failed)?;
                Ok(Self::Tcp(listener))
            }
        }
    }

    /// Where it is bound; for port 0 the port that the system chose.
    pub(super) fn local(&self) -> io::Result<Endpoint> {
        match self {
            Self::Ipc(_, bound) => Ok(Endpoint::Ipc(bound.path.clone())),
            Self::Tcp(listener) => {
                let address = listener.local_addr()?;
                Ok(Endpoint::Tcp(Host::Address(address.ip()), address.port()))
            }
        }
    }

    /// The next connection, its options set, and its peer.
    pub(super) async fn accept(&self) -> io::Result<(StreamSocket, PeerAddress)> {
        match self {
            Self::Ipc(listener, bound) => {
                let (stream, _) = listener.accept().await?;
                SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER)?;
                Ok((
                    StreamSocket::new(stream.into_std()?)?,
                    PeerAddress {
                        name: format!("ipc://{}", bound.path.display()),
                        address: None,
                    },
                ))
            }
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let socket = SockRef::from(&stream);
                socket.set_send_buffer_size(SEND_BUFFER)?;
                socket.set_tcp_nodelay(true)?;
                socket.set_tcp_user_timeout(Some(DEAD_PEER_LIMIT))?;
                socket.set_tcp_keepalive(
                    &TcpKeepalive::new()
                        .with_time(DEAD_PEER_LIMIT)
                        .with_interval(KEEPALIVE_INTERVAL),
                )?;

                Ok((
                    StreamSocket::new(stream.into_std()?)?,
                    PeerAddress {
                        name: format!("tcp://{peer}"),
                        address: Some(peer.ip()),
                    },
                ))
            }
        }
    }
}

/// Binds the first address of `host` that is one of this host.
fn bind_host(host: &Host, port: u16) -> io::Result<std::net::TcpListener> {
    let mut failed = io::Error::other("its name stands for no address");
    for address in host.resolve_to_listen(port)? {
        match bind_address(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }

    Err(failed)
}

fn bind_address(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;

    // Connections of the process before us may linger in TIME_WAIT; they are no reason to wait.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds `path`, taking it over from a publisher that died without removing it.
fn bind_path(path: &Path, endpoint: &Endpoint) -> Result<net::UnixListener, PublishError> {
    let failed = |source| PublishError::Bind {
        endpoint: endpoint.clone(),
        source,
    };

    if let Some(folder) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(folder)
            .map_err(failed)?;
    }

    match net::UnixListener::bind(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {}
        outcome => return outcome.map_err(failed),
    }

    if !fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        return Err(PublishError::NotASocket {
            endpoint: endpoint.clone(),
        });
    }

    match net::UnixStream::connect(path) {
        Ok(_) => Err(PublishError::InUse {
            endpoint: endpoint.clone(),
        }),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)?;
            net::UnixListener::bind(path).map_err(failed)
        }
        // Full backlog: somebody is there, if slow.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(PublishError::InUse {
            endpoint: endpoint.clone(),
        }),
        Err(error) => Err(failed(error)),
    }
}

/// A socket file of ours; removed when dropped, unless somebody else's has taken its place.
#[derive(Debug)]
pub(super) struct BoundPath {
    path: PathBuf,
    identity: (u64, u64),
}

impl BoundPath {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            identity: identity(path)?,
        })
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket that was published at");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_publishers_socket_is_taken_over_and_a_live_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::Ipc(folder.path().join("new/source.ipc"));
        let Endpoint::Ipc(path) = &endpoint else {
            unreachable!()
        };

        fs::create_dir(folder.path().join("new")).unwrap();
        drop(net::UnixListener::bind(path).unwrap());
        assert!(path.exists(), "a dropped listener leaves its file behind");

        let first = Listener::bind(&endpoint).unwrap();
        let refused = Listener::bind(&endpoint).unwrap_err();
        assert!(matches!(refused, PublishError::InUse { .. }), "{refused}");
        drop(first);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_of_ours_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("source.ipc");
        let endpoint = Endpoint::Ipc(path.clone());
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            Listener::bind(&endpoint),
            Err(PublishError::NotASocket { .. })
        ));

        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

        fs::remove_file(&path).unwrap();
        let ours = Listener::bind(&endpoint).unwrap();
        fs::remove_file(&path).unwrap();
        let theirs = net::UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
        drop(theirs);
    }
}
