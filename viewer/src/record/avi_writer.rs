//! Writes an AVI 1.0 file of MJPEG (Microsoft, AVI RIFF File Reference): one video stream of constant rate, an index.
//!
//! The recording thread writes. Each chunk is one system call, and the headers are brought up to date once a second, so
//! that the file can be played at any moment, whatever ends the program.

use std::fs::File;
use std::io;

use super::append_file::AppendFile;

/// Most bytes of a file: many players know no more than a signed 32-bit offset.
pub(super) const MAX_BYTES: u64 = (1 << 31) - (1 << 20);

/// Most moments (frames and repetitions) of a file: 10 hours at 30 a second. The index is in memory until the file is
/// closed: 8 MiB.
pub(super) const MAX_MOMENTS: usize = 1 << 20;

/// Bytes of a chunk's head: four letters and a length.
const CHUNK_HEAD: u64 = 8;

/// Bytes of an entry of the index.
const INDEX_ENTRY: u64 = 16;

/// Offset of the letters `movi`, from which the index counts.
const MOVI: u64 = 220;

/// Offset of the first chunk.
const FIRST_CHUNK: u64 = MOVI + 4;

/// AVIF_HASINDEX.
const HAS_INDEX: u32 = 0x10;

/// AVIIF_KEYFRAME.
const KEY_FRAME: u32 = 0x10;

/// The first video stream's compressed pictures.
const PICTURE: [u8; 4] = *b"00dc";

/// What all pictures of a file have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// Columns.
    pub(super) width: u32,
    /// Rows.
    pub(super) height: u32,
    /// Moments in a thousand seconds; not 0.
    pub(super) rate_millihertz: u32,
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct AviWriter {
    file: AppendFile,
    format: Format,
    /// Where the next chunk of each moment begins, and its length.
    index: Vec<(u32, u32)>,
    largest: u32,
}

impl AviWriter {
    /// Begins the empty `file`.
    pub(super) fn begin(file: File, format: Format) -> io::Result<Self> {
        let avi = Self {
            file: AppendFile::begin(file, &[0; FIRST_CHUNK as usize])?,
            format,
            index: Vec::new(),
            largest: 0,
        };

        avi.settle()?;
        Ok(avi)
    }

    /// Whether `empty` repetitions, a picture of `bytes` and the index still fit.
    pub(super) fn has_room(&self, empty: u64, bytes: usize) -> bool {
        let moments = self.index.len() as u64 + empty + 1;
        let chunks = (empty + 1) * CHUNK_HEAD + bytes as u64 + 1;
        let index = CHUNK_HEAD + moments * INDEX_ENTRY;
        moments <= MAX_MOMENTS as u64 && self.file.end + chunks + index <= MAX_BYTES
    }

