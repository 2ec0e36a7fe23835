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
    /// Make a key of its own for a relay, a viewer or a source, and print what others may know of it.
    Pair(Place),
    /// Make the key that a source and its relays share.
    Feed(Place),
    /// Make a token that lets browsers and scripts in over HTTP.
    Token(Place),
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
            Self::Token(place) => {
                // Thirds of bytes would be lost: 33 fill their characters.
                let token = Zeroizing::new(base64url(&Zeroizing::new(random_bytes::<33>())));
                write(&place.file, &token)?;
                Ok(format!(
                    "{}: a token; whoever has it is let in",
                    place.file.display()
                ))
            }
            Self::Public(place) => KeyPath::File(place.file.clone())
                .private()
                .map(|key| key.public().to_string()),
        }
    }
}

fn shared(file: &Path, kind: KeyKind, who: &str) -> Result<String, KeyFileError> {
    write(file, &spell(kind, &Zeroizing::new(random_bytes())))?;
    Ok(format!(
        "{}: a key for {who} alike; whoever has it is let in",
        file.display()
    ))
}

/// RFC 4648 section 5, without padding: whatever reads the file or a URL takes these characters as they are.
fn base64url(bytes: &[u8; 33]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digits = bytes.chunks_exact(3).flat_map(|three| {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        [18, 12, 6, 0].map(|shift| char::from(DIGITS[(bits >> shift & 63) as usize]))
    });
    digits.collect()
}
