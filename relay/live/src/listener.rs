//! A TCP listening socket of an output. Used by every output that accepts TCP.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use fanlight_daemon::clock;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;

use crate::ledger::{ConnectionLimits, ConnectionPermit};

/// Connections that the kernel holds until they are accepted: a page that many screens load at one moment.
const BACKLOG: i32 = 1024;

/// Bytes that may wait in the kernel unsent before a socket counts as full. More would be frames that grow old in a queue:
/// a client behind 12 Mbit/s was 690 ms late without this, and 132 ms with it.
const UNSENT_BYTES: u32 = 16 << 10;

/// What was sent and is not acknowledged for so long ends a connection: the other end has no power or no network.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

/// After an error that is ours (no descriptors left), accepting pauses so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The port of an output cannot be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen for {output} on {listen}: {error}{}",
    if error.kind() == io::ErrorKind::AddrInUse {
        format!(": another program has this port: give {} another one", output.to_lowercase())
    } else {
        String::new()
    }
)]
pub struct BindError {
    output: &'static str,
    listen: SocketAddr,
    error: io::Error,
}

impl BindError {
    /// `output` is its name for people; in small letters it is that of its setting.
    #[must_use]
    pub const fn new(output: &'static str, listen: SocketAddr, error: io::Error) -> Self {
        Self {
            output,
            listen,
            error,
        }
    }
}

/// Binds `listen` for an output, and says where that is. Accepted sockets inherit what is set here.
///
/// # Errors
/// [`BindError`].
pub fn bind(
    output: &'static str,
    listen: SocketAddr,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let bound = bound(listen).and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = bound.map_err(|error| BindError::new(output, listen, error))?;
    Ok((listener, address))
}

/// Gives `begin` each connection that `limits` admit, for ever.
pub async fn accept(
    listener: tokio::net::TcpListener,
    limits: ConnectionLimits,
    mut begin: impl FnMut(TcpStream, SocketAddr, ConnectionPermit),
) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                if let Some(permit) = limits.admit(clock::now(), client) {
                    begin(stream, client, permit);
                }
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

fn bound(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(listen),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;

    // A port that a former run of ours left in TIME_WAIT is free; one that somebody listens on is not.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
        socket.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
    }

    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_not_shared() {
        let (_first, address) = bind("HTTP", "127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind("HTTP", address).unwrap_err().to_string();
        assert!(error.ends_with("give http another one"), "{error}");
    }
}
