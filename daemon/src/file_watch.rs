//! Looks whether files have changed that are read again then: keys and lists of them, tokens, certificates. Called by event
//! loops and tasks.

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fanlight_proto::clock::Time;

use crate::clock;
use crate::keys::KeyPath;

/// Pause between two looks: with the second that a viewer's key stays in use after it is taken out, less than the 3 s
/// of promise P28.
const INTERVAL: Duration = Duration::from_millis(500);

/// What changes with a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileMark {
    changed: SystemTime,
    bytes: u64,
    node: u64,
}

impl FileMark {
    /// Of the file at `path`; none when there is none.
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            changed: metadata.modified().ok()?,
            bytes: metadata.len(),
            node: metadata.ino(),
        })
    }
}

/// Files that are read again together when one of them changes.
#[derive(Debug)]
pub struct FileWatch {
    /// What to call them in log lines.
    name: &'static str,
    /// Empty when there is nothing to watch.
    files: Vec<KeyPath>,
    next: Time,
    seen: Vec<Option<FileMark>>,
    failed: bool,
}

impl FileWatch {
    /// Watches `files`, which have just been read, as `name`.
    #[must_use]
    pub fn new(name: &'static str, files: impl IntoIterator<Item = KeyPath>) -> Self {
        let mut watch = Self {
            name,
            files: files.into_iter().collect(),
            next: Time::default(),
            seen: Vec::new(),
            failed: false,
        };
        watch.seen = watch.marks();
        watch
    }

    /// When to look next.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        (!self.files.is_empty()).then_some(self.next)
    }

    /// What `read` gives when one of the files has changed. What cannot be read changes nothing, but that is said.
    pub fn due<T, E: Display>(
        &mut self,
        now: Time,
        read: impl FnOnce() -> Result<T, E>,
    ) -> Option<T> {
        if self.files.is_empty() || now < self.next {
            return None;
        }

        self.next = now + INTERVAL;
        let marks = self.marks();
        if marks == self.seen && !self.failed {
            return None;
        }

        self.seen = marks;
        match read() {
            Ok(read) => {
                self.failed = false;
                tracing::info!("{} has changed", self.name);
                Some(read)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!("{} has changed and is not used: {error:#}", self.name);
                }
                None
            }
        }
    }

    /// As [`due`](Self::due), for ever on a task: `apply` gets what was read.
    pub async fn follow<T, E: Display>(
        mut self,
        read: impl Fn() -> Result<T, E>,
        apply: impl Fn(T),
    ) {
        while let Some(next) = self.next() {
            tokio::time::sleep(next.saturating_since(clock::now()).max(INTERVAL)).await;
            self.due(clock::now(), &read).into_iter().for_each(&apply);
        }
    }

    fn marks(&self) -> Vec<Option<FileMark>> {
        let mark = |file: &KeyPath| FileMark::of(&file.resolve().ok()?);
        self.files.iter().map(mark).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::default() + Duration::from_millis(millis)
    }

    #[test]
    fn a_file_that_changes_is_read_again_and_a_damaged_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("list");
        fs::write(&list, "one two").unwrap();
        let mut watch = FileWatch::new("the list", Some(KeyPath::File(list.clone())));
        let unchanged = || -> Result<(), String> { panic!("it is not read") };
        assert_eq!(watch.due(at(500), unchanged), None);

        fs::write(&list, "one").unwrap();
        assert_eq!(watch.due(at(600), unchanged), None);
        assert_eq!(watch.due(at(1000), || Ok::<_, String>(1)), Some(1));
        assert_eq!(watch.due(at(1500), unchanged), None);

        fs::write(&list, "damaged").unwrap();
        assert_eq!(watch.due(at(2000), || Err::<(), _>("damaged")), None);
        // It is tried again as it is: what was wrong may have been the rights to it.
        assert_eq!(watch.due(at(2500), || Ok::<_, String>(2)), Some(2));
        assert_eq!(watch.due(at(3000), unchanged), None);
    }

    #[test]
    fn files_of_one_watch_are_read_again_when_either_changes() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["key", "list"].map(|name| folder.path().join(name));
        files
            .iter()
            .for_each(|file| fs::write(file, "one").unwrap());
        let mut watch = FileWatch::new("the keys", files.clone().map(KeyPath::File));

        for (look, file) in (1..).zip(&files) {
            fs::write(file, "changed").unwrap();
            assert_eq!(
                watch.due(at(1000 * look), || Ok::<_, String>(look)),
                Some(look)
            );
        }
    }

    #[test]
    fn without_a_file_there_is_nothing_to_watch() {
        assert_eq!(FileWatch::new("nothing", None).next(), None);
    }
}
