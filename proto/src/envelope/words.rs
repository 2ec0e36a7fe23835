//! Words: what a relay says to a source, on its own connection, by subscribing to a topic that no stream can have.
//!
//! The topic is `!` and, in base64url without padding (RFC 4648 section 5), an encoded [`Word`], or an envelope with one
//! when there is a feed key. Its salt is the relay's, drawn anew for each connection; its key is made of feed key,
//! challenge and salt. The challenge is the source's, drawn for each connection and told in its answers, so that a word
//! of another connection is worth nothing; and two relays whose questions somebody puts to one connection still have
//! different keys. The sequence ascends.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message as _;
use ring::aead::{Aad, LessSafeKey};

use super::{
    Beside, FeedKey, HEADER_BYTES, Header, Kind, OpenError, SALT_BYTES, SEAL_BYTES, Sealer,
    is_sealed, nonce,
};
use crate::findings::{check_beside, check_list};
use crate::limits::{MAX_STREAMS, MAX_VIEWER_NAME};
use crate::message::{Answer, Demand, Seen, StreamName, Word};

/// Bytes of a challenge: no source draws the same for two connections.
pub const CHALLENGE_BYTES: usize = 16;

/// Longest topic of a word: twelve times a second it is 150 kB, which is nothing beside the frames.
pub const MAX_WORD_TOPIC: usize = 12 << 10;

/// Longest encoded word: sealed and in base64, it is a topic.
pub const MAX_WORD_BYTES: usize = (MAX_WORD_TOPIC - 1) / 4 * 3 - SEAL_BYTES;

/// Viewers in one word: a viewer without findings takes about seventy bytes at least.
pub const MAX_SEEN: usize = 128;

/// Findings in one word: that many of the usual length fit.
pub const MAX_WORD_FINDINGS: usize = 128;

/// Longest address of a viewer, as text: one of IPv6 with its scope and port has 60 bytes.
pub const MAX_ADDRESS: usize = 64;

/// Begins the topic of a word; a stream's name cannot.
const WORD: u8 = b'!';

/// What is authenticated beside a word, for a topic: the word itself is the rest of it.
const WORD_TOPIC: &[u8] = &[WORD];

/// Whether a subscription to `topic` is a word, not to be kept.
#[must_use]
pub fn is_word(topic: &[u8]) -> bool {
    topic.first() == Some(&WORD)
}

/// Why a word is not taken, or not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// Longer than [`MAX_WORD_TOPIC`].
    #[error("it is longer than a word may be")]
    TooLong,
    /// The topic is no base64url.
    #[error("it is no base64url")]
    Text,
    /// No `Word` in protobuf.
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
    /// The source has not said yet that it takes words, or by which challenge.
    #[error("the source has asked for no words")]
    Unasked,
}

impl From<OpenError> for WordError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Plain => Self::Plain,
            OpenError::Sealed => Self::Sealed,
            OpenError::Unknown => Self::Unknown,
            _ => Self::Forged,
        }
    }
}

/// Says words to a source, on one connection.
#[derive(Debug)]
pub struct Speaker {
    key: Option<FeedKey>,
    salt: [u8; SALT_BYTES],
    challenge: Option<[u8; CHALLENGE_BYTES]>,
    sequence: u64,
}

impl Speaker {
    /// For a connection that has only just been made; `salt` is random and never used again. With a `key` words are sealed.
    #[must_use]
    pub const fn new(key: Option<FeedKey>, salt: [u8; SALT_BYTES]) -> Self {
        Self {
            key,
            salt,
            challenge: None,
            sequence: 0,
        }
    }

    /// Takes what the source has answered. One that knows of no words has no challenge.
    pub fn on_answer(&mut self, answer: &Answer) {
        self.challenge = answer.challenge[..].try_into().ok();
    }

    /// Whether the source takes words.
    #[must_use]
    pub const fn may_speak(&self) -> bool {
        self.challenge.is_some()
    }

    /// The topic that says `word`, whose sequence is set here.
    ///
    /// # Errors
    /// [`WordError::Unasked`] and [`WordError::TooLong`].
    pub fn topic(&mut self, word: Word) -> Result<String, WordError> {
        let challenge = self.challenge.ok_or(WordError::Unasked)?;
        // It goes on when the challenge changes: no nonce is used twice, whatever the other side says.
        let word = Word {
            sequence: self.sequence + 1,
            ..word
        };
        if word.encoded_len() > MAX_WORD_BYTES {
            return Err(WordError::TooLong);
        }
        self.sequence = word.sequence;
        let bytes = match &self.key {
            None => word.encode_to_vec(),
            Some(key) => seal(&word_key(key, &challenge, &self.salt), &self.salt, &word),
        };
        let mut topic = String::with_capacity(1 + bytes.len().div_ceil(3) * 4);
        topic.push(char::from(WORD));
        URL_SAFE_NO_PAD.encode_string(bytes, &mut topic);
        Ok(topic)
    }
}

