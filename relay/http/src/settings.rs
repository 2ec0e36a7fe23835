//! What the settings say about HTTP, and why that may not do.

use std::io;
use std::net::{IpAddr, SocketAddr};

use fanlight_daemon::keys::{KeyFileError, KeyPath};
use fanlight_live::access::{AccessError, AccessMode, Authorizer};
use fanlight_live::tls::{CertificateError, Files};

/// The settings of the HTTP side.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Who may come.
    pub access: AccessMode,
    /// The file of the token that lets one watch.
    pub view_token: Option<KeyPath>,
    /// The file of the token that lets one see who watches too.
    pub admin_token: Option<KeyPath>,
    /// Certificate and key.
    pub tls: Option<Files>,
    /// Names under which pages of others may come, as `https://host` or `https://host:port`.
    pub origins: Vec<String>,
    /// Proxies that are believed in whom they speak for.
    pub proxies: Vec<IpAddr>,
    /// Connections at a time.
    pub connections: usize,
    /// Of those, from one address.
    pub connections_per_address: usize,
}

impl Settings {
    /// Reads the tokens.
    ///
    /// # Errors
    /// When a token file cannot be used, or both hold the same.
    pub(super) fn authorizer(&self) -> Result<Authorizer, HttpError> {
        let loaded = Authorizer::load(
            self.access,
            self.view_token.as_ref(),
            self.admin_token.as_ref(),
        );

        loaded.map_err(|error| match error {
            AccessError::Token(error) => error.into(),
            AccessError::SameToken => HttpError::SameToken,
        })
    }
}

/// Why there is no HTTP.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The port cannot be had.
    #[error(
        "cannot listen for HTTP on {listen}: {error}{}",
        if error.kind() == io::ErrorKind::AddrInUse { ": another program has this port: give http another one" } else { "" }
    )]
    Bind {
        /// Where.
        listen: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// A token cannot be had.
    #[error(transparent)]
    Token(#[from] KeyFileError),
    /// Two roles would be one.
    #[error(
        "http_view_token and http_admin_token hold the same token: who may only watch would be an administrator"
    )]
    SameToken,
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}
