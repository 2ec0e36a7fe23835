//! The thread of one tracker: hands it a frame at a time, reads the answer, and replaces the process when it fails.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::rate_limit::LogLimiter;
use fanlight_daemon::{Shutdown, clock};
use tokio::time::{sleep, timeout};

use super::child::{Child, Line};
use super::counters::TrackCounters;
use super::job_queue::JobQueue;
use super::pool::OnResult;
use super::wire::{Answer, Format, Found, Header};
use super::{Frame, Plan, TrackResult};
use crate::decode::{DecodeError, Decoder};
use crate::grey::Grey;

/// How long a tracker may take for a frame.
const TIMEOUT: Duration = Duration::from_secs(1);

/// How long it may take for its first: a Python program with OpenCV takes seconds to start on a busy machine.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Most lines between two answers that are not answers: a tracker that writes more is replaced.
const MAX_STRAYS: u32 = 100;

/// Pause before a tracker that failed is started again: the first and, doubling, the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Why a tracker is replaced.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("it ended")]
    Ended,
    #[error("it does not read: {0}")]
    Write(io::Error),
    #[error("it did not answer within {0:?}")]
    Silent(Duration),
    #[error("it talks rubbish")]
    Rubbish,
    #[error("it cannot be started: {0}")]
    Start(io::Error),
}

/// Runs one tracker, on the tracker's thread.
pub(super) struct TrackerWorker {
    plan: Plan,
    queue: Arc<JobQueue>,
    counters: Arc<TrackCounters>,
    on_result: OnResult,
    shutdown: Shutdown,
    decoder: Decoder,
    grey: Grey,
    rgb: Vec<u8>,
    /// Answers of the process that runs.
    answers: u64,
    strays: u32,
}

impl TrackerWorker {
    pub(super) fn new(
        plan: Plan,
        queue: Arc<JobQueue>,
        counters: Arc<TrackCounters>,
        on_result: OnResult,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            plan,
            queue,
            counters,
            on_result,
            shutdown,
            decoder: Decoder::new(),
            grey: Grey::default(),
            rgb: Vec::new(),
            answers: 0,
            strays: 0,
        }
    }

    /// Works until the shutdown, and starts a new process whenever one fails.
    pub(super) async fn work(mut self) {
        let shutdown = self.shutdown.clone();
        let mut pause = PAUSES.0;
        let mut failures = LogLimiter::new();

        while !shutdown.requested() {
            self.answers = 0;
            self.strays = 0;
            let Some((failure, ended)) = self.run_once().await else {
                return;
            };

            if self.answers > 0 {
                pause = PAUSES.0;
            }

            if let Some(count) = failures.note(clock::now()) {
                tracing::warn!(count, "a tracker is replaced: {failure} ({ended})");
            }

            tokio::select! {
                () = shutdown.wait() => return,
                () = sleep(pause) => pause = (2 * pause).min(PAUSES.1),
            }

            self.counters.note(|counts| counts.restarts += 1);
        }
    }

    /// From the start of a process to its end; none when the viewer ends.
    async fn run_once(&mut self) -> Option<(Failure, String)> {
        let mut child = match Child::spawn(&self.plan.kind) {
            Ok(child) => child,
            Err(error) => return Some((Failure::Start(error), "never ran".to_owned())),
        };

        tracing::info!(pid = child.pid(), "a tracker runs");
        let shutdown = self.shutdown.clone();
        let failure = tokio::select! {
            () = shutdown.wait() => None,
            failure = self.serve(&mut child) => Some(failure),
        };

        let ended = child.end().await;
        failure.map(|failure| (failure, ended))
    }

    async fn serve(&mut self, child: &mut Child) -> Failure {
        loop {
            let queue = Arc::clone(&self.queue);
            let frame = tokio::select! {
                frame = queue.take() => frame,
                line = child.answers.next() => match self.on_stray(line) {
                    Ok(()) => continue,
                    Err(failure) => return failure,
                },
            };

            if let Err(failure) = self.look(child, frame).await {
                self.counters.note(|counts| {
                    counts.failed += 1;
                    counts.timeouts += u64::from(matches!(failure, Failure::Silent(_)));
                });
                return failure;
            }
        }
    }

    /// Hands a frame to the tracker and waits for the answer.
    async fn look(&mut self, child: &mut Child, frame: Frame) -> Result<(), Failure> {
        let header = match self.header(&frame) {
            Ok(header) => header,
            Err(error) => {
                // Rare, as the frame was shown: the damage is in a part that decoding at a smaller size does not read.
                tracing::debug!(frame = %frame.id, "a frame is not looked at: {error}");
                self.counters.note(|counts| counts.failed += 1);
                return Ok(());
            }
        };

        let limit = if self.answers == 0 {
            FIRST_ANSWER_TIMEOUT
        } else {
            TIMEOUT
        };

        let asked = clock::now();
        let asking = self.exchange(child, &header, &frame);
        let (found, work) = timeout(limit, asking)
            .await
            .map_err(|_| Failure::Silent(limit))??;
        self.answers += 1;
        self.strays = 0;
        let at = clock::now();
        let size = (header.width, header.height);
        let took = at.saturating_since(asked);
        let work = work.map(Duration::from_micros);
        let Frame {
            stream,
            id,
            shown,
            timings,
            ..
        } = frame;

        let result = TrackResult {
            stream,
            id,
            size,
            found,
            at,
            took,
            work,
            shown,
            timings,
        };

        self.counters.on_answer(&result);
        (self.on_result)(&result);
        Ok(())
    }

    async fn exchange(
        &mut self,
        child: &mut Child,
        header: &Header,
        frame: &Frame,
    ) -> Result<(Option<Found>, Option<u64>), Failure> {
        let payload = match header.format {
            Format::Jpeg => &frame.jpeg[..],
            Format::Grey => self.grey.pixels(),
            Format::Rgb => &self.rgb,
        };

        child.write(header, payload).await.map_err(Failure::Write)?;
        loop {
            let line = child.answers.next().await;
            if let Some(Line::Whole(text)) = &line
                && let Some((id, found, work)) = Answer::parse(text)
                && id == frame.id
            {
                return Ok((found, work));
            }
            self.on_stray(line)?;
        }
    }

    /// A line that answers nothing, or the end.
    fn on_stray(&mut self, line: Option<Line>) -> Result<(), Failure> {
        let Some(line) = line else {
            return Err(Failure::Ended);
        };

        let answers = matches!(&line, Line::Whole(text) if Answer::parse(text).is_some());
        self.counters.note(|counts| {
            counts.unknown += u64::from(answers);
            counts.malformed += u64::from(!answers);
        });

        self.strays += 1;
        if self.strays > MAX_STRAYS {
            Err(Failure::Rubbish)
        } else {
            Ok(())
        }
    }

    /// Prepares the payload for the tracker and returns its header.
    fn header(&mut self, frame: &Frame) -> Result<Header, DecodeError> {
        let (width, height) = self.decoder.size(&frame.jpeg)?;
        let length = match self.plan.format {
            Format::Jpeg => frame.jpeg.len(),
            Format::Grey => {
                self.decoder.decode_grey(&frame.jpeg, &mut self.grey)?;
                self.grey.pixels().len()
            }
            Format::Rgb => {
                self.rgb.clear();
                self.decoder.decode_rgb(&frame.jpeg, &mut self.rgb)?;
                self.rgb.len()
            }
        };

        let width = width as u32;
        let height = height as u32;
        let length = length as u32;
        Ok(Header {
            format: self.plan.format,
            width,
            height,
            id: frame.id,
            captured_ns: frame.captured_ns,
            length,
        })
    }
}
