//! The keys that people keep in files, and how the files spell them: one line with a word that says what it is, a
//! colon and 64 hexadecimal digits. Lines that are empty or begin with `#` mean nothing.
//!
//! No error and no `Debug` shows a secret, or any part of a line that could be one.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use curve25519_dalek::MontgomeryPoint;
use zeroize::Zeroizing;

use crate::limits::{MAX_VIEWER_KEYS, MAX_VIEWER_NAME};

#[cfg(test)]
mod tests;

/// Bytes of each of these keys.
pub const KEY_BYTES: usize = 32;

/// The key that a relay and all its viewers share.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedKey(Zeroizing<[u8; KEY_BYTES]>);

/// The key that a source and its relays share. Never shown, and wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct FeedKey(Zeroizing<[u8; KEY_BYTES]>);

/// A key of X25519 (RFC 7748) that only its owner has.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Zeroizing<[u8; KEY_BYTES]>);

/// What others know of a [`PrivateKey`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_BYTES]);

/// What a line of a key file says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A [`SharedKey`].
    Shared,
    /// A [`PrivateKey`].
    Private,
    /// A [`PublicKey`].
    Public,
    /// The key that a source and its relays share: 32 bytes like a [`SharedKey`], but whoever may watch does not have it.
    Feed,
}

/// Why a text is not the key that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no key in it.
    #[error("there is no key in it: it needs a line `{0}…`, which `keygen` makes")]
    Missing(KeyKind),
    /// A line is no key.
    #[error(
        "line {line} is no key: it must be `{wanted}` and 64 hexadecimal digits, as `keygen` makes it"
    )]
    Malformed {
        /// Which line, from 1.
        line: usize,
        /// What it should be.
        wanted: KeyKind,
    },
    /// A line is a key for something else.
    #[error("line {line} begins with `{found}`, but `{wanted}` is wanted here")]
    Kind {
        /// Which line, from 1.
        line: usize,
        /// What it is.
        found: KeyKind,
        /// What it should be.
        wanted: KeyKind,
    },
    /// A second key where one is wanted.
    #[error("line {line} is a second key: leave one")]
    Second {
        /// Which line, from 1.
        line: usize,
    },
    /// A public key that gives the same secret with everybody, so that it needs no private key to pose as its owner.
    #[error("line {line} is a point of small order and nobody's key: make one with `keygen pair`")]
    Weak {
        /// Which line, from 1.
        line: usize,
    },
    /// A key that stands in the list twice.
    #[error("line {line} is the key of line {first} again: give each its own, or remove a line")]
    Duplicate {
        /// Which line, from 1.
        line: usize,
        /// The line that had it.
        first: usize,
    },
    /// A name that is missing or too long.
    #[error(
        "line {line} needs the name of its owner behind the key, at most {MAX_VIEWER_NAME} bytes long"
    )]
    Name {
        /// Which line, from 1.
        line: usize,
    },
    /// What stands behind a key is not what is wanted there.
    #[error("line {line}: {problem}")]
    Entry {
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// More keys than a list may have.
    #[error(
        "line {line} is one key more than the {MAX_VIEWER_KEYS} that a list may have: remove some"
    )]
    TooMany {
        /// Which line, from 1.
        line: usize,
    },
}

impl KeyKind {
    const ALL: [Self; 4] = [Self::Shared, Self::Private, Self::Public, Self::Feed];

    /// What its line begins with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Shared => "fanlight-psk:",
            Self::Private => "fanlight-private:",
            Self::Public => "fanlight-public:",
            Self::Feed => "fanlight-feed:",
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.prefix())
    }
}

impl SharedKey {
    /// The key of these bytes, which must be random.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The one key of a key file.
    ///
    /// # Errors
    /// [`KeyError`], with the line.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        parse(KeyKind::Shared, text).map(Self)
    }

    /// The line of a key file, without its end.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        spell(KeyKind::Shared, &self.0)
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl FeedKey {
    /// The key of these bytes, which must be random.
    #[must_use]
    pub fn new(bytes: impl Into<Zeroizing<[u8; KEY_BYTES]>>) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl PrivateKey {
    /// The key of these bytes, which must be random.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The one key of a key file.
    ///
    /// # Errors
    /// [`KeyError`], with the line.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        parse(KeyKind::Private, text).map(Self)
    }

    /// The line of a key file, without its end.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        spell(KeyKind::Private, &self.0)
    }

    /// What others may know.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(MontgomeryPoint::mul_base_clamped(*self.0).to_bytes())
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl PublicKey {
    /// The key of these bytes; `None` when it is a point of small order (RFC 7748 section 6.1), with which everybody
    /// shares the same secret.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Option<Self> {
        // A clamped scalar is a multiple of the cofactor, and takes every such point to zero.
        let shared = MontgomeryPoint(bytes)
            .mul_clamped([1; KEY_BYTES])
            .to_bytes();
        (shared != [0; KEY_BYTES]).then_some(Self(bytes))
    }

    /// The one key of a key file.
    ///
    /// # Errors
    /// [`KeyError`], with the line.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (line, bytes) = only(text, KeyKind::Public)?;
        Self::new(*bytes).ok_or(KeyError::Weak { line })
    }

    /// The key of someone with whom a secret has just been shared, which shows that its order is not small.
    pub(crate) const fn exchanged(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::parse(text)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spell(KeyKind::Public, &self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for FeedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FeedKey(hidden)")
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(hidden)")
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(hidden, of {})", self.public())
    }
}

