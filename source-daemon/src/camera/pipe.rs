//! MJPEG from standard input or from a command such as ffmpeg, so that anything it opens can be a camera.
//!
//! Every picture that comes is delivered: the pipe itself is the only queue, and holds back a writer that is too fast.

mod child;
pub mod ffmpeg;

use std::io::{self, IsTerminal as _, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_daemon::rate_limit::LogLimiter;
use fanlight_proto::clock::Time;

use super::{Camera, CameraError, CapturedFrame, Content, Input, Raw};
use crate::jpeg::splitter::{MAX_PUSH, Splitter};
use child::{Child, Task, told};

pub use child::terminate_commands;

/// A command that has delivered no picture for so long is ended, to be started anew. Opening a network camera takes
/// ffmpeg several seconds.
pub const COMMAND_PATIENCE: Duration = Duration::from_secs(15);

/// So many bytes without one picture in them are no MJPEG.
const MAX_GARBAGE: u64 = 16 << 20;

/// Bytes without a picture for so long are told as what keeps the pictures away.
const GARBAGE_PATIENCE: Duration = Duration::from_millis(500);

/// Chunks that wait between the pipe and the splitter: one read while the other is used.
const CHUNKS: usize = 1;

/// The input.
#[derive(Clone, Debug, PartialEq)]
pub struct PipeInput {
    /// What `/bin/sh -c` runs; it writes MJPEG to its standard output, and its standard error goes to the log. None:
    /// this process's standard input is read.
    pub command: Option<String>,
}

impl Input for PipeInput {
    fn open(&mut self) -> Result<Box<dyn Camera>, CameraError> {
        match &self.command {
            Some(command) => {
                let (child, stdout) = Child::spawn(Task::shell(command))
                    .map_err(|error| CameraError::Failed(format!("/bin/sh: {error}")))?;
                Ok(Box::new(PipeCamera::new(stdout, Some(child))?))
            }
            None if io::stdin().is_terminal() => Err(CameraError::Ended(
                "standard input is a terminal; pipe MJPEG into it, or name a command".into(),
            )),
            None => Ok(Box::new(PipeCamera::new(io::stdin(), None)?)),
        }
    }

    fn describe(&self) -> String {
        match &self.command {
            Some(command) => format!("pipe from {:?}", told(command)),
            None => "pipe from standard input".to_owned(),
        }
    }
}

/// Bytes that were read at one moment.
struct Chunk {
    arrived: Time,
    bytes: Vec<u8>,
}

struct PipeCamera {
    chunks: Receiver<io::Result<Chunk>>,
    splitter: Splitter,
    arrived: Time,
    child: Option<Child>,
    delivered: u64,
    /// Broken pictures that the captured frames so far have accounted for.
    reported_broken: u64,
    garbage: u64,
    /// Since when bytes have come that are no part of a picture, without a picture among them.
    garbage_since: Option<Time>,
    damage_log: LogLimiter,
}

impl PipeCamera {
    fn new(pipe: impl Read + Send + 'static, child: Option<Child>) -> Result<Self, CameraError> {
        let (sender, chunks) = sync_channel(CHUNKS);
        std::thread::Builder::new()
            .name("pipe".to_owned())
            .spawn(move || read(pipe, &sender))
            .map_err(|error| CameraError::Failed(format!("thread to read the pipe: {error}")))?;

        Ok(Self {
            chunks,
            splitter: Splitter::default(),
            arrived: clock::now(),
            child,
            delivered: 0,
            reported_broken: 0,
            garbage: 0,
            garbage_since: None,
            damage_log: LogLimiter::new(),
        })
    }

    /// Waits for bytes and gives them to the splitter.
    fn fill(&mut self) -> Result<(), CameraError> {
        let received = if self.child.is_some() {
            let silence = clock::now().saturating_since(self.arrived);
            self.chunks
                .recv_timeout(COMMAND_PATIENCE.saturating_sub(silence))
        } else {
            // Whoever feeds standard input may take their time, and cannot be started anew.
            self.chunks.recv().map_err(RecvTimeoutError::from)
        };

        match received {
            Ok(Ok(Chunk { arrived, bytes })) => {
                self.arrived = arrived;
                self.splitter.push(&bytes);
                Ok(())
            }
            Ok(Err(error)) => Err(self.over(&format!("cannot be read: {error}"))),
            Err(RecvTimeoutError::Timeout) => {
                let text = format!(
                    "the command wrote nothing for {COMMAND_PATIENCE:?} and is started anew"
                );
                Err(CameraError::Stalled(text))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.over("ended")),
        }
    }

    /// The end: final for standard input, while a command can be started anew.
    fn over(&mut self, what: &str) -> CameraError {
        match &mut self.child {
            None => CameraError::Ended(format!("standard input {what}")),
            Some(child) => {
                let (status, last) = child.wait();
                let last = if last.is_empty() {
                    String::new()
                } else {
                    format!(": {last}")
                };
                CameraError::Failed(format!("the command {what} ({status}){last}"))
            }
        }
    }

    /// Whether bytes came that were no part of a picture, and how many before it is hopeless.
    fn note_garbage(&mut self) -> Result<(), CameraError> {
        let garbage = self.splitter.garbage();
        if garbage > self.garbage {
            let bytes = garbage - self.garbage;
            self.garbage = garbage;
            self.garbage_since.get_or_insert(self.arrived);
            if let Some(times) = self.damage_log.note(clock::now()) {
                tracing::warn!(
                    times,
                    bytes,
                    broken = self.splitter.broken(),
                    "bytes in the pipe that are no JPEG"
                );
            }
        }

        if self.delivered == 0 && garbage > MAX_GARBAGE {
            let text = format!(
                "no JPEG in the first {} MiB of the pipe; for ffmpeg write: -f mjpeg -",
                MAX_GARBAGE >> 20
            );

            return Err(if self.child.is_some() {
                CameraError::WrongFormat(text)
            } else {
                CameraError::Ended(text)
            });
        }

        Ok(())
    }
}

impl PipeCamera {
    /// What is wrong when bytes come and none of them belong to a picture, once in [`GARBAGE_PATIENCE`].
    fn only_garbage(&mut self) -> Option<String> {
        let since = self.garbage_since?;
        if self.arrived.saturating_since(since) < GARBAGE_PATIENCE {
            return None;
        }

        self.garbage_since = Some(self.arrived);
        Some("what comes through the pipe is no JPEG; for ffmpeg write: -f mjpeg -".to_owned())
    }
}

impl Camera for PipeCamera {
    fn next(&mut self, _number: u64, _raw: &mut Raw) -> Result<CapturedFrame, CameraError> {
        let content = loop {
            if let Some(jpeg) = self.splitter.pop() {
                self.delivered += 1;
                self.garbage_since = None;
                break Content::Jpeg(jpeg);
            }

            self.note_garbage()?;
            // A picture that is broken takes a number, so that viewers count it as lost and hear why none is shown.
            if self.splitter.broken() > self.reported_broken {
                self.reported_broken += 1;
                self.garbage_since = None;
                break Content::Unusable(self.splitter.fault());
            }

            if let Some(reason) = self.only_garbage() {
                break Content::Unusable(reason);
            }

            self.fill()?;
        };

        let skipped = self.splitter.broken() - self.reported_broken;
        self.reported_broken += skipped;
        Ok(CapturedFrame {
            captured: self.arrived,
            skipped,
            truth: None,
            content,
        })
    }

    fn rate_millihertz(&self) -> u32 {
        0
    }
}

/// Reads until the end, an error, or until nobody listens any more.
fn read(mut pipe: impl Read, chunks: &SyncSender<io::Result<Chunk>>) {
    loop {
        let mut bytes = vec![0; MAX_PUSH];
        let result = match pipe.read(&mut bytes) {
            Ok(0) => return,
            Ok(length) => {
                bytes.truncate(length);
                Ok(Chunk {
                    arrived: clock::now(),
                    bytes,
                })
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };

        let last = result.is_err();
        if chunks.send(result).is_err() || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
