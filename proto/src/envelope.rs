//! The seal of the ZeroMQ leg: what a source publishes is neither read nor made, nor kept and played again, by anyone
//! who has not the feed key.
//!
//! ```text
//! byte 0      F1
//!      1      kind: 20 a frame, 21 an answer, 22 a feedback
//!      2      reserved, six zeros
//!      8      salt: 16 bytes, drawn at random at each start of the source (of a feedback: by its relay, see `feedback`)
//!     24      sequence: 8 bytes, counts the envelopes of this kind and salt from 1
//!     32      ciphertext of the encoded `Frame`, `Answer` or `FeedbackReport`
//!    end-16   tag
//! ```
//!
//! AES-128-GCM (RFC 5116) under a key that HKDF-SHA256 (RFC 5869) makes of feed key, salt and kind; the nonce is four
//! zeros and the sequence; authenticated beside the text are the 32 bytes before it and, behind them, the topic.
//!
//! Freshness needs no clock: a relay asks each new connection under a topic that holds a random nonce, and takes frames
//! only of a salt that an answer to its own question has proved, only those sealed after that answer, and only in order.

mod feedback;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use zeroize::Zeroizing;

use crate::keys::KEY_BYTES;
use crate::limits::MAX_STREAM_NAME;
use crate::message::Answer;

pub(crate) use feedback::check_feedback;
pub use feedback::{
    CHALLENGE_BYTES, FeedbackError, FeedbackOpener, FeedbackSealer, MAX_ADDRESS,
    MAX_FEEDBACK_BYTES, MAX_FEEDBACK_DETECTIONS, MAX_FEEDBACK_TOPIC, MAX_VIEWER_REPORTS,
    is_feedback, parse_feedback,
};

/// Bytes before the ciphertext.
pub const HEADER_BYTES: usize = 32;

/// Bytes behind it.
pub const TAG_BYTES: usize = 16;

/// What a seal adds to a message.
pub const SEAL_BYTES: usize = HEADER_BYTES + TAG_BYTES;

/// Bytes of a salt: two starts of any source in the world do not draw the same.
pub const SALT_BYTES: usize = 16;

/// Verdicts in one answer: what a wall of screens and its canaries need.
pub const MAX_VERDICTS: usize = 500;

/// Largest encoded answer without a status: [`MAX_VERDICTS`] of at most 48 bytes, the clock, the challenge, and what later
/// versions may add.
pub const MAX_ANSWER_BYTES: usize = 24 << 10;

/// Longest report of a source on how things stand, in bytes: a thousand rows at 2.5 kB, and room.
pub const MAX_STATUS_BYTES: usize = 3 << 20;

/// Bytes of a question's nonce: nobody has recorded an answer to it.
pub const NONCE_BYTES: usize = 16;

/// Begins the topic of a question; a stream's name cannot.
const QUESTION: u8 = b'?';

const QUESTION_TOPIC_BYTES: usize = 1 + 2 * NONCE_BYTES;

/// Ends the topic of a question how things stand.
const STATUS: &[u8] = b"/status";

const MARK: u8 = 0xf1;

/// What HKDF binds a key to, before the byte of the kind.
const PURPOSE: &[u8] = b"fanlight 1 feed";

/// Longest text that is authenticated beside the ciphertext.
const MAX_AAD: usize = HEADER_BYTES + MAX_STREAM_NAME + 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Frame = 0x20,
    Answer = 0x21,
    Feedback = 0x22,
}

/// The topic of the question that `nonce` names: `?` and 32 hexadecimal digits.
#[must_use]
pub fn question(nonce: [u8; NONCE_BYTES]) -> String {
    format!(
        "{}{:032x}",
        char::from(QUESTION),
        u128::from_be_bytes(nonce)
    )
}

/// The topic of the question how things stand that `nonce` names: that of [`question`] and `/status`.
#[must_use]
pub fn status_question(nonce: [u8; NONCE_BYTES]) -> String {
    question(nonce) + "/status"
}

