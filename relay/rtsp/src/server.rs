//! Accepts connections and bounds them. Runs on the RTSP thread.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanlight_live::ledger::{ConnectionLimits, ConnectionPermit};
use fanlight_live::listener;
use fanlight_live::tls::{Acceptor, Certificate};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::App;
use crate::connection::{Ends, serve_connection};

/// Connections at a time: each may hold one frame.
const MAX_CONNECTIONS: usize = 256;

/// Of those, from one address.
const MAX_PER_ADDRESS: usize = 64;

/// The first byte must be there within this, and a TLS handshake be done.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How a TLS handshake begins (RFC 8446, 5.1); no RTSP method does.
const TLS_HANDSHAKE: u8 = 0x16;

/// Serves for ever.
///
/// # Errors
/// When the port is of no use.
pub(crate) async fn serve(
    app: Arc<App>,
    listener: std::net::TcpListener,
    certificate: Option<Certificate>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let waker = Arc::clone(&app);
    tokio::spawn(async move { waker.output.run().await });

    let follower = Arc::clone(&app);
    tokio::spawn(async move { follower.authenticator.follow().await });

    let acceptor = certificate.map(|certificate| Arc::new(Acceptor::new(certificate)));
    if let Some(acceptor) = &acceptor {
        tokio::spawn(Arc::clone(acceptor).watch());
    }

    let refusals = app.output.table().refusals().clone();
    let limits = ConnectionLimits::new(MAX_CONNECTIONS, MAX_PER_ADDRESS, &[], refusals);
    let spawn = |stream, peer, permit| {
        let span =
            tracing::info_span!("rtsp_client", client = %peer, stream = tracing::field::Empty);
        let begun = begin(Arc::clone(&app), acceptor.clone(), stream, peer, permit);
        tokio::spawn(begun.instrument(span));
    };
    listener::accept(listener, limits, spawn).await;
    Ok(())
}

/// Serves one connection, which begins with TLS or without.
async fn begin(
    app: Arc<App>,
    acceptor: Option<Arc<Acceptor>>,
    stream: TcpStream,
    peer: SocketAddr,
    _permit: ConnectionPermit,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let mut first = [0];
    let peeked = timeout(BEGIN_TIMEOUT, stream.peek(&mut first)).await;
    if !matches!(peeked, Ok(Ok(1))) {
        return;
    }

    let secure = first[0] == TLS_HANDSHAKE;
    let ends = Ends {
        peer,
        local: local.ip(),
        secure,
    };
    if !secure {
        return serve_connection(&app, stream, ends).await;
    }

    let Some(acceptor) = acceptor else {
        tracing::debug!("TLS without a certificate: set http_certificate and http_key");
        return;
    };
    match timeout(BEGIN_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => serve_connection(&app, stream, ends).await,
        Ok(Err(error)) => tracing::debug!("TLS handshake failed: {error}"),
        Err(_) => tracing::debug!("no TLS handshake within {BEGIN_TIMEOUT:?}"),
    }
}
