//! Records the JPEGs as received to one or more AVI files.

use std::fs::File;
use std::io;
use std::mem;
use std::path::PathBuf;

use fanlight_proto::clock::Time;

use super::avi_writer::{AviWriter, Format};
use super::timeline::{self, Place, Timeline};
use super::{Recording, SETTLE_INTERVAL, Sample, Sink, numbered};
use crate::decode::Decoder;

/// The rate is measured over so many first frames; until then they are kept in memory.
const FIRST_FRAMES: usize = 8;

/// The files.
pub(super) struct AviFiles {
    path: PathBuf,
    /// The first file, until it is begun.
    first: Option<File>,
    /// The first frames, while the rate is not known.
    waiting: Vec<Sample>,
    open: Option<OpenFile>,
    decoder: Decoder,
    /// What the files before the present one hold.
    recording: Recording,
}

/// One file.
struct OpenFile {
    avi: AviWriter,
    format: Format,
    timeline: Timeline,
    settled: Time,
}

impl AviFiles {
    /// Records to the empty `file` at `path`, and to others beside it.
    pub(super) fn new(path: PathBuf, file: File) -> Self {
        Self {
            path,
            first: Some(file),
            waiting: Vec::new(),
            open: None,
            decoder: Decoder::new(),
            recording: Recording::default(),
        }
    }

    /// Writes a frame at its moment, into a new file when the present one is full or of another size.
    fn write(&mut self, sample: &Sample, rate_millihertz: u32) -> io::Result<()> {
        let (width, height) = self.decoder.size(&sample.jpeg).map_err(io::Error::other)?;
        let format = Format {
            width: width as u32,
            height: height as u32,
            rate_millihertz,
        };

        if self.open.as_ref().is_some_and(|open| open.format != format) {
            self.end_file()?;
        }

        let place = match &mut self.open {
            Some(open) => open.timeline.place(sample),
            None => Place::After(0),
        };

        let Place::After(empty) = place else {
            self.recording.early += 1;
            return Ok(());
        };

        if self
            .open
            .as_ref()
            .is_some_and(|open| !open.avi.has_room(empty, sample.jpeg.len()))
        {
            self.end_file()?;
        }
        let (empty, open) = match &mut self.open {
            Some(open) => (empty, open),
            None => (0, self.begin_file(format, sample)?),
        };

        for _ in 0..empty {
            open.avi.repeat()?;
        }

        open.avi.picture(&sample.jpeg)?;
        if sample.at.saturating_since(open.settled) >= SETTLE_INTERVAL {
            open.settled = sample.at;
            open.avi.settle()?;
        }

        self.recording.repeated += empty;
        self.recording.frames += 1;
        self.recording.seconds +=
            (empty + 1) as f64 * timeline::interval_ns(rate_millihertz) as f64 / 1e9;
        Ok(())
    }

    fn begin_file(&mut self, format: Format, sample: &Sample) -> io::Result<&mut OpenFile> {
        self.recording.files += 1;
        let file = match self.first.take() {
            Some(file) => file,
            None => File::create(numbered(&self.path, self.recording.files))?,
        };

        let mut timeline = Timeline::new(format.rate_millihertz);
        timeline.place(sample);
        let open = OpenFile {
            avi: AviWriter::begin(file, format)?,
            format,
            timeline,
            settled: sample.at,
        };

        Ok(self.open.insert(open))
    }

    fn end_file(&mut self) -> io::Result<()> {
        self.open.take().map_or(Ok(()), |open| open.avi.close())
    }

    /// Writes the first frames, whose rate is known now, or never will be.
    fn write_first(&mut self) -> io::Result<()> {
        let waiting = mem::take(&mut self.waiting);
        let rate = timeline::rate(&waiting);
        waiting
            .iter()
            .try_for_each(|sample| self.write(sample, rate))
    }
}

impl Sink for AviFiles {
    fn take(&mut self, sample: &Sample) -> io::Result<()> {
        match &self.open {
            Some(open) => {
                let rate = open.format.rate_millihertz;
                self.write(sample, rate)
            }
            None => {
                self.waiting.push(sample.clone());
                if self.waiting.len() < FIRST_FRAMES {
                    Ok(())
                } else {
                    self.write_first()
                }
            }
        }
    }

    fn close(&mut self) -> io::Result<()> {
        let written = self.write_first();
        self.end_file().and(written)
    }

    fn recording(&self) -> Recording {
        self.recording.clone()
    }
}