/// Whether a subscription to `topic` is a question, to be answered once under that topic and not to be kept.
#[must_use]
pub fn is_question(topic: &[u8]) -> bool {
    let topic = topic.strip_suffix(STATUS).unwrap_or(topic);
    let digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    topic.len() == QUESTION_TOPIC_BYTES && topic[0] == QUESTION && topic[1..].iter().all(digit)
}

/// Whether a [question](is_question) asks how things stand, so that its answer has a status.
#[must_use]
pub fn is_status_question(topic: &[u8]) -> bool {
    is_question(topic) && topic.ends_with(STATUS)
}

/// Largest encoded answer to the question `topic`.
#[must_use]
pub fn max_answer_bytes(topic: &[u8]) -> usize {
    if is_status_question(topic) {
        MAX_ANSWER_BYTES + MAX_STATUS_BYTES
    } else {
        MAX_ANSWER_BYTES
    }
}

/// Whether `body` is a sealed message. No encoding of a [`Frame`](crate::message::Frame) begins so.
#[must_use]
pub fn is_sealed(body: &[u8]) -> bool {
    body.starts_with(&[MARK])
}

/// An answer of a source without a key.
#[must_use]
pub fn plain_answer(answer: &Answer) -> Bytes {
    answer.encode_to_vec().into()
}

/// Reads [`plain_answer`] to the question `topic`.
///
/// # Errors
/// When it is no encoded `Answer`, a sealed one, or one that says more than was asked.
pub fn parse_answer(topic: &[u8], body: &[u8]) -> Result<Answer, OpenError> {
    if is_sealed(body) {
        return Err(OpenError::Sealed);
    }
    let body = (body.len() <= max_answer_bytes(topic))
        .then_some(body)
        .ok_or(OpenError::Answer)?;
    let answer = Answer::decode(body).map_err(|_| OpenError::Answer)?;
    let told = answer.verdicts.len() <= MAX_VERDICTS
        && (answer.status.is_empty() || is_status_question(topic));
    told.then_some(answer).ok_or(OpenError::Answer)
}

/// What a source and its relays share. Never shown, and overwritten when it goes.
#[derive(Clone)]
pub struct FeedKey(Zeroizing<[u8; KEY_BYTES]>);

impl FeedKey {
    /// The key of these bytes, which must be random.
    #[must_use]
    pub fn new(secret: impl Into<Zeroizing<[u8; KEY_BYTES]>>) -> Self {
        Self(secret.into())
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    fn derive(&self, salt: &[u8], kind: Kind) -> LessSafeKey {
        let secret = Salt::new(HKDF_SHA256, salt).extract(&self.0[..]);
        let purpose = [PURPOSE, &[kind as u8]];
        let key = secret
            .expand(&purpose, &AES_128_GCM)
            .expect("16 bytes are less than HKDF can give");
        LessSafeKey::new(UnboundKey::from(key))
    }
}

impl fmt::Debug for FeedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FeedKey")
    }
}

/// Seals what one run of a source publishes, on any thread.
#[derive(Debug)]
pub struct Sealer {
    feed: FeedKey,
    salt: [u8; SALT_BYTES],
    frames: Counted,
    answers: Counted,
}

/// A key and how many nonces of it have been used.
#[derive(Debug)]
struct Counted {
    kind: Kind,
    key: LessSafeKey,
    used: AtomicU64,
}

impl Sealer {
    /// For one run; `salt` is random and never used again.
    #[must_use]
    pub fn new(key: &FeedKey, salt: [u8; SALT_BYTES]) -> Self {
        let counted = |kind| Counted {
            kind,
            key: key.derive(&salt, kind),
            used: AtomicU64::new(0),
        };
        Self {
            feed: key.clone(),
            salt,
            frames: counted(Kind::Frame),
            answers: counted(Kind::Answer),
        }
    }

