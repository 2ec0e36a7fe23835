//! Addresses as people write them in settings: where a source publishes, as ZeroMQ writes it, and where a server listens.
//! Parsing asks no name server.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::str::FromStr;

/// Longest path of a socket on Linux: `sun_path` has 108 bytes, one of them for the final zero.
const MAX_SOCKET_PATH: usize = 107;

/// Longest name of a host (RFC 1035 section 2.3.4).
const MAX_HOST_NAME: usize = 253;

/// `ipc:///path/of/socket`, `tcp://HOST:PORT`, or a port alone for `tcp://127.0.0.1:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// A Unix socket on this host.
    Ipc(PathBuf),
    /// A port of a host.
    Tcp(Host, u16),
}

/// The host of an [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// `*`: every address of this host.
    Any,
    /// An address; IPv6 is written in brackets.
    Address(IpAddr),
    /// A name that the name server knows.
    Name(String),
}

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}: {why}; write {write}")]
pub struct EndpointError {
    text: String,
    what: &'static str,
    why: &'static str,
    write: &'static str,
}

/// An [`Endpoint`] that nobody can connect to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody can connect to {endpoint}: {why}")]
pub struct NotConnectable {
    endpoint: Endpoint,
    why: &'static str,
}

impl Endpoint {
    /// Whether it is on this host for certain. A name may mean any host, except `localhost` (RFC 6761 section 6.3).
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Ipc(_) => true,
            Self::Tcp(host, _) => host.is_loopback(),
        }
    }

    /// Says why nobody can connect to it, if that is so.
    ///
    /// # Errors
    /// [`NotConnectable`].
    pub fn check_connectable(&self) -> Result<(), NotConnectable> {
        let why = match self {
            Self::Tcp(Host::Any, _) => "* stands for every address of a host, so name one",
            Self::Tcp(_, 0) => "port 0 stands for any, so name the one that its source has",
            _ => return Ok(()),
        };

        Err(NotConnectable {
            endpoint: self.clone(),
            why,
        })
    }

    /// Where a program on the host that listens here can connect to it.
    #[must_use]
    pub fn from_its_own_host(self) -> Self {
        match self {
            Self::Tcp(host, port) => Self::Tcp(host.on_this_host(), port),
            ipc @ Self::Ipc(_) => ipc,
        }
    }
}

impl Host {
    fn is_loopback(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Address(address) => address.to_canonical().is_loopback(),
            Self::Name(name) => is_localhost(name),
        }
    }

    fn on_this_host(self) -> Self {
        match self {
            Self::Any => Self::Address(Ipv4Addr::LOCALHOST.into()),
            Self::Address(IpAddr::V4(ip)) if ip.is_unspecified() => {
                Self::Address(Ipv4Addr::LOCALHOST.into())
            }
            Self::Address(IpAddr::V6(ip)) if ip.is_unspecified() => {
                Self::Address(Ipv6Addr::LOCALHOST.into())
            }
            host => host,
        }
    }

    /// The addresses to listen on `port` at; one of them is enough. May ask the name server, and wait for it.
    ///
    /// # Errors
    /// What the resolver says.
    pub fn resolve_to_listen(&self, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Any => Ok(vec![(Ipv4Addr::UNSPECIFIED, port).into()]),
            Self::Address(address) => Ok(vec![(*address, port).into()]),
            // Which of its two addresses must not depend on the resolver.
            Self::Name(name) if is_localhost(name) => Ok(vec![(Ipv4Addr::LOCALHOST, port).into()]),
            Self::Name(name) => Ok((name.as_str(), port).to_socket_addrs()?.collect()),
        }
    }
}

fn is_localhost(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        parse_endpoint(text).map_err(|why| EndpointError {
            text: text.chars().take(200).collect(),
            what: "endpoint",
            why,
            write: "ipc:///path/of/socket, tcp://HOST:PORT, or PORT for one of this host",
        })
    }
}

