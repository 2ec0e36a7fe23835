//! A viewer without a window, followed frame by frame through its trace, and what it reports at the end.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::Hasher as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanlight_proto::clock::Time;
use serde::{Deserialize, Deserializer};
use siphasher::sip::SipHasher13;

use crate::program::{Launch, Program};
use crate::promise::Measurement;
use crate::test_env::TestEnv;
use crate::wait::{self, SOON};

/// Of a hundred frames, how many may give way to newer ones where nothing should: on a busy machine a program that is
/// not given the processor in time skips frames, as it is meant to.
const SKIPPED_PERCENT: u64 = 15;

/// Of a hundred frames, how many may be lost on the way: sockets overflow when their reader is not given the processor.
const DROPPED_PERCENT: u64 = 1;

/// How a viewer is to be started.
#[derive(Clone, Debug)]
pub struct ViewerCommand {
    launch: Launch,
    report: PathBuf,
    trace: PathBuf,
}

impl ViewerCommand {
    /// A viewer by `launch`, without a window, which is to show what it showed in files of `env`.
    #[must_use]
    pub fn new(launch: Launch, env: &TestEnv) -> Self {
        static WATCHES: AtomicUsize = AtomicUsize::new(0);
        let number = WATCHES.fetch_add(1, Ordering::Relaxed);
        let [report, trace] =
            ["report", "trace"].map(|kind| env.path(&format!("{kind}-{number}.json")));
        let launch = launch
            .flags("--headless")
            .flag("report", &report)
            .flag("trace", &trace);

        Self {
            launch,
            report,
            trace,
        }
    }

    /// Adds words to the command line, which are split at spaces.
    #[must_use]
    pub fn flags(mut self, words: &str) -> Self {
        self.launch = self.launch.flags(words);
        self
    }

    /// Adds `--key value`.
    #[must_use]
    pub fn flag(mut self, key: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.launch = self.launch.flag(key, value);
        self
    }

    /// As [`Launch::under`].
    #[must_use]
    pub fn under(mut self, words: &[&str]) -> Self {
        self.launch = self.launch.under(words);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.launch = self.launch.env(name, value);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> ViewerProcess {
        let Self {
            launch,
            report,
            trace,
        } = self;

        ViewerProcess {
            program: launch.start(),
            report,
            trace: Mutex::new(Trace {
                path: trace,
                ..Trace::default()
            }),
        }
    }
}

/// A viewer that runs.
#[derive(Debug)]
pub struct ViewerProcess {
    program: Program,
    report: PathBuf,
    trace: Mutex<Trace>,
}

/// What has been read of a trace.
#[derive(Debug, Default)]
struct Trace {
    path: PathBuf,
    file: Option<File>,
    unread: String,
    frames: Vec<Shown>,
    tracked: Vec<Tracked>,
    judged: Vec<Judged>,
}

/// A line of the trace.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Shown(Shown),
    Tracked(Tracked),
    Judged(Judged),
}

/// A frame that was on the screen: a line of the trace.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Shown {
    /// The run of the source.
    #[serde(deserialize_with = "hexadecimal")]
    pub epoch: u64,
    /// The frame's number in it.
    pub number: u64,
    /// When it was captured; programs and tests share a clock.
    #[serde(rename = "captured_ns", deserialize_with = "time")]
    pub captured: Time,
    /// When its last shard came.
    #[serde(rename = "arrived_ns", deserialize_with = "time")]
    pub arrived: Time,
    /// When it was shown.
    #[serde(rename = "presented_ns", deserialize_with = "time")]
    pub at: Time,
    /// [`hash`] of the JPEG as received.
    #[serde(deserialize_with = "hexadecimal")]
    pub hash: u64,
    /// The number painted in the picture.
    #[serde(rename = "code_number", default)]
    pub code: Option<u64>,
    /// The capture time painted in the picture.
    #[serde(rename = "code_captured_ns", default, deserialize_with = "maybe_time")]
    pub code_captured: Option<Time>,
    /// The true centre of the ball in it.
    #[serde(default)]
    pub ball: Option<[f64; 2]>,
}

