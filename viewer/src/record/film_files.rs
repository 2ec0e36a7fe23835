//! Records the JPEGs as received to Matroska files: one after the other, or a loop that keeps the newest of them.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;

use super::loop_folder::LoopFolder;
use super::matroska::{MatroskaWriter, TICK, Title};
use super::{Recording, SETTLE_INTERVAL, Sample, Sink, numbered};
use crate::decode::Decoder;

/// Where a loop cannot be written, it is tried again after so long.
const RETRY: Duration = Duration::from_secs(10);

/// Where files go.
pub(super) enum Place {
    /// The first file, and for others the name that theirs are made of.
    Beside(Option<File>, PathBuf),
    /// Files in a folder, of which the oldest go.
    Loop(LoopFolder),
}

/// The files.
pub(super) struct MatroskaFiles {
    place: Place,
    open: Option<OpenFile>,
    decoder: Decoder,
    /// A loop that could not be written waits until then.
    paused: Option<Time>,
    recording: Recording,
}

/// One file.
struct OpenFile {
    writer: MatroskaWriter,
    size: (u32, u32),
    clock: CaptureClock,
    began: Time,
    settled: Time,
}

impl MatroskaFiles {
    /// Records to `place`.
    pub(super) fn new(place: Place) -> Self {
        Self {
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

        let (ticks, later) = open.clock.place(sample);
        open.writer.frame(ticks, &sample.jpeg)?;
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
            Place::Loop(folder) => folder.begin(&sample.stream, date)?,
        };

        let writer = MatroskaWriter::begin(file, &title)?;
        self.recording.files += 1;
        Ok(self.open.insert(OpenFile {
            writer,
            size,
            clock: CaptureClock::begin(sample),
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

impl Sink for MatroskaFiles {
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

/// Gives each frame the time of its capture since the first of its file.
#[derive(Debug)]
struct CaptureClock {
    epoch: u64,
    /// The source's clock at the file's begin.
    origin_ns: i128,
    /// The tick after the last frame's.
    next: u64,
    /// When the last frame was shown.
    shown: Time,
}

impl CaptureClock {
    fn begin(sample: &Sample) -> Self {
        Self {
            epoch: sample.id.epoch,
            origin_ns: i128::from(sample.captured_ns),
            next: 0,
            shown: sample.at,
        }
    }

    /// The time of the next frame in ticks, later than that of the one before, whatever clocks do; and how much later.
    fn place(&mut self, sample: &Sample) -> (u64, u64) {
        let tick_ns = TICK.as_nanos() as i128;
        let captured_ns = i128::from(sample.captured_ns);
        // The clock of another run of the source: it goes on when its first frame is shown.
        if self.epoch != sample.id.epoch {
            let since = sample.at.saturating_since(self.shown).as_nanos() as i128;
            self.epoch = sample.id.epoch;
            self.origin_ns = captured_ns - i128::from(self.next) * tick_ns - since;
        }

        let ticks = (captured_ns - self.origin_ns) / tick_ns;
        let ticks = u64::try_from(ticks).unwrap_or(0).max(self.next);
        let later = ticks + 1 - self.next;
        self.next = ticks + 1;
        self.shown = sample.at;
        (ticks, later)
    }
}

/// A moment as people say it, for names of files.
fn wall_time(at: Time) -> SystemTime {
    let ns = i128::from(at.as_nanos()) + i128::from(clock::wall_offset_ns());
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}
