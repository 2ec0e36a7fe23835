//! Writes a fragmented MP4 of MJPEG (ISO/IEC 14496-12, 14496-14): one video track, each frame as it came and at its own time.
//!
//! The recording thread writes. Each frame is a fragment of its own and one system call, so that the file can be played at
//! any moment, whatever ends the program. How long a frame plays is written when the next one comes; the length of the film
//! once a second.

use std::fs::File;
use std::io;
use std::time::{Duration, SystemTime};

use bytes::BufMut as _;

use super::append_file::AppendFile;
use super::film_files::{FilmWriter, TICK, Title};

/// Ticks in a second.
const TIMESCALE: u32 = (Duration::from_secs(1).as_nanos() / TICK.as_nanos()) as u32;

/// How long a frame plays that has none after it: 25 a second.
const FIRST_INTERVAL: u32 = TIMESCALE / 25;

/// Bytes of a fragment before the frame, and where in it stands how long the frame plays.
const FRAGMENT_HEAD: u32 = 104;
const INTERVAL_AT: u64 = 88;

/// A picture that needs no other.
const SYNC_SAMPLE: u32 = 0x0200_0000;

/// No rotation.
const MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// The descriptors of a stream of JPEGs: object type 0x6C, a visual stream (ISO/IEC 14496-1, 7.2.6).
const DESCRIPTORS: [u8; 23] = [
    0x03, 21, 0, 1, 0, 0x04, 13, 0x6C, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x06, 1, 2,
];

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Mp4Writer {
    file: AppendFile,
    /// Where the film's length stands.
    length_at: u64,
    /// The last frame: its time, how long it plays, and where its fragment is.
    last: Option<(u64, u32, u64)>,
    frames: u32,
}

impl Mp4Writer {
    /// Begins the empty `file`.
    pub(super) fn begin(file: File, title: &Title) -> io::Result<Self> {
        let mut head = type_box(*b"ftyp", b"isom\0\0\x02\0isomiso6mp41");
        // The box with the length ends before the last one, of 32 bytes.
        let movie = movie(title);
        head.extend(&movie);
        let length_at = (head.len() - 32 - 8) as u64;
        Ok(Self {
            file: AppendFile::begin(file, &head)?,
            length_at,
            last: None,
            frames: 0,
        })
    }

    /// Says how long the last frame plays, when another comes at `ticks`. Returns how long that will play at a guess.
    fn end_frame(&self, ticks: u64) -> io::Result<u32> {
        let Some((begun, guessed, at)) = self.last else {
            return Ok(FIRST_INTERVAL);
        };

        let interval = u32::try_from(ticks - begun).unwrap_or(u32::MAX);
        if interval != guessed {
            self.file
                .replace(&interval.to_be_bytes(), at + INTERVAL_AT)?;
        }
        Ok(interval)
    }
}

impl FilmWriter for Mp4Writer {
    fn bytes(&self) -> u64 {
        self.file.end
    }

