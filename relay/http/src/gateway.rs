//! Accepts connections and keeps each from harming the others. Runs on the HTTP thread.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use fanlight_daemon::clock;
use fanlight_live::ledger::{ConnectionLimits, ConnectionPermit};
use fanlight_live::tls::{self, Certificate};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::body::{ResponseBody, WRITE_TIMEOUT, WriteTimeout};
use super::{AppState, SHUTDOWN_TIMEOUT, events, history, metrics, router};

/// A request's head must be there within this, and the next one of a kept connection must begin and end within it.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A TLS handshake must be done within this.
const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of a connection's buffer, either way: it bounds the head of a request, and what is taken over from a body
/// before the socket has room. With more, frames would grow old in it.
const BUFFER_BYTES: usize = 8 << 10;

/// Header fields of a request.
const MAX_FIELDS: usize = 64;

/// After an error that is ours (no descriptors left), accepting pauses so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Its address, or that of whom it speaks for.
    pub(super) address: SocketAddr,
    /// The address of ours that it came to.
    pub(super) local: IpAddr,
    /// It speaks TLS, or a proxy does so for us.
    pub(super) secure: bool,
    /// Counts its connection: a WebSocket that takes the connection over keeps it.
    pub(super) _permit: Arc<ConnectionPermit>,
}

/// Serves until the relay stops.
///
/// # Errors
/// When the port is of no use.
pub(super) async fn serve(
    app: &Arc<AppState>,
    listener: std::net::TcpListener,
    certificate: Option<Certificate>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let waker = Arc::clone(app);
    tokio::spawn(async move { waker.output.run().await });
    tokio::spawn(metrics::follow(Arc::clone(app)));
    let follower = Arc::clone(app);
    tokio::spawn(async move {
        tokio::join!(
            follower.authorizer.follow(),
            follower.authorizer.links().follow(),
            follower.scenes.follow(),
            events::follow(&follower),
            history::follow(&follower)
        )
    });
    let acceptor = certificate.map(|certificate| Arc::new(tls::Acceptor::new(certificate)));

    if let Some(acceptor) = &acceptor {
        tokio::spawn(Arc::clone(acceptor).watch());
    }

    let handler = ConnectionHandler {
        app: Arc::clone(app),
        router: router::router(Arc::clone(app)),
        acceptor,
    };

    let limits = ConnectionLimits::new(
        app.settings.connections,
        app.settings.connections_per_address,
        &app.settings.proxies,
        app.table().refusals().clone(),
    );
    let mut connections = JoinSet::new();
    accept(&handler, &listener, &limits, &mut connections).await;
    drop(listener);

    // Connections that a WebSocket has taken over are no tasks of ours, but are counted.
    let all = async {
        while connections.join_next().await.is_some() {}
        limits.emptied().await;
    };

    // Connections that do not end by themselves are dropped.
    let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, all).await;
    Ok(())
}

/// Accepts connections until the relay stops.
async fn accept(
    handler: &ConnectionHandler,
    listener: &TcpListener,
    limits: &ConnectionLimits,
    connections: &mut JoinSet<()>,
) {
    let mut stop = pin!(handler.app.shutdown.wait());

    loop {
        let accepted = tokio::select! {
            () = &mut stop => return,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };

        let Ok((stream, address)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };

        if let Some(permit) = limits.admit(clock::now(), address) {
            let span = tracing::info_span!(
                "http_client",
                client = %address,
                stream = tracing::field::Empty
            );
            let connection = handler.clone().accept(stream, address, permit);
            connections.spawn(connection.instrument(span));
        }
    }
}

/// What each connection needs.
#[derive(Clone)]
pub(super) struct ConnectionHandler {
    pub(super) app: Arc<AppState>,
    pub(super) router: Router,
    pub(super) acceptor: Option<Arc<tls::Acceptor>>,
}

impl ConnectionHandler {
    /// Serves one connection until it ends.
    async fn accept(self, stream: TcpStream, address: SocketAddr, permit: ConnectionPermit) {
        let local = stream.local_addr().unwrap_or(self.app.address).ip();
        let stream = WriteTimeout::new(stream, WRITE_TIMEOUT);
        let mut peer = Peer {
            address,
            local,
            secure: false,
            _permit: Arc::new(permit),
        };

        let Some(acceptor) = self.acceptor.clone() else {
            return self.serve(stream, peer).await;
        };

        match tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                peer.secure = true;
                self.serve(stream, peer).await;
            }
            Ok(Err(error)) => tracing::debug!("TLS handshake failed: {error}"),
            Err(_) => tracing::debug!("no TLS handshake within {TLS_HANDSHAKE_TIMEOUT:?}"),
        }
    }

    pub(super) async fn serve<S>(self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = TowerToHyperService::new(self.router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            let response = service.call(request);
            async move {
                let response = response.await.unwrap_or_else(|never| match never {});
                Ok::<_, Infallible>(ResponseBody::of(response))
            }
        });

        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(BUFFER_BYTES)
            .max_headers(MAX_FIELDS)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();

        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = self.app.shutdown.wait() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };

        if let Err(error) = ended {
            tracing::trace!("connection ended: {error}");
        }
    }
}
