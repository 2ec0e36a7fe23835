//! WebRTC: streams as VP8 for clients of WHEP (draft-ietf-wish-whep), over one UDP port. `WEBRTC.md` says how to use it.
//!
//! HTTP takes the requests and passes them on by [`fanlight_live::whep`]. One thread holds the port and all peers; each stream
//! that is watched has an encoder on a thread of its own. Neither the UDP fan-out nor HTTP waits for either.

#![forbid(unsafe_code)]

mod coordinates;
mod encoder;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod picture;
mod rung;
mod sdp;
mod server;
mod session;
mod signalling;
mod tcp;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;

use fanlight_daemon::Shutdown;
use fanlight_live::listener::{self, BindError};
use fanlight_live::whep::{WhepClient, WhepRequest};
use fanlight_live::{OutputKind, OutputServer, StreamTable, start_thread};
use tokio::sync::mpsc;

use server::{Server, Ways};

/// Peers at a time, and of those from one network: each costs 0.3 % of a core.
const MAX_PEERS: usize = 64;
const MAX_PEERS_PER_NETWORK: usize = 32;

/// Largest datagram: the MTU of Ethernet, and some.
const MAX_DATAGRAM: usize = 2_000;

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
    /// Where media comes and goes for clients without UDP (ICE over TCP); none: nowhere.
    pub tcp: Option<SocketAddr>,
    /// Where clients come that speak the TCP signalling of aiortc's examples; none: nowhere.
    pub signalling: Option<SocketAddr>,
}

/// A WebRTC output that has its port.
#[derive(Debug)]
pub struct WebRtc {
    socket: UdpSocket,
    address: SocketAddr,
    addresses: Vec<IpAddr>,
    tcp: Option<(TcpListener, SocketAddr)>,
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
        let (address, socket) = bound.map_err(|error| BindError::new("WebRTC", listen, error))?;

        let tcp = settings.tcp.map(|listen| listener::bind("WebRTC", listen));
        let (client, requests) = WhepClient::channel();
        let signalling = settings
            .signalling
            .map(|listen| {
                let (socket, address) = listener::bind("WebRTC", listen)?;
                Ok((socket, address, client.clone()))
            })
            .transpose()?;
        let output = Self {
            socket,
            address,
            addresses: settings.addresses,
            tcp: tcp.transpose()?,
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
        tracing::info!(webrtc = %self.address, "WebRTC");
        if let Some((_, address)) = &self.tcp {
            tracing::info!(tcp = %address, "WebRTC by TCP");
        }
        if let Some((_, address, _)) = &self.signalling {
            tracing::info!(signalling = %address, "TCP signalling of WebRTC");
        }

        start_thread("webrtc", async move || {
            let refusals = table.refusals().clone();
            let server = Server::new(&self, table)?;
            let output = *self;
            if let Some((listener, _, requests)) = output.signalling {
                tokio::spawn(signalling::serve(listener, requests, refusals.clone()));
            }
            let packets = output
                .tcp
                .map(|(listener, _)| tcp::start(listener, refusals));
            let ways = Ways {
                socket: output.socket,
                packets: packets.transpose()?,
                requests: output.requests,
            };
            server.run(ways, shutdown.wait()).await
        })
    }
}
