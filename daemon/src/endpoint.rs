//! Where a source publishes, as ZeroMQ writes it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// `ipc:///path/to/socket` or `tcp://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// A Unix socket on this host.
    Ipc(PathBuf),
    /// `host:port`; the host may be a name.
    Tcp(String),
}

/// A text that is no [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no endpoint: write ipc:///path/to/socket or tcp://host:port")]
pub struct EndpointError(String);

impl Endpoint {
    /// Whether it is on this host for certain. A name may mean any host, except `localhost` (RFC 6761 section 6.3).
    #[must_use]
    pub fn is_local(&self) -> bool {
        let Self::Tcp(address) = self else {
            return true;
        };

        let host = address
            .rsplit_once(':')
            .map_or(address.as_str(), |(host, _)| host);
        let literal = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);

        let loopback = literal
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback());
        loopback || host.eq_ignore_ascii_case("localhost")
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let wrong = || EndpointError(text.chars().take(200).collect());
        if let Some(path) = text.strip_prefix("ipc://") {
            let named = path.starts_with(['/', '.']) && !path.contains('\0');
            return named.then(|| Self::Ipc(path.into())).ok_or_else(wrong);
        }

        let address = text.strip_prefix("tcp://").ok_or_else(wrong)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let whole =
            !host.is_empty() && host != "*" && port.parse::<u16>().is_ok_and(|port| port != 0);
        whole
            .then(|| Self::Tcp(address.to_owned()))
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipc(path) => write!(f, "ipc://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_written_as_zeromq_writes_them() {
        for good in [
            "ipc:///run/fanlight/source.ipc",
            "ipc://./here",
            "tcp://10.0.0.1:5000",
            "tcp://[::1]:5",
            "tcp://cam.lan:80",
        ] {
            assert_eq!(good.parse::<Endpoint>().unwrap().to_string(), good);
        }

        for bad in [
            "",
            "ipc://",
            "ipc://@abstract",
            "tcp://*:5000",
            "tcp://host",
            "tcp://:5",
            "tcp://h:0",
            "udp://h:5",
        ] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_is_on_this_host_for_certain_is_local() {
        for (text, local) in [
            ("ipc:///run/fanlight/source.ipc", true),
            ("tcp://127.3.2.1:5", true),
            ("tcp://[::1]:5", true),
            ("tcp://[::ffff:127.0.0.1]:5", true),
            ("tcp://localhost:5", true),
            ("tcp://10.0.0.1:5", false),
            ("tcp://[2001:db8::1]:5", false),
            ("tcp://localhost.example:5", false),
            ("tcp://127.0.0.1.example:5", false),
            ("tcp://camera:5", false),
        ] {
            assert_eq!(
                text.parse::<Endpoint>().unwrap().is_local(),
                local,
                "{text}"
            );
        }
    }
}
