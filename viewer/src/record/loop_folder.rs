//! A folder of recordings, of which the oldest go when there are too many bytes. The recording thread calls it.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use fanlight_proto::message::StreamName;

use super::film_files::FilmFormat;

/// A file is at most this part of what the folder may hold, so that what is kept varies little.
const PARTS: u64 = 8;

/// The folder.
#[derive(Debug)]
pub(super) struct LoopFolder {
    path: PathBuf,
    /// Bytes that all files of the stream may have.
    keep: u64,
    /// How long a file goes on.
    segment: Duration,
    /// The files that have ended, the oldest first, and their sizes.
    ended: VecDeque<(PathBuf, u64)>,
    /// The file that is being written.
    current: Option<PathBuf>,
}

impl LoopFolder {
    /// The folder at `path`, whose files may have `keep` bytes together and go on for `segment` each.
    pub(super) const fn new(path: PathBuf, keep: u64, segment: Duration) -> Self {
        Self {
            path,
            keep,
            segment,
            ended: VecDeque::new(),
            current: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a file that goes on for `length` and has `bytes` is to end.
    pub(super) fn ends(&self, length: Duration, bytes: u64) -> bool {
        length >= self.segment || bytes >= self.keep / PARTS
    }

    /// Creates the next file, named by its stream and by when it begins. What runs before have left counts too.
    pub(super) fn begin(
        &mut self,
        stream: &StreamName,
        date: SystemTime,
        format: FilmFormat,
    ) -> io::Result<File> {
        fs::create_dir_all(&self.path)?;
        self.ended = files_of(&self.path, stream)?;
        self.make_room(0);
        let path = self.path.join(name(stream, date, format));
        let file = File::create(&path)?;
        self.current = Some(path);
        Ok(file)
    }

    /// The current file has ended with `bytes`.
    pub(super) fn end(&mut self, bytes: u64) {
        self.ended
            .extend(self.current.take().map(|path| (path, bytes)));
    }

    /// Removes the oldest files until there is room beside a current one of `bytes`.
    pub(super) fn make_room(&mut self, bytes: u64) {
        let held =
            |files: &VecDeque<(PathBuf, u64)>| files.iter().map(|(_, size)| size).sum::<u64>();
        while bytes + held(&self.ended) > self.keep && self.remove_oldest() {}
    }

    /// Removes the oldest file that has ended. Returns whether there is one less.
    pub(super) fn remove_oldest(&mut self) -> bool {
        let Some((oldest, _)) = self.ended.pop_front() else {
            return false;
        };

        // Somebody else may have removed it.
        match fs::remove_file(&oldest) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(
                    "cannot remove the old recording {}: {error}",
                    oldest.display()
                );
                false
            }
            _ => true,
        }
    }
}

/// The recordings of a stream in a folder, the oldest first. Whatever else is there is nobody's here.
fn files_of(folder: &Path, stream: &StreamName) -> io::Result<VecDeque<(PathBuf, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_ours = entry
            .file_name()
            .to_str()
            .is_some_and(|file| is_of(file, stream));
        if is_ours {
            files.push((entry.path(), entry.metadata()?.len()));
        }
    }

    files.sort();
    Ok(files.into())
}

/// `hall-20261130T105605.123Z.mkv`: by name is by age.
fn name(stream: &StreamName, date: SystemTime, format: FilmFormat) -> String {
    let date = humantime::format_rfc3339_millis(date).to_string();
    format!("{stream}-{}.{format}", date.replace(['-', ':'], ""))
}

/// Whether a file has a name that [`name`] gives to this stream, in any format, not to one whose name begins alike.
fn is_of(file: &str, stream: &StreamName) -> bool {
    let rest = file.strip_prefix(&format!("{stream}-"));
    let named = rest.and_then(|rest| rest.rsplit_once('.'));
    named.is_some_and(|(date, suffix)| {
        let shape = |byte: u8| if byte.is_ascii_digit() { b'0' } else { byte };
        FilmFormat::of_suffix(suffix).is_some()
            && date.bytes().map(shape).eq(*b"00000000T000000.000Z")
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn stream(name: &str) -> StreamName {
        name.parse().unwrap()
    }

    #[test]
    fn the_oldest_files_of_the_stream_go_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("hall-2-20200101T000000.000Z.mkv");
        let note = folder.path().join("hall-note.mkv");
        for file in [&other, &note] {
            fs::write(file, [0; 50]).unwrap();
        }

        let second = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        // A run before may have had another format.
        let format = |n: u64| [FilmFormat::Mkv, FilmFormat::Mp4][(n % 2) as usize];
        let hall = |n| name(&stream("hall"), second(n), format(n));
        for n in 0..4 {
            fs::write(folder.path().join(hall(n)), [0; 30]).unwrap();
        }

        let mut files = LoopFolder::new(folder.path().into(), 100, Duration::MAX);
        let mut file = files.begin(&stream("hall"), second(9), format(9)).unwrap();
        file.write_all(&[0; 45]).unwrap();
        let left = |n| folder.path().join(hall(n)).exists();
        assert_eq!([0, 1, 2, 3, 9].map(left), [false, true, true, true, true]);

        files.make_room(45);
        assert_eq!([1, 2, 3, 9].map(left), [false, false, true, true]);
        files.end(45);
        drop(
            files
                .begin(&stream("hall"), second(10), format(10))
                .unwrap(),
        );
        files.make_room(90);
        assert_eq!([3, 9, 10].map(left), [false, false, true]);
        assert!(other.exists() && note.exists());
    }

    #[test]
    fn a_file_ends_by_time_or_by_size() {
        let files = LoopFolder::new("x".into(), 800, Duration::from_secs(5));
        assert!(!files.ends(Duration::from_secs(4), 99));
        assert!(files.ends(Duration::from_secs(5), 0));
        assert!(files.ends(Duration::ZERO, 100));
    }
}