/// What a tracker said of a frame: another line of the trace.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Tracked {
    /// The run of the source.
    #[serde(deserialize_with = "hexadecimal")]
    pub epoch: u64,
    /// The frame's number in it.
    pub number: u64,
    /// When the answer came.
    #[serde(rename = "tracked_ns", deserialize_with = "time")]
    pub at: Time,
    /// What was found.
    pub detection: Option<Detection>,
}

/// What the source made of the screen: a third line of the trace.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Judged {
    /// The stream that it looked at: the one shown, or its canary.
    pub stream: String,
    /// When the viewer heard it.
    #[serde(rename = "told_ns", deserialize_with = "time")]
    pub at: Time,
    /// The word.
    pub verdict: Verdict,
}

/// See [`Judged::verdict`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[expect(
    missing_docs,
    reason = "named and documented in the viewer's stats::Judgement"
)]
pub struct Verdict {
    pub health: String,
    pub error_px: f64,
    pub mean_px: f64,
    pub max_px: f64,
    pub deviation_px: f64,
    pub latency_ms: f64,
    pub count: u64,
}

/// See [`Tracked::detection`].
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[expect(
    missing_docs,
    reason = "named and documented in the viewer's track::Found"
)]
pub struct Detection {
    pub x: f64,
    pub y: f64,
    pub radius: f64,
    pub confidence: f64,
}

impl Shown {
    /// How old it was when it was shown.
    #[must_use]
    pub const fn age(&self) -> Duration {
        self.at.saturating_since(self.captured)
    }
}

/// The parts of a viewer's report that tests judge.
#[derive(Clone, Debug, Deserialize)]
#[expect(
    missing_docs,
    reason = "named and documented in the viewer's stats::Report"
)]
pub struct Report {
    pub stream: Option<String>,
    pub frames: Frames,
    pub fps: f64,
    pub age_ms: Ages,
    pub clock: String,
    pub transport: String,
    pub transport_changes: Vec<TransportChange>,
    pub joins: u64,
    pub datagrams: u64,
    pub foreign: u64,
    pub repairs: Repairs,
    pub paths: Vec<Way>,
    pub decode: Decoding,
    #[serde(rename = "link_states")]
    pub signals: Vec<SignalChange>,
    pub tracking: Option<Tracking>,
    pub recording: Option<Recording>,
    pub canary: Option<Canary>,
}

/// See [`Report::recording`].
#[derive(Clone, Debug, Deserialize)]
#[expect(
    missing_docs,
    reason = "named and documented in the viewer's record::Recording"
)]
pub struct Recording {
    pub file: String,
    pub files: u64,
    pub frames: u64,
    pub repeated: u64,
    pub early: u64,
    pub dropped: u64,
    pub seconds: f64,
    pub failure: Option<String>,
}

/// See [`Report::tracking`].
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct Tracking {
    pub trackers: usize,
    pub offered: u64,
    pub found: u64,
    pub none: u64,
    pub missing: u64,
    pub failed: u64,
    pub pending: u64,
    pub detection_rate: Option<f64>,
    pub restarts: u64,
    pub timeouts: u64,
    pub malformed: u64,
    pub unknown: u64,
    pub answer_ms: Spread,
    pub work_ms: Spread,
    pub last: Option<LastDetection>,
    pub detections: Sent,
    pub verdict: Option<Verdict>,
}

/// See [`Tracking::detections`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct Sent {
    pub sent: u64,
    pub dropped: u64,
}

/// See [`Report::canary`].
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct Canary {
    pub stream: String,
    pub frames: u64,
    pub lost: u64,
    pub found: u64,
    pub none: u64,
    pub undecodable: u64,
    pub detections: Sent,
    pub verdict: Option<Verdict>,
}

/// See [`Tracking::answer_ms`].
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct Spread {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
}

/// See [`Tracking::last`].
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct LastDetection {
    pub stream: String,
    pub number: u64,
    pub x: f64,
    pub y: f64,
}

/// See [`Report::frames`].
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct Frames {
    pub shown: u64,
    pub whole: u64,
    pub pending: u64,
    pub lost: Lost,
}

/// See [`Frames::lost`].
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct Lost {
    pub total: u64,
    #[serde(flatten)]
    pub by_reason: BTreeMap<String, u64>,
}

/// See [`Report::age_ms`].
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct Ages {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
}