fn parse_endpoint(text: &str) -> Result<Endpoint, &'static str> {
    if let Some(path) = text.strip_prefix("ipc://") {
        return ipc_path(path).map(Endpoint::Ipc);
    }

    if let Some(port) = port_alone(text) {
        return Ok(Endpoint::Tcp(
            Host::Address(Ipv4Addr::LOCALHOST.into()),
            port?,
        ));
    }

    let address = text
        .strip_prefix("tcp://")
        .ok_or("it begins with neither ipc:// nor tcp://")?;
    let (host, port) = host_and_port(address)?;
    Ok(Endpoint::Tcp(host, port))
}

fn ipc_path(path: &str) -> Result<PathBuf, &'static str> {
    match path {
        _ if path.starts_with('@') => {
            Err("abstract sockets have no permissions and are not supported")
        }
        _ if !path.starts_with('/') => {
            Err("the path must be absolute, so that there are three slashes")
        }
        _ if path.len() > MAX_SOCKET_PATH => Err("a socket's path has at most 107 bytes"),
        _ if path.contains('\0') => Err("a path has no zero byte"),
        _ => Ok(path.into()),
    }
}

/// A port, if the text is nothing but digits.
fn port_alone(text: &str) -> Option<Result<u16, &'static str>> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| parse_port(text))
}

fn parse_port(text: &str) -> Result<u16, &'static str> {
    text.parse()
        .map_err(|_| "the port is not a number from 0 to 65535")
}

/// `HOST:PORT`, or `HOST` alone where others than ZeroMQ have a port that goes without saying. For addresses whose text may
/// hold a secret: it is not repeated.
///
/// # Errors
/// What is wrong with it.
pub fn host_with_default_port(text: &str, port: u16) -> Result<(Host, u16), &'static str> {
    let host = match text.ends_with(']') || !text.contains(':') {
        true => host_and_port(&format!("{text}:{port}"))?,
        false => host_and_port(text)?,
    };
    match host {
        (Host::Any, _) => Err("* is every address of this host, so name one"),
        found => Ok(found),
    }
}

fn host_and_port(text: &str) -> Result<(Host, u16), &'static str> {
    let bracketed = text.strip_prefix('[').map(|rest| rest.split_once("]"));
    if let Some(bracketed) = bracketed {
        let (address, rest) = bracketed.ok_or("the bracket of an IPv6 address is not closed")?;
        let address = address
            .parse()
            .map_err(|_| "what is in brackets is no IPv6 address")?;
        let port = rest.strip_prefix(':').ok_or("the port is missing")?;
        return Ok((Host::Address(IpAddr::V6(address)), parse_port(port)?));
    }

    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    Ok((parse_host(host)?, parse_port(port)?))
}

fn parse_host(text: &str) -> Result<Host, &'static str> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    // A name of numbers alone would be an address with a slip in it.
    let numbers = || {
        text.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    };

    match text {
        "" => Err("the host is missing"),
        "*" => Ok(Host::Any),
        _ if text.contains(':') => Err("an IPv6 address is written in brackets, as [::1]"),
        _ if text.len() > MAX_HOST_NAME => Err("the name of a host has at most 253 letters"),
        _ => match text.parse() {
            Ok(address) => Ok(Host::Address(IpAddr::V4(address))),
            Err(_) if numbers() => {
                Err("the host is no IPv4 address, which is four numbers up to 255")
            }
            Err(_) if text.bytes().all(letter) => Ok(Host::Name(text.to_owned())),
            Err(_) => Err("the host is neither an address nor a name of letters, digits, - and ."),
        },
    }
}

