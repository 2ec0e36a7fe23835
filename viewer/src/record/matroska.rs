//! Writes a Matroska file of MJPEG (RFC 9559, RFC 8794): one video track, each frame as it came and at its own time.
//!
//! The recording thread writes. Each frame is one system call, and the length is brought up to date once a second, so that
//! the file can be played at any moment, whatever ends the program. Each second is a cluster; of the last one no length is
//! said until it is over. The index of clusters, by which players jump, is written at the end.

use std::fs::File;
use std::io;
use std::time::{Duration, SystemTime};

use super::append_file::AppendFile;
use super::film_files::{FilmWriter, TICK, Title};

/// A new cluster begins after so many ticks. Its frames are at most 32767 of them after its begin.
const CLUSTER_TICKS: u64 = 10_000;

/// Most clusters of a file: twelve days. Their index is in memory until the file is closed: 16 MiB.
const MAX_CLUSTERS: usize = 1 << 20;

/// The length of what has not ended (RFC 8794 section 6.2), in eight bytes.
const UNKNOWN: u64 = 0x01FF_FFFF_FFFF_FFFF;

/// An element that may be anything, of the length that it keeps free.
const VOID: u32 = 0xEC;
const SEEK_HEAD: u32 = 0x114D_9B74;
const CLUSTER: u32 = 0x1F43_B675;
const CUES: u32 = 0x1C53_BB6B;

/// Bytes of an identifier of four bytes and of a length.
const HEAD: u64 = 12;

/// A file that is being written.
#[derive(Debug)]
pub(super) struct MatroskaWriter {
    file: AppendFile,
    /// Where positions count from.
    body: u64,
    /// Where the length is, once it is known.
    duration_at: u64,
    /// The begin in ticks of each cluster, and where it is in the file.
    clusters: Vec<(u64, u64)>,
    /// The last frame's time.
    last: u64,
}

impl MatroskaWriter {
    /// Begins the empty `file`.
    pub(super) fn begin(file: File, title: &Title) -> io::Result<Self> {
        let mut head = element(
            0x1A45_DFA3,
            &[
                number(0x4286, 1),
                number(0x42F7, 1),
                number(0x42F2, 4),
                number(0x42F3, 8),
                text(0x4282, "matroska"),
                number(0x4287, 4),
                number(0x4285, 2),
            ],
        );

        head.extend(0x1853_8067_u32.to_be_bytes());
        head.extend(UNKNOWN.to_be_bytes());
        let body = head.len() as u64;
        head.extend(void(seek_head(0).len()));

        let times = [
            number(0x2A_D7B1, TICK.as_nanos() as u64),
            integer(0x4461, since_2001_ns(title.date)),
            text(0x4D80, "fanlight"),
            text(0x5741, "fanlight"),
            void(duration(0).len()),
        ];
        head.extend(element(0x1549_A966, &times));
        let duration_at = (head.len() - duration(0).len()) as u64;
        head.extend(tracks(title));

        Ok(Self {
            file: AppendFile::begin(file, &head)?,
            body,
            duration_at,
            clusters: Vec::new(),
            last: 0,
        })
    }

    fn begin_cluster(&mut self, ticks: u64) -> io::Result<u64> {
        self.end_cluster()?;
        let at = self.file.end;
        let mut head = CLUSTER.to_be_bytes().to_vec();
        head.extend(UNKNOWN.to_be_bytes());
        head.extend(number(0xE7, ticks));
        self.file.append(&[&head])?;
        self.clusters.push((ticks, at));
        Ok(ticks)
    }

    /// Says how long the last cluster is.
    fn end_cluster(&self) -> io::Result<()> {
        let Some((_, at)) = self.clusters.last() else {
            return Ok(());
        };
        let bytes = length(self.file.end - at - HEAD);
        self.file.replace(&bytes, at + 4)
    }

