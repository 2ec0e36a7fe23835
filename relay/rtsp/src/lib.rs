//! RTSP for players, recorders and robots: RTP/JPEG (RFC 2435) over TCP and UDP, without decoding a picture.
//! `RTSP.md` tells what clients see.
//!
//! All of it runs on a thread of its own, which takes frames from the stream table.

#![forbid(unsafe_code)]

mod auth;
mod connection;
mod huffman;
mod jpeg;
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
use std::thread::{self, JoinHandle};

use fanlight_daemon::Shutdown;
use fanlight_daemon::keys::KeyPath;
use fanlight_live::access::{AccessError, AccessMode};
use fanlight_live::tls::{Certificate, CertificateError, Files};
use fanlight_live::{Output, OutputKind, OutputServer, StreamTable, listener};

use auth::Authenticator;
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
    /// The file of the token that lets one watch.
    pub view_token: Option<KeyPath>,
    /// The file of the token of administrators, which lets one watch too.
    pub admin_token: Option<KeyPath>,
    /// Certificate and key: with them the port takes TLS (`rtsps://`) too.
    pub tls: Option<Files>,
}

/// Why there is no RTSP.
#[derive(Debug, thiserror::Error)]
pub enum RtspError {
    /// The port cannot be had.
    #[error(
        "cannot listen for RTSP on {listen}: {error}{}",
        if error.kind() == io::ErrorKind::AddrInUse { ": another program has this port: give rtsp another one" } else { "" }
    )]
    Bind {
        /// Where.
        listen: SocketAddr,
        /// Why not.
        error: io::Error,
    },
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
    certificate: Option<Certificate>,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct App {
    output: Output,
    authenticator: Authenticator,
    pictures: Pictures,
}

impl Rtsp {
    /// Reads tokens and certificate, and binds the port.
    ///
    /// # Errors
    /// [`RtspError`].
    pub fn bind(settings: &Settings) -> Result<Self, RtspError> {
        let authenticator = Authenticator::load(settings)?;
        let certificate = settings.tls.as_ref();
        let certificate = certificate
            .map(|files| Certificate::load(files, &[]))
            .transpose()?;

        let listen = settings.listen;
        let bound =
            listener::bind(listen).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|error| RtspError::Bind { listen, error })?;
        Ok(Self {
            listener,
            address,
            authenticator,
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
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let app = Arc::new(App {
            output: Output::new(table),
            authenticator: self.authenticator,
            pictures: Pictures::default(),
        });

        tracing::info!(rtsp = %self.address, tls = self.certificate.is_some(), "rtsp");
        let (listener, certificate) = (self.listener, self.certificate);
        thread::Builder::new()
            .name("rtsp".to_owned())
            .spawn(move || {
                let served = runtime.block_on(async {
                    tokio::select! {
                        served = server::serve(app, listener, certificate) => served,
                        () = shutdown.wait() => Ok(()),
                    }
                });
                if let Err(error) = served {
                    tracing::error!("RTSP has ended: {error}");
                }
                runtime.shutdown_background();
            })
    }
}
