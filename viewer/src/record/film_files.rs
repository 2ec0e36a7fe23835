//! Records the JPEGs as received to films, Matroska or MP4, each frame at its own time: one file after the other, or a loop
//! that keeps the newest of them.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use fanlight_daemon::clock;
use fanlight_proto::clock::Time;

use super::capture_clock::CaptureClock;
use super::loop_folder::LoopFolder;
use super::matroska::MatroskaWriter;
use super::mp4::Mp4Writer;
use super::{Recording, SETTLE_INTERVAL, Sample, Sink, numbered};
use crate::decode::Decoder;

/// Where a loop cannot be written, it is tried again after so long.
const RETRY: Duration = Duration::from_secs(10);

/// What times are counted in.
pub(super) const TICK: Duration = Duration::from_micros(100);

/// The formats in which each frame has its own time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FilmFormat {
    /// Matroska.
    #[default]
    Mkv,
    /// MP4 in fragments.
    Mp4,
}

fanlight_daemon::display_choice!(FilmFormat);

impl FilmFormat {
    /// The format of files whose names end so, without the dot.
    pub(crate) fn of_suffix(suffix: &str) -> Option<Self> {
        Self::from_str(suffix, true).ok()
    }

    fn begin(self, file: File, title: &Title) -> io::Result<Box<dyn FilmWriter>> {
        Ok(match self {
            Self::Mkv => Box::new(MatroskaWriter::begin(file, title)?),
            Self::Mp4 => Box::new(Mp4Writer::begin(file, title)?),
        })
    }
}

/// What is said of a file at its begin.
#[derive(Clone, Debug)]
pub(super) struct Title {
    /// Columns and rows.
    pub(super) size: (u32, u32),
    /// The stream.
    pub(super) name: String,
    /// When its first frame was shown.
    pub(super) date: SystemTime,
}

/// A file that is being written, and can be played at any moment.
pub(super) trait FilmWriter {
    /// Its length in bytes.
    fn bytes(&self) -> u64;

    /// Whether it takes no more frames.
    fn is_full(&self) -> bool;

    /// Appends a frame, byte for byte, at `ticks`, which are more than those of the frame before.
    ///
    /// # Errors
    /// When it cannot be written; then nothing of it is in the file.
    fn frame(&mut self, ticks: u64, jpeg: &[u8]) -> io::Result<()>;

    /// Says how long it is so far.
    ///
    /// # Errors
    /// When it cannot be written.
    fn settle(&self) -> io::Result<()>;

    /// Ends the file.
    ///
    /// # Errors
    /// When that cannot be written; it can be played as it is, too.
    fn close(self: Box<Self>) -> io::Result<()>;
}

/// Where files go.
pub(super) enum Place {
    /// The first file, and for others the name that theirs are made of.
    Beside(Option<File>, PathBuf),
    /// Files in a folder, of which the oldest go.
    Loop(LoopFolder),
}

/// The files.
pub(super) struct FilmFiles {
    format: FilmFormat,
    place: Place,
    open: Option<OpenFile>,
    decoder: Decoder,
    /// A loop that could not be written waits until then.
    paused: Option<Time>,
    recording: Recording,
}

/// One file.
struct OpenFile {
    writer: Box<dyn FilmWriter>,
    size: (u32, u32),
    clock: CaptureClock,
    /// The tick after the last frame's.
    next: u64,
    began: Time,
    settled: Time,
}

impl FilmFiles {
    /// Records to `place`.
    pub(super) fn new(format: FilmFormat, place: Place) -> Self {
        Self {
            format,
            place,
            open: None,
            decoder: Decoder::new(),
            paused: None,
            recording: Recording::default(),
        }
    }

    /// Writes a frame at its time, into a new file when the present one is full, at its end, or of another size.
    fn write(&mut self, sample: &Sample) -> io::Result<()> {
        let (width, height) = self.decoder.size(&sample.jpeg).map_err(io::Error::other)?;
        let size = (width as u32, height as u32);
        let is_over = |open: &OpenFile| {
            open.size != size || open.writer.is_full() || self.place.ends(sample, open)
        };

        if self.open.as_ref().is_some_and(is_over) {
            self.end_file()?;
        }

        let open = match &mut self.open {
            Some(open) => open,
            None => self.begin_file(sample, size)?,
        };

        // Later than the frame before, whatever clocks do.
        let ticks = open.clock.time_ns(sample) / TICK.as_nanos() as i128;
        let ticks = u64::try_from(ticks).unwrap_or(0).max(open.next);
        open.writer.frame(ticks, &sample.jpeg)?;
        let later = ticks + 1 - open.next;
        open.next = ticks + 1;
        if sample.at.saturating_since(open.settled) >= SETTLE_INTERVAL {
            open.settled = sample.at;
            open.writer.settle()?;
        }

        let bytes = open.writer.bytes();
        self.recording.frames += 1;
        self.recording.seconds += later as f64 * TICK.as_secs_f64();
        if let Place::Loop(folder) = &mut self.place {
            folder.make_room(bytes);
        }

        Ok(())
    }

    fn begin_file(&mut self, sample: &Sample, size: (u32, u32)) -> io::Result<&mut OpenFile> {
        let date = wall_time(sample.at);
        let title = Title {
            size,
            name: sample.stream.to_string(),
            date,
        };

        let file = match &mut self.place {
            Place::Beside(first, path) => match first.take() {
                Some(file) => file,
                None => File::create(numbered(path, self.recording.files + 1))?,
            },
            Place::Loop(folder) => folder.begin(&sample.stream, date, self.format)?,
        };

        let writer = self.format.begin(file, &title)?;
        self.recording.files += 1;
        Ok(self.open.insert(OpenFile {
            writer,
            size,
            clock: CaptureClock::begin(sample),
            next: 0,
            began: sample.at,
            settled: sample.at,
        }))
    }

    fn end_file(&mut self) -> io::Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };

        if let Place::Loop(folder) = &mut self.place {
            folder.end(open.writer.bytes());
        }
        open.writer.close()
    }
}

impl Sink for FilmFiles {
    fn take(&mut self, sample: &Sample) -> io::Result<()> {
        if self.paused.is_some_and(|until| sample.at < until) {
            self.recording.dropped += 1;
            return Ok(());
        }

        self.paused = None;
        let written = self.write(sample);
        match (&mut self.place, written) {
            (Place::Loop(folder), Err(error)) => {
                // Less room than was promised: what is old makes some.
                if error.kind() != io::ErrorKind::StorageFull || !folder.remove_oldest() {
                    let told = super::failure(folder.path(), &error);
                    tracing::warn!("{told}; trying again in {RETRY:?}");
                    self.paused = Some(sample.at + RETRY);
                }

                self.recording.dropped += 1;
                // What is in it can be played, with or without an index.
                let _ = self.end_file();
                Ok(())
            }
            (_, written) => written,
        }
    }

    fn close(&mut self) -> io::Result<()> {
        self.end_file()
    }

    fn recording(&self) -> Recording {
        self.recording.clone()
    }
}

impl Place {
    /// Whether a file is long enough when `sample` comes.
    fn ends(&self, sample: &Sample, open: &OpenFile) -> bool {
        match self {
            Self::Beside(..) => false,
            Self::Loop(folder) => {
                folder.ends(sample.at.saturating_since(open.began), open.writer.bytes())
            }
        }
    }
}

/// A moment as people say it, for names of files.
fn wall_time(at: Time) -> SystemTime {
    let ns = i128::from(at.as_nanos()) + i128::from(clock::wall_offset_ns());
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}
