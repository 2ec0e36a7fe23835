//! What the tests of several crates need.

use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::config;
use crate::options::Layer;
use crate::stream_socket::StreamSocket;

/// Two sockets that are connected with each other.
///
/// # Panics
/// When the system has none to give, and outside of a tokio runtime.
#[must_use]
pub fn stream_sockets() -> (StreamSocket, StreamSocket) {
    let (one, other) = UnixStream::pair().expect("there are descriptors left");
    let socket = |stream: UnixStream| {
        stream
            .set_nonblocking(true)
            .expect("every socket can be told not to block");
        StreamSocket::new(stream).expect("there is room to watch it")
    };
    (socket(one), socket(other))
}

/// Asserts that the shipped config file says exactly the defaults and mentions every key: as `key = value` (or a table
/// `[key]`), or for a key without default in a comment `# key =`.
///
/// ```no_run
/// # fanlight_daemon::options! { pub struct Config / Options { quality: u8 = 80; } }
/// // In a test named `the_shipped_file_says_the_defaults`:
/// let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/relay.toml");
/// fanlight_daemon::testing::assert_ships_defaults::<Options>(file);
/// ```
///
/// # Panics
/// When the file does not; the message shows what a right one could look like.
pub fn assert_ships_defaults<L: Layer>(file: impl AsRef<Path>) {
    let file = file.as_ref();
    let defaults = L::Config::default();
    let example = config::render::<L>(&defaults).expect("the defaults can be written as TOML");
    let loaded = config::load::<L>(Some(file), L::default())
        .unwrap_or_else(|error| panic!("{error}; it could be:\n{example}"));
    assert_eq!(
        loaded,
        defaults,
        "{} does not say the defaults; it could be:\n{example}",
        file.display()
    );
    let text = std::fs::read_to_string(file).expect("the file has just been loaded");
    for key in L::KEYS {
        let mentioned = text.lines().any(|line| mentions(line, key.name));
        assert!(
            mentioned,
            "{} does not mention `{}`; it could be:\n{example}",
            file.display(),
            key.name
        );
    }
}

fn mentions(line: &str, key: &str) -> bool {
    let line = line.trim_start_matches(['#', ' ', '[']);
    line.strip_prefix(key)
        .is_some_and(|rest| rest.trim_start().starts_with(['=', ']']))
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    crate::options! {
        /// Two keys.
        struct Config / Options {
            /// A number.
            size: u32 = 7;
            /// A name.
            name: Option<String> = None;
        }
    }

    fn accepts(text: &str) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        catch_unwind(|| assert_ships_defaults::<Options>(file.path())).is_ok()
    }

    #[test]
    fn only_a_file_that_says_every_default_is_accepted() {
        assert!(accepts("size = 7\n# name = \"hall\"\n"));
        assert!(!accepts("size = 7\n"), "a key is not mentioned");
        assert!(
            !accepts("size = 8\n# name =\n"),
            "a value is not the default"
        );
        assert!(
            !accepts("size = 7\nsizes = 7\n# name =\n"),
            "a key is unknown"
        );
    }
}
