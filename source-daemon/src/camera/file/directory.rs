//! A directory of JPEG files.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use fanlight_proto::message::FrameBuffer;

use super::Pictures;
use crate::jpeg::markers::{MarkerParser, Step};
use crate::jpeg::splitter::MAX_PICTURE;

/// Most files of a directory: their names are kept in memory.
const MAX_FILES: usize = 100_000;

/// Bytes of pictures that are kept in memory, for those that are played again and again.
const MAX_KEPT: usize = 64 << 20;

/// The files, by name.
#[derive(Debug)]
pub(super) struct Directory {
    files: Vec<PathBuf>,
    next: usize,
    broken: u64,
    fault: String,
    /// The last picture that was read from its file.
    bytes: Vec<u8>,
    /// Of some files, the picture, and how many bytes they have together.
    kept: Vec<Option<Kept>>,
    kept_bytes: usize,
}

/// A picture as it was in its file.
#[derive(Debug)]
struct Kept {
    version: Version,
    jpeg: Box<[u8]>,
}

/// What changes when a file is written or replaced: its inode, its length, and the time of its last change.
type Version = (u64, u64, i64, i64);

impl Directory {
    /// Lists the JPEG files.
    ///
    /// # Errors
    /// When there is none, or more than [`MAX_FILES`].
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(path)? {
            let file = entry?.path();
            let extension = file.extension().unwrap_or_default();
            if extension.eq_ignore_ascii_case("jpg") || extension.eq_ignore_ascii_case("jpeg") {
                files.push(file);
            }

            if files.len() > MAX_FILES {
                return Err(io::Error::other(format!(
                    "over {MAX_FILES} pictures; put them into an MJPEG file"
                )));
            }
        }

        if files.is_empty() {
            return Err(io::Error::other("no *.jpg or *.jpeg in this directory"));
        }

        files.sort_unstable();
        let kept = files.iter().map(|_| None).collect();
        Ok(Self {
            files,
            next: 0,
            broken: 0,
            fault: String::new(),
            bytes: Vec::new(),
            kept,
            kept_bytes: 0,
        })
    }

    /// The picture in a file: bytes after its end are dropped. None when it is no whole JPEG or is gone.
    fn read(&mut self, index: usize) -> Option<FrameBuffer> {
        let version = version(&fs::metadata(&self.files[index]).ok()?);
        if let Some(kept) = self.kept[index]
            .as_ref()
            .filter(|kept| kept.version == version)
        {
            return Some(FrameBuffer::copy_of(&kept.jpeg));
        }
        self.bytes.clear();
        File::open(&self.files[index])
            .ok()?
            .take(MAX_PICTURE as u64 + 1)
            .read_to_end(&mut self.bytes)
            .ok()?;

        match MarkerParser::default().step(&self.bytes) {
            Step::Done(end) if end <= MAX_PICTURE => {
                self.keep(index, version, end);
                Some(FrameBuffer::copy_of(&self.bytes[..end]))
            }
            Step::Broken(_, fault) => {
                self.fault = fault.to_string();
                None
            }
            Step::Done(_) | Step::More => {
                self.fault = "the JPEG is cut short or too large".to_owned();
                None
            }
        }
    }

    /// Bytes of the pictures in memory.
    #[cfg(test)]
    pub(super) const fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Keeps the picture of `length` bytes that was just read, if there is room.
    fn keep(&mut self, index: usize, version: Version, length: usize) {
        self.kept_bytes -= self.kept[index].take().map_or(0, |old| old.jpeg.len());
        if self.kept_bytes + length <= MAX_KEPT {
            self.kept_bytes += length;
            self.kept[index] = Some(Kept {
                version,
                jpeg: self.bytes[..length].into(),
            });
        }
    }
}

fn version(file: &fs::Metadata) -> Version {
    (file.ino(), file.len(), file.ctime(), file.ctime_nsec())
}

impl Pictures for Directory {
    fn next(&mut self) -> io::Result<Option<FrameBuffer>> {
        while self.next < self.files.len() {
            self.next += 1;
            let picture = self.read(self.next - 1);
            if picture.is_some() {
                return Ok(picture);
            }
            self.broken += 1;
        }

        Ok(None)
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.next = 0;
        Ok(())
    }

    fn broken(&self) -> u64 {
        self.broken
    }

    fn fault(&self) -> String {
        self.fault.clone()
    }

    fn place(&self) -> String {
        self.files
            .get(self.next)
            .map_or_else(|| "the end".to_owned(), |file| file.display().to_string())
    }
}
