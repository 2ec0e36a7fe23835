//! Key files: where they are, whom they must be closed to, and how they are made.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use fanlight_proto::keys::{self, KEY_BYTES, KeyError, KeyKind, PrivateKey, PublicKey, SharedKey};
use fanlight_proto::limits::MAX_VIEWER_KEYS;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

pub mod keygen;

/// Largest file with one key, in bytes: the key has 81 at most, the rest is room for comments.
pub const MAX_KEY_FILE_BYTES: usize = 4096;

/// Largest list of public keys, in bytes: a key and the longest name have 146, the rest is room for comments.
pub const MAX_LIST_BYTES: usize = MAX_VIEWER_KEYS * 256;

/// How long a token is, in characters: `keygen token` makes 44; of fewer than 16, others could try them all.
pub const TOKEN_LENGTHS: std::ops::RangeInclusive<usize> = 16..=256;

/// The variable in which the service manager says where the credentials of a service are (systemd.exec(5)).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Where a key file is, as a setting says it: a path, or `credential:NAME` for what systemd's `LoadCredential=NAME:…`
/// hands to a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyPath {
    /// A path.
    File(PathBuf),
    /// The name of a credential of this service.
    Credential(String),
}

/// A setting that names no key file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyPathError {
    /// No path at all.
    #[error("a key file is a path, or credential:NAME for a systemd credential; this is empty")]
    Empty,
    /// What cannot be the name of a credential.
    #[error(
        "`{0}` is no name of a credential: it must be a file name, as in LoadCredential=NAME:/path"
    )]
    Name(String),
}

impl FromStr for KeyPath {
    type Err = KeyPathError;

