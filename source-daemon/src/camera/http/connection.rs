//! One connection to a camera: TCP, or TLS over it. It blocks no longer than it is told, however slowly bytes come.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_daemon::trust::{self, Fingerprint, TrustError};
use fanlight_proto::clock::Time;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConnection, StreamOwned};

use crate::camera::CameraError;
use crate::camera::address::{CameraAddress, Scheme};

/// Longest wait for one address to take the connection: two SYNs of TCP, the second after a second. With the longest pause
/// between two openings it leaves a camera that returns at the worst moment within 2 s.
const CONNECT_LIMIT: Duration = Duration::from_millis(1500);

/// When the time is over, what has come already is still read: this process may have been held up itself.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// By what a camera's certificate is judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The certificates that sign it; none: those of this host.
    pub authorities: Option<PathBuf>,
    /// Its fingerprint: then no other is taken.
    pub pinned: Vec<Fingerprint>,
}

/// See the module.
#[derive(Debug)]
pub(super) enum Connection {
    Plain(Wire),
    Tls(Box<StreamOwned<ClientConnection, Wire>>),
}

/// A socket that is read until a moment.
#[derive(Debug)]
pub(super) struct Wire {
    socket: TcpStream,
    until: Time,
}

impl Connection {
    /// Connects to `camera`, and does the handshake of TLS before `until` where its address asks for it.
    ///
    /// # Errors
    /// What keeps it from doing so, in words.
    pub(super) fn open(
        camera: &CameraAddress,
        trust: &Trust,
        limit: Duration,
    ) -> Result<Self, CameraError> {
        let socket = connect(camera)?;
        let failed = |error| CameraError::Failed(format!("{camera}: {error}"));
        socket.set_nodelay(true).map_err(failed)?;
        socket.set_write_timeout(Some(limit)).map_err(failed)?;
        let mut wire = Wire {
            socket,
            until: clock::now() + limit,
        };
        if camera.scheme == Scheme::Http {
            return Ok(Self::Plain(wire));
        }

        let mut tls = session(camera, trust)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut wire)
                .map_err(|error| tls_failure(camera, &error))?;
        }
        Ok(Self::Tls(StreamOwned::new(tls, wire).into()))
    }

    /// Reads what has come, and waits for something at most until `until`. No bytes: there will be no more.
    ///
    /// # Errors
    /// As `recv(2)`; [`io::ErrorKind::TimedOut`] when nothing came.
    pub(super) fn read(&mut self, until: Time, buffer: &mut [u8]) -> io::Result<usize> {
        self.wire().until = until;
        let read = match self {
            Self::Plain(wire) => wire.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        };
        // Few cameras end TLS as its standard has it.
        match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// As `send(2)`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(wire) => wire.write_all(bytes),
            Self::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }

    /// How many bytes wait in the kernel.
    pub(super) fn waiting(&mut self) -> u64 {
        rustix::io::ioctl_fionread(&self.wire().socket).unwrap_or_default()
    }

    const fn wire(&mut self) -> &mut Wire {
        match self {
            Self::Plain(wire) => wire,
            Self::Tls(tls) => &mut tls.sock,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_since(clock::now());
        self.socket.set_read_timeout(Some(left.max(LEAST_WAIT)))?;
        match self.socket.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            read => read,
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn connect(camera: &CameraAddress) -> Result<TcpStream, CameraError> {
    let unreachable =
        |why: &str| CameraError::Unplugged(format!("{camera} cannot be reached: {why}"));
    let addresses = camera.resolve().map_err(|error| {
        let error = error.to_string();
        let why = error.trim_start_matches("failed to lookup address information: ");
        unreachable(&format!("the name {} is not known ({why})", camera.host))
    })?;

    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
            Ok(socket) if is_itself(&socket, address) => {}
            Ok(socket) => return Ok(socket),
            Err(error) => last = Some(error),
        }
    }

    Err(match last.map(|error| (error.kind(), error)) {
        None | Some((io::ErrorKind::ConnectionRefused, _)) => unreachable("nobody listens there"),
        Some((io::ErrorKind::TimedOut, _)) => unreachable("it does not answer"),
        Some((io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable, _)) => {
            unreachable("there is no way to it in the network")
        }
        Some((_, error)) => unreachable(&error.to_string()),
    })
}

/// Whether the kernel connected the socket to itself, as TCP may when it tries a free port of this host again and again
/// (RFC 9293, section 3.5).
fn is_itself(socket: &TcpStream, peer: SocketAddr) -> bool {
    socket.local_addr().is_ok_and(|own| own == peer)
}

fn session(camera: &CameraAddress, trust: &Trust) -> Result<ClientConnection, CameraError> {
    let config = trust::client_config(trust.authorities.as_deref(), &trust.pinned);
    let config = config.map_err(|error| {
        let setting = match error {
            TrustError::Unreadable { .. } | TrustError::NoCertificate(_) => "input_ca_file: ",
            TrustError::NoAuthorities | TrustError::Tls(_) => "",
        };
        CameraError::Failed(format!("{setting}{error}"))
    })?;

    let host = camera.host.to_string();
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
    let failed = |error: &dyn std::fmt::Display| CameraError::Failed(format!("{camera}: {error}"));
    let name = name.map_err(|error| failed(&error))?;
    ClientConnection::new(Arc::new(config), name).map_err(|error| failed(&error))
}

fn tls_failure(camera: &CameraAddress, error: &io::Error) -> CameraError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    CameraError::Failed(match inner {
        Some(rustls::Error::InvalidCertificate(wrong)) => {
            let why = match wrong {
                CertificateError::UnknownIssuer => "it is signed by nobody that this host knows",
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => "it is for another name",
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "it has expired"
                }
                CertificateError::ApplicationVerificationFailure => "it is another one",
                _ => "it is damaged, or of a kind that nobody uses",
            };
            format!(
                "the certificate of {camera} is not trusted: {why}; see input_ca_file and input_certificate"
            )
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            format!("{camera} speaks no TLS: is it http:// and not https://?")
        }
        _ if error.kind() == io::ErrorKind::TimedOut => {
            return CameraError::Stalled(format!("{camera} takes the connection but says nothing"));
        }
        _ => format!("no TLS with {camera}: {error}"),
    })
}
