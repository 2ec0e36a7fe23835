//! Words: what a relay says to a source, on its own connection, by subscribing to a topic that no stream can have.
//!
//! The topic is `!` and, in base64url without padding (RFC 4648 section 5), an encoded [`FeedbackReport`], or an envelope with one
//! when there is a feed key. Its salt is the relay's, drawn anew for each connection; its key is made of feed key,
//! challenge and salt. The challenge is the source's, drawn for each connection and told in its answers, so that a feedback
//! of another connection is worth nothing; and two relays whose questions somebody puts to one connection still have
//! different keys. The sequence ascends.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message as _;
use ring::aead::{Aad, LessSafeKey};

use super::{
    AssociatedData, FeedKey, HEADER_BYTES, Header, Kind, OpenError, SALT_BYTES, SEAL_BYTES, Sealer,
    is_sealed, nonce,
};
use crate::detections::{check_canary_status, check_list};
use crate::limits::{MAX_STREAMS, MAX_VIEWER_NAME};
use crate::message::{Answer, Demand, FeedbackReport, StreamName, ViewerReport};

/// Bytes of a challenge: no source draws the same for two connections.
pub const CHALLENGE_BYTES: usize = 16;

/// Longest topic of a feedback: twelve times a second it is 150 kB, which is nothing beside the frames.
pub const MAX_FEEDBACK_TOPIC: usize = 12 << 10;

/// Longest encoded feedback: sealed and in base64, it is a topic.
pub const MAX_FEEDBACK_BYTES: usize = (MAX_FEEDBACK_TOPIC - 1) / 4 * 3 - SEAL_BYTES;

/// Viewers in one feedback: a viewer without detections takes about seventy bytes at least.
pub const MAX_VIEWER_REPORTS: usize = 128;

/// Detections in one feedback: that many of the usual length fit.
pub const MAX_FEEDBACK_DETECTIONS: usize = 128;

/// Longest address of a viewer, as text: one of IPv6 with its scope and port has 60 bytes.
pub const MAX_ADDRESS: usize = 64;

/// Begins the topic of a feedback; a stream's name cannot.
const WORD: u8 = b'!';

/// What is authenticated beside a feedback, for a topic: the feedback itself is the rest of it.
const FEEDBACK_TOPIC: &[u8] = &[WORD];

/// Whether a subscription to `topic` is a feedback, not to be kept.
#[must_use]
pub fn is_feedback(topic: &[u8]) -> bool {
    topic.first() == Some(&WORD)
}

/// Why a feedback is not taken, or not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedbackError {
    /// Longer than [`MAX_FEEDBACK_TOPIC`].
    #[error("it is longer than a feedback may be")]
    TooLong,
    /// The topic is no base64url.
    #[error("it is no base64url")]
    Text,
    /// No `FeedbackReport` in protobuf.
    #[error("it is malformed")]
    Malformed,
    /// A field is out of its bounds.
    #[error("its field {0} is out of bounds")]
    Field(&'static str),
    /// No envelope, and there is a feed key.
    #[error("it is not sealed: give the relay the same feed_key")]
    Plain,
    /// An envelope, and there is no feed key.
    #[error("it is sealed: set feed_key to the key file of the relay")]
    Sealed,
    /// An envelope of another kind or from a later version.
    #[error(
        "it is sealed in a way that is not known here: are source and relay of the same version?"
    )]
    Unknown,
    /// The tag does not fit.
    #[error(
        "its seal does not fit: it was sealed with another key, for another connection, or by nobody"
    )]
    Forged,
    /// Not newer than one that came already on this connection.
    #[error("it is not newer than one that came before")]
    Replayed,
    /// The source has not said yet that it takes feedback, or by which challenge.
    #[error("the source has asked for no feedback")]
    Unasked,
}

impl From<OpenError> for FeedbackError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Plain => Self::Plain,
            OpenError::Sealed => Self::Sealed,
            OpenError::Unknown => Self::Unknown,
            _ => Self::Forged,
        }
    }
}

/// Says feedback to a source, on one connection.
#[derive(Debug)]
pub struct FeedbackSealer {
    key: Option<FeedKey>,
    salt: [u8; SALT_BYTES],
    challenge: Option<[u8; CHALLENGE_BYTES]>,
    sequence: u64,
}

