//! Recording what is shown: a Matroska, MP4 or AVI file of the JPEGs as received, a loop of such files, or whatever another
//! [`Sink`] writes.
//!
//! The presenter offers each frame that was shown; a thread of its own writes. Frames that the disk is too slow for are
//! dropped and counted, the oldest first. The screen never waits for the recording, and goes on when it fails.

mod append_file;
mod avi_files;
mod avi_writer;
mod capture_clock;
mod film_files;
mod loop_folder;
mod matroska;
mod mp4;
mod sample_queue;
mod screen_renderer;
mod timeline;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{FrameId, StreamName};
use serde::Serialize;

use crate::marker::Marker;
use avi_files::AviFiles;
pub use film_files::FilmFormat;
use film_files::{FilmFiles, Place};
use loop_folder::LoopFolder;
use sample_queue::SampleQueue;
pub use screen_renderer::ScreenRenderer;

/// How long the end of the viewer waits for the end of the file.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// How often the head of a file is made to say what is there.
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);

/// How fast the frames of a time lapse play, in thousandths of a frame a second.
const TIME_LAPSE_RATE: u32 = 25_000;

/// Makes what writes the samples to the file or folder at a path.
pub type OpenSink = Arc<dyn Fn(&Path) -> io::Result<Box<dyn Sink>> + Send + Sync>;

/// What to record.
#[derive(Clone)]
pub struct Plan {
    /// The file or folder.
    pub path: PathBuf,
    /// For how long at most.
    pub length: Option<Duration>,
    /// A frame each so often, for a film that plays 25 of them a second. None: all frames, at their own times.
    pub every: Option<Duration>,
    /// The format: what writes the samples.
    pub open: OpenSink,
}

impl Plan {
    /// All frames, until the end.
    #[must_use]
    pub fn new(path: PathBuf, open: OpenSink) -> Self {
        Self {
            path,
            length: None,
            every: None,
            open,
        }
    }

    /// An AVI of the JPEGs as received. The next files of a long one lie beside it, as `NAME-2.avi` and so on.
    #[must_use]
    pub fn avi(path: PathBuf) -> Self {
        Self::new(
            path,
            Arc::new(|path| Ok(Box::new(AviFiles::new(path.into(), File::create(path)?)))),
        )
    }

    /// A file of the JPEGs as received, and others beside it when the size of the picture changes.
    #[must_use]
    pub fn film(path: PathBuf, format: FilmFormat) -> Self {
        let open = move |path: &Path| {
            let place = Place::Beside(Some(File::create(path)?), path.into());
            Ok(Box::new(FilmFiles::new(format, place)) as Box<dyn Sink>)
        };
        Self::new(path, Arc::new(open))
    }

    /// Films of `segment` each in a folder, of which the newest stay: `keep` bytes.
    #[must_use]
    pub fn looped(folder: PathBuf, format: FilmFormat, keep: u64, segment: Duration) -> Self {
        let open = move |path: &Path| {
            let folder = LoopFolder::new(path.into(), keep, segment);
            Ok(Box::new(FilmFiles::new(format, Place::Loop(folder))) as Box<dyn Sink>)
        };
        Self::new(folder, Arc::new(open))
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("path", &self.path)
            .field("length", &self.length)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}

/// A frame that is on the screen.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The stream it belongs to.
    pub stream: StreamName,
    /// Its identity.
    pub id: FrameId,
    /// When it was captured, on its source's clock, in nanoseconds.
    pub captured_ns: u64,
    /// The rate that its source runs at, in thousandths of a frame a second; 0 when it is not known.
    pub rate_millihertz: u32,
    /// When it was shown.
    pub at: Time,
    /// As received.
    pub jpeg: Bytes,
    /// The marker that is drawn over it.
    pub marker: Option<Marker>,
    /// The figures over it, line by line; empty when none are shown.
    pub figures: String,
}

/// How a recording went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Recording {
    /// The first file.
    pub file: String,
    /// How many files were begun; there are several when it is a loop or long, or its size changed.
    pub files: u64,
    /// Frames in them.
    pub frames: u64,
    /// Moments of an AVI at which there was no new frame, so that players go on showing the last one.
    pub repeated: u64,
    /// Frames that came sooner than an AVI's rate has room for.
    pub early: u64,
    /// Frames that the disk was too slow for, or a loop's disk did not take.
    pub dropped: u64,
    /// How long the files play.
    pub seconds: f64,
    /// Why it ended before its time.
    pub failure: Option<String>,
}

/// A recording in progress.
#[derive(Debug)]
pub struct Recorder {
    queue: Arc<SampleQueue>,
    plan: Plan,
    ended: Receiver<Recording>,
}

impl Recorder {
    /// Creates the file and starts the thread. When the file cannot be created, the log and the [`Recording`] say so, and
    /// nothing is recorded.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(plan: Plan) -> io::Result<Self> {
        let queue = Arc::new(SampleQueue::default());
        let filled = Arc::clone(&queue);
        let planned = plan.clone();
        let (end, ended) = mpsc::channel();
        // After `STOP_LIMIT` nobody receives it any more.
        let work = move || drop(end.send(record(&planned, &filled)));
        thread::Builder::new()
            .name("record".to_owned())
            .spawn(work)?;
        Ok(Self { queue, plan, ended })
    }

    /// Has a frame recorded, if there is time for it. Never waits.
    pub fn offer(&self, sample: Sample) {
        self.queue.push(sample);
    }

    /// Writes the frames that wait, closes the file and returns how it went. When the disk needs longer than 1 s, the
    /// thread is left behind.
    #[must_use]
    pub fn stop(self) -> Recording {
        self.queue.close();
        self.ended.recv_timeout(STOP_LIMIT).unwrap_or_else(|_| {
            let stuck = io::Error::new(
                io::ErrorKind::TimedOut,
                format!("not closed within {STOP_LIMIT:?}"),
            );

            let recording = Recording {
                file: self.plan.path.display().to_string(),
                dropped: self.queue.dropped(),
                failure: Some(failure(&self.plan.path, &stuck)),
                ..Recording::default()
            };

            log_result(&recording);
            recording
        })
    }
}

