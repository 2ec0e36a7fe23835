//! What the settings say about HTTP, and why that may not do.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use fanlight_daemon::trust::TrustError;
use fanlight_live::access::{AccessError, AccessMode, TokenFiles};
use fanlight_live::listener::BindError;
use fanlight_live::tls::{CertificateError, Files};
use fanlight_live::whep::WhepClient;
use fanlight_proto::message::{StreamName, StreamNameError};

use crate::site::Peers;

/// The settings of the HTTP side.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The file of lasting links; none: there are none.
    pub links: Option<PathBuf>,
    /// The file of scenes; none: there are none.
    pub scenes: Option<PathBuf>,
    /// Who may come.
    pub access: AccessMode,
    /// The files of the tokens.
    pub tokens: TokenFiles,
    /// Certificate and key.
    pub tls: Option<Files>,
    /// Names under which pages of others may come, as `https://host` or `https://host:port`.
    pub origins: Vec<String>,
    /// Names of this relay, beside localhost and its addresses.
    pub names: Vec<String>,
    /// Take HTTP Basic without TLS, and from other hosts.
    pub basic_plain: bool,
    /// Proxies that are believed in whom they speak for.
    pub proxies: Vec<IpAddr>,
    /// Connections at a time.
    pub connections: usize,
    /// Of those, from one address.
    pub connections_per_address: usize,
    /// When the relay says that it is ready.
    pub ready: Readiness,
    /// The streams that the relay is to take; all of them when empty.
    pub streams: Vec<StreamName>,
    /// The WebRTC output, when there is one.
    pub whep: Option<WhepClient>,
    /// What this relay is called.
    pub name: String,
    /// The other relays of its site.
    pub peers: Peers,
    /// For how long it is kept what screens showed; none: not at all.
    pub history: Option<Duration>,
    /// Where it is kept who has signed out, for the next start.
    pub state_dir: Option<PathBuf>,
}

/// What a relay needs to be ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// One source that is heard.
    Any,
    /// Every source of the settings, and every stream that the relay is to take.
    All,
    /// These streams.
    Streams(Vec<StreamName>),
}

impl FromStr for Readiness {
    type Err = StreamNameError;

    fn from_str(text: &str) -> Result<Self, StreamNameError> {
        match text {
            "any" => Ok(Self::Any),
            "all" => Ok(Self::All),
            names => names
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>()
                .map(Self::Streams),
        }
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::All => f.write_str("all"),
            Self::Streams(names) => {
                let names: Vec<_> = names.iter().map(StreamName::as_str).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

/// Why there is no HTTP.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The tokens cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No certificate of another relay could be judged.
    #[error("http_peer_ca_file: {0}")]
    Trust(#[from] TrustError),
}
