//! Sends to the source, through one relay, what trackers found in frames that were shown, and keeps the source's verdict.

use std::collections::VecDeque;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::ToRelay;
use fanlight_proto::detections;
use fanlight_proto::limits::{MAX_DETECTIONS, PRESENT_HOLDS};
use fanlight_proto::message::{CanaryStatus, Detection, Detections, StreamName, Verdict};
use serde::Serialize;

use super::path::Path;
use super::{Engine, Output};

/// Time between two messages of detections: twice what a relay asks for, so that none is refused as too early when the
/// network delays the one before it.
const INTERVAL: Duration = Duration::from_millis(100);

/// Most detections that wait to be sent: those of two seconds at 30 frames a second. Older ones say nothing of the
/// present.
const MAX_WAITING: usize = 4 * MAX_DETECTIONS;

/// Detections take another path, or wait, when nothing came by a path for so long: keep-alives are sent at most 300 ms
/// apart, and answered.
const STALL_TIMEOUT: Duration = Duration::from_millis(400);

/// For how long a verdict holds after it came. The relay repeats it four times a second, and for no longer than this
/// after it came from the source.
const VERDICT_LIFETIME: Duration = PRESENT_HOLDS;

/// What became of detections. Counts never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DetectionCounts {
    /// Sent to a relay.
    pub sent: u64,
    /// Not sent: of a stream that is no longer watched, out of bounds, or displaced by newer ones.
    pub dropped: u64,
}

/// The detections that wait to be sent, and the counts of those sent.
#[derive(Debug, Default)]
pub(super) struct DetectionSender {
    screen: u64,
    /// The stream of the detections that wait.
    stream: Option<StreamName>,
    waiting: VecDeque<Detection>,
    canary_status: Option<CanaryStatus>,
    /// Frames that no tracker looked at, and how many of them were in messages already.
    untracked: u64,
    untracked_sent: u64,
    due: Time,
    /// The path of the message sent last.
    path: Option<usize>,
    counts: DetectionCounts,
    verdict: Option<(Time, Verdict)>,
}

impl DetectionSender {
    /// Takes the source's verdict from the relay of path `at`, if detections were last sent to it.
    pub(super) fn on_verdict(&mut self, now: Time, at: usize, verdict: Option<Verdict>) {
        if self.path == Some(at) {
            self.verdict = verdict.map(|verdict| (now, verdict));
        }
    }

    /// See [`Engine::set_screen`].
    pub(super) const fn screen(&self) -> u64 {
        self.screen
    }

    pub(super) const fn counts(&self) -> DetectionCounts {
        self.counts
    }

    /// The source's verdict on this screen at `now`, if there is one.
    pub(super) fn verdict(&self, now: Time) -> Option<Verdict> {
        self.verdict
            .filter(|(came, _)| now < *came + VERDICT_LIFETIME)
            .map(|(_, verdict)| verdict)
    }

    fn push(&mut self, stream: &StreamName, detection: Detection) {
        if detections::check(&detection).is_err() {
            self.counts.dropped += 1;
            return;
        }

        if self.stream.as_ref() != Some(stream) {
            self.clear();
            self.stream = Some(stream.clone());
        }

        if self.waiting.len() == MAX_WAITING {
            self.waiting.pop_front();
            self.counts.dropped += 1;
        }

        self.waiting.push_back(detection);
    }

    fn clear(&mut self) {
        self.counts.dropped += self.waiting.len() as u64;
        self.waiting.clear();
    }

    /// A message of the oldest that wait.
    fn next(&mut self) -> Detections {
        let mut message = Detections {
            screen: self.screen,
            canary_status: self.canary_status.clone(),
            ..Detections::default()
        };

        detections::fill(&mut message, &mut self.waiting);
        self.counts.sent += message.detections.len() as u64;
        message
    }
}

impl Engine {
    /// Sets the screen's identity in messages of detections and in its reports: the same in all sessions of one viewer, and
    /// not 0. None is sent before that.
    pub fn set_screen(&mut self, screen: u64) {
        self.detection_sender.screen = screen;
    }

    /// Takes what was found in a frame of `stream` that was shown. It goes to the source by one relay, in the session of
    /// that stream, with the next message of detections.
    pub fn on_detection(&mut self, stream: &StreamName, detection: Detection) {
        self.detection_sender.push(stream, detection);
    }

    /// `count` detections were displaced by newer ones before they came here.
    pub fn on_detections_dropped(&mut self, count: u64) {
        self.detection_sender.counts.dropped += count;
    }

    /// Takes how many of the frames shown since the engine began no tracker has looked at.
    pub fn on_untracked(&mut self, total: u64) {
        self.detection_sender.untracked = self.detection_sender.untracked.max(total);
    }

    /// Takes the state of the stream whose canary this engine watches; each message of detections has it.
    pub fn on_canary_status(&mut self, canary_status: CanaryStatus) {
        self.detection_sender.canary_status = Some(canary_status);
    }

    /// Sends what waits, when it is due and there is a relay to send it to.
    pub(super) fn send_detections(&mut self, now: Time) {
        if self.detections_due().is_none_or(|due| now < due) {
            return;
        }

        let Some(at) = self.detections_path(now) else {
            self.detection_sender.due = now + INTERVAL;
            return;
        };

        let Some(session) = &mut self.paths[at].session else {
            return;
        };

        let detection_sender = &mut self.detection_sender;
        if detection_sender.stream.as_ref() != Some(&session.name) {
            detection_sender.clear();
            return;
        }

        detection_sender.due = now + INTERVAL;
        detection_sender.path = Some(at);
        let mut message = detection_sender.next();
        session.detections += message.detections.len() as u64;
        session.untracked += detection_sender.untracked
            - std::mem::replace(
                &mut detection_sender.untracked_sent,
                detection_sender.untracked,
            );

        message.sent = session.detections;
        message.untracked = session.untracked;
        let datagram = session.encode(&ToRelay::Detections(session.id, message));
        self.shared.outputs.push_back(Output::Send(at, datagram));
    }

    /// When [`Engine::send_detections`] has something to do.
    pub(super) fn detections_due(&self) -> Option<Time> {
        let some = self.detection_sender.screen != 0 && !self.detection_sender.waiting.is_empty();
        (some && self.paths.iter().any(Path::is_active)).then_some(self.detection_sender.due)
    }

    /// A path that has media and is not stalled; of several the one used last.
    fn detections_path(&self, now: Time) -> Option<usize> {
        let is_alive = |path: &Path| {
            path.session
                .as_ref()
                .is_some_and(|session| now < session.last_received + STALL_TIMEOUT)
        };

        let good = |path: &Path| path.is_active() && path.joining.is_none() && is_alive(path);
        let good = (0..self.paths.len()).filter(|at| good(&self.paths[*at]));
        good.min_by_key(|at| Some(*at) != self.detection_sender.path)
    }
}
