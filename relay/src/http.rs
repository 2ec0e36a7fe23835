//! Browsers and whoever else speaks HTTP: the page, live frames by WebSocket and multipart, single pictures, and what
//! the relay knows as JSON. `relay/HTTP.md` tells every address.
//!
//! All of it runs in a thread of its own, which the event loop hands frames to and never waits for.

mod access;
mod api;
mod body;
mod clients;
mod fault;
mod gateway;
mod guard;
mod listener;
mod metrics;
mod mjpeg;
mod page;
mod proxy;
mod router;
mod session;
mod settings;
mod snapshot;
mod tempo;
mod tls;
mod wall;
mod ws;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fanlight_daemon::{Shutdown, clock};
use fanlight_proto::clock::Time;

use crate::board::Board;
use access::Access;
pub(crate) use clients::AGE_EDGES_MS;
use clients::Clients;
use metrics::Metrics;
pub use settings::{HttpError, Settings};
use tls::Certificate;
pub use tls::{CertificateError, Files};
use wall::Wall;

/// How long connections have to end by themselves when the relay stops: it must be gone within 500 ms.
const FAREWELL_PATIENCE: Duration = Duration::from_millis(300);

/// The HTTP side of a relay that has its port.
#[derive(Debug)]
pub struct Http {
    listener: std::net::TcpListener,
    address: SocketAddr,
    settings: Settings,
    access: Access,
    certificate: Option<Certificate>,
}

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Hall {
    wall: Wall,
    clients: Clients,
    metrics: Metrics,
    access: Access,
    settings: Settings,
    address: SocketAddr,
    started: Time,
    shutdown: Shutdown,
}

impl Http {
    /// Reads tokens and certificate, and binds the port.
    ///
    /// # Errors
    /// [`HttpError`].
    pub fn bind(settings: Settings) -> Result<Self, HttpError> {
        let access = Access::load(&settings)?;
        let certificate = settings.tls.as_ref().map(Certificate::load).transpose()?;
        let listen = settings.listen;
        let bound =
            listener::bind(listen).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|error| HttpError::Bind { listen, error })?;
        Ok(Self {
            listener,
            address,
            settings,
            access,
            certificate,
        })
    }

    /// Starts the thread, which ends within 500 ms when `shutdown` is requested.
    ///
    /// # Errors
    /// When the system has no thread or runtime to give.
    pub fn start(self, board: Arc<Board>, shutdown: Shutdown) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let hall = Arc::new(Hall {
            wall: Wall::new(board),
            clients: Clients::default(),
            metrics: Metrics::new(),
            access: self.access,
            settings: self.settings,
            address: self.address,
            started: clock::now(),
            shutdown,
        });
        tracing::info!(http = %self.address, tls = self.certificate.is_some(), access = %hall.settings.access, "http");
        let (listener, certificate) = (self.listener, self.certificate);
        thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || {
                let served = runtime.block_on(gateway::serve(&hall, listener, certificate));
                if let Err(error) = served {
                    tracing::error!("HTTP has ended: {error}");
                }
                runtime.shutdown_background();
            })
    }
}