/// The bytes of the one key of `kind` in a key file.
///
/// # Errors
/// [`KeyError`], with the line.
pub fn parse(kind: KeyKind, text: &str) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    only(text, kind).map(|(_, bytes)| bytes)
}

/// The line of a key file, without its end.
#[must_use]
pub fn spell(kind: KeyKind, bytes: &[u8; KEY_BYTES]) -> Zeroizing<String> {
    // Room at once: growing would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(kind.prefix().len() + 2 * KEY_BYTES));
    text.push_str(kind.prefix());

    for byte in bytes {
        text.extend(
            [byte >> 4, byte & 15].map(|value| char::from(b"0123456789abcdef"[usize::from(value)])),
        );
    }

    text
}

/// A list of viewers or relays: one line each, `fanlight-public:…` and behind a blank what people call it. An empty list
/// is good: it lets nobody in.
///
/// # Errors
/// [`KeyError`], with the line: also for a name over [`MAX_VIEWER_NAME`] bytes.
pub fn parse_names(text: &str) -> Result<Vec<(PublicKey, String)>, KeyError> {
    parse_list(text, |line, name| {
        let fits = 1..=MAX_VIEWER_NAME;
        if !fits.contains(&name.len()) || name.chars().any(char::is_control) {
            return Err(KeyError::Name { line });
        }
        Ok(name.to_owned())
    })
}

/// The keys of a list, each with what `read_rest` makes of the rest of its line, whose number it gets too.
///
/// # Errors
/// [`KeyError`], with the line: also for a key that stands there twice, and more than [`MAX_VIEWER_KEYS`] keys.
pub fn parse_list<T>(
    text: &str,
    mut read_rest: impl FnMut(usize, &str) -> Result<T, KeyError>,
) -> Result<Vec<(PublicKey, T)>, KeyError> {
    let mut listed = Vec::new();
    let mut lines: HashMap<PublicKey, usize> = HashMap::new();

    for (line, text) in meant(text) {
        let (key, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let bytes = read(line, key, KeyKind::Public)?;
        let entry = read_rest(line, rest.trim())?;
        let key = PublicKey::new(*bytes).ok_or(KeyError::Weak { line })?;

        if let Some(first) = lines.insert(key, line) {
            return Err(KeyError::Duplicate { line, first });
        }

        if listed.len() == MAX_VIEWER_KEYS {
            return Err(KeyError::TooMany { line });
        }

        listed.push((key, entry));
    }

    Ok(listed)
}

/// The lines that mean something, counted from 1.
fn meant(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines().map(str::trim))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

fn only(text: &str, wanted: KeyKind) -> Result<(usize, Zeroizing<[u8; KEY_BYTES]>), KeyError> {
    let mut lines = meant(text);
    let (line, key) = lines.next().ok_or(KeyError::Missing(wanted))?;
    let bytes = read(line, key, wanted)?;
    lines.next().map_or(Ok((line, bytes)), |(line, _)| {
        Err(KeyError::Second { line })
    })
}

fn read(line: usize, text: &str, wanted: KeyKind) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    let malformed = KeyError::Malformed { line, wanted };
    let Some(digits) = text.strip_prefix(wanted.prefix()) else {
        let found = KeyKind::ALL
            .into_iter()
            .find(|kind| text.starts_with(kind.prefix()));
        return Err(found.map_or(malformed, |found| KeyError::Kind {
            line,
            found,
            wanted,
        }));
    };

    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if pairs.len() != KEY_BYTES || !rest.is_empty() {
        return Err(malformed);
    }

    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else {
            return Err(malformed);
        };
        *byte = high << 4 | low;
    }

    Ok(bytes)
}

fn digit(letter: u8) -> Option<u8> {
    char::from(letter)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}
