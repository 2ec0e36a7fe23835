//! Recording what is shown: an AVI of the JPEGs as received, or whatever another [`Sink`] writes.
//!
//! The presenter offers each frame that was shown; a thread of its own writes. Frames that the disk is too slow for are
//! dropped and counted, the oldest first. The screen never waits for the recording, and goes on when it fails.

mod avi_files;
mod avi_writer;
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
use sample_queue::SampleQueue;
pub use screen_renderer::ScreenRenderer;

/// How long the end of the viewer waits for the end of the file.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// Makes what writes the samples, given the empty file.
pub type OpenSink = Arc<dyn Fn(File) -> Box<dyn Sink> + Send + Sync>;

/// What to record.
#[derive(Clone)]
pub struct Plan {
    /// The file.
    pub path: PathBuf,
    /// For how long at most.
    pub length: Option<Duration>,
    /// The format: what writes the samples to the file.
    pub open: OpenSink,
}

impl Plan {
    /// An AVI of the JPEGs as received. The next files of a long one lie beside it, as `NAME-2.avi` and so on.
    #[must_use]
    pub fn avi(path: PathBuf, length: Option<Duration>) -> Self {
        let first = path.clone();
        Self {
            path,
            length,
            open: Arc::new(move |file| Box::new(AviFiles::new(first.clone(), file))),
        }
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("path", &self.path)
            .field("length", &self.length)
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
    /// How many files there are; an AVI has several when it is long or its size changed.
    pub files: u64,
    /// Frames in them.
    pub frames: u64,
    /// Moments of the file at which there was no new frame, so that players go on showing the last one.
    pub repeated: u64,
    /// Frames that came sooner than the file's rate has room for.
    pub early: u64,
    /// Frames that the disk was too slow for.
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
    let mut sink = File::create(&plan.path).map(|file| (plan.open)(file));
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
    let recording = Recording {
        file: plan.path.display().to_string(),
        dropped: queue.dropped(),
        failure: ended.err().map(|error| failure(&plan.path, &error)),
        ..sink.map(|sink| sink.recording()).unwrap_or_default()
    };

    log_result(&recording);
    recording
}

/// Until the end, the plan's length or a failure.
fn fill(plan: &Plan, queue: &SampleQueue, sink: &mut dyn Sink) -> io::Result<()> {
    let mut began = None;
    while let Some(sample) = queue.wait() {
        let since = sample.at.saturating_since(*began.get_or_insert(sample.at));
        if plan.length.is_some_and(|length| since >= length) {
            return Ok(());
        }
        sink.take(&sample)?;
    }

    Ok(())
}

fn failure(path: &Path, error: &io::Error) -> String {
    format!(
        "cannot record to {}: {error}: make room, or name another file (--record)",
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
        let plan = Plan::avi("/nowhere/at/all.avi".into(), None);
        let recorder = Recorder::start(plan).unwrap();
        let recording = recorder.stop();
        let failure = recording.failure.unwrap();
        for word in ["/nowhere/at/all.avi", "No such file", "--record"] {
            assert!(failure.contains(word), "{failure}");
        }
    }
}
