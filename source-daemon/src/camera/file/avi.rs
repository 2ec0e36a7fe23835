//! An AVI file with MJPEG in it: RIFF chunks of four letters, a length and as many bytes, padded to even.
//!
//! Lists are entered wherever they may hold what is looked for and their lengths are not relied upon, so that files of
//! several RIFFs (OpenDML), files with a wrong index and files that were never closed play as far as they go.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use fanlight_proto::message::FrameBuffer;

use super::super::pacer::{MAX_RATE_MILLIHERTZ, MIN_RATE_MILLIHERTZ};
use super::Pictures;
use crate::jpeg::markers::{Fault, MarkerParser, Step};
use crate::jpeg::splitter::MAX_PICTURE;

/// Why a file that begins as an AVI cannot be played.
#[derive(Debug, thiserror::Error)]
pub(super) enum AviError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("AVI without video: it ends at byte {0} before any picture")]
    NoVideo(u64),
    #[error(
        "AVI whose video is {0}, not MJPEG; ffmpeg can convert it (-c:v mjpeg), or be the input as pipe"
    )]
    Codec(String),
}

/// The file, read as pictures are asked for.
#[derive(Debug)]
pub(super) struct Avi<F = File> {
    file: BufReader<F>,
    length: u64,
    at: u64,
    /// Where the list of pictures begins.
    movie: u64,
    /// The first letters of the chunks of the first video stream.
    stream: [u8; 2],
    rate_millihertz: Option<u32>,
    /// See [`Pictures::moments`].
    moments: u64,
    broken: u64,
    fault: Option<Fault>,
    bytes: Vec<u8>,
    /// Of `bytes`, how many are the last picture; 0 before there is one.
    last: usize,
}

/// The rate of a stream in thousandths of a picture a second, from dwScale and dwRate of its AVISTREAMHEADER; none when
/// these make no sense.
fn rate_millihertz(header: [u8; 28]) -> Option<u32> {
    let number = |at: usize| {
        let bytes = header[at..at + 4].try_into();
        u64::from(u32::from_le_bytes(bytes.unwrap_or_default()))
    };

    let millihertz = (number(24) * 1000).checked_div(number(20))?;
    let rate = u32::try_from(millihertz).ok()?;
    (MIN_RATE_MILLIHERTZ..=MAX_RATE_MILLIHERTZ)
        .contains(&rate)
        .then_some(rate)
}

/// The head of a chunk. In a list, the list's own letters.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    letters: [u8; 4],
    length: u32,
}

impl Avi {
    pub(super) fn open(path: &Path) -> Result<Self, AviError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Self::new(file, length)
    }
}

impl<F: Read + Seek> Avi<F> {
    pub(super) fn new(file: F, length: u64) -> Result<Self, AviError> {
        let mut avi = Self {
            file: BufReader::new(file),
            length,
            at: 0,
            movie: 0,
            stream: *b"00",
            rate_millihertz: None,
            moments: 1,
            broken: 0,
            fault: None,
            bytes: Vec::new(),
            last: 0,
        };

        avi.read_head()?;
        Ok(avi)
    }

    /// Reads up to the list of pictures: which stream is the video, and how it is coded.
    fn read_head(&mut self) -> Result<(), AviError> {
        let (mut streams, mut video) = (0u8, None);
        while let Some(chunk) = self.next_chunk()? {
            match &chunk.letters {
                b"movi" if video.is_some() => {
                    self.movie = self.at;
                    return Ok(());
                }
                b"strh" => {
                    let header = self.bytes_at::<28>(chunk, 0)?;
                    if header.starts_with(b"vids") && video.is_none() {
                        video = Some(streams);
                        self.rate_millihertz = rate_millihertz(header);
                        self.stream = [b'0' + streams / 10 % 10, b'0' + streams % 10];
                    }
                    streams = streams.wrapping_add(1);
                }
                // biCompression of the BITMAPINFOHEADER that follows its stream's header.
                b"strf" if video.is_some_and(|v| v + 1 == streams) => {
                    let codec = self.bytes_at::<4>(chunk, 16)?.to_ascii_uppercase();
                    if ![b"MJPG", b"JPEG", b"AVRN", b"DMB1"]
                        .iter()
                        .any(|known| codec == **known)
                    {
                        return Err(AviError::Codec(codec.escape_ascii().to_string()));
                    }
                }
                _ => self.skip(chunk)?,
            }
        }

        Err(AviError::NoVideo(self.at))
    }

