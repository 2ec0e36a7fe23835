//! The address of a relay's WebSocket, as the settings have it.

use std::fmt;
use std::str::FromStr;

use tungstenite::http::Uri;

/// Where a relay's WebSocket is, on every relay.
const PATH: &str = "/ws";

/// Whether an address of the settings is that of a WebSocket.
pub(crate) fn is_web_address(relay: &str) -> bool {
    relay.contains("://")
}

/// `ws://host:port` or `wss://host:port`; where a proxy has the relay below a path, with that path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayUrl {
    pub(super) secure: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// What is asked for.
    pub(super) uri: Uri,
}

/// The address is none of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be ws://host:port or wss://host:port, such as ws://relay.example:8080")]
pub struct RelayUrlError;

impl RelayUrl {
    /// The host, without the brackets of IPv6.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.secure
    }
}

impl FromStr for RelayUrl {
    type Err = RelayUrlError;

    fn from_str(text: &str) -> Result<Self, RelayUrlError> {
        let uri: Uri = text.parse().map_err(|_| RelayUrlError)?;
        let secure = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(RelayUrlError),
        };

        let authority = uri.authority().ok_or(RelayUrlError)?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() || authority.as_str().contains('@') || uri.query().is_some() {
            return Err(RelayUrlError);
        }

        let base = uri.path().trim_end_matches('/');
        let path = if base.ends_with(PATH) {
            base.to_owned()
        } else {
            format!("{base}{PATH}")
        };

        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str() == authority.host() => default_port(secure),
            None => return Err(RelayUrlError),
        };
        let full = Uri::builder()
            .scheme(if secure { "wss" } else { "ws" })
            .authority(authority.clone())
            .path_and_query(path)
            .build();

        Ok(Self {
            secure,
            host,
            port,
            uri: full.map_err(|_| RelayUrlError)?,
        })
    }
}

/// Of an address that names none (RFC 6455, section 3).
const fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// Host and port, as people read them.
impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_host_port_and_path() {
        for (text, host, port, uri) in [
            ("ws://relay:8080", "relay", 8080, "ws://relay:8080/ws"),
            ("ws://relay:8080/", "relay", 8080, "ws://relay:8080/ws"),
            (
                "wss://relay.example",
                "relay.example",
                443,
                "wss://relay.example/ws",
            ),
            (
                "ws://10.0.0.1/cams/",
                "10.0.0.1",
                80,
                "ws://10.0.0.1/cams/ws",
            ),
            (
                "wss://[fe80::1]:8443/ws",
                "fe80::1",
                8443,
                "wss://[fe80::1]:8443/ws",
            ),
        ] {
            let url: RelayUrl = text.parse().unwrap();
            assert_eq!((url.host(), url.port), (host, port), "{text}");
            assert_eq!(url.uri.to_string(), uri);
        }
    }

    #[test]
    fn what_is_no_address_of_a_web_socket_is_refused() {
        for text in [
            "http://relay:8080",
            "ws://",
            "ws://:8080",
            "relay:5004",
            "ws://user:secret@relay",
            "ws://relay:70000",
            "ws://relay/?token=1",
        ] {
            assert_eq!(text.parse::<RelayUrl>(), Err(RelayUrlError), "{text}");
        }
    }
}