    fn from_str(text: &str) -> Result<Self, KeyPathError> {
        match text.strip_prefix("credential:") {
            Some("" | "." | "..") => Err(KeyPathError::Name(text.to_owned())),
            Some(name) if name.contains(['/', '\0']) => Err(KeyPathError::Name(text.to_owned())),
            Some(name) => Ok(Self::Credential(name.to_owned())),
            None if text.is_empty() => Err(KeyPathError::Empty),
            None => Ok(Self::File(text.into())),
        }
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

/// Why there is no key. Nothing of a file's content stands in it.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// A credential outside a service that has any.
    #[error(
        "credential:{name} is a systemd credential, but this service has none: add LoadCredential={name}:/path to its \
         unit, or give the path of the file here"
    )]
    NoCredentials {
        /// Its name.
        name: String,
    },
    /// There is nothing at this path.
    #[error("there is no key file {}: make one with `keygen`, or copy it here", .file.display())]
    Missing {
        /// The path.
        file: PathBuf,
    },
    /// It cannot be opened, looked at or read.
    #[error("cannot read the key file {}: {error}", .file.display())]
    Unreadable {
        /// The path.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A folder, a device, a pipe.
    #[error("{} is no regular file, as a key file must be", .file.display())]
    NotAFile {
        /// The path.
        file: PathBuf,
    },
    /// Others may read a secret.
    #[error(
        "the key file {} is open to others (mode {mode:04o}), so its key may be no secret: run `chmod 600 {}`, and make a \
         new key if others have been on this host", .file.display(), .file.display()
    )]
    Exposed {
        /// The path.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is another user's, who may change it at any time.
    #[error(
        "{} belongs to user {owner}, and must belong to the user of this program ({user}) or root: run `chown {user} {}`",
        .file.display(), .file.display()
    )]
    Foreign {
        /// The path.
        file: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who runs the program.
        user: u32,
    },
    /// Others may write who is let in.
    #[error(
        "others may write to {} (mode {mode:04o}), and so let in whom they like: run `chmod go-w {}`",
        .file.display(), .file.display()
    )]
    Writable {
        /// The path.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Larger than any key file.
    #[error("{} has more than {limit} bytes: it is no key file", .file.display())]
    TooLarge {
        /// The path.
        file: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// It has not the key that is wanted.
    #[error("the key file {} cannot be used: {error}", .file.display())]
    Content {
        /// The path.
        file: PathBuf,
        /// Why not, and in which line.
        error: KeyError,
    },
    /// It has bytes that are no text.
    #[error("the key file {} is no text (UTF-8), as `keygen` makes it", .file.display())]
    NoText {
        /// The path.
        file: PathBuf,
    },
    /// It has no token.
    #[error("{} has no token: a line of 16 to 256 visible characters without a space, as `keygen token FILE` makes it", .file.display())]
    NoToken {
        /// The path.
        file: PathBuf,
    },
    /// A key file is never overwritten.
    #[error("{} exists, and a key is never overwritten: give another path, or remove it first", .file.display())]
    Exists {
        /// The path.
        file: PathBuf,
    },
    /// It cannot be made.
    #[error("cannot write the key file {}: {error}", .file.display())]
    Unwritable {
        /// The path.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl KeyPath {
    /// The path of the file.
    ///
    /// # Errors
    /// [`KeyFileError::NoCredentials`].
    pub fn resolve(&self) -> Result<PathBuf, KeyFileError> {
        self.resolve_in(
            std::env::var_os(CREDENTIALS_DIRECTORY)
                .map(PathBuf::from)
                .as_deref(),
        )
    }

    fn resolve_in(&self, credentials: Option<&Path>) -> Result<PathBuf, KeyFileError> {
        match (self, credentials) {
            (Self::File(path), _) => Ok(path.clone()),
            (Self::Credential(name), Some(folder)) => Ok(folder.join(name)),
            (Self::Credential(name), None) => {
                Err(KeyFileError::NoCredentials { name: name.clone() })
            }
        }
    }

    /// The key that relay and viewers share.
    ///
    /// # Errors
    /// [`KeyFileError`]; also when anybody but its owner may read or write the file.
    pub fn shared(&self) -> Result<SharedKey, KeyFileError> {
        self.secret(SharedKey::parse)
    }

    /// A key of one's own.
    ///
    /// # Errors
    /// As [`shared`](Self::shared).
    pub fn private(&self) -> Result<PrivateKey, KeyFileError> {
        self.secret(PrivateKey::parse)
    }

    /// The bytes of the key that source and relays share.
    ///
    /// # Errors
    /// As [`shared`](Self::shared).
    pub fn feed(&self) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyFileError> {
        self.secret(|text| keys::parse(KeyKind::Feed, text))
    }

    /// The public key of someone else.
    ///
    /// # Errors
    /// [`KeyFileError`]; also when anybody but its owner may write the file.
    pub fn public(&self) -> Result<PublicKey, KeyFileError> {
        self.content(Kept::Public, MAX_KEY_FILE_BYTES, PublicKey::parse)
    }

    /// The public keys of a list, and what people call their owners.
    ///
    /// # Errors
    /// As [`public`](Self::public).
    pub fn names(&self) -> Result<Vec<(PublicKey, String)>, KeyFileError> {
        self.list(keys::parse_names)
    }

    /// What `parse` makes of a list of public keys.
    ///
    /// # Errors
    /// As [`public`](Self::public).
    pub fn list<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, KeyError>,
    ) -> Result<T, KeyFileError> {
        self.content(Kept::Public, MAX_LIST_BYTES, parse)
    }

    /// The token that lets one in over HTTP: the first line that is no comment.
    ///
    /// # Errors
    /// As [`shared`](Self::shared).
    pub fn token(&self) -> Result<Zeroizing<String>, KeyFileError> {
        let (file, bytes) = self.secret_bytes(MAX_KEY_FILE_BYTES)?;
        let text =
            std::str::from_utf8(&bytes).map_err(|_| KeyFileError::NoText { file: file.clone() })?;
        let line = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with('#'));

        let fits = |line: &&str| {
            TOKEN_LENGTHS.contains(&line.len()) && line.bytes().all(|byte| byte.is_ascii_graphic())
        };
        line.filter(fits)
            .map(|line| Zeroizing::new(line.to_owned()))
            .ok_or(KeyFileError::NoToken { file })
    }

    /// What is in the file of a secret of some other kind, at most `limit` bytes, and where that is.
    ///
    /// # Errors
    /// As [`shared`](Self::shared).
    pub fn secret_bytes(
        &self,
        limit: usize,
    ) -> Result<(PathBuf, Zeroizing<Vec<u8>>), KeyFileError> {
        let file = self.resolve()?;
        let bytes = read(&file, self.kept(), limit)?;
        Ok((file, bytes))
    }

    const fn kept(&self) -> Kept {
        match self {
            Self::File(_) => Kept::Secret,
            Self::Credential(_) => Kept::Credential,
        }
    }

    fn secret<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, KeyError>,
    ) -> Result<T, KeyFileError> {
        self.content(self.kept(), MAX_KEY_FILE_BYTES, parse)
    }

    fn content<T>(
        &self,
        kept: Kept,
        limit: usize,
        parse: impl FnOnce(&str) -> Result<T, KeyError>,
    ) -> Result<T, KeyFileError> {
        let file = self.resolve()?;
        let bytes = read(&file, kept, limit)?;
        let text =
            std::str::from_utf8(&bytes).map_err(|_| KeyFileError::NoText { file: file.clone() })?;
        parse(text).map_err(|error| KeyFileError::Content { file, error })
    }
}