/// Where a server listens, as settings say it: `ADDRESS:PORT`, `*:PORT` for every address of this host, `localhost:PORT`,
/// or `PORT` for 127.0.0.1.
///
/// # Errors
/// What is wrong with it.
pub fn listen_address(text: &str) -> Result<SocketAddr, EndpointError> {
    let parsed = match port_alone(text) {
        Some(port) => port.map(|port| (Ipv4Addr::LOCALHOST, port).into()),
        None => host_and_port(text).and_then(|(host, port)| match host {
            Host::Name(name) if !is_localhost(&name) => {
                Err("a name may mean another host, so give an address of this one")
            }
            Host::Name(_) => Ok((Ipv4Addr::LOCALHOST, port).into()),
            Host::Any => Ok((Ipv4Addr::UNSPECIFIED, port).into()),
            Host::Address(address) => Ok((address, port).into()),
        }),
    };

    parsed.map_err(|why| EndpointError {
        text: text.chars().take(200).collect(),
        what: "address to listen on",
        why,
        write: "ADDRESS:PORT, *:PORT for every address of this host, or PORT for this host alone",
    })
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipc(path) => write!(f, "ipc://{}", path.display()),
            Self::Tcp(host, port) => write!(f, "tcp://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_written_as_zeromq_writes_them() {
        for (text, local) in [
            ("ipc:///run/fanlight/source.ipc", true),
            ("tcp://127.3.2.1:5", true),
            ("tcp://[::1]:5", true),
            ("tcp://[::ffff:127.0.0.1]:5", true),
            ("tcp://localhost:5", true),
            ("tcp://*:5", false),
            ("tcp://0.0.0.0:0", false),
            ("tcp://10.0.0.5:5010", false),
            ("tcp://[2001:db8::1]:5", false),
            ("tcp://localhost.example:5", false),
            ("tcp://127.0.0.1.example:5", false),
            ("tcp://cam-1.lan:80", false),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(endpoint.is_local(), local, "{text}");
        }

        let alone = "5010".parse::<Endpoint>().unwrap();
        assert_eq!(alone.to_string(), "tcp://127.0.0.1:5010");
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_reason() {
        let long = format!("ipc:///{}", "x".repeat(107));
        for (text, why) in [
            ("", "neither ipc:// nor tcp://"),
            ("udp://x:5", "neither ipc:// nor tcp://"),
            ("ipc://relative", "three slashes"),
            ("ipc://@name", "abstract"),
            (long.as_str(), "107"),
            ("tcp://127.0.0.1", "port is missing"),
            ("tcp://[::1]", "port is missing"),
            ("tcp://127.0.0.1:70000", "65535"),
            ("70000", "65535"),
            ("tcp://:5", "host is missing"),
            ("tcp://::1:5", "brackets"),
            ("tcp://[::1:5", "not closed"),
            ("tcp://[name]:5", "no IPv6"),
            ("tcp://10.0.0.256:5", "four numbers"),
            ("tcp://a b:5", "neither an address nor a name"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn every_address_and_any_port_can_be_listened_on_but_not_connected_to() {
        for (text, connectable) in [
            ("ipc:///a", true),
            ("tcp://cam:5", true),
            ("tcp://*:5", false),
            ("tcp://10.0.0.1:0", false),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.check_connectable().is_ok(), connectable, "{text}");
        }

        for (text, own) in [
            ("tcp://*:5", "tcp://127.0.0.1:5"),
            ("tcp://[::]:5", "tcp://[::1]:5"),
            ("tcp://10.0.0.1:5", "tcp://10.0.0.1:5"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.from_its_own_host().to_string(), own);
        }
    }

    #[test]
    fn a_server_listens_at_an_address_or_a_port_alone() {
        for (text, address) in [
            ("5006", "127.0.0.1:5006"),
            ("localhost:5006", "127.0.0.1:5006"),
            ("*:5006", "0.0.0.0:5006"),
            ("[::]:5006", "[::]:5006"),
            ("10.0.0.1:0", "10.0.0.1:0"),
        ] {
            assert_eq!(listen_address(text).unwrap().to_string(), address);
        }

        for (text, why) in [
            ("relay.lan:5006", "another host"),
            ("127.0.0.1", "port is missing"),
            ("99999", "65535"),
            ("::1:5006", "brackets"),
        ] {
            let error = listen_address(text).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("PORT"), "{error}");
        }
    }

    #[test]
    fn a_name_is_resolved_when_it_is_bound() {
        let listens = |text: &str| match text.parse().unwrap() {
            Endpoint::Tcp(host, port) => host.resolve_to_listen(port).unwrap(),
            Endpoint::Ipc(_) => unreachable!(),
        };
        assert_eq!(listens("tcp://*:5"), ["0.0.0.0:5".parse().unwrap()]);
        assert_eq!(
            listens("tcp://LocalHost:5"),
            ["127.0.0.1:5".parse().unwrap()]
        );
    }
}