/// Writes samples to a file. The recording thread calls it.
pub trait Sink {
    /// Writes one.
    ///
    /// # Errors
    /// When it cannot be written; the recording ends then.
    fn take(&mut self, sample: &Sample) -> io::Result<()>;

    /// Ends the file. Called once, also after an error, to save what there is.
    ///
    /// # Errors
    /// When what there is cannot be saved.
    fn close(&mut self) -> io::Result<()>;

    /// What was written so far, without file, drops and failure.
    fn recording(&self) -> Recording;
}

fn record(plan: &Plan, queue: &SampleQueue) -> Recording {
    let mut sink = (plan.open)(&plan.path);
    let ended = match &mut sink {
        Ok(sink) => {
            tracing::info!(file = %plan.path.display(), "recording");
            let ended = fill(plan, queue, &mut **sink);
            let closed = sink.close();
            ended.and(closed)
        }
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    };

    queue.close();
    let written = sink.map(|sink| sink.recording()).unwrap_or_default();
    let recording = Recording {
        file: plan.path.display().to_string(),
        dropped: written.dropped + queue.dropped(),
        failure: ended.err().map(|error| failure(&plan.path, &error)),
        ..written
    };

    log_result(&recording);
    recording
}

/// Until the end, the plan's length or a failure.
fn fill(plan: &Plan, queue: &SampleQueue, sink: &mut dyn Sink) -> io::Result<()> {
    let mut began = None;
    let mut lapse = plan.every.map(TimeLapse::new);
    while let Some(sample) = queue.wait() {
        let since = sample.at.saturating_since(*began.get_or_insert(sample.at));
        if plan.length.is_some_and(|length| since >= length) {
            return Ok(());
        }

        match &mut lapse {
            None => sink.take(&sample)?,
            Some(lapse) => lapse
                .next(sample)
                .map_or(Ok(()), |sample| sink.take(&sample))?,
        }
    }

    Ok(())
}

/// Picks a frame each so often, and gives it the time at which it plays.
struct TimeLapse {
    every: Duration,
    due: Option<Time>,
    picked: u64,
}

impl TimeLapse {
    const fn new(every: Duration) -> Self {
        Self {
            every,
            due: None,
            picked: 0,
        }
    }

    fn next(&mut self, mut sample: Sample) -> Option<Sample> {
        let due = self.due.unwrap_or(sample.at);
        if sample.at < due {
            return None;
        }

        // What a pause left out is not owed.
        let next = due + self.every;
        self.due = Some(if next > sample.at {
            next
        } else {
            sample.at + self.every
        });
        sample.id.epoch = 0;
        sample.captured_ns = self.picked * timeline::interval_ns(TIME_LAPSE_RATE);
        sample.rate_millihertz = TIME_LAPSE_RATE;
        self.picked += 1;
        Some(sample)
    }
}

/// `NAME-2.avi` for the second of `NAME.avi`.
fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number}."));
    name.push(path.extension().unwrap_or_default());
    path.with_file_name(name)
}

fn failure(path: &Path, error: &io::Error) -> String {
    format!(
        "cannot record to {}: {error}: make room, or name another place (--record)",
        path.display()
    )
}

fn log_result(recording: &Recording) {
    let Recording {
        file,
        files,
        frames,
        repeated,
        early,
        dropped,
        seconds,
        failure,
    } = recording;

    match failure {
        Some(failure) => tracing::error!(frames, "{failure}"),
        None if *frames == 0 => tracing::warn!("no picture was shown: {file} is empty"),
        None => tracing::info!(
            file, files, frames, repeated, early, dropped, seconds, "recorded"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_created_is_told_and_nobody_waits() {
        let plan = Plan::avi("/nowhere/at/all.avi".into());
        let recorder = Recorder::start(plan).unwrap();
        let recording = recorder.stop();
        let failure = recording.failure.unwrap();
        for word in ["/nowhere/at/all.avi", "No such file", "--record"] {
            assert!(failure.contains(word), "{failure}");
        }
    }

    #[test]
    fn later_files_are_numbered_before_their_suffix() {
        assert_eq!(
            numbered(Path::new("/a/hall.1.avi"), 2),
            Path::new("/a/hall.1-2.avi")
        );
        assert_eq!(numbered(Path::new("x.AVI"), 10), Path::new("x-10.AVI"));
    }

    #[test]
    fn a_time_lapse_owes_nothing_after_a_pause() {
        let at = |ms: u64| Time::from_nanos(ms * 1_000_000);
        let sample = |ms| Sample {
            stream: "hall".parse().unwrap(),
            id: FrameId {
                epoch: 7,
                number: ms,
            },
            captured_ns: 0,
            rate_millihertz: 0,
            at: at(ms),
            jpeg: Bytes::new(),
            marker: None,
            figures: String::new(),
        };

        let mut lapse = TimeLapse::new(Duration::from_millis(100));
        let times = [0, 40, 90, 110, 190, 205, 900, 940, 1001, 1100];
        let picked: Vec<_> = times
            .into_iter()
            .filter_map(|ms| lapse.next(sample(ms)))
            .map(|it| (it.id.number, it.captured_ns / 1_000_000))
            .collect();
        assert_eq!(
            picked,
            [
                (0, 0),
                (110, 40),
                (205, 80),
                (900, 120),
                (1001, 160),
                (1100, 200)
            ]
        );
    }
}