/// See [`Report::repairs`].
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct Repairs {
    pub asked: u64,
    pub received: u64,
}

/// See [`Report::paths`].
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct Way {
    pub transport: String,
    pub frames: u64,
    pub datagrams: u64,
    pub by_multicast: u64,
}

/// See [`Report::transport_changes`].
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct TransportChange {
    pub at_ms: f64,
    pub to: String,
    pub reason: String,
}

/// See [`Report::decode`].
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct Decoding {
    pub errors: u64,
}

/// See [`Report::signals`].
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "as above")]
pub struct SignalChange {
    pub at_ms: f64,
    pub state: String,
    pub reason: String,
}

impl SignalChange {
    /// How long after the viewer's start.
    #[must_use]
    pub fn at(&self) -> Duration {
        Duration::from_secs_f64(self.at_ms / 1e3)
    }
}

impl Report {
    /// Asserts that frames were shown in one session, that every whole one was a picture, and that what was lost adds up.
    ///
    /// # Panics
    /// When that is not so.
    #[track_caller]
    pub fn assert_one_session(&self) {
        self.assert_balanced();
        assert!(
            self.frames.shown > 0 && self.joins == 1 && self.lost(&["away", "undecodable"]) == 0,
            "{self:?}"
        );
    }

    /// Judges that no more frames were lost than a machine costs whose programs wait for the processor.
    ///
    /// # Panics
    /// As [`assert_one_session`](Self::assert_one_session).
    #[track_caller]
    pub fn judge_nearly_lossless(&self, what: &str, measurement: &mut Measurement) {
        self.assert_one_session();
        let shown = self.frames.shown;
        let mut judge = |lost: u64, how: &str, grace: u64, percent: u64| {
            measurement.compare(
                format!("{what}: of {shown} frames {how}"),
                format!("<= {percent} %"),
                lost.to_string(),
                "",
                lost * 100 <= (shown + grace) * percent,
            );
        };

        let skipped = self.lost(&["upstream", "relay", "superseded"]);
        judge(skipped, "skipped", 20, SKIPPED_PERCENT);
        let dropped = self.lost(&["link", "incomplete"]);
        judge(dropped, "lost on the way", 100, DROPPED_PERCENT);
    }

    /// Frames lost for one of `reasons`.
    fn lost(&self, reasons: &[&str]) -> u64 {
        let by_reason = &self.frames.lost.by_reason;
        reasons.iter().map(|reason| by_reason[*reason]).sum()
    }

    /// Asserts that the reasons of all lost frames sum to all lost frames.
    ///
    /// # Panics
    /// When they do not.
    #[track_caller]
    pub fn assert_balanced(&self) {
        let lost = &self.frames.lost;
        assert_eq!(lost.by_reason.values().sum::<u64>(), lost.total, "{self:?}");
    }
}

impl ViewerProcess {
    /// The process.
    #[must_use]
    pub const fn program(&self) -> &Program {
        &self.program
    }

