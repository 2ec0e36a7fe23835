//! JPEGs from files, played at a rate: a directory of pictures, an MJPEG file, or an AVI file with MJPEG in it.
//!
//! Files are read picture by picture, never as a whole; of a directory up to 64 MiB of pictures are kept. Pictures that are
//! damaged, or coded as no viewer decodes them, are left out and counted as skipped.

mod avi;
mod directory;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod stream;

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use fanlight_proto::message::FrameBuffer;

use super::pacer::FramePacer;
use super::{Camera, CameraError, CapturedFrame, Content, Input, Raw};
use crate::jpeg;

use avi::{Avi, AviError};
use directory::Directory;
use stream::Stream;

/// Most pictures that are passed over at once when the reader was late, as after the host slept.
const MAX_CATCH_UP: u64 = 64;

/// The rate of pictures that say nothing of it themselves.
pub const USUAL_RATE_MILLIHERTZ: u32 = 30_000;

/// The input.
#[derive(Clone, Debug, PartialEq)]
pub struct FileInput {
    /// A directory whose `*.jpg` and `*.jpeg` are played in the order of their names, or an MJPEG or AVI file.
    pub path: PathBuf,
    /// Thousandths of a picture a second. None: what an AVI says of itself, else [`USUAL_RATE_MILLIHERTZ`].
    pub rate_millihertz: Option<u32>,
    /// Whether to begin again at the end.
    pub repeat: bool,
}

/// Pictures in a row.
trait Pictures: Debug + Send {
    /// The next picture, whole from SOI to EOI; None at the end, and then again and again.
    fn next(&mut self) -> io::Result<Option<FrameBuffer>>;

    /// For how many moments of the file the picture before the last one stayed: more than one where nothing changed, at most
    /// those of a second; then it comes again.
    fn moments(&self) -> u64 {
        1
    }

    /// What the file says of its rate.
    fn rate_millihertz(&self) -> Option<u32> {
        None
    }

    /// Goes back to the first picture.
    fn rewind(&mut self) -> io::Result<()>;

    /// Pictures left out so far because they were damaged, cut short or too large.
    fn broken(&self) -> u64;

    /// What was wrong with the last of them.
    fn fault(&self) -> String;

    /// Where the reader stands, for messages: a file name or "byte 123".
    fn place(&self) -> String;
}

impl Input for FileInput {
    fn open(&mut self) -> Result<Box<dyn Camera>, CameraError> {
        let pictures = open(&self.path)?;
        let rate_millihertz = self
            .rate_millihertz
            .or_else(|| pictures.rate_millihertz())
            .unwrap_or(USUAL_RATE_MILLIHERTZ);
        Ok(Box::new(FileCamera {
            pictures,
            path: self.path.clone(),
            pace: FramePacer::new(rate_millihertz),
            rate_millihertz,
            repeat: self.repeat,
            delivered: 0,
            refused: 0,
            unusable: None,
            reported_lost: 0,
        }))
    }

    fn describe(&self) -> String {
        let path = self.path.display();
        match self.rate_millihertz {
            Some(rate) => format!("files {path} at {} fps", f64::from(rate) / 1000.0),
            None => format!("files {path}"),
        }
    }
}

fn open(path: &Path) -> Result<Box<dyn Pictures>, CameraError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            CameraError::Unplugged(format!("{}: no such file or directory", path.display()))
        }
        _ => CameraError::Failed(format!("{}: {error}", path.display())),
    };

    if path.is_dir() {
        return Ok(Box::new(Directory::open(path).map_err(failed)?));
    }

    let mut begin = Vec::new();
    File::open(path)
        .map_err(failed)?
        .take(12)
        .read_to_end(&mut begin)
        .map_err(failed)?;

    match begin[..] {
        [0xff, 0xd8, ..] => Ok(Box::new(Stream::open(path).map_err(failed)?)),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' '] => match Avi::open(path) {
            Ok(avi) => Ok(Box::new(avi)),
            Err(AviError::Io(error)) => Err(failed(error)),
            Err(error) => Err(CameraError::WrongFormat(format!(
                "{}: {error}",
                path.display()
            ))),
        },
        _ => Err(CameraError::WrongFormat(format!(
            "{}: neither JPEG, MJPEG nor AVI: it begins with {begin:02x?}; ffmpeg can convert it, or be the input as pipe",
            path.display()
        ))),
    }
}

