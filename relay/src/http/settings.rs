//! What the settings say about HTTP, and why that may not do.

use std::io;
use std::net::{IpAddr, SocketAddr};

use fanlight_daemon::keys::{KeyFileError, KeyPath};

use super::tls::{CertificateError, Files};
use crate::config::{Config, HttpAccess};

/// The settings of the HTTP side.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Who may come.
    pub access: HttpAccess,
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
    /// What `config` says; none when there is to be no HTTP.
    #[must_use]
    pub fn new(config: &Config) -> Option<Self> {
        let files = config.http_certificate.clone().zip(config.http_key.clone());
        Some(Self {
            listen: config.http?,
            access: config.http_access,
            view_token: config.http_view_token.clone(),
            admin_token: config.http_admin_token.clone(),
            tls: files.map(|(certificate, key)| Files { certificate, key }),
            origins: config.http_origins.clone(),
            proxies: config
                .http_proxies
                .iter()
                .map(IpAddr::to_canonical)
                .collect(),
            connections: config.http_connections,
            connections_per_address: config.http_connections_per_address,
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
