//! A file that is renamed when it is full, and its predecessors with it.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::{LogFileError, Plan, numbered};

/// The file in use. Nobody else appends to it: it is locked (flock(2)) for as long as it is open.
#[derive(Debug)]
pub(super) struct Rotating {
    plan: Plan,
    file: File,
    length: u64,
}

impl Rotating {
    /// Opens the file, or makes it, to append to it.
    pub(super) fn open(plan: Plan) -> Result<Self, LogFileError> {
        let path = plan.path.clone();
        let unwritable = |error| LogFileError::Unwritable {
            path: path.clone(),
            error,
        };

        if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(LogFileError::NoFile { path });
        }

        let file = match opened(&path).map_err(unwritable)? {
            Opened::Ours(file) => file,
            Opened::InUse => return Err(LogFileError::InUse { path }),
        };

        let length = file.metadata().map_err(unwritable)?.len();
        if plan.files > 1 && access(directory(&path), Access::WRITE_OK).is_err() {
            return Err(LogFileError::Stuck { path });
        }

        Ok(Self { plan, file, length })
    }

    /// One without the checks of a start, for tests that need a device.
    #[cfg(test)]
    pub(super) fn at(path: impl AsRef<Path>, size: u64, files: u16) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        Ok(Self {
            plan: Plan { path, size, files },
            length: file.metadata()?.len(),
            file,
        })
    }

    /// The file in use.
    pub(super) fn path(&self) -> &Path {
        &self.plan.path
    }

    /// Appends a line, after a rotation when it would make the file too long.
    ///
    /// # Errors
    /// When the line is not in the file; then nothing of it is.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let added = line.len() as u64;
        if self.length > 0 && self.length.saturating_add(added) > self.plan.size {
            self.rotate()?;
        }

        if let Err(error) = self.file.write_all(line) {
            // Half a line would spoil the next one. A device cannot be cut, and need not be.
            let _ = self.file.set_len(self.length);
            return Err(error);
        }

        self.length += added;
        Ok(())
    }

    /// Opens the file again, and makes its directory again, when what has the name is no longer what is open: somebody
    /// deleted or renamed it.
    pub(super) fn find_again(&mut self) -> io::Result<()> {
        let open = self.file.metadata()?;
        if fs::metadata(&self.plan.path).is_ok_and(|named| same(&named, &open)) {
            return Ok(());
        }
        fs::create_dir_all(directory(&self.plan.path))?;
        self.take_up()
    }

    /// The oldest file goes, each other takes the next number, the one in use becomes number 1. Each step replaces what
    /// the step before has moved away, so that whatever interrupts it leaves every file but the oldest there.
    fn rotate(&mut self) -> io::Result<()> {
        let path = &self.plan.path;
        let oldest = self.plan.files.saturating_sub(1);
        let moved = (1..=oldest).rev().try_for_each(|number| {
            match fs::rename(numbered(path, number - 1), numbered(path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        });

        if oldest > 0 && moved.is_ok() {
            return self.take_up();
        }

        // One file, or files that cannot be moved: the newest lines are worth more than the bound or the oldest ones.
        self.file.set_len(0)?;
        self.length = 0;
        moved
    }

    fn take_up(&mut self) -> io::Result<()> {
        let Opened::Ours(file) = opened(&self.plan.path)? else {
            return Err(io::Error::other("another program logs to it"));
        };
        self.length = file.metadata()?.len();
        self.file = file;
        Ok(())
    }
}

enum Opened {
    Ours(File),
    InUse,
}

fn opened(path: &Path) -> io::Result<Opened> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(Opened::InUse),
        // There are file systems without locks: they hold logs as well.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Opened::Ours(file)),
    }
}

fn directory(path: &Path) -> PathBuf {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(path: &Path, files: u16) -> Plan {
        Plan {
            path: path.to_owned(),
            size: 1_000,
            files,
        }
    }

    fn line(number: usize) -> String {
        format!("{number:09}\n")
    }

    fn read(path: &Path, number: u16) -> Option<String> {
        fs::read_to_string(numbered(path, number)).ok()
    }

    #[test]
    fn no_line_is_lost_or_split_by_a_rotation_and_the_oldest_file_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = Rotating::open(plan(&path, 3)).unwrap();

        for number in 0..450 {
            log.append(line(number).as_bytes()).unwrap();
        }

        let kept = [2, 1, 0].map(|number| read(&path, number).unwrap());
        assert_eq!(kept.concat(), (200..450).map(line).collect::<String>());
        assert_eq!(kept.map(|file| file.len()), [1000, 1000, 500]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_restarted_program_goes_on_in_the_file_of_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");

        for number in 0..150 {
            Rotating::open(plan(&path, 3))
                .unwrap()
                .append(line(number).as_bytes())
                .unwrap();
        }

        assert_eq!(
            read(&path, 1).unwrap() + &read(&path, 0).unwrap(),
            (0..150).map(line).collect::<String>()
        );
    }

    #[test]
    fn a_line_longer_than_a_file_has_one_for_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = Rotating::open(plan(&path, 3)).unwrap();

        for line in ["short\n", &"x".repeat(3_000), "short again\n"] {
            log.append(line.as_bytes()).unwrap();
        }

        assert_eq!(read(&path, 2).as_deref(), Some("short\n"));
        assert_eq!(read(&path, 1).map(|text| text.len()), Some(3_000));
        assert_eq!(read(&path, 0).as_deref(), Some("short again\n"));
    }

    #[test]
    fn one_file_alone_begins_anew_when_it_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = Rotating::open(plan(&path, 1)).unwrap();

        for number in 0..150 {
            log.append(line(number).as_bytes()).unwrap();
        }

        assert_eq!(
            read(&path, 0).unwrap(),
            (100..150).map(line).collect::<String>()
        );

        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn files_that_cannot_be_moved_do_not_grow() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        // A directory with something in it is in the way of a rename.
        fs::create_dir_all(numbered(&path, 1).join("full")).unwrap();
        let mut log = Rotating::open(plan(&path, 2)).unwrap();
        let failed = (0..250)
            .filter(|number| log.append(line(*number).as_bytes()).is_err())
            .count();
        assert_eq!(failed, 2, "once a full file");
        assert_eq!(read(&path, 0).unwrap().len(), 480);
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = Rotating::open(plan(&path, 3)).unwrap();
        log.append(b"one\n").unwrap();
        log.find_again().unwrap();
        log.append(b"two\n").unwrap();
        let moved = dir.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        log.find_again().unwrap();
        log.append(b"three\n").unwrap();
        assert_eq!(fs::read_to_string(moved).unwrap(), "one\ntwo\n");
        assert_eq!(read(&path, 0).as_deref(), Some("three\n"));
    }

    #[test]
    fn a_name_that_cannot_be_written_to_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |path: &Path| Rotating::open(plan(path, 5)).unwrap_err();

        for path in [
            dir.path().join("missing/a.log"),
            PathBuf::from("/dev/null/a.log"),
        ] {
            let error = refused(&path).to_string();
            assert!(
                error.contains("a.log") && error.contains("--log-file"),
                "{error}"
            );
        }

        assert!(matches!(refused(dir.path()), LogFileError::NoFile { .. }));
        assert!(matches!(
            refused(Path::new("/dev/null")),
            LogFileError::NoFile { .. }
        ));

        let path = dir.path().join("a.log");
        let _first = Rotating::open(plan(&path, 5)).unwrap();
        assert!(matches!(refused(&path), LogFileError::InUse { .. }));
    }
}
