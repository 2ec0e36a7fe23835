//! Accepts connections and keeps each from harming the others.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use fanlight_daemon::clock;
use fanlight_daemon::logline::Limited;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::body::{Answer, Patient, TAKE_WITHIN};
use super::listener::{Place, Places};
use super::tls::{self, Certificate};
use super::{AppState, FAREWELL_PATIENCE, metrics, router};

/// A request's head must be there within this, and the next one of a kept connection must begin and end within it.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// A TLS handshake must be done within this.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// Bytes of a connection's buffer, either way: it bounds the head of a request, and what is taken over from a body
/// before the socket has room. With more, frames would grow old in it.
const BUFFER_BYTES: usize = 8 << 10;

/// Header fields of a request.
const MAX_FIELDS: usize = 64;

/// After an error that is ours (no descriptors left), accepting pauses so long.
const PAUSE: Duration = Duration::from_millis(50);

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Its address, or that of whom it speaks for.
    pub(super) address: SocketAddr,
    /// It speaks TLS, or a proxy does so for us.
    pub(super) secure: bool,
    /// The place of its connection: who takes the connection over keeps it.
    pub(super) _place: Arc<Place>,
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
    let acceptor = certificate.map(|certificate| Arc::new(tls::Acceptor::new(certificate)));
    if let Some(acceptor) = &acceptor {
        tokio::spawn(Arc::clone(acceptor).watch());
    }
    let door = Door {
        app: Arc::clone(app),
        router: router::router(Arc::clone(app)),
        acceptor,
    };
    let places = Places::new(&app.settings);
    let mut connections = JoinSet::new();
    let (mut stop, mut full) = (pin!(app.shutdown.wait()), Limited::new());
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let Ok((stream, address)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        match places.take(address.ip()) {
            Some(place) => drop(connections.spawn(door.clone().admit(stream, address, place))),
            None => {
                if let Some(count) = full.note(clock::now()) {
                    tracing::warn!(count, from = %address, connections = places.taken(), "HTTP connections refused: too many");
                }
            }
        }
    }
    drop(listener);
    // Connections that a WebSocket has taken over are no tasks of ours, but have a place.
    let all = async {
        while connections.join_next().await.is_some() {}
        places.emptied().await;
    };
    // Who does not end is ended.
    let _ = tokio::time::timeout(FAREWELL_PATIENCE, all).await;
    Ok(())
}

/// What each connection needs.
#[derive(Clone)]
struct Door {
    app: Arc<AppState>,
    router: Router,
    acceptor: Option<Arc<tls::Acceptor>>,
}

impl Door {
    async fn admit(self, stream: TcpStream, address: SocketAddr, place: Place) {
        let stream = Patient::new(stream, TAKE_WITHIN);
        let place = Arc::new(place);
        match self.acceptor.clone() {
            None => {
                self.talk(
                    stream,
                    Peer {
                        address,
                        secure: false,
                        _place: place,
                    },
                )
                .await;
            }
            Some(acceptor) => {
                let handshake = tokio::time::timeout(HANDSHAKE_WITHIN, acceptor.accept(stream));
                match handshake.await {
                    Ok(Ok(stream)) => {
                        self.talk(
                            stream,
                            Peer {
                                address,
                                secure: true,
                                _place: place,
                            },
                        )
                        .await;
                    }
                    Ok(Err(error)) => tracing::debug!(from = %address, "no TLS: {error}"),
                    Err(_) => {
                        tracing::debug!(from = %address, "no TLS within {HANDSHAKE_WITHIN:?}");
                    }
                }
            }
        }
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S, peer: Peer) {
        let address = peer.address;
        let service = TowerToHyperService::new(self.router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            let answer = service.call(request);
            async move {
                Ok::<_, Infallible>(Answer::of(
                    answer.await.unwrap_or_else(|never| match never {}),
                ))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
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
            tracing::trace!(from = %address, "HTTP connection ended: {error}");
        }
    }
}
