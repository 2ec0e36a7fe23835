//! WebRTC: streams as VP8 for clients of WHEP (draft-ietf-wish-whep), over one UDP port. `WEBRTC.md` says how to use it.
//!
//! HTTP takes the requests and passes them on by [`fanlight_live::whep`]. One thread holds the port and all peers; each stream
//! that is watched has an encoder on a thread of its own. Neither the UDP fan-out nor HTTP waits for either.

#![forbid(unsafe_code)]

mod coordinates;
mod encoder;
mod picture;
mod rung;
mod sdp;
mod server;
mod session;
mod signalling;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use fanlight_daemon::Shutdown;
use fanlight_live::whep::{WhepClient, WhepRequest};
use fanlight_live::{OutputKind, OutputServer, StreamTable, listener};
use tokio::sync::mpsc;

use server::Server;

/// Peers as they are listed.
const WEBRTC: OutputKind = OutputKind("webrtc");

/// The settings of the WebRTC output.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where media comes and goes.
    pub listen: SocketAddr,
    /// Addresses by which clients reach that port, such as that of a NAT before this host. Without any, it is the one by
    /// which their request came.
    pub addresses: Vec<IpAddr>,
    /// Where clients come that speak the TCP signalling of aiortc's examples; none: nowhere.
    pub signalling: Option<SocketAddr>,
}

/// Why there is no WebRTC.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen for WebRTC on {listen}: {error}{}",
    if error.kind() == io::ErrorKind::AddrInUse { ": another program has this port: give webrtc another one" } else { "" }
)]
pub struct BindError {
    listen: SocketAddr,
    error: io::Error,
}

/// A WebRTC output that has its port.
#[derive(Debug)]
pub struct WebRtc {
    socket: UdpSocket,
    address: SocketAddr,
    addresses: Vec<IpAddr>,
    requests: mpsc::Receiver<WhepRequest>,
    signalling: Option<(TcpListener, SocketAddr, WhepClient)>,
}

impl WebRtc {
    /// Binds the port; the other half is for HTTP.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(settings: Settings) -> Result<(Self, WhepClient), BindError> {
        let listen = settings.listen;
        let bound = UdpSocket::bind(listen).and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok((socket.local_addr()?, socket))
        });
        let (address, socket) = bound.map_err(|error| BindError { listen, error })?;

        let (client, requests) = WhepClient::channel();
        let signalling = settings
            .signalling
            .map(|listen| {
                let bound = listener::bind(listen);
                let bound = bound.and_then(|socket| Ok((socket.local_addr()?, socket)));
                let (address, socket) = bound.map_err(|error| BindError { listen, error })?;
                Ok((socket, address, client.clone()))
            })
            .transpose()?;
        let output = Self {
            socket,
            address,
            addresses: settings.addresses,
            requests,
            signalling,
        };
        Ok((output, client))
    }
}

impl OutputServer for WebRtc {
    fn start(
        self: Box<Self>,
        table: Arc<StreamTable>,
        shutdown: Shutdown,
    ) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        tracing::info!(webrtc = %self.address, "WebRTC");
        if let Some((_, address, _)) = &self.signalling {
            tracing::info!(signalling = %address, "TCP signalling of WebRTC");
        }

        thread::Builder::new()
            .name("webrtc".to_owned())
            .spawn(move || {
                let served = runtime.block_on(async {
                    let refusals = table.refusals().clone();
                    let server = Server::new(&self, table)?;
                    if let Some((listener, _, requests)) = self.signalling {
                        tokio::spawn(signalling::serve(listener, requests, refusals));
                    }
                    server
                        .run(self.socket, self.requests, shutdown.wait())
                        .await
                });
                if let Err(error) = served {
                    tracing::error!("WebRTC has ended: {error}");
                }
            })
    }
}