#[derive(Debug)]
struct FileCamera {
    pictures: Box<dyn Pictures>,
    path: PathBuf,
    pace: FramePacer,
    rate_millihertz: u32,
    repeat: bool,
    /// Pictures delivered since the file was begun.
    delivered: u64,
    refused: u64,
    /// Why the last picture was left out.
    unusable: Option<String>,
    /// How many lost pictures the captured frames so far have accounted for.
    reported_lost: u64,
}

impl Camera for FileCamera {
    fn next(&mut self, _number: u64, _raw: &mut Raw) -> Result<CapturedFrame, CameraError> {
        let (mut captured, late) = self.pace.wait();
        let mut picture = self.usable()?;
        let mut behind = late;
        // The picture before it may have to stay.
        for _ in 1..self.pictures.moments() {
            if behind > 0 {
                behind -= 1;
                continue;
            }
            (captured, behind) = self.pace.wait();
        }

        let late = behind;
        for _ in 0..late.min(MAX_CATCH_UP) {
            // The end, if it is one, is told when nothing is left to deliver.
            let Ok(newer) = self.usable() else { break };
            picture = newer;
        }

        let lost = self.refused + self.pictures.broken();
        let skipped = late + lost - self.reported_lost;
        self.reported_lost = lost;
        Ok(CapturedFrame {
            captured,
            skipped,
            truth: None,
            content: Content::Jpeg(picture),
        })
    }

    fn rate_millihertz(&self) -> u32 {
        self.rate_millihertz
    }
}

impl FileCamera {
    /// The next picture that can be shown, from the start again after the end if the file is repeated.
    fn usable(&mut self) -> Result<FrameBuffer, CameraError> {
        loop {
            let broken = self.pictures.broken();
            let next = self.pictures.next().map_err(|error| self.failed(&error))?;
            if self.pictures.broken() > broken {
                self.note_unusable(&self.pictures.fault());
            }

            let Some(picture) = next else {
                self.begin_again()?;
                continue;
            };

            match jpeg::inspect(picture.jpeg()) {
                Ok(_) => {
                    self.delivered += 1;
                    return Ok(picture);
                }
                Err(error) => {
                    self.note_unusable(&error.to_string());
                    self.refused += 1;
                }
            }
        }
    }

    fn begin_again(&mut self) -> Result<(), CameraError> {
        if self.delivered == 0 {
            let lost = self.refused + self.pictures.broken();
            let path = self.path.display();
            let why = self.unusable.as_deref().unwrap_or("it is empty");
            return Err(CameraError::WrongFormat(format!(
                "{path}: no usable picture in it ({lost} unusable): {why}"
            )));
        }

        if !self.repeat {
            return Err(CameraError::Ended(format!(
                "{}: played to its end",
                self.path.display()
            )));
        }

        self.delivered = 0;
        self.pictures.rewind().map_err(|error| self.failed(&error))
    }

    /// Keeps the reason, and logs the first one: a file played in a loop would log for ever.
    fn note_unusable(&mut self, reason: &str) {
        if self.unusable.is_none() {
            let path = self.path.display();
            let place = self.pictures.place();
            tracing::warn!(
                "{path}: a picture before {place} is left out; later ones are not logged: {reason}"
            );
        }

        self.unusable = Some(reason.to_owned());
    }

    fn failed(&self, error: &io::Error) -> CameraError {
        CameraError::Failed(format!(
            "{}: {error} at {}",
            self.path.display(),
            self.pictures.place()
        ))
    }
}

#[cfg(test)]
mod tests;
