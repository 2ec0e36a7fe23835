//! Browsers and whoever else speaks HTTP: the page, live frames by WebSocket and multipart, single pictures, and what
//! the relay knows as JSON. `relay/HTTP.md` tells every address.
//!
//! All of it runs on a thread of its own, which takes frames from the stream table.

#![forbid(unsafe_code)]

mod api;
mod api_error;
mod authorize;
mod body;
pub mod client;
mod controls;
mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gateway;
mod history;
mod links;
mod metrics;
mod mjpeg;
mod origin;
mod page;
mod proxy;
mod readiness;
mod router;
mod scenes;
mod screens;
mod session;
mod settings;
pub mod site;
mod snapshot;
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(test), allow(dead_code))]
mod testing;
mod whep;
mod ws;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::{Shutdown, clock};
use fanlight_live::access::Authorizer;
use fanlight_live::listener;
use fanlight_live::tls::Certificate;
use fanlight_live::{Output, OutputKind, OutputServer, StreamTable, start_thread};
use fanlight_proto::clock::Time;
use tokio::sync::broadcast;

use history::History;
use metrics::Metrics;
use scenes::Scenes;
pub use settings::{HttpError, Readiness, Settings};
use site::Site;

/// How long connections have to end by themselves when the relay stops: it must be gone within 500 ms.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(300);

/// Clients with a WebSocket.
const WS: OutputKind = OutputKind("ws");

/// Viewers, by a WebSocket.
const TCP: OutputKind = OutputKind("tcp");

/// Clients that get pictures one after another in one answer.
const MJPEG: OutputKind = OutputKind("mjpeg");

/// Clients that ask for single pictures.
const SNAPSHOT: OutputKind = OutputKind("snapshot");

/// The HTTP side of a relay that has its port.
#[derive(Debug)]
pub struct Http {
    listener: std::net::TcpListener,
    address: SocketAddr,
    settings: Settings,
    authorizer: Authorizer,
    certificate: Option<Certificate>,
    site: Site,
}

/// What all requests share.
#[derive(Debug)]
pub(crate) struct AppState {
    output: Output,
    metrics: Metrics,
    /// Problems of streams and screens, each as a server-sent event.
    problems: broadcast::Sender<Bytes>,
    scenes: Scenes,
    site: Site,
    history: History,
    authorizer: Authorizer,
    settings: Settings,
    address: SocketAddr,
    started: Time,
    shutdown: Shutdown,
}

impl AppState {
    fn table(&self) -> &StreamTable {
        self.output.table()
    }
}

impl Http {
    /// Reads tokens and certificate, and binds the port.
    ///
    /// # Errors
    /// [`HttpError`].
    pub fn bind(settings: Settings) -> Result<Self, HttpError> {
        let authorizer = Authorizer::load(settings.access, settings.tokens.clone())?;
        if let Some(folder) = &settings.state_dir
            && let Err(error) = authorizer.keep_sign_outs(folder.join("sign-outs"))
        {
            let folder = folder.display();
            tracing::error!(%folder, "a restart will forget who has signed out: {error}");
        }

        if let Some(file) = &settings.links
            && let Err(error) = authorizer.links().keep_in(file.clone())
        {
            let file = file.display();
            tracing::error!(%file, "there are no links: their file cannot be read: {error}");
        }

        let site = Site::load(settings.peers.clone())?;
        let certificate = Certificate::load(settings.tls.as_ref(), &["http/1.1"])?;
        let (listener, address) = listener::bind("HTTP", settings.listen)?;
        Ok(Self {
            listener,
            address,
            settings,
            authorizer,
            certificate,
            site,
        })
    }
}

impl OutputServer for Http {
    fn start(
        self: Box<Self>,
        table: Arc<StreamTable>,
        shutdown: Shutdown,
    ) -> io::Result<JoinHandle<()>> {
        let Self {
            listener,
            address,
            settings,
            authorizer,
            certificate,
            site,
        } = *self;
        let app = Arc::new(AppState {
            output: Output::new(table),
            metrics: Metrics::new(),
            problems: broadcast::Sender::new(events::MAX_WAITING),
            scenes: Scenes::load(settings.scenes.clone()),
            site,
            history: History::new(settings.history),
            authorizer,
            settings,
            address,
            started: clock::now(),
            shutdown,
        });

        tracing::info!(http = %address, tls = certificate.is_some(), access = %app.settings.access, "http");
        start_thread("http", async move || {
            gateway::serve(&app, listener, certificate).await
        })
    }
}
