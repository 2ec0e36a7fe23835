//! The `keygen` command that every program has.

use std::path::{Path, PathBuf};

use fanlight_proto::keys::{KeyKind, PrivateKey, spell};
use zeroize::Zeroizing;

use super::{KeyFileError, KeyPath, write};
use crate::clock::random_bytes;

/// What kind of key to make, and where.
#[derive(clap::Subcommand, Clone, Debug, PartialEq, Eq)]
pub enum Keygen {
    /// Make the key that a relay and all its viewers share.
    Psk(Place),
    /// Make a key of its own for a relay or a viewer, and print what others may know of it.
    Pair(Place),
    /// Make the key that a source and its relays share.
    Feed(Place),
    /// Print what others may know of a key that `keygen pair` made.
    Public(Place),
}

/// The file of a key.
#[derive(clap::Args, Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The key file. It must not exist yet when it is to be made; only its owner will be able to read it.
    #[arg(id = "keygen_file", value_name = "FILE")]
    pub file: PathBuf,
}

impl Keygen {
    /// Does it, and gives the line to print. No secret is in it.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn run(&self) -> Result<String, KeyFileError> {
        match self {
            Self::Psk(place) => shared(&place.file, KeyKind::Shared, "relay and viewers"),
            Self::Feed(place) => shared(&place.file, KeyKind::Feed, "source and relays"),
            Self::Pair(place) => {
                let key = PrivateKey::new(random_bytes());
                write(&place.file, &key.to_text())?;
                Ok(key.public().to_string())
            }
            Self::Public(place) => KeyPath::File(place.file.clone()).private().map(|key| key.public().to_string()),
        }
    }
}

fn shared(file: &Path, kind: KeyKind, who: &str) -> Result<String, KeyFileError> {
    write(file, &spell(kind, &Zeroizing::new(random_bytes())))?;
    Ok(format!("{}: a key for {who} alike; whoever has it is let in", file.display()))
}
