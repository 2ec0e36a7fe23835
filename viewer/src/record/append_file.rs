//! A file that only grows, whose end is always the end of something whole. The recording thread writes.

use std::fs::File;
use std::io::{self, IoSlice, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

/// The file.
#[derive(Debug)]
pub(super) struct AppendFile {
    file: File,
    /// Its length.
    pub(super) end: u64,
}

impl AppendFile {
    /// Begins the empty `file` with `head`.
    pub(super) fn begin(file: File, head: &[u8]) -> io::Result<Self> {
        let mut file = Self { file, end: 0 };
        file.append(&[head])?;
        Ok(file)
    }

    /// Writes `parts` at the end, in one call when the system takes it whole.
    ///
    /// # Errors
    /// When they cannot be written; then nothing of them is in the file: some players stop at half a chunk.
    pub(super) fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        if let Err(error) = self.write(parts) {
            let _ = self.file.set_len(self.end);
            return Err(error);
        }

        self.end += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        Ok(())
    }

    /// Writes over what is there at `at`.
    pub(super) fn replace(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn write(&self, parts: &[&[u8]]) -> io::Result<()> {
        let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut slices = &mut slices[..];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.end))?;

        while !slices.is_empty() {
            match file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut slices, count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }

        Ok(())
    }
}
