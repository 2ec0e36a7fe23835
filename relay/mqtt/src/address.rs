//! Where the broker is, as a setting says it.

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::ServerName;

/// `mqtt://HOST`, or `mqtts://HOST` with TLS, perhaps with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Whether it speaks TLS.
    pub tls: bool,
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
}

/// A text that is no [`Broker`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address of a broker: write mqtt://HOST or mqtt://HOST:PORT, or mqtts:// for TLS; user and password have settings of \
     their own"
)]
pub struct BrokerError(String);

impl FromStr for Broker {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        Self::parse(text).ok_or_else(|| BrokerError(text.to_owned()))
    }
}

impl Broker {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (tls, usual) = match scheme {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return None,
        };

        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => rest.split_at(rest.find(':').unwrap_or(rest.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0)?,
            None if port.is_empty() => usual,
            None => return None,
        };

        // What a certificate can name is what a connection can be made to.
        ServerName::try_from(host).ok()?;
        Some(Self {
            tls,
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, host, port } = self;
        let scheme = if *tls { "mqtts" } else { "mqtt" };
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_has_a_host_and_perhaps_a_port() {
        for (text, shown) in [
            ("mqtt://box", "mqtt://box:1883"),
            ("mqtts://box.lan/", "mqtts://box.lan:8883"),
            ("mqtt://10.0.0.1:2000", "mqtt://10.0.0.1:2000"),
            ("mqtts://[::1]", "mqtts://[::1]:8883"),
            ("mqtt://[fe80::1]:1", "mqtt://[fe80::1]:1"),
        ] {
            assert_eq!(text.parse::<Broker>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "box",
            "http://box",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://box:0",
            "mqtt://box:x",
            "mqtt://me:secret@box",
            "mqtt://[::1",
            "mqtt://[::1]x",
            "mqtt://box/path",
            "mqtt://::1",
        ] {
            assert!(text.parse::<Broker>().is_err(), "{text}");
        }
    }
}