impl FeedbackSealer {
    /// For a connection that has only just been made; `salt` is random and never used again. With a `key` feedback are sealed.
    #[must_use]
    pub const fn new(key: Option<FeedKey>, salt: [u8; SALT_BYTES]) -> Self {
        Self {
            key,
            salt,
            challenge: None,
            sequence: 0,
        }
    }

    /// Takes what the source has answered. One that knows of no feedback has no challenge.
    pub fn on_answer(&mut self, answer: &Answer) {
        self.challenge = answer.challenge[..].try_into().ok();
    }

    /// Whether the source takes feedback.
    #[must_use]
    pub const fn may_speak(&self) -> bool {
        self.challenge.is_some()
    }

    /// The topic that says `feedback`, whose sequence is set here.
    ///
    /// # Errors
    /// [`FeedbackError::Unasked`] and [`FeedbackError::TooLong`].
    pub fn topic(&mut self, feedback: FeedbackReport) -> Result<String, FeedbackError> {
        let challenge = self.challenge.ok_or(FeedbackError::Unasked)?;
        // It goes on when the challenge changes: no nonce is used twice, whatever the other side says.
        let feedback = FeedbackReport {
            sequence: self.sequence + 1,
            ..feedback
        };
        if feedback.encoded_len() > MAX_FEEDBACK_BYTES {
            return Err(FeedbackError::TooLong);
        }
        self.sequence = feedback.sequence;
        let bytes = match &self.key {
            None => feedback.encode_to_vec(),
            Some(key) => seal(
                &word_key(key, &challenge, &self.salt),
                &self.salt,
                &feedback,
            ),
        };
        let mut topic = String::with_capacity(1 + bytes.len().div_ceil(3) * 4);
        topic.push(char::from(WORD));
        URL_SAFE_NO_PAD.encode_string(bytes, &mut topic);
        Ok(topic)
    }
}

/// Understands the feedback that come on one connection.
#[derive(Debug)]
pub struct FeedbackOpener {
    challenge: [u8; CHALLENGE_BYTES],
    key: Option<FeedKey>,
    /// The relay whose feedback was the first to be taken; another one has another connection.
    relay: Option<Relay>,
    newest: u64,
}

struct Relay {
    salt: [u8; SALT_BYTES],
    key: LessSafeKey,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Relay")
    }
}

impl FeedbackOpener {
    /// For a connection that has only just been made; `challenge` is random, and the answers on this connection tell it.
    /// What `sealer` has the key to must be sealed.
    #[must_use]
    pub fn new(sealer: Option<&Sealer>, challenge: [u8; CHALLENGE_BYTES]) -> Self {
        Self {
            challenge,
            key: sealer.map(|sealer| sealer.feed.clone()),
            relay: None,
            newest: 0,
        }
    }

    /// What the answers on this connection are to tell.
    #[must_use]
    pub const fn challenge(&self) -> &[u8; CHALLENGE_BYTES] {
        &self.challenge
    }

    /// The feedback that a subscription to `topic` says. Nothing of one that is refused has been used.
    ///
    /// # Errors
    /// [`FeedbackError`].
    pub fn hear(&mut self, topic: &[u8]) -> Result<FeedbackReport, FeedbackError> {
        if topic.len() > MAX_FEEDBACK_TOPIC {
            return Err(FeedbackError::TooLong);
        }
        let text = topic
            .strip_prefix(FEEDBACK_TOPIC)
            .ok_or(FeedbackError::Text)?;
        let mut bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| FeedbackError::Text)?;
        let (feedback, relay) = match &self.key {
            None if is_sealed(&bytes) => return Err(FeedbackError::Sealed),
            None => (parse_feedback(&bytes)?, None),
            Some(key) => self.open(key, &mut bytes)?,
        };
        if feedback.sequence <= self.newest {
            return Err(FeedbackError::Replayed);
        }
        self.newest = feedback.sequence;
        if relay.is_some() {
            self.relay = relay;
        }
        Ok(feedback)
    }

    /// The feedback in an envelope, and its relay when that is new.
    fn open(
        &self,
        key: &FeedKey,
        bytes: &mut [u8],
    ) -> Result<(FeedbackReport, Option<Relay>), FeedbackError> {
        let (header, _) = Header::parse(bytes, Kind::Feedback)?;
        let (before, text) = bytes.split_at_mut(HEADER_BYTES);
        let (length, relay) = match &self.relay {
            Some(relay) if relay.salt != header.salt => return Err(FeedbackError::Forged),
            Some(relay) => (header.open(&relay.key, before, FEEDBACK_TOPIC, text)?, None),
            None => {
                let key = word_key(key, &self.challenge, &header.salt);
                (
                    header.open(&key, before, FEEDBACK_TOPIC, text)?,
                    Some(Relay {
                        salt: header.salt,
                        key,
                    }),
                )
            }
        };
        let feedback = parse_feedback(&text[..length])?;
        if feedback.sequence != header.sequence {
            return Err(FeedbackError::Field("sequence"));
        }
        Ok((feedback, relay))
    }
}

