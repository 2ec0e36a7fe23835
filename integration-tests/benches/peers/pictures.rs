//! The pictures that all peers send: JPEGs in files, each with room for the time at which it was taken, in a comment
//! right behind SOI. Who feeds them writes the time there, and a peer that passes pictures on untouched passes it on.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use fanlight_proto::clock::Time;
use fanlight_tests::jpeg::numbered;

/// SOI and the beginning of a comment of 18 bytes: its length, a word, and the time.
const HEAD: [u8; 14] = *b"\xff\xd8\xff\xfe\x00\x12fanlight";

/// Where the time stands: 8 bytes, nanoseconds on CLOCK_MONOTONIC, big-endian.
const TIME_AT: usize = HEAD.len();

/// Different pictures, shown again and again.
const COUNT: u64 = 8;

/// Width and height: with the noise in them, such pictures have about 100 kB.
const SIZE: (u32, u32) = (1104, 624);

/// The pictures, in a folder.
#[derive(Debug)]
pub(crate) struct Pictures {
    pub(crate) folder: PathBuf,
    pub(crate) jpegs: Vec<Vec<u8>>,
}

impl Pictures {
    /// Writes them into `folder`, as 000.jpg and so on.
    pub(crate) fn write(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let jpegs = (0..COUNT)
            .map(|number| [&HEAD, &[0; 8][..], &numbered(number, SIZE.0, SIZE.1)[2..]].concat());
        let jpegs: Vec<Vec<u8>> = jpegs.collect();
        for (number, jpeg) in jpegs.iter().enumerate() {
            std::fs::write(folder.join(format!("{number:03}.jpg")), jpeg)?;
        }

        Ok(Self {
            folder: folder.to_owned(),
            jpegs,
        })
    }

    /// As printf(3) and its like name them.
    pub(crate) fn pattern(&self) -> String {
        self.folder.join("%03d.jpg").display().to_string()
    }

    /// Their mean size in bytes.
    pub(crate) fn bytes(&self) -> f64 {
        self.jpegs.iter().map(Vec::len).sum::<usize>() as f64 / self.jpegs.len() as f64
    }

    /// `seconds` of them in an AVI file, untouched: its container says when each is due.
    pub(crate) fn avi(&self, rate: u32, seconds: u32) -> io::Result<PathBuf> {
        let file = self.folder.with_file_name(format!("pictures-{rate}.avi"));
        let rate = rate.to_string();
        let seconds = seconds.to_string();

        if !file.exists() {
            let mut command = Command::new("ffmpeg");
            command.args([
                "-loglevel",
                "error",
                "-framerate",
                &rate,
                "-loop",
                "1",
                "-i",
                &self.pattern(),
            ]);

            let status = command
                .args(["-c", "copy", "-t", &seconds])
                .arg(&file)
                .status()?;

            if !status.success() {
                return Err(io::Error::other("ffmpeg wrote no AVI file"));
            }
        }

        Ok(file)
    }
}

/// Writes into `jpeg` that it was taken at `time`.
pub(crate) fn stamp(jpeg: &mut [u8], time: Time) {
    jpeg[TIME_AT..TIME_AT + 8].copy_from_slice(&time.as_nanos().to_be_bytes());
}

/// When `jpeg` was taken, if it begins as ours do.
pub(crate) fn taken(jpeg: &[u8]) -> Option<Time> {
    let rest = jpeg.strip_prefix(&HEAD)?;
    rest.first_chunk()
        .map(|time| Time::from_nanos(u64::from_be_bytes(*time)))
}