    /// Seals the frame that lies in `buffer` from `start` on, without moving it. Header and tag go into the
    /// [`HEADER_BYTES`] before it and behind its end. Frames are to be published in the order in which they were
    /// sealed, or the relay drops those that were overtaken.
    ///
    /// # Panics
    /// When there is no room before the frame, or the topic is longer than a stream's.
    #[must_use]
    pub fn frame(&self, topic: &[u8], buffer: Vec<u8>, start: usize) -> Bytes {
        self.frames.seal(&self.salt, topic, buffer, start)
    }

    /// Seals the answer to the question `topic`, and says in it which frames are older.
    #[must_use]
    pub fn answer(&self, topic: &[u8], answer: Answer) -> Bytes {
        let answer = Answer {
            newest_sealed: self.frames.used.load(Ordering::Acquire),
            ..answer
        };
        let mut buffer = Vec::with_capacity(SEAL_BYTES + answer.encoded_len());
        buffer.resize(HEADER_BYTES, 0);
        answer.encode(&mut buffer).expect("a vector has room");
        self.answers.seal(&self.salt, topic, buffer, HEADER_BYTES)
    }
}

impl Counted {
    fn seal(
        &self,
        salt: &[u8; SALT_BYTES],
        topic: &[u8],
        mut buffer: Vec<u8>,
        start: usize,
    ) -> Bytes {
        let sequence = self.used.fetch_add(1, Ordering::AcqRel) + 1;
        let header = Header {
            kind: self.kind,
            salt: *salt,
            sequence,
        }
        .to_bytes();
        let begin = start
            .checked_sub(HEADER_BYTES)
            .expect("the buffer has room for a header before the message");
        buffer[begin..start].copy_from_slice(&header);
        let aad = AssociatedData::new(&header, topic);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                nonce(sequence),
                Aad::from(aad.bytes()),
                &mut buffer[start..],
            )
            .expect("a frame is shorter than the 64 GB that one nonce may seal");
        buffer.extend_from_slice(tag.as_ref());
        Bytes::from(buffer).slice(begin..)
    }
}

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No envelope.
    #[error("it is not sealed: give its source the same feed_key")]
    Plain,
    /// An envelope, and here is no key to open it with.
    #[error("it is sealed: set feed_key to the key file of its source")]
    Sealed,
    /// Cut short, of another kind or from a later version.
    #[error(
        "it is sealed in a way that is not known here: are source and relay of the same version?"
    )]
    Unknown,
    /// The tag does not fit.
    #[error(
        "its seal does not fit: either source and relay have different feed keys, or somebody forges frames"
    )]
    Forged,
    /// No answer to a question of ours has proved the salt.
    #[error("it was sealed by a run of the source that did not answer: somebody plays a recording")]
    Unproven,
    /// An older one, or the same again.
    #[error("it was sealed before one that came already: somebody plays frames again")]
    Replayed,
    /// No `Answer` in protobuf, or one that says more than was asked.
    #[error("the source's answer is malformed")]
    Answer,
}

/// Opens what comes on one connection.
#[derive(Debug)]
pub struct Opener {
    key: FeedKey,
    proven: Option<Proven>,
}

#[derive(Debug)]
struct Proven {
    salt: [u8; SALT_BYTES],
    frames: LessSafeKey,
    /// Sequence of the newest frame taken, or of the newest that is too old to be taken.
    newest: u64,
}

impl Opener {
    /// For a connection that has only just been made.
    #[must_use]
    pub const fn new(key: FeedKey) -> Self {
        Self { key, proven: None }
    }

    /// Whether an answer has proved that the source lives and has the key. Until then no frame can be taken.
    #[must_use]
    pub const fn is_proven(&self) -> bool {
        self.proven.is_some()
    }