    fn frame(&mut self, ticks: u64, jpeg: &[u8]) -> io::Result<()> {
        let interval = self.end_frame(ticks)?;
        let size = u32::try_from(jpeg.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let at = self.file.end;
        let head = fragment(self.frames + 1, ticks, interval, size);
        self.file.append(&[&head, jpeg])?;
        self.frames += 1;
        self.last = Some((ticks, interval, at));
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.frames == u32::MAX
    }

    fn settle(&self) -> io::Result<()> {
        let length = self
            .last
            .map_or(0, |(ticks, interval, _)| ticks + u64::from(interval));
        self.file.replace(&length.to_be_bytes(), self.length_at)
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        self.settle()
    }
}

/// What stands before a frame.
fn fragment(number: u32, ticks: u64, interval: u32, size: u32) -> Vec<u8> {
    const OFFSETS_ARE_FROM_HERE: u32 = 0x02_0000;
    const OFFSET_INTERVAL_AND_SIZE: u32 = 0x301;
    let run = [1, FRAGMENT_HEAD, interval, size];
    let track = [
        full_box(*b"tfhd", 0, OFFSETS_ARE_FROM_HERE, &words(&[1])),
        full_box(*b"tfdt", 1, 0, &ticks.to_be_bytes()),
        full_box(*b"trun", 0, OFFSET_INTERVAL_AND_SIZE, &words(&run)),
    ];
    let parts = [
        full_box(*b"mfhd", 0, 0, &words(&[number])),
        type_box(*b"traf", &track.concat()),
    ];

    let mut head = type_box(*b"moof", &parts.concat());
    head.put_u32(size + 8);
    head.put(&b"mdat"[..]);
    head
}

/// What is said of all frames.
fn movie(title: &Title) -> Vec<u8> {
    let times = times(title.date);
    let mut header = times.clone();
    header.extend(words(&[TIMESCALE, 0, 0, 0x1_0000, 0x0100_0000, 0, 0]));
    header.extend(words(&MATRIX));
    header.extend(words(&[0, 0, 0, 0, 0, 0, 2]));

    let extends = [
        full_box(*b"mehd", 1, 0, &[0; 8]),
        full_box(*b"trex", 0, 0, &words(&[1, 1, 0, 0, SYNC_SAMPLE])),
    ];
    let parts = [
        full_box(*b"mvhd", 1, 0, &header),
        track(title, &times),
        type_box(*b"mvex", &extends.concat()),
    ];
    type_box(*b"moov", &parts.concat())
}

fn track(title: &Title, times: &[u8]) -> Vec<u8> {
    const ENABLED_IN_MOVIE: u32 = 3;
    let (width, height) = title.size;
    let mut header = times.to_vec();
    header.extend(words(&[1, 0, 0, 0, 0, 0, 0, 0]));
    header.extend(words(&MATRIX));
    header.extend(words(&[width << 16, height << 16]));

    let mut media_header = times.to_vec();
    // The language is not said.
    media_header.extend(words(&[TIMESCALE, 0, 0, 0x55C4_0000]));
    let mut handler = words(&[0]);
    handler.extend(b"vide");
    handler.extend(words(&[0; 3]));
    handler.extend(title.name.as_bytes());
    handler.push(0);

    let here = full_box(*b"url ", 0, 1, &[]);
    let references = [words(&[1]), here].concat();
    let media_information = [
        full_box(*b"vmhd", 0, 1, &[0; 8]),
        type_box(*b"dinf", &full_box(*b"dref", 0, 0, &references)),
        sample_table(width, height),
    ];
    let media = [
        full_box(*b"mdhd", 1, 0, &media_header),
        full_box(*b"hdlr", 0, 0, &handler),
        type_box(*b"minf", &media_information.concat()),
    ];
    let parts = [
        full_box(*b"tkhd", 1, ENABLED_IN_MOVIE, &header),
        type_box(*b"mdia", &media.concat()),
    ];
    type_box(*b"trak", &parts.concat())
}

/// The coding, and that there are no frames but in fragments.
fn sample_table(width: u32, height: u32) -> Vec<u8> {
    const DOTS_PER_INCH: u32 = 72 << 16;
    const DEPTH_AND_NO_PALETTE: u32 = 0x0018_FFFF;
    let mut entry = words(&[0, 1, 0, 0, 0, 0, width << 16 | height]);
    entry.extend(words(&[DOTS_PER_INCH, DOTS_PER_INCH, 0]));
    // One frame a sample, and no name of the encoder.
    entry.put_u16(1);
    entry.extend([0; 32]);
    entry.extend(words(&[DEPTH_AND_NO_PALETTE]));
    entry.extend(full_box(*b"esds", 0, 0, &DESCRIPTORS));

    let description = [words(&[1]), type_box(*b"mp4v", &entry)].concat();
    let tables = [
        full_box(*b"stsd", 0, 0, &description),
        full_box(*b"stts", 0, 0, &[0; 4]),
        full_box(*b"stsc", 0, 0, &[0; 4]),
        full_box(*b"stsz", 0, 0, &[0; 8]),
        full_box(*b"stco", 0, 0, &[0; 4]),
    ];
    type_box(*b"stbl", &tables.concat())
}

/// When it was made and changed, in seconds since 1904.
fn times(date: SystemTime) -> Vec<u8> {
    const SECONDS_TO_1970: u64 = 2_082_844_800;
    let since = date.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = SECONDS_TO_1970 + since.unwrap_or_default().as_secs();
    [seconds.to_be_bytes(), seconds.to_be_bytes()].concat()
}

fn full_box(kind: [u8; 4], version: u8, flags: u32, body: &[u8]) -> Vec<u8> {
    let head = u32::from(version) << 24 | flags;
    type_box(kind, &[&head.to_be_bytes(), body].concat())
}

fn type_box(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(8 + body.len());
    whole.put_u32(8 + body.len() as u32);
    whole.put(&kind[..]);
    whole.put(body);
    whole
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_says_where_the_frame_is_and_how_long_it_plays() {
        let head = fragment(1, 5, 0x0102_0304, 99);
        assert_eq!(head.len(), FRAGMENT_HEAD as usize);
        assert_eq!(head[INTERVAL_AT as usize..][..4], [1, 2, 3, 4]);
        assert_eq!(head[FRAGMENT_HEAD as usize - 8..], *b"\0\0\0\x6bmdat");
    }
}
