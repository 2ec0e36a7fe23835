//! A file of JPEGs, one after the other.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;

use fanlight_proto::message::FrameBuffer;

use super::Pictures;
use crate::jpeg::splitter::{MAX_PUSH, Splitter};

/// The file, read as pictures are asked for.
#[derive(Debug)]
pub(super) struct Stream {
    file: File,
    splitter: Splitter,
    /// Of the passes before this one.
    broken: u64,
    chunk: Vec<u8>,
}

impl Stream {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            splitter: Splitter::default(),
            broken: 0,
            chunk: vec![0; MAX_PUSH],
        })
    }
}

impl Pictures for Stream {
    fn next(&mut self) -> io::Result<Option<FrameBuffer>> {
        loop {
            if let Some(picture) = self.splitter.pop() {
                return Ok(Some(picture));
            }

            match self.file.read(&mut self.chunk) {
                Ok(0) => {
                    self.splitter.finish();
                    return Ok(None);
                }
                Ok(length) => self.splitter.push(&self.chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.broken += self.splitter.broken();
        self.splitter = Splitter::default();
        self.file.rewind()
    }

    fn broken(&self) -> u64 {
        self.broken + self.splitter.broken()
    }

    fn fault(&self) -> String {
        self.splitter.fault()
    }

    fn place(&self) -> String {
        format!("byte {}", self.splitter.offset())
    }
}