    /// Appends a picture, byte for byte, which plays for one moment.
    ///
    /// # Errors
    /// When it cannot be written; then nothing of it is in the file.
    pub(super) fn picture(&mut self, jpeg: &[u8]) -> io::Result<()> {
        let length =
            u32::try_from(jpeg.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let head = chunk_head(PICTURE, length);
        let padding: &[u8] = if length % 2 == 1 { &[0] } else { &[] };

        let at = self.file.end as u32;
        self.file.append(&[&head, jpeg, padding])?;
        self.index.push((at, length));
        self.largest = self.largest.max(length);
        Ok(())
    }

    /// Appends a moment at which the picture before it stays.
    ///
    /// # Errors
    /// As [`picture`](Self::picture).
    pub(super) fn repeat(&mut self) -> io::Result<()> {
        self.picture(&[])
    }

    /// Brings the headers up to date.
    pub(super) fn settle(&self) -> io::Result<()> {
        self.file.replace(&self.head(self.file.end, None), 0)
    }

    /// Appends the index and closes the file. It can be played without an index, too, if there is no room for one.
    pub(super) fn close(mut self) -> io::Result<()> {
        let mut index = Vec::with_capacity(self.index.len() * INDEX_ENTRY as usize);
        index.extend(chunk_head(
            *b"idx1",
            (self.index.len() as u64 * INDEX_ENTRY) as u32,
        ));

        for (at, length) in &self.index {
            // A moment without a picture begins nothing.
            let flags = if *length == 0 { 0 } else { KEY_FRAME };
            index.extend(PICTURE);
            [flags, at - MOVI as u32, *length]
                .iter()
                .for_each(|number| index.extend(number.to_le_bytes()));
        }

        let pictures_end = self.file.end;
        let indexed = self.file.append(&[&index]);
        let length = indexed.is_ok().then_some(index.len() as u64);
        self.file.replace(&self.head(pictures_end, length), 0)?;
        indexed
    }

    /// The headers of a file whose pictures end at `end`, and whose index, if it is written already, has `index` bytes.
    fn head(&self, end: u64, index: Option<u64>) -> Vec<u8> {
        let list = (end - MOVI) as u32;
        let riff = (end + index.unwrap_or(0) - CHUNK_HEAD) as u32;
        let flags = if index.is_some() { HAS_INDEX } else { 0 };

        let mut head = Vec::with_capacity(FIRST_CHUNK as usize);
        letters(&mut head, *b"RIFF", riff, Some(*b"AVI "));
        letters(
            &mut head,
            *b"LIST",
            4 + 64 + 8 + 4 + 64 + 48,
            Some(*b"hdrl"),
        );

        self.main_header(&mut head, flags);
        letters(&mut head, *b"LIST", 4 + 64 + 48, Some(*b"strl"));
        self.stream_header(&mut head);
        self.stream_format(&mut head);
        letters(&mut head, *b"LIST", list, Some(*b"movi"));
        head
    }

    /// AVIMAINHEADER.
    fn main_header(&self, head: &mut Vec<u8>, flags: u32) {
        let Format {
            width,
            height,
            rate_millihertz,
        } = self.format;

        let interval_us = 1_000_000_000 / rate_millihertz;
        let bytes_a_second = u64::from(self.largest) * u64::from(rate_millihertz) / 1000;
        let rate = u32::try_from(bytes_a_second).unwrap_or(u32::MAX);
        let moments = self.index.len() as u32;
        let largest = self.largest;

        letters(head, *b"avih", 56, None);
        numbers(head, &[interval_us, rate, 0, flags, moments, 0, 1]);
        numbers(head, &[largest, width, height, 0, 0, 0, 0]);
    }

    /// AVISTREAMHEADER.
    fn stream_header(&self, head: &mut Vec<u8>) {
        let rate = self.format.rate_millihertz;
        let moments = self.index.len() as u32;

        letters(head, *b"strh", 56, Some(*b"vids"));
        head.extend(*b"MJPG");
        numbers(head, &[0, 0, 0, 1000, rate, 0, moments]);
        numbers(head, &[self.largest, u32::MAX, 0]);
        [0, 0, self.format.width as u16, self.format.height as u16]
            .iter()
            .for_each(|edge| head.extend(edge.to_le_bytes()));
    }

    /// BITMAPINFOHEADER.
    fn stream_format(&self, head: &mut Vec<u8>) {
        let Format { width, height, .. } = self.format;

        letters(head, *b"strf", 40, None);
        numbers(head, &[40, width, height]);
        [1u16, 24]
            .iter()
            .for_each(|number| head.extend(number.to_le_bytes()));
        head.extend(*b"MJPG");
        numbers(head, &[width * height * 3, 0, 0, 0, 0]);
    }
}

fn chunk_head(name: [u8; 4], length: u32) -> Vec<u8> {
    let mut head = Vec::with_capacity(CHUNK_HEAD as usize);
    letters(&mut head, name, length, None);
    head
}

fn letters(into: &mut Vec<u8>, name: [u8; 4], length: u32, kind: Option<[u8; 4]>) {
    into.extend(name);
    into.extend(length.to_le_bytes());
    into.extend(kind.into_iter().flatten());
}

fn numbers(into: &mut Vec<u8>, numbers: &[u32]) {
    numbers
        .iter()
        .for_each(|number| into.extend(number.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: Format = Format {
        width: 640,
        height: 480,
        rate_millihertz: 29_970,
    };

    fn begun() -> (tempfile::NamedTempFile, AviWriter) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let avi = AviWriter::begin(file.reopen().unwrap(), FORMAT).unwrap();
        (file, avi)
    }

    fn number(bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn lists_are_as_long_as_they_say_and_the_index_points_at_the_pictures() {
        let (file, mut avi) = begun();
        for picture in [&b"first"[..], b"", b"third!"] {
            avi.picture(picture).unwrap();
        }

        avi.close().unwrap();
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(&bytes[MOVI as usize..FIRST_CHUNK as usize], b"movi");
        assert_eq!(number(&bytes, 4) as usize + 8, bytes.len());
        let list = number(&bytes, MOVI as usize - 4) as usize;
        let index = MOVI as usize + list;
        assert_eq!(&bytes[index..index + 4], b"idx1");
        assert_eq!(number(&bytes, index + 4), 3 * 16);

        for (entry, (picture, flags)) in [(&b"first"[..], 0x10), (b"", 0), (b"third!", 0x10)]
            .iter()
            .enumerate()
        {
            let entry = index + 8 + 16 * entry;
            let at = MOVI as usize + number(&bytes, entry + 8) as usize;
            assert_eq!(&bytes[at..at + 4], b"00dc");
            assert_eq!(number(&bytes, entry + 4), *flags);
            assert_eq!(number(&bytes, at + 4) as usize, picture.len());
            assert_eq!(&bytes[at + 8..at + 8 + picture.len()], *picture);
        }
    }

    #[test]
    fn a_file_is_full_before_two_gibibytes_with_its_index() {
        let (_file, mut avi) = begun();
        assert!(avi.has_room(0, 100_000));
        avi.file.end = MAX_BYTES - 100_000;
        assert!(!avi.has_room(0, 100_000));
        assert!(avi.has_room(0, 90_000));
        assert!(!avi.has_room(1_000, 90_000));
        avi.file.end = FIRST_CHUNK;
        assert!(!avi.has_room(MAX_MOMENTS as u64, 10));
    }
}