/// Understands the words that come on one connection.
#[derive(Debug)]
pub struct Listener {
    challenge: [u8; CHALLENGE_BYTES],
    key: Option<FeedKey>,
    /// The relay whose word was the first to be taken; another one has another connection.
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

impl Listener {
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

    /// The word that a subscription to `topic` says. Nothing of one that is refused has been used.
    ///
    /// # Errors
    /// [`WordError`].
    pub fn hear(&mut self, topic: &[u8]) -> Result<Word, WordError> {
        if topic.len() > MAX_WORD_TOPIC {
            return Err(WordError::TooLong);
        }
        let text = topic.strip_prefix(WORD_TOPIC).ok_or(WordError::Text)?;
        let mut bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| WordError::Text)?;
        let (word, relay) = match &self.key {
            None if is_sealed(&bytes) => return Err(WordError::Sealed),
            None => (parse_word(&bytes)?, None),
            Some(key) => self.open(key, &mut bytes)?,
        };
        if word.sequence <= self.newest {
            return Err(WordError::Replayed);
        }
        self.newest = word.sequence;
        if relay.is_some() {
            self.relay = relay;
        }
        Ok(word)
    }

    /// The word in an envelope, and its relay when that is new.
    fn open(&self, key: &FeedKey, bytes: &mut [u8]) -> Result<(Word, Option<Relay>), WordError> {
        let (header, _) = Header::parse(bytes, Kind::Word)?;
        let (before, text) = bytes.split_at_mut(HEADER_BYTES);
        let (length, relay) = match &self.relay {
            Some(relay) if relay.salt != header.salt => return Err(WordError::Forged),
            Some(relay) => (header.open(&relay.key, before, WORD_TOPIC, text)?, None),
            None => {
                let key = word_key(key, &self.challenge, &header.salt);
                (
                    header.open(&key, before, WORD_TOPIC, text)?,
                    Some(Relay {
                        salt: header.salt,
                        key,
                    }),
                )
            }
        };
        let word = parse_word(&text[..length])?;
        if word.sequence != header.sequence {
            return Err(WordError::Field("sequence"));
        }
        Ok((word, relay))
    }
}

fn word_key(
    key: &FeedKey,
    challenge: &[u8; CHALLENGE_BYTES],
    salt: &[u8; SALT_BYTES],
) -> LessSafeKey {
    key.derive(&[&challenge[..], salt].concat(), Kind::Word)
}

/// An envelope with `word`, whose sequence is its own.
fn seal(key: &LessSafeKey, salt: &[u8; SALT_BYTES], word: &Word) -> Vec<u8> {
    let header = Header {
        kind: Kind::Word,
        salt: *salt,
        sequence: word.sequence,
    }
    .to_bytes();
    let mut text = word.encode_to_vec();
    let aad = Beside::new(&header, WORD_TOPIC);
    key.seal_in_place_append_tag(nonce(word.sequence), Aad::from(aad.bytes()), &mut text)
        .expect("a word is shorter than the 64 GB that one nonce may seal");
    [&header[..], &text].concat()
}

/// Reads an encoded word and checks every bound.
///
/// # Errors
/// [`WordError::TooLong`], [`WordError::Malformed`], [`WordError::Field`].
pub fn parse_word(bytes: &[u8]) -> Result<Word, WordError> {
    if bytes.len() > MAX_WORD_BYTES {
        return Err(WordError::TooLong);
    }
    if is_sealed(bytes) {
        return Err(WordError::Sealed);
    }
    let word = Word::decode(bytes).map_err(|_| WordError::Malformed)?;
    check(&word).map_err(WordError::Field)?;
    Ok(word)
}

fn check(word: &Word) -> Result<(), &'static str> {
    let bound = |holds: bool, field| if holds { Ok(()) } else { Err(field) };
    bound(word.sequence != 0, "sequence")?;
    bound(word.demand.len() <= MAX_STREAMS, "demand")?;
    let names = word.demand.iter().map(|Demand { stream, .. }| stream);
    let mut names = names.chain(word.seen.iter().map(|Seen { stream, .. }| stream));
    names.try_for_each(|name| bound(name.parse::<StreamName>().is_ok(), "stream"))?;
    bound(word.seen.len() <= MAX_SEEN, "seen")?;
    bound(
        word.seen
            .iter()
            .map(|seen| seen.findings.len())
            .sum::<usize>()
            <= MAX_WORD_FINDINGS,
        "findings",
    )?;
    for seen in &word.seen {
        bound(seen.viewer != 0, "viewer")?;
        bound(seen.name.len() <= MAX_VIEWER_NAME, "name")?;
        bound(seen.address.len() <= MAX_ADDRESS, "address")?;
        bound(seen.findings.is_empty() || seen.screen != 0, "screen")?;
        check_list(&seen.findings)?;
        seen.beside.as_ref().map_or(Ok(()), check_beside)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
