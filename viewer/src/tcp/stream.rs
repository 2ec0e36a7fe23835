//! The bytes of a connection: TCP as it is, or TLS over it. Never waits: what cannot be done now is `WouldBlock`.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tokio::net::TcpStream;

/// A socket that is registered with the runtime.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Arc<TcpStream>,
    /// Bytes that came.
    received: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(Wire),
    Tls(Box<StreamOwned<ClientConnection, Wire>>),
}

impl Stream {
    /// TLS, if `tls` says how to judge the certificate, to whom is called `host`.
    pub(super) fn new(
        socket: Arc<TcpStream>,
        host: &str,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, rustls::Error> {
        let wire = Wire {
            socket,
            received: 0,
        };
        let Some(tls) = tls else {
            return Ok(Self::Plain(wire));
        };

        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let connection = ClientConnection::new(tls, name)?;
        Ok(Self::Tls(StreamOwned::new(connection, wire).into()))
    }

    /// Bytes that came so far.
    pub(super) const fn received(&self) -> u64 {
        match self {
            Self::Plain(wire) => wire.received,
            Self::Tls(stream) => stream.sock.received,
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.try_read(buffer)?;
        self.received += count as u64;
        Ok(count)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(wire) => wire.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