fn word_key(
    key: &FeedKey,
    challenge: &[u8; CHALLENGE_BYTES],
    salt: &[u8; SALT_BYTES],
) -> LessSafeKey {
    key.derive(&[&challenge[..], salt].concat(), Kind::Feedback)
}

/// An envelope with `feedback`, whose sequence is its own.
fn seal(key: &LessSafeKey, salt: &[u8; SALT_BYTES], feedback: &FeedbackReport) -> Vec<u8> {
    let header = Header {
        kind: Kind::Feedback,
        salt: *salt,
        sequence: feedback.sequence,
    }
    .to_bytes();
    let mut text = feedback.encode_to_vec();
    let aad = AssociatedData::new(&header, FEEDBACK_TOPIC);
    key.seal_in_place_append_tag(nonce(feedback.sequence), Aad::from(aad.bytes()), &mut text)
        .expect("a feedback is shorter than the 64 GB that one nonce may seal");
    [&header[..], &text].concat()
}

/// Reads an encoded feedback and checks every bound.
///
/// # Errors
/// [`FeedbackError::TooLong`], [`FeedbackError::Malformed`], [`FeedbackError::Field`].
pub fn parse_feedback(bytes: &[u8]) -> Result<FeedbackReport, FeedbackError> {
    if bytes.len() > MAX_FEEDBACK_BYTES {
        return Err(FeedbackError::TooLong);
    }
    if is_sealed(bytes) {
        return Err(FeedbackError::Sealed);
    }
    let feedback = FeedbackReport::decode(bytes).map_err(|_| FeedbackError::Malformed)?;
    check_feedback(&feedback)?;
    Ok(feedback)
}

/// Checks every bound.
pub(crate) fn check_feedback(feedback: &FeedbackReport) -> Result<(), FeedbackError> {
    check(feedback).map_err(FeedbackError::Field)
}

fn check(feedback: &FeedbackReport) -> Result<(), &'static str> {
    let bound = |holds: bool, field| if holds { Ok(()) } else { Err(field) };
    bound(feedback.demand.len() <= MAX_STREAMS, "demand")?;
    let names = feedback.demand.iter().map(|Demand { stream, .. }| stream);
    let mut names = names.chain(
        feedback
            .viewers
            .iter()
            .map(|ViewerReport { stream, .. }| stream),
    );
    names.try_for_each(|name| bound(name.parse::<StreamName>().is_ok(), "stream"))?;
    bound(feedback.viewers.len() <= MAX_VIEWER_REPORTS, "seen")?;
    bound(
        feedback
            .viewers
            .iter()
            .map(|seen| seen.detections.len())
            .sum::<usize>()
            <= MAX_FEEDBACK_DETECTIONS,
        "detections",
    )?;
    for seen in &feedback.viewers {
        bound(seen.viewer != 0, "viewer")?;
        bound(seen.name.len() <= MAX_VIEWER_NAME, "name")?;
        bound(seen.address.len() <= MAX_ADDRESS, "address")?;
        bound(seen.detections.is_empty() || seen.screen != 0, "screen")?;
        check_list(&seen.detections)?;
        seen.canary_status
            .as_ref()
            .map_or(Ok(()), check_canary_status)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
