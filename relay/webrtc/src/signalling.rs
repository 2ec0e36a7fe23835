//! The TCP signalling of aiortc's examples, for clients without WHEP: a line of JSON with our offer, and one with the client's
//! answer. Tasks on the WebRTC thread.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fanlight_live::ledger::{ConnectionLimits, ConnectionPermit, SharedRefusals};
use fanlight_live::listener;
use fanlight_live::whep::{WhepAnswer, WhepClient, WhepCommand, WhepError};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Connections at a time, and of those from one address: one for each peer.
const MAX_CONNECTIONS: usize = 64;
const MAX_PER_ADDRESS: usize = 32;

/// Bytes that a client may send: an answer has 2 to 8 KB, and candidates may follow.
const MAX_BYTES: u64 = 64 << 10;

/// The answer must come within this. Clients of aiortc first ask STUN servers for candidates, which takes 5 s where there are
/// none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A client that comes before the first stream waits for one this long, looked for this often.
const STREAM_TIMEOUT: Duration = Duration::from_secs(20);
const STREAM_INTERVAL: Duration = Duration::from_millis(200);

/// Whether the session still lives is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// One line, either way. Candidates have other fields, and are not needed.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    #[serde(default)]
    sdp: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Refused(#[from] WhepError),
    #[error("no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Late,
    #[error("a line that is no JSON with a type: {0}")]
    NoJson(#[from] serde_json::Error),
    #[error("a line of type {0:?}: expected answer, candidate or bye")]
    Unexpected(String),
}

/// Serves for ever.
///
/// # Errors
/// When the port is of no use.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    requests: WhepClient,
    refusals: SharedRefusals,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let limits = ConnectionLimits::new(MAX_CONNECTIONS, MAX_PER_ADDRESS, &[], refusals);
    let begin = |stream, client, permit| {
        tokio::spawn(converse(stream, client, requests.clone(), permit));
    };
    listener::accept(listener, limits, begin).await;
    Ok(())
}

async fn converse(
    mut stream: TcpStream,
    client: SocketAddr,
    requests: WhepClient,
    _permit: ConnectionPermit,
) {
    let invited = async {
        let local = stream.local_addr()?.ip();
        let (session, offer) = invite(&requests, client, local).await?;
        stream.write_all(&offer).await?;
        Ok::<_, Ended>(session)
    };

    let session = match invited.await {
        Ok(session) => session,
        Err(ended) => return tracing::debug!(%client, "no signalling: {ended}"),
    };
    match attend(stream, &requests, &session).await {
        Ok(After::Media) => return,
        Ok(After::Nothing) => {}
        Err(ended) => tracing::debug!(%client, "signalling has ended: {ended}"),
    }
    // It may have ended by itself.
    let _ = requests.ask(WhepCommand::End(session)).await;
}

/// A session, and the line that offers it.
async fn invite(
    requests: &WhepClient,
    client: SocketAddr,
    local: IpAddr,
) -> Result<(String, Vec<u8>), Ended> {
    let created = async {
        loop {
            match requests.ask(WhepCommand::Invite { client, local }).await {
                Err(WhepError::NoStream) => tokio::time::sleep(STREAM_INTERVAL).await,
                answer => return answer,
            }
        }
    };
    let created = timeout(STREAM_TIMEOUT, created).await;
    match created.unwrap_or(Err(WhepError::NoStream))? {
        WhepAnswer::Created { session, sdp } => {
            let kind = "offer".to_owned();
            let mut line = serde_json::to_vec(&Line { sdp, kind })?;
            line.push(b'\n');
            Ok((session, line))
        }
        WhepAnswer::Restarted(_) | WhepAnswer::Done => Err(WhepError::Busy.into()),
    }
}

/// What stays when signalling has ended.
enum After {
    /// The session goes on, or has ended by itself: media goes its own way.
    Media,
    /// The session is to end.
    Nothing,
}

/// Takes the client's lines until it says bye, closes the connection or the session has ended.
async fn attend(stream: TcpStream, requests: &WhepClient, session: &str) -> Result<After, Ended> {
    let mut lines = BufReader::new(stream.take(MAX_BYTES)).lines();
    let mut answered = false;
    loop {
        let wait = if answered {
            LOOK_INTERVAL
        } else {
            ANSWER_TIMEOUT
        };
        // Cancel safe.
        let line = match timeout(wait, lines.next_line()).await {
            Ok(line) => line?,
            Err(_) if answered => {
                let looked = WhepCommand::Patch {
                    session: session.to_owned(),
                    tag: None,
                    fragment: String::new(),
                };
                requests.ask(looked).await?;
                continue;
            }
            Err(_) => return Err(Ended::Late),
        };
        let Some(line) = line else {
            return Ok(if answered {
                After::Media
            } else {
                After::Nothing
            });
        };

        let Line { sdp, kind } = serde_json::from_str(&line)?;
        let session = session.to_owned();
        match kind.as_str() {
            "answer" => {
                requests.ask(WhepCommand::Answer { session, sdp }).await?;
                answered = true;
            }
            "bye" => return Ok(After::Nothing),
            "candidate" => {}
            _ => return Err(Ended::Unexpected(kind)),
        }
    }
}
