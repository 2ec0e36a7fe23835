//! Looks whether files have changed that are read again then: lists of keys, certificates. Called by event loops.

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fanlight_proto::clock::Time;

use crate::keys::KeyPath;

/// Pause between two looks: with the second that a viewer's key stays in use after it is taken out, less than the 3 s
/// of promise P28.
const INTERVAL: Duration = Duration::from_millis(500);

/// What changes with a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMark {
    changed: SystemTime,
    bytes: u64,
    node: u64,
}

impl FileMark {
    /// Of the file at `path`; none when there is none.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            changed: metadata.modified().ok()?,
            bytes: metadata.len(),
            node: metadata.ino(),
        })
    }
}

/// A file that is read again when it changes.
#[derive(Debug)]
pub struct FileWatch {
    /// What to call the file in log lines.
    name: &'static str,
    /// None when there is no file to watch.
    file: Option<KeyPath>,
    next: Time,
    seen: Option<FileMark>,
    failed: bool,
}

impl FileWatch {
    /// Watches `file`, if there is one, which has just been read.
    #[must_use]
    pub fn new(name: &'static str, file: Option<KeyPath>) -> Self {
        let mut watch = Self {
            name,
            file,
            next: Time::default(),
            seen: None,
            failed: false,
        };
        watch.seen = watch.mark();
        watch
    }

    /// When to look next.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        self.file.is_some().then_some(self.next)
    }

    /// What `read` gives when the file has changed. A file that cannot be read changes nothing, but that is said.
    pub fn due<T, E: Display>(
        &mut self,
        now: Time,
        read: impl FnOnce() -> Result<T, E>,
    ) -> Option<T> {
        if self.file.is_none() || now < self.next {
            return None;
        }

        self.next = now + INTERVAL;
        let mark = self.mark();
        if mark == self.seen && !self.failed {
            return None;
        }

        self.seen = mark;
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

    fn mark(&self) -> Option<FileMark> {
        FileMark::of(&self.file.as_ref()?.resolve().ok()?)
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
    fn without_a_file_there_is_nothing_to_watch() {
        assert_eq!(FileWatch::new("nothing", None).next(), None);
    }
}
