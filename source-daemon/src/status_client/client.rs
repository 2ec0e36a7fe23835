//! Asks a source how things stand, as a subscriber to its publisher.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::envelope::{self, FeedKey, OpenError, Opener, status_question};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use zeromq::{Socket as _, SocketOptions, SocketRecv as _, SubSocket, ZmqError};

use crate::publisher::{Endpoint, EndpointError};
use crate::verification::report::Report;

/// Longest that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest that the answer may take: a source on this host needs a few milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(Endpoint);

impl Target {
    /// Of the endpoints of a source on this host, the one that is asked most easily.
    ///
    /// # Panics
    /// When there is none.
    pub(super) fn of(endpoints: &[Endpoint]) -> Self {
        let ipc = endpoints
            .iter()
            .find(|endpoint| matches!(endpoint, Endpoint::Ipc(_)));
        Self(
            ipc.or(endpoints.first())
                .expect("a source publishes somewhere")
                .clone(),
        )
        .reachable()
    }

    /// Who listens on every address of this host is reached at its own.
    fn reachable(self) -> Self {
        let Endpoint::Tcp(address) = self.0 else {
            return self;
        };
        let own = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Self(Endpoint::Tcp(SocketAddr::new(own, address.port())))
    }
}

impl FromStr for Target {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        text.parse().map(|endpoint| Self(endpoint).reachable())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a source did not tell.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(
        "no source publishes at {at}: {error}; start it, or say where it publishes (--config, --publish or --at)"
    )]
    Nobody { at: Target, error: io::Error },
    #[error(
        "{at} does not answer within {ANSWER_TIMEOUT:?}: is it a fanlight-source of this version, and does it run?"
    )]
    Silent { at: Target },
    #[error("the source at {at} cannot be asked: {error}")]
    Sealed { at: Target, error: OpenError },
    #[error("the source at {at} breaks off: {error}")]
    Broken { at: Target, error: ZmqError },
    #[error(
        "the source at {at} does not tell how things stand: it is of another version, or {error}"
    )]
    Foreign { at: Target, error: String },
}

/// Asks one source. Each question has a connection of its own, so that a source that was started again, or stands still,
/// is nothing special.
#[derive(Debug)]
pub(super) struct Client {
    at: Target,
    key: Option<FeedKey>,
}

impl Client {
    pub(super) const fn new(at: Target, key: Option<FeedKey>) -> Self {
        Self { at, key }
    }

    /// How things stand.
    ///
    /// # Errors
    /// Why it cannot be told, and what to do.
    pub(super) async fn ask(&self) -> Result<Report, AskError> {
        let at = || self.at.clone();
        // The library does not say why it cannot connect.
        self.knock()
            .await
            .map_err(|error| AskError::Nobody { at: at(), error })?;
        let answered = timeout(CONNECT_TIMEOUT + ANSWER_TIMEOUT, self.converse()).await;
        let (topic, body) = answered
            .map_err(|_| AskError::Silent { at: at() })?
            .map_err(|error| AskError::Broken { at: at(), error })?;
        let opened = match &self.key {
            Some(key) => Opener::new(key.clone()).answer(&topic, &body),
            None => envelope::parse_answer(&topic, &body),
        };
        let answer = opened.map_err(|error| AskError::Sealed { at: at(), error })?;
        serde_json::from_slice(&answer.status).map_err(|error| AskError::Foreign {
            at: at(),
            error: error.to_string(),
        })
    }

    async fn knock(&self) -> io::Result<()> {
        let knock = async {
            match &self.at.0 {
                Endpoint::Ipc(path) => UnixStream::connect(path).await.map(drop),
                Endpoint::Tcp(address) => TcpStream::connect(address).await.map(drop),
            }
        };
        timeout(CONNECT_TIMEOUT, knock)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn converse(&self) -> Result<(Vec<u8>, Vec<u8>), ZmqError> {
        let mut options = SocketOptions::default();
        options.connect_timeout(CONNECT_TIMEOUT);
        let mut socket = SubSocket::with_options(options);
        let topic = status_question(clock::random_bytes());
        socket.subscribe(&topic).await?;
        socket.connect(&self.at.to_string()).await?;
        loop {
            let message = socket.recv().await?;
            if let (Some(told), Some(body), 2) = (message.get(0), message.get(1), message.len())
                && told[..] == *topic.as_bytes()
            {
                return Ok((topic.into_bytes(), body.to_vec()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_of_this_host_is_asked_where_it_can_be_reached() {
        let of = |endpoints: &[&str]| {
            let endpoints: Vec<Endpoint> =
                endpoints.iter().map(|text| text.parse().unwrap()).collect();
            Target::of(&endpoints).to_string()
        };
        assert_eq!(of(&["tcp://*:5700"]), "tcp://127.0.0.1:5700");
        assert_eq!(of(&["tcp://[::]:5700"]), "tcp://[::1]:5700");
        assert_eq!(of(&["tcp://10.0.0.1:5700", "ipc:///run/a"]), "ipc:///run/a");
        assert_eq!(of(&["tcp://10.0.0.1:5700"]), "tcp://10.0.0.1:5700");
    }

    #[tokio::test]
    async fn where_there_is_no_source_it_says_so_and_what_to_do() {
        let client = Client::new("ipc:///nowhere/at-all".parse().unwrap(), None);
        let error = client.ask().await.unwrap_err().to_string();
        assert!(
            error.contains("no source publishes at ipc:///nowhere/at-all")
                && error.contains("--at"),
            "{error}"
        );
    }
}