    /// The next chunk's head, and steps behind it; lists that may hold what is looked for are entered. None at the end.
    fn next_chunk(&mut self) -> io::Result<Option<Chunk>> {
        while self.at + 8 <= self.length {
            let mut head = [0; 8];
            self.file.read_exact(&mut head)?;
            self.at += 8;
            let [a, b, c, d, l0, l1, l2, l3] = head;
            let chunk = Chunk {
                letters: [a, b, c, d],
                length: u32::from_le_bytes([l0, l1, l2, l3]),
            };

            if !matches!(&chunk.letters, b"RIFF" | b"LIST") {
                return Ok(Some(chunk));
            }

            if self.at + 4 > self.length {
                break;
            }

            let mut letters = [0; 4];
            self.file.read_exact(&mut letters)?;
            self.at += 4;

            match &letters {
                b"AVI " | b"AVIX" | b"hdrl" | b"strl" | b"rec " => {}
                b"movi" => return Ok(Some(Chunk { letters, length: 0 })),
                _ => self.skip(Chunk {
                    letters,
                    length: chunk.length.saturating_sub(4),
                })?,
            }
        }

        Ok(None)
    }

    /// Steps over a chunk's bytes, of which none were read. Past the end it stays there.
    fn skip(&mut self, chunk: Chunk) -> io::Result<()> {
        let padded = i64::from(chunk.length) + i64::from(chunk.length % 2);
        self.at = self.at.saturating_add_signed(padded);
        self.file.seek_relative(padded)
    }

    /// Bytes within a chunk, which is left behind; zeros when it has fewer.
    fn bytes_at<const N: usize>(&mut self, chunk: Chunk, offset: u32) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        let end = u64::from(offset) + N as u64;
        if u64::from(chunk.length) < end || self.at + end > self.length {
            self.skip(chunk)?;
            return Ok(bytes);
        }

        self.file.seek_relative(i64::from(offset))?;
        self.file.read_exact(&mut bytes)?;
        self.file.seek_relative(-(end as i64))?;
        self.skip(chunk)?;
        Ok(bytes)
    }

    /// The picture in a chunk; what a recorder padded it with is dropped.
    fn picture(&mut self, chunk: Chunk) -> io::Result<Option<FrameBuffer>> {
        let length = chunk.length as usize;
        if length > MAX_PICTURE || self.at + u64::from(chunk.length) > self.length {
            self.skip(chunk)?;
            return Ok(None);
        }

        self.last = 0;
        self.bytes.resize(length, 0);
        self.file.read_exact(&mut self.bytes)?;
        self.at += u64::from(chunk.length);

        if length % 2 == 1 {
            self.file.seek_relative(1)?;
            self.at += 1;
        }

        Ok(match MarkerParser::default().step(&self.bytes) {
            Step::Done(end) => {
                self.last = end;
                Some(FrameBuffer::copy_of(&self.bytes[..end]))
            }
            Step::Broken(_, fault) => {
                self.fault = Some(fault);
                None
            }
            Step::More => None,
        })
    }
}

impl<F: Read + Seek + Debug + Send> Pictures for Avi<F> {
    fn next(&mut self) -> io::Result<Option<FrameBuffer>> {
        self.moments = 1;
        while let Some(chunk) = self.next_chunk()? {
            let [s0, s1, d, kind] = chunk.letters;
            let ours = [s0, s1] == self.stream && d == b'd' && matches!(kind, b'c' | b'b');
            if !ours {
                self.skip(chunk)?;
                continue;
            }

            // A chunk without bytes lets the picture before it stay.
            if chunk.length == 0 {
                let a_second = self.rate_millihertz.unwrap_or_default() / 1000;
                if self.last > 0 && self.moments >= u64::from(a_second.max(1)) {
                    return Ok(Some(FrameBuffer::copy_of(&self.bytes[..self.last])));
                }
                self.moments += 1;
                continue;
            }

            let picture = self.picture(chunk)?;
            if picture.is_some() {
                return Ok(picture);
            }

            self.broken += 1;
        }

        Ok(None)
    }

    fn moments(&self) -> u64 {
        self.moments
    }

    fn rate_millihertz(&self) -> Option<u32> {
        self.rate_millihertz
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.last = 0;
        self.at = self.movie;
        self.file.seek(SeekFrom::Start(self.movie)).map(|_| ())
    }

    fn broken(&self) -> u64 {
        self.broken
    }

    fn fault(&self) -> String {
        self.fault.map_or_else(
            || "the JPEG is cut short or too large".to_owned(),
            |fault| fault.to_string(),
        )
    }

    fn place(&self) -> String {
        format!("byte {}", self.at)
    }
}
