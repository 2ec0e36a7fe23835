//! What the tests of several crates need.

use std::os::unix::net::UnixStream;
use std::path::Path;

use clap::Args;

use crate::config::sections::ConfigFile;
use crate::config::{self, Flags, Settings};
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
/// # #[derive(clap::Args)]
/// # pub struct Config { /// Quality.
/// # #[arg(default_value_t = 80)] quality: u8 }
/// // In a test named `the_shipped_file_says_the_defaults`:
/// let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/relay.toml");
/// fanlight_daemon::testing::assert_ships_defaults::<Config>(file);
/// ```
///
/// # Panics
/// When the file does not; the message shows what a right one could look like.
pub fn assert_ships_defaults<C: Args>(file: impl AsRef<Path>) {
    let file = file.as_ref();
    let load = |path: Option<&Path>| {
        let file = ConfigFile {
            path: path.map(Path::to_owned),
            ..ConfigFile::default()
        };
        config::load(&file, &Flags::default())
    };
    let defaults: Settings<C> = load(None).expect("nothing is wrong with no file");
    let example = defaults.render();
    let loaded: Settings<C> =
        load(Some(file)).unwrap_or_else(|error| panic!("{error}; it could be:\n{example}"));
    assert_eq!(
        loaded.render(),
        example,
        "{} does not say the defaults; it could be:\n{example}",
        file.display()
    );

    let text = std::fs::read_to_string(file).expect("the file has just been loaded");
    for key in defaults.key_names() {
        let mentioned = text.lines().any(|line| mentions(line, key));
        assert!(
            mentioned,
            "{} does not mention `{key}`; it could be:\n{example}",
            file.display()
        );
    }
}

/// Runs a fuzz target on its corpus `name`, so that what a fuzzer once found stays found.
///
/// # Panics
/// When the target does, below the name of the file, and when there is no corpus.
pub fn replay_corpus(name: &str, target: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(name);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut runs = 0;
    for file in files {
        let path = file.expect("the folder can be listed").path();
        println!("{}", path.display());
        target(&std::fs::read(&path).expect("a committed file can be read"));
        runs += 1;
    }

    assert!(runs > 0, "{} is empty", folder.display());
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

    /// Two keys.
    #[derive(Args)]
    struct Config {
        /// A number.
        #[arg(default_value_t = 7)]
        size: u32,
        /// A name.
        name: Option<String>,
    }

    fn accepts(text: &str) -> bool {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        catch_unwind(|| assert_ships_defaults::<Config>(file.path())).is_ok()
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
