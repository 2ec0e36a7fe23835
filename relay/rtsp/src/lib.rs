//! RTSP for players, recorders and robots: RTP/JPEG (RFC 2435) over TCP and UDP, without decoding a picture.
//! `RTSP.md` tells what clients see.
//!
//! All of it runs on a thread of its own, which takes frames from the stream table.

#![forbid(unsafe_code)]

mod auth;
mod connection;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod group;
mod huffman;
mod jpeg;
mod multicast;
mod pictures;
mod request;
mod response;
mod rtp;
mod server;
mod session;
mod unsuitable;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use fanlight_daemon::Shutdown;
use fanlight_live::access::{AccessError, AccessMode, TokenFiles};
use fanlight_live::listener::{self, BindError};
use fanlight_live::tls::{Certificate, CertificateError, Files};
use fanlight_live::{Output, OutputKind, OutputServer, StreamTable, start_thread};

use auth::Authenticator;
use multicast::Groups;
pub use multicast::Multicast;
use pictures::Pictures;

/// As RTSP clients are listed.
const RTSP: OutputKind = OutputKind("rtsp");

/// The settings of the output.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen (TCP).
    pub listen: SocketAddr,
    /// Who may come.
    pub access: AccessMode,
    /// The files of the tokens: both let one watch.
    pub tokens: TokenFiles,
    /// Groups for who wants multicast; none: nobody gets it.
    pub multicast: Option<Multicast>,
    /// Certificate and key: with them the port takes TLS (`rtsps://`) too.
    pub tls: Option<Files>,
}

/// Why there is no RTSP.
#[derive(Debug, thiserror::Error)]
pub enum RtspError {
    /// The port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The tokens cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// An RTSP server that has its port.
#[derive(Debug)]
pub struct Rtsp {
    listener: std::net::TcpListener,
    address: SocketAddr,
    authenticator: Authenticator,
    groups: Groups,
    certificate: Option<Certificate>,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct App {
    output: Output,
    authenticator: Authenticator,
    groups: Groups,
    pictures: Pictures,
}

impl Rtsp {
    /// Reads tokens and certificate, and binds the port.
    ///
    /// # Errors
    /// [`RtspError`].
    pub fn bind(settings: &Settings) -> Result<Self, RtspError> {
        let authenticator = Authenticator::load(settings)?;
        let certificate = Certificate::load(settings.tls.as_ref(), &[])?;
        let (listener, address) = listener::bind("RTSP", settings.listen)?;
        Ok(Self {
            listener,
            address,
            authenticator,
            groups: Groups::new(settings.multicast),
            certificate,
        })
    }
}

impl OutputServer for Rtsp {
    fn start(
        self: Box<Self>,
        table: Arc<StreamTable>,
        shutdown: Shutdown,
    ) -> io::Result<JoinHandle<()>> {
        let Self {
            listener,
            address,
            authenticator,
            groups,
            certificate,
        } = *self;
        let app = Arc::new(App {
            output: Output::new(table),
            authenticator,
            groups,
            pictures: Pictures::default(),
        });

        tracing::info!(rtsp = %address, tls = certificate.is_some(), "rtsp");
        start_thread("rtsp", async move || {
            tokio::select! {
                served = server::serve(app, listener, certificate) => served,
                () = shutdown.wait() => Ok(()),
            }
        })
    }
}
