//! The file with a screen's newest direction, so that it goes on without a relay after a restart. The main thread reads it at
//! the start, and the director's thread writes it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use fanlight_daemon::paths;
use fanlight_proto::direction;
use fanlight_proto::limits::MAX_DIRECTION_BYTES;
use fanlight_proto::message::Direction;
use prost::Message as _;

use crate::window::write_whole;

/// The file: an encoded `Direction` of control.proto.
#[derive(Clone, Debug)]
pub(super) struct Store(PathBuf);

impl Store {
    /// The file of a screen of this name in `given` or, without it, where the system or the user keeps what programs
    /// remember; none when there is no such place.
    pub(super) fn of(given: Option<&Path>, screen: &str) -> Option<Self> {
        let absolute = |name: &str| {
            let path = PathBuf::from(std::env::var_os(name)?);
            path.is_absolute().then_some(path)
        };
        let of_user = || {
            let home = || Some(absolute("HOME")?.join(".local/state"));
            let state = absolute("XDG_STATE_HOME").or_else(home);
            state.map(|state| state.join("fanlight"))
        };

        let given = given.map(Path::to_owned);
        let folder = given.or_else(paths::state_dir).or_else(of_user)?;
        Some(Self(folder.join(file_name(screen))))
    }

    /// The direction that was kept. A file that is none is told, and does no harm.
    pub(super) fn read(&self) -> Option<Direction> {
        match self.try_read() {
            Ok(direction) => direction,
            Err(error) => {
                let file = self.0.display();
                tracing::warn!("{file} is no direction, and is replaced by the next: {error:#}");
                None
            }
        }
    }

    fn try_read(&self) -> anyhow::Result<Option<Direction>> {
        let file = match File::open(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };

        let mut bytes = Vec::new();
        file.take(MAX_DIRECTION_BYTES as u64 + 1)
            .read_to_end(&mut bytes)?;
        let length = bytes.len();
        ensure!(length <= MAX_DIRECTION_BYTES, "it has {length} bytes");
        let direction = Direction::decode(&bytes[..])?;
        direction::check(&direction)
            .map_err(|field| anyhow::anyhow!("its `{field}` is out of bounds"))?;
        Ok(Some(direction))
    }

    /// Keeps `direction` in place of the one before, whole or not at all.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn write(&self, direction: &Direction) -> anyhow::Result<()> {
        let write = || {
            if let Some(folder) = self.0.parent() {
                fs::create_dir_all(folder)?;
            }
            write_whole(&self.0, &direction.encode_to_vec())
        };
        let file = self.0.display();
        write().with_context(|| {
            format!("cannot write {file}; set `state_dir` to a folder of this user")
        })
    }
}

/// The name of the file: of the screen's name what no file system minds, and other bytes as %XX.
fn file_name(screen: &str) -> String {
    let mut name = String::from("direction-");
    for byte in screen.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02X}");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direction(version: u64) -> Direction {
        Direction {
            version,
            origin: 7,
            streams: vec!["gate".into()],
            ..Direction::default()
        }
    }

    #[test]
    fn what_was_kept_last_is_read_again_and_each_screen_has_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("made");
        let store = |screen: &str| Store::of(Some(&dir), screen).unwrap();
        assert_eq!(store("a").read(), None);
        store("a").write(&direction(1)).unwrap();
        store("a").write(&direction(2)).unwrap();
        store("a/../b c").write(&direction(3)).unwrap();
        assert_eq!(store("a").read(), Some(direction(2)));
        assert_eq!(store("a/../b c").read(), Some(direction(3)));
        assert_eq!(file_name("a/../b c"), "direction-a%2F..%2Fb%20c");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_is_no_direction_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::of(Some(folder.path()), "a").unwrap();
        let good = direction(1).encode_to_vec();
        let of_no_version = direction(0).encode_to_vec();
        let long = [&good[..], &[0x2a, 0x7f]].concat();
        for bytes in [&[][..], &good[..good.len() - 1], &of_no_version, &long] {
            fs::write(&store.0, bytes).unwrap();
            assert_eq!(store.read(), None, "{bytes:?}");
        }

        fs::write(&store.0, vec![0; 1 << 20]).unwrap();
        assert_eq!(store.read(), None);
        store.write(&direction(4)).unwrap();
        assert_eq!(store.read(), Some(direction(4)));
    }

    #[test]
    fn a_folder_that_cannot_be_had_is_told_with_the_option_that_sets_it() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("file");
        fs::write(&taken, "").unwrap();
        let store = Store::of(Some(&taken), "a").unwrap();
        let error = store.write(&direction(1)).unwrap_err();
        assert!(format!("{error:#}").contains("`state_dir`"), "{error:#}");
    }
}
