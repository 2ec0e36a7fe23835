//! Where a publisher can be bound: endpoints as ZeroMQ writes them, and the listeners behind them.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use fanlight_daemon::stream_socket::StreamSocket;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use super::PublishError;

/// Longest path of a socket on Linux: `sun_path` has 108 bytes, one of them for the final zero.
const MAX_SOCKET_PATH: usize = 107;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

/// What the kernel may hold for one subscriber. A frame of 100 KB passes in one piece, and a subscriber that stops has
/// no more than a few old frames before it when it goes on. The kernel doubles it for its own bookkeeping.
const SEND_BUFFER: usize = 256 << 10;

/// A TCP connection is closed when the peer's host has been silent for so long: data unacknowledged, or keepalives.
const DEAD_PEER_LIMIT: Duration = Duration::from_secs(3);

/// Between keepalives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// An address to publish at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `ipc:///run/fanlight/source.ipc`: a socket in the file system.
    Ipc(PathBuf),
    /// `tcp://127.0.0.1:5700`; `*` stands for every address of the host, `localhost` for 127.0.0.1, and port 0 for any.
    Tcp(SocketAddr),
}

/// A text that is no [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no endpoint: {why}; write ipc:///path/of/socket or tcp://ADDRESS:PORT")]
pub struct EndpointError {
    text: String,
    why: &'static str,
}

impl Endpoint {
    /// Whether only this host can connect.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Ipc(_) => true,
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let refuse = |why| EndpointError {
            text: text.to_owned(),
            why,
        };

        if let Some(path) = text.strip_prefix("ipc://") {
            return ipc_path(path).map(Self::Ipc).map_err(refuse);
        }

        let address = text
            .strip_prefix("tcp://")
            .ok_or_else(|| refuse("it begins with neither ipc:// nor tcp://"))?;
        let (host, port) = address
            .rsplit_once(':')
            .ok_or_else(|| refuse("the port is missing"))?;
        let port = port
            .parse()
            .map_err(|_| refuse("the port is not a number from 0 to 65535"))?;
        match host {
            "*" => Ok(Self::Tcp((Ipv4Addr::UNSPECIFIED, port).into())),
            "localhost" => Ok(Self::Tcp((Ipv4Addr::LOCALHOST, port).into())),
            _ => address
                .parse()
                .map(Self::Tcp)
                .map_err(|_| refuse("the host is no IP address (IPv6 in brackets)")),
        }
    }
}

fn ipc_path(path: &str) -> Result<PathBuf, &'static str> {
    match path {
        _ if path.starts_with('@') => {
            Err("abstract sockets have no permissions and are not supported")
        }
        _ if !path.starts_with('/') => {
            Err("the path must be absolute, so that there are three slashes")
        }
        _ if path.len() > MAX_SOCKET_PATH => Err("a socket's path has at most 107 bytes"),
        _ => Ok(path.into()),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipc(path) => write!(f, "ipc://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

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
            Endpoint::Tcp(address) => {
                let listener = bind_address(*address)
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
            Self::Tcp(listener) => listener.local_addr().map(Endpoint::Tcp),
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

    #[test]
    fn endpoints_are_written_as_zeromq_writes_them() {
        for (text, local) in [
            ("ipc:///run/fanlight/source.ipc", true),
            ("tcp://127.0.0.1:5700", true),
            ("tcp://[::1]:5700", true),
            ("tcp://[::ffff:127.0.0.1]:1", true),
            ("tcp://0.0.0.0:5700", false),
            ("tcp://192.168.1.7:0", false),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(endpoint.is_local(), local, "{text}");
        }

        assert_eq!(
            "tcp://*:1".parse::<Endpoint>().unwrap().to_string(),
            "tcp://0.0.0.0:1"
        );

        assert_eq!(
            "tcp://localhost:1".parse::<Endpoint>().unwrap().to_string(),
            "tcp://127.0.0.1:1"
        );
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_reason() {
        let long = format!("ipc:///{}", "x".repeat(107));
        for (text, why) in [
            ("udp://x", "neither ipc:// nor tcp://"),
            ("ipc://relative", "three slashes"),
            ("ipc://@name", "abstract"),
            (long.as_str(), "107"),
            ("tcp://127.0.0.1", "port is"),
            ("tcp://127.0.0.1:70000", "65535"),
            ("tcp://camera.local:5700", "no IP address"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

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
