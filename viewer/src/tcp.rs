//! Connections to relays: a WebSocket over TCP, with TLS or without, that carries control datagrams and whole frames.
//!
//! The event loop of [`drive`](crate::udp::drive) owns them and does all reading and writing on its thread; nothing here
//! waits.

mod address;
mod connection;
mod failure;
mod stream;

use std::sync::Arc;

use fanlight_daemon::keys::KeyPath;
use rustls::ClientConfig;

pub use address::RelayUrl;
pub(crate) use address::is_web_address;
pub(crate) use connection::{Connection, Event};
pub(crate) use failure::Failure;

/// What to show to relays over TCP, and which of them to believe.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The file of the token that lets one watch, which each connection reads anew; none: none is shown.
    pub token: Option<KeyPath>,
    /// By what a certificate is judged; none: there is no relay with TLS.
    pub tls: Option<Arc<ClientConfig>>,
    /// Bytes to ask the kernel to keep for the socket; none: it chooses by itself.
    pub receive_buffer: Option<usize>,
}