    /// Opens an answer that came under `topic`, the question that is open now. The caller must have drawn its nonce at
    /// random after the connection was made, and must pass on no second answer to it.
    ///
    /// # Errors
    /// Says why the message is none that the source with our key has sent.
    pub fn answer(&mut self, topic: &[u8], body: &[u8]) -> Result<Answer, OpenError> {
        let (header, text) = Header::parse(body, Kind::Answer)?;
        if body.len() > SEAL_BYTES + max_answer_bytes(topic) {
            return Err(OpenError::Answer);
        }
        let mut text = text.to_vec();
        let key = self.key.derive(&header.salt, Kind::Answer);
        let length = header.open(&key, &body[..HEADER_BYTES], topic, &mut text)?;
        let answer = parse_answer(topic, &text[..length])?;
        if self
            .proven
            .as_ref()
            .is_none_or(|proven| proven.salt != header.salt)
        {
            let frames = self.key.derive(&header.salt, Kind::Frame);
            self.proven = Some(Proven {
                salt: header.salt,
                frames,
                newest: answer.newest_sealed,
            });
        }
        Ok(answer)
    }

    /// Opens a frame: in place when nobody else holds the bytes, else with one copy. (The `zeromq` crate hands out slices
    /// of its read buffer, so that it is a copy there.) Gives the encoded `Frame`.
    ///
    /// # Errors
    /// Says why the message is none that the source with our key has sealed since it answered.
    pub fn frame(&mut self, topic: &[u8], body: Bytes) -> Result<Bytes, OpenError> {
        let (header, _) = Header::parse(&body, Kind::Frame)?;
        let proven = self
            .proven
            .as_mut()
            .filter(|proven| proven.salt == header.salt)
            .ok_or(OpenError::Unproven)?;
        if header.sequence <= proven.newest {
            return Err(OpenError::Replayed);
        }
        let mut body = body
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let (before, text) = body.split_at_mut(HEADER_BYTES);
        let length = header.open(&proven.frames, before, topic, text)?;
        proven.newest = header.sequence;
        body.truncate(HEADER_BYTES + length);
        Ok(body.freeze().slice(HEADER_BYTES..))
    }
}

struct Header {
    kind: Kind,
    salt: [u8; SALT_BYTES],
    sequence: u64,
}

impl Header {
    fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..2].copy_from_slice(&[MARK, self.kind as u8]);
        bytes[8..24].copy_from_slice(&self.salt);
        bytes[24..].copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }

    /// The header of an envelope of `kind`, and ciphertext and tag behind it.
    fn parse(body: &[u8], kind: Kind) -> Result<(Self, &[u8]), OpenError> {
        if !is_sealed(body) {
            return Err(OpenError::Plain);
        }
        let (header, rest) = body
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(OpenError::Unknown)?;
        let (before, salt, sequence) = (&header[..8], &header[8..24], &header[24..]);
        if before != [MARK, kind as u8, 0, 0, 0, 0, 0, 0] || rest.len() < TAG_BYTES {
            return Err(OpenError::Unknown);
        }
        let salt = salt.try_into().expect("16 bytes were cut");
        let sequence = u64::from_be_bytes(sequence.try_into().expect("8 bytes were cut"));
        Ok((
            Self {
                kind,
                salt,
                sequence,
            },
            rest,
        ))
    }

    /// Deciphers `text`, tag included, where it lies. The length of what was sealed.
    fn open(
        &self,
        key: &LessSafeKey,
        header: &[u8],
        topic: &[u8],
        text: &mut [u8],
    ) -> Result<usize, OpenError> {
        if topic.len() > MAX_AAD - HEADER_BYTES {
            return Err(OpenError::Forged);
        }
        let aad = AssociatedData::new(header, topic);
        let opened = key.open_in_place(nonce(self.sequence), Aad::from(aad.bytes()), text);
        opened
            .map(|plain| plain.len())
            .map_err(|_| OpenError::Forged)
    }
}

/// Header and topic in a row.
struct AssociatedData {
    bytes: [u8; MAX_AAD],
    length: usize,
}

impl AssociatedData {
    fn new(header: &[u8], topic: &[u8]) -> Self {
        let (mut bytes, length) = ([0; MAX_AAD], HEADER_BYTES + topic.len());
        bytes[..HEADER_BYTES].copy_from_slice(header);
        bytes[HEADER_BYTES..length].copy_from_slice(topic);
        Self { bytes, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn nonce(sequence: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&sequence.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests;