    /// The frames shown so far.
    ///
    /// # Panics
    /// When the trace holds anything but such frames.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown> {
        self.trace().read().to_vec()
    }

    /// How many frames have been shown.
    ///
    /// # Panics
    /// As [`shown`](Self::shown).
    #[must_use]
    pub fn count(&self) -> usize {
        self.trace().read().len()
    }

    /// What trackers have said so far.
    ///
    /// # Panics
    /// As [`shown`](Self::shown).
    #[must_use]
    pub fn tracked(&self) -> Vec<Tracked> {
        let mut trace = self.trace();
        trace.read();
        trace.tracked.clone()
    }

    /// What the source has said of this screen so far.
    ///
    /// # Panics
    /// As [`shown`](Self::shown).
    #[must_use]
    pub fn judged(&self) -> Vec<Judged> {
        let mut trace = self.trace();
        trace.read();
        trace.judged.clone()
    }

    /// Waits until at least `count` frames have been shown in all.
    ///
    /// # Panics
    /// When they are not within [`SOON`].
    #[track_caller]
    pub fn wait_shown(&self, count: usize) {
        wait::until("the viewer shows frames", SOON, || {
            (self.count() >= count).then_some(())
        });
    }

    /// Waits until `count` more frames have been shown.
    ///
    /// # Panics
    /// When they are not within [`SOON`].
    #[track_caller]
    pub fn wait_more(&self, count: usize) {
        self.wait_shown(self.count() + count);
    }

    /// Waits until `count` more frames have been shown.
    ///
    /// # Panics
    /// When they are not within `limit`.
    #[track_caller]
    pub fn wait_more_within(&self, limit: Duration, count: usize) {
        let count = self.count() + count;
        wait::until("the viewer shows frames", limit, || {
            (self.count() >= count).then_some(())
        });
    }

    /// Waits for the first frame shown after `time`.
    ///
    /// # Panics
    /// When there is none within `limit`.
    #[track_caller]
    pub fn wait_shown_after(&self, time: Time, limit: Duration) -> Shown {
        let look = || {
            self.trace()
                .read()
                .iter()
                .find(|shown| shown.at > time)
                .cloned()
        };

        wait::until("the viewer shows a new frame", limit, look)
    }

    /// Where its trace is.
    #[must_use]
    pub fn trace_path(&self) -> PathBuf {
        self.trace().path.clone()
    }

    /// Stops the viewer; gives back its report and every frame it showed.
    ///
    /// # Panics
    /// When it does not end well.
    #[must_use]
    #[track_caller]
    pub fn finish(self) -> (Report, Vec<Shown>) {
        let (exit, _) = self.program.stop();
        assert_eq!(exit.code(), Some(0), "the viewer ends well");
        self.results()
    }

    /// Waits until the viewer ends by itself; gives back its report and every frame it showed.
    ///
    /// # Panics
    /// When it does not end well within `limit`.
    #[must_use]
    #[track_caller]
    pub fn wait_end(self, limit: Duration) -> (Report, Vec<Shown>) {
        assert_eq!(
            self.program.wait_exit(limit).code(),
            Some(0),
            "the viewer ends well"
        );
        self.results()
    }

    #[track_caller]
    fn results(&self) -> (Report, Vec<Shown>) {
        let json = std::fs::read(&self.report).expect("a viewer that ends well leaves its report");
        let report = serde_json::from_slice(&json).expect("the report is what the fixture knows");
        (report, self.shown())
    }

    fn trace(&self) -> MutexGuard<'_, Trace> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trace {
    /// Reads what has been added.
    fn read(&mut self) -> &[Shown] {
        if self.file.is_none() {
            // Not there before the viewer has made it.
            self.file = File::open(&self.path).ok();
        }

        if let Some(file) = &mut self.file {
            file.read_to_string(&mut self.unread)
                .expect("a trace can be read and is text");
            let whole = self.unread.rfind('\n').map_or(0, |end| end + 1);
            for line in self.unread.drain(..whole).collect::<String>().lines() {
                match serde_json::from_str(line)
                    .expect("a trace has one frame, answer or verdict a line")
                {
                    Line::Shown(shown) => self.frames.push(shown),
                    Line::Tracked(tracked) => self.tracked.push(tracked),
                    Line::Judged(judged) => self.judged.push(judged),
                }
            }
        }

        &self.frames
    }
}

/// The frames in a trace, whose last line may still be on its way.
///
/// # Panics
/// When the trace holds anything but such frames.
#[must_use]
pub fn read_trace(path: &Path) -> Vec<Shown> {
    Trace {
        path: path.to_owned(),
        ..Trace::default()
    }
    .read()
    .to_vec()
}

/// What trackers said, from a trace.
///
/// # Panics
/// As [`read_trace`].
#[must_use]
pub fn read_answers(path: &Path) -> Vec<Tracked> {
    let mut trace = Trace {
        path: path.to_owned(),
        ..Trace::default()
    };

    trace.read();
    trace.tracked
}

/// What a trace calls the hash of a JPEG.
#[must_use]
pub fn hash(jpeg: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(jpeg);
    hasher.finish()
}

fn hexadecimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let digits = String::deserialize(deserializer)?;
    u64::from_str_radix(&digits, 16).map_err(serde::de::Error::custom)
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
    u64::deserialize(deserializer).map(Time::from_nanos)
}

fn maybe_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
    Option::<u64>::deserialize(deserializer).map(|nanos| nanos.map(Time::from_nanos))
}
