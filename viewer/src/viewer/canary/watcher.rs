//! Looks for the ball in each frame of the canary, and reports it. It runs on the canary's thread.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_DETECTIONS;
use fanlight_proto::message::{CheckedFrame, Detection, NotShown, StreamName, parse_frame};

use crate::decode::Decoder;
use crate::engine::{ClockOffset, DetectionCounts, Engine, Output, Presentation, ReceivedFrame};
use crate::grey::Grey;
use crate::stats::{Canary, Captured, Clock, Counters, Observation, StageTimings};
use crate::track::Found;
use crate::track::ball::Finder;
use crate::udp::Sink;
use crate::viewer::decoding::RejectedFrame;
use crate::viewer::verdict_trace::VerdictTrace;

/// Largest frame of a canary, in bytes: fifty times what one of 160x120 has.
pub(super) const MAX_FRAME_BYTES: usize = 256 << 10;

/// Most pixels of a canary's picture: it proves the way, and a larger one would only cost more.
const MAX_PIXELS: usize = 640 * 480;

/// How often the counters learn how the canary fares: as often as the relay may say something new.
const SUMMARY_INTERVAL: Duration = Duration::from_millis(250);

/// The sink of the canary's engine: looks for the ball in each frame, and sends what it found to the source.
pub(super) struct Watcher {
    stream: StreamName,
    /// Of the stream shown.
    counters: Arc<Counters>,
    clock: Clock,
    source_clock: Option<ClockOffset>,
    decoder: Decoder,
    grey: Grey,
    finder: Finder,
    /// Found since the last turn, newest last.
    found: VecDeque<Detection>,
    canary: Canary,
    presentation: Presentation,
    /// When the newest frame was looked at.
    last_shown: Option<Time>,
    /// Why frames since the last one looked at were rejected.
    rejected: Option<NotShown>,
    verdicts: VerdictTrace,
    summary_due: Time,
}

impl Watcher {
    pub(super) fn new(
        stream: StreamName,
        counters: Arc<Counters>,
        trace: Option<Arc<File>>,
    ) -> Self {
        let canary = Canary {
            stream: stream.to_string(),
            frames: 0,
            lost: 0,
            found: 0,
            none: 0,
            undecodable: 0,
            detections: DetectionCounts::default(),
            verdict: None,
        };

        Self {
            stream,
            counters,
            clock: Clock::here(),
            source_clock: None,
            decoder: Decoder::new(),
            grey: Grey::default(),
            finder: Finder::default(),
            found: VecDeque::new(),
            canary,
            presentation: Presentation::default(),
            last_shown: None,
            rejected: None,
            verdicts: VerdictTrace::new(trace),
            summary_due: Time::default(),
        }
    }

    /// Leaves the counters exact.
    pub(super) fn finish(&mut self, engine: &mut Engine) {
        self.summarise(clock::now(), engine);
    }

    fn on_frame(&mut self, arrived: ReceivedFrame) {
        self.canary.frames += 1;
        match self.look(arrived) {
            Ok(detection) => {
                self.canary.found += u64::from(detection.ball.is_some());
                self.canary.none += u64::from(detection.ball.is_none());
                self.presentation.shown += 1;
                self.last_shown = Some(clock::now());
                self.rejected = None;

                if self.found.len() == MAX_DETECTIONS {
                    self.found.pop_front();
                }

                self.found.push_back(detection);
            }
            Err(error) => {
                self.canary.undecodable += 1;
                self.presentation.lost += 1;
                self.rejected.get_or_insert(error.not_shown());
                tracing::debug!(stream = %self.stream, "a canary is not looked at: {error}");
            }
        }
    }

    /// Decodes a frame and looks for the ball in it; that counts as showing.
    fn look(&mut self, arrived: ReceivedFrame) -> Result<Detection, RejectedFrame> {
        let ReceivedFrame {
            topic,
            whole,
            arrived,
            ..
        } = arrived;

        let CheckedFrame {
            id, header, jpeg, ..
        } = parse_frame(&topic, Bytes::from(whole.body), MAX_FRAME_BYTES)?;
        if id != whole.id {
            return Err(RejectedFrame::Identity(id));
        }

        let began = clock::now();
        let (width, height) = self.decoder.size(&jpeg)?;
        if width * height > MAX_PIXELS {
            return Err(RejectedFrame::Canary(width, height));
        }

        self.decoder.decode_grey(&jpeg, &mut self.grey)?;
        let decoded = clock::now();
        let found = self.finder.find(&self.grey).map(Found::from);
        let looked = clock::now().saturating_since(decoded);
        let (age, _) = self
            .clock
            .age(&Captured::of(&header), arrived, self.source_clock);
        let timings = StageTimings {
            transit: age.saturating_sub(Duration::from_micros(header.prepared_us.into())),
            wait: began.saturating_since(arrived),
            decode: decoded.saturating_since(began),
            present: Duration::ZERO,
            clock_error: self.clock.error(header.clock_id, self.source_clock),
        };

        Ok(timings.detection(
            id,
            &Observation {
                found,
                tracked: looked,
                looked,
            },
        ))
    }

    fn summarise(&mut self, now: Time, engine: &mut Engine) {
        engine.on_presentation(self.presentation);
        engine.on_display(now, self.last_shown, self.rejected);
        let summary = engine.summary(now);
        self.source_clock = summary.source_clock;
        self.clock.wall_offset_ns = clock::wall_offset_ns();
        self.canary.lost = summary.losses.total();
        self.canary.detections = summary.detections;
        self.canary.verdict = summary.verdict.map(Into::into);
        self.verdicts
            .note(now, Some(&self.stream), self.canary.verdict);
        self.counters.on_canary(Some(self.canary.clone()));
    }
}

impl Sink for Watcher {
    fn take(&mut self, _now: Time, output: Output) -> ControlFlow<()> {
        match output {
            Output::Frame(arrived) => self.on_frame(arrived),
            Output::LinkState(link_state) => {
                tracing::debug!(stream = %self.stream, "canary: {link_state}");
            }
            Output::Send(..)
            | Output::List(..)
            | Output::JoinGroup(..)
            | Output::LeaveGroup(_)
            | Output::Credit(..)
            | Output::Direct(_)
            | Output::Transport(..) => {}
        }

        ControlFlow::Continue(())
    }

    fn turn(&mut self, now: Time, engine: &mut Engine) -> Option<Time> {
        if !self.found.is_empty() {
            self.counters
                .canary_status(now)
                .into_iter()
                .for_each(|beside| engine.on_canary_status(beside));
            self.found
                .drain(..)
                .for_each(|detection| engine.on_detection(&self.stream, detection));
        }

        if self.summary_due <= now {
            self.summary_due = now + SUMMARY_INTERVAL;
            self.summarise(now, engine);
        }

        Some(self.summary_due)
    }
}
