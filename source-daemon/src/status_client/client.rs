//! Asks a source how things stand, as a subscriber to its publisher.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use fanlight_daemon::endpoint::{Endpoint, EndpointError};
use fanlight_daemon::feed_connection::{Connection, ConnectionError, Resolver};
use fanlight_daemon::{Shutdown, clock};
use fanlight_proto::feed::{parse_answer, status_topic};
use fanlight_proto::message::Answer;
use fanlight_proto::zmtp::{Event, Security};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use zeromq::{Socket as _, SocketOptions, SocketRecv as _, SubSocket};

use crate::verification::report::Report;

/// Longest that the answer may take: a source on this host needs a few milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest that the `zeromq` crate may take.
const LIBRARY_TIMEOUT: Duration = Duration::from_secs(1);

/// What the crate may take before our own codec asks as well, which can say what is wrong.
const LIBRARY_LEAD: Duration = Duration::from_millis(200);

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
        let chosen = ipc.or(endpoints.first());
        let chosen = chosen.expect("a source publishes somewhere").clone();
        Self(chosen.from_its_own_host())
    }
}

impl FromStr for Target {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let endpoint: Endpoint = text.parse()?;
        Ok(Self(endpoint.from_its_own_host()))
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
    Refused { at: Target, error: ConnectionError },
    #[error(
        "the source at {at} does not tell how things stand: it is of another version, or {error}"
    )]
    Foreign { at: Target, error: String },
}

/// Asks one source. Each question has a connection of its own, so that a source that was started again, or stands still,
/// is nothing special.
#[derive(Clone, Debug)]
pub(super) struct Client {
    at: Target,
    security: Security,
}

impl Client {
    pub(super) const fn new(at: Target, security: Security) -> Self {
        Self { at, security }
    }

    /// How things stand.
    ///
    /// # Errors
    /// Why it cannot be told, and what to do.
    pub(super) async fn ask(&self, shutdown: &Shutdown) -> Result<Report, AskError> {
        let asked = status_topic(clock::random_bytes());
        // Side by side: one after the other, a source that stands still would keep the operator waiting for both.
        let by_codec = async {
            tokio::time::sleep(LIBRARY_LEAD).await;
            self.ask_by_codec(asked.clone(), shutdown).await
        };
        let answer = tokio::select! {
            Some(answer) = self.ask_by_library(&asked) => Some(answer),
            answer = by_codec => answer?,
        };

        let foreign = |error| AskError::Foreign {
            at: self.at.clone(),
            error,
        };
        let answer = answer.ok_or_else(|| foreign("its answer is malformed".into()))?;
        serde_json::from_slice(&answer.status).map_err(|error| foreign(error.to_string()))
    }

    /// Asks a source in the clear as any other program would: by the `zeromq` crate. None when the source wants a key,
    /// or nothing comes of it, for whatever reason.
    async fn ask_by_library(&self, asked: &str) -> Option<Answer> {
        if !matches!(self.security, Security::Null) {
            return None;
        }

        let conversation = async {
            // The crate does not say that nobody listens, and tries again.
            match &self.at.0 {
                Endpoint::Ipc(path) => UnixStream::connect(path).await.map(drop).ok()?,
                Endpoint::Tcp(host, port) => {
                    let address = format!("{host}:{port}");
                    TcpStream::connect(address).await.map(drop).ok()?;
                }
            }

            let mut options = SocketOptions::default();
            options.connect_timeout(LIBRARY_TIMEOUT);
            let mut socket = SubSocket::with_options(options);
            socket.subscribe(asked).await.ok()?;
            socket.connect(&self.at.to_string()).await.ok()?;

            loop {
                let message = socket.recv().await.ok()?;
                if let (Some(topic), Some(body), 2) =
                    (message.get(0), message.get(1), message.len())
                    && topic[..] == *asked.as_bytes()
                {
                    return parse_answer(topic, body);
                }
            }
        };

        timeout(LIBRARY_TIMEOUT, conversation).await.ok().flatten()
    }

    /// Asks by our own codec: with a key, and to learn why the source does not answer.
    async fn ask_by_codec(
        &self,
        asked: String,
        shutdown: &Shutdown,
    ) -> Result<Option<Answer>, AskError> {
        let (client, shutdown) = (self.clone(), shutdown.clone());
        let answered = tokio::task::spawn_blocking(move || client.converse(&asked, &shutdown))
            .await
            .expect("asking does not panic");

        let at = || self.at.clone();
        answered.map_err(|error| match error {
            ConnectionError::Connect(error) => AskError::Nobody { at: at(), error },
            ConnectionError::NoAnswer | ConnectionError::Silent => AskError::Silent { at: at() },
            error => AskError::Refused { at: at(), error },
        })
    }

    /// The answer; none when it is malformed.
    fn converse(
        &self,
        asked: &str,
        shutdown: &Shutdown,
    ) -> Result<Option<Answer>, ConnectionError> {
        let resolver = &mut Resolver::default();
        let mut connection = Connection::open(&self.at.0, &self.security, resolver, shutdown)?;

        let deadline = clock::now() + ANSWER_TIMEOUT;
        connection.send(
            |encoder| encoder.subscribe(asked.as_bytes()),
            deadline,
            shutdown,
        )?;

        while clock::now() < deadline {
            match connection.next()? {
                Some(Event::Message { topic, body }) if topic == asked.as_bytes() => {
                    return Ok(parse_answer(&topic, &body));
                }
                Some(_) => {}
                None => connection.wait(None, deadline, shutdown)?,
            }
        }

        Err(ConnectionError::Silent)
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
        let client = Client::new("ipc:///nowhere/at-all".parse().unwrap(), Security::Null);
        let error = client.ask(&Shutdown::new()).await.unwrap_err().to_string();
        assert!(
            error.contains("no source publishes at ipc:///nowhere/at-all")
                && error.contains("--at"),
            "{error}"
        );
    }
}