/// What a file holds, and so to whom but its owner it must be closed.
#[derive(Clone, Copy)]
enum Kept {
    /// A secret: closed to group and others.
    Secret,
    /// A secret that systemd hands out: closed to others, and to writing by the group. systemd gives the service's user
    /// the right to read by an access control list, whose mask stat(2) shows as the group's bits (acl(5)); the group
    /// itself, root's, has none.
    Credential,
    /// What everyone may know: closed to writing by group and others.
    Public,
}

impl Kept {
    const fn mask(self) -> u32 {
        match self {
            Self::Secret => 0o077,
            Self::Credential => 0o037,
            Self::Public => 0o022,
        }
    }

    fn check(self, file: &Path, mode: u32) -> Result<(), KeyFileError> {
        let (file, mode) = (file.to_owned(), mode & 0o7777);
        match self {
            _ if mode & self.mask() == 0 => Ok(()),
            Self::Secret | Self::Credential => Err(KeyFileError::Exposed { file, mode }),
            Self::Public => Err(KeyFileError::Writable { file, mode }),
        }
    }
}

fn read(path: &Path, kept: Kept, limit: usize) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let unreadable = |error| KeyFileError::Unreadable {
        file: path.to_owned(),
        error,
    };

    let file = open(path)?;
    // Of the file that is open: the path may mean another one by now.
    let found = file.metadata().map_err(unreadable)?;

    if !found.is_file() {
        return Err(KeyFileError::NotAFile {
            file: path.to_owned(),
        });
    }

    check_owner(path, found.uid(), rustix::process::geteuid().as_raw())?;
    kept.check(path, found.mode())?;
    // Room at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > limit {
        return Err(KeyFileError::TooLarge {
            file: path.to_owned(),
            limit,
        });
    }

    Ok(bytes)
}

fn check_owner(file: &Path, owner: u32, user: u32) -> Result<(), KeyFileError> {
    let file = file.to_owned();
    if owner == user || owner == 0 {
        Ok(())
    } else {
        Err(KeyFileError::Foreign { file, owner, user })
    }
}

fn open(path: &Path) -> Result<File, KeyFileError> {
    // A pipe is opened at once and then refused.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = path.to_owned();
    OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => KeyFileError::Missing { file },
            _ => KeyFileError::Unreadable { file, error },
        })
}

/// Makes a key file with one line, which only its owner may read from the moment it exists.
///
/// # Errors
/// [`KeyFileError::Exists`]: nothing is overwritten; [`KeyFileError::Unwritable`], and then there is no file.
pub fn write(path: &Path, line: &str) -> Result<(), KeyFileError> {
    let file = path.to_owned();
    let mut made = match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(made) => made,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(KeyFileError::Exists { file });
        }
        Err(error) => return Err(KeyFileError::Unwritable { file, error }),
    };

    let written = made
        .write_all(line.as_bytes())
        .and_then(|()| made.write_all(b"\n"))
        .and_then(|()| made.sync_all());

    written.map_err(|error| {
        // Half a key is worse than none. When it cannot be removed either, the error below is the one to tell.
        let _ = fs::remove_file(path);
        KeyFileError::Unwritable { file, error }
    })
}

#[cfg(test)]
mod tests;