    fn index(&self) -> Vec<u8> {
        let point = |(ticks, at): &(u64, u64)| {
            let place = element(0xB7, &[number(0xF7, 1), number(0xF1, at - self.body)]);
            element(0xBB, &[number(0xB3, *ticks), place])
        };
        let points: Vec<_> = self.clusters.iter().map(point).collect();
        element(CUES, &points)
    }
}

impl FilmWriter for MatroskaWriter {
    fn bytes(&self) -> u64 {
        self.file.end
    }

    fn is_full(&self) -> bool {
        self.clusters.len() == MAX_CLUSTERS
    }

    fn frame(&mut self, ticks: u64, jpeg: &[u8]) -> io::Result<()> {
        let begun = self.clusters.last().map(|(begun, _)| *begun);
        let begun = match begun.filter(|begun| ticks - begun < CLUSTER_TICKS) {
            Some(begun) => begun,
            None => self.begin_cluster(ticks)?,
        };

        let mut head = vec![0xA3];
        head.extend(length(4 + jpeg.len() as u64));
        // The track's number, the time in the cluster, and that nothing else is needed to show it.
        let [high, low] = ((ticks - begun) as u16).to_be_bytes();
        head.extend([0x81, high, low, 0x80]);
        self.file.append(&[&head, jpeg])?;
        self.last = ticks;
        Ok(())
    }

    fn settle(&self) -> io::Result<()> {
        self.file.replace(&duration(self.last), self.duration_at)
    }

    /// Appends the index.
    fn close(mut self: Box<Self>) -> io::Result<()> {
        self.end_cluster()?;
        self.settle()?;
        let at = self.file.end - self.body;
        self.file.append(&[&self.index()])?;
        self.file.replace(&seek_head(at), self.body)
    }
}

/// Says where in the segment the index is.
fn seek_head(index: u64) -> Vec<u8> {
    let which = bytes(0x53AB, &CUES.to_be_bytes());
    element(
        SEEK_HEAD,
        &[element(0x4DBB, &[which, number(0x53AC, index)])],
    )
}

fn duration(ticks: u64) -> Vec<u8> {
    bytes(0x4489, &(ticks as f64).to_be_bytes())
}

fn tracks(title: &Title) -> Vec<u8> {
    let (width, height) = title.size;
    let video = element(
        0xE0,
        &[number(0xB0, width.into()), number(0xBA, height.into())],
    );

    let track = element(
        0xAE,
        &[
            number(0xD7, 1),
            number(0x73C5, 1),
            number(0x83, 1),
            number(0x9C, 0),
            text(0x536E, &title.name),
            text(0x86, "V_MJPEG"),
            video,
        ],
    );
    element(0x1654_AE6B, &[track])
}

fn since_2001_ns(date: SystemTime) -> i64 {
    const SECONDS_TO_2001: u64 = 978_307_200;
    let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(SECONDS_TO_2001);
    let since = date.duration_since(begin).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn element(id: u32, parts: &[Vec<u8>]) -> Vec<u8> {
    bytes(id, &parts.concat())
}

fn number(id: u32, number: u64) -> Vec<u8> {
    bytes(id, &number.to_be_bytes())
}

fn integer(id: u32, number: i64) -> Vec<u8> {
    bytes(id, &number.to_be_bytes())
}

fn text(id: u32, text: &str) -> Vec<u8> {
    bytes(id, text.as_bytes())
}

/// An element that keeps `len` bytes free, itself included; 9 at least.
fn void(len: usize) -> Vec<u8> {
    bytes(VOID, &vec![0; len - 9])
}

fn bytes(id: u32, body: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes();
    let begin = id.iter().position(|byte| *byte != 0).unwrap_or(0);
    let mut element = id[begin..].to_vec();
    element.extend(length(body.len() as u64));
    element.extend(body);
    element
}

/// A length (RFC 8794 section 4), always in eight bytes.
fn length(bytes: u64) -> [u8; 8] {
    (bytes | 1 << 56).to_be_bytes()
}
