//! What the HTTP output passes to the WebRTC output, so that neither depends on the other: the requests of WHEP
//! (draft-ietf-wish-whep), and those of the TCP signalling. Called by handlers on the HTTP thread; answered on the WebRTC thread.

use std::net::{IpAddr, SocketAddr};

use crate::access::Grant;
use fanlight_proto::message::StreamName;
use tokio::sync::{mpsc, oneshot};

/// Requests that wait for the WebRTC thread. Further ones are refused.
const MAX_WAITING: usize = 16;

/// The end that HTTP has.
#[derive(Clone, Debug)]
pub struct WhepClient(mpsc::Sender<WhepRequest>);

/// One request, and where its answer goes.
#[derive(Debug)]
pub struct WhepRequest {
    /// What is asked.
    pub command: WhepCommand,
    /// Who waits for the answer.
    pub reply: oneshot::Sender<Result<WhepAnswer, WhepError>>,
}

/// What a client asks.
#[derive(Debug)]
pub enum WhepCommand {
    /// POST: to watch a stream.
    Offer {
        /// The stream.
        stream: StreamName,
        /// The client's offer (RFC 8866).
        sdp: String,
        /// What its operator calls it.
        name: String,
        /// Where the client is.
        client: SocketAddr,
        /// What let it in: the session ends with it.
        grant: Grant,
        /// The address of ours that the client came to, which its media can come to as well.
        local: IpAddr,
    },
    /// A client without WHEP asks for an offer of ours, for the first stream.
    Invite {
        /// Where the client is.
        client: SocketAddr,
        /// As in an offer of the client.
        local: IpAddr,
    },
    /// Its answer.
    Answer {
        /// The name of the session.
        session: String,
        /// The answer (RFC 8866).
        sdp: String,
    },
    /// PATCH: candidates of the client, none of which is needed, as the relay learns its address from its checks
    /// (ICE-lite); or with other credentials an ICE restart.
    Patch {
        /// The name of the session.
        session: String,
        /// What the client takes for the tag of the session; none: whatever it is.
        tag: Option<String>,
        /// A fragment of SDP (RFC 8840).
        fragment: String,
    },
    /// DELETE: to end the session of that name.
    End(String),
}

/// What the client gets.
#[derive(Debug, PartialEq, Eq)]
pub enum WhepAnswer {
    /// The session was made.
    Created {
        /// Its name, which cannot be guessed.
        session: String,
        /// Our answer.
        sdp: String,
    },
    /// ICE begins again, with these credentials of ours.
    Restarted(String),
    /// It is done.
    Done,
}

/// The tag of a session, from what the relay answers: the name of its ICE session (RFC 8839), which a restart changes.
#[must_use]
pub fn tag(sdp: &str) -> &str {
    let mut lines = sdp.lines();
    let ufrag = lines.find_map(|line| line.strip_prefix("a=ice-ufrag:"));
    ufrag.unwrap_or_default()
}

/// Why a client does not get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhepError {
    /// There is no such stream.
    #[error("the relay has no such stream: /api/streams lists those it has")]
    NoStream,
    /// There is no such session.
    #[error("there is no such session: it has ended")]
    NoSession,
    /// The client speaks of an ICE session that is over.
    #[error("If-Match is not the ETag of the session: another ICE restart came before")]
    OldTag,
    /// It is no offer.
    #[error("the body is no SDP offer that this relay understands")]
    BadOffer,
    /// It has no codec of ours.
    #[error("the offer has no video codec that this relay sends: it sends VP8")]
    NoCodec,
    /// There are too many, or WebRTC does not answer.
    #[error("as many WebRTC clients watch as this relay serves: try again later")]
    Busy,
}

impl WhepClient {
    /// Both ends.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<WhepRequest>) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        (Self(sender), receiver)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`WhepError`].
    pub async fn ask(&self, command: WhepCommand) -> Result<WhepAnswer, WhepError> {
        let (reply, answer) = oneshot::channel();
        self.0
            .try_send(WhepRequest { command, reply })
            .map_err(|_| WhepError::Busy)?;
        answer.await.unwrap_or(Err(WhepError::Busy))
    }
}
