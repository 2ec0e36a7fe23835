//! Verification that screens show the right picture in time: detections of viewers are compared with the ground truth of the
//! very frame that they name.
//!
//! Everything here except [`Verifier`] has no clock and no I/O: frames, feedback and times come in, and verdicts, reports and
//! log events come out. All that viewers say may be a lie, and changes only their own rows.

mod answered_frames;
pub mod demand;
pub mod ground_truth;
pub mod health;
pub mod report;
pub mod sanitize;
pub mod screen_log;
mod screens;
pub mod seconds;
pub mod state;
pub mod statistics;
pub mod viewer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::feed::MAX_STATUS_BYTES;
use fanlight_proto::message::{FeedbackReport, RefusedStreams, State, StreamName, ViewerVerdict};
use tokio::sync::Notify;

use crate::publisher::FeedbackSink;
use demand::StreamDemand;
use ground_truth::PublishedFrame;
use health::Limits;
use report::{RefusedBy, Report};
use screen_log::LogEvent;
use state::{Kind, StreamIndex, VerificationState};

/// How long an encoded report is served again, so that frequent requests cost little.
const STATUS_KEPT: Duration = Duration::from_millis(200);

/// The verification state, shared by the threads of a source.
#[derive(Debug)]
pub struct Verifier {
    shared: Mutex<Shared>,
    wake: Arc<Notify>,
}

#[derive(Debug)]
struct Shared {
    state: VerificationState,
    status: Option<(Time, Vec<u8>)>,
}

impl Verifier {
    /// An empty state, as [`VerificationState::new`] makes it. `wake` is notified when a stream gains its first viewer or
    /// loses its last.
    #[must_use]
    pub fn new(started: Time, limits: Limits, history: usize, wake: Arc<Notify>) -> Self {
        let shared = Shared {
            state: VerificationState::new(started, limits, history),
            status: None,
        };

        Self {
            shared: Mutex::new(shared),
            wake,
        }
    }

    /// See [`VerificationState::add_stream`].
    pub fn add_stream(
        self: &Arc<Self>,
        name: &StreamName,
        kind: Kind,
        epoch: u64,
        input: &str,
    ) -> StreamHandle {
        let mut shared = self.shared();
        let stream = shared.state.add_stream(name.clone(), kind, epoch, input);
        let demand = shared.state.demand(stream);
        StreamHandle {
            verifier: Arc::clone(self),
            stream,
            demand,
        }
    }

    /// Whether there is a screen to evaluate, or one that left lately.
    pub fn has_rows(&self) -> bool {
        self.shared().state.has_rows()
    }

    /// See [`VerificationState::on_tick`].
    pub fn on_tick(&self, now: Time) -> Vec<LogEvent> {
        self.shared().state.on_tick(now)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut VerificationState) -> bool) {
        if change(&mut self.shared().state) {
            self.wake.notify_one();
        }
    }
}

/// The handle by which one stream reports to the state.
#[derive(Clone, Debug)]
pub struct StreamHandle {
    verifier: Arc<Verifier>,
    stream: StreamIndex,
    demand: Arc<StreamDemand>,
}

impl StreamHandle {
    /// Who watches the stream.
    #[must_use]
    pub fn demand(&self) -> &StreamDemand {
        &self.demand
    }

    /// A frame is about to be published.
    pub fn on_published(&self, frame: PublishedFrame) {
        self.verifier
            .shared()
            .state
            .on_published(self.stream, frame);
    }

    /// Which relays do not take it, and why; empty when all do.
    #[must_use]
    pub fn refused_by(&self, now: Time) -> Vec<RefusedBy> {
        self.verifier.shared().state.refused_by(now, self.stream)
    }

    /// Its pictures come from somewhere else now.
    pub fn set_input(&self, input: &str) {
        self.verifier.shared().state.set_input(self.stream, input);
    }

    /// The status of its input changed.
    pub fn on_input_status(&self, state: State, reason: &str) {
        self.verifier
            .shared()
            .state
            .on_input_status(self.stream, state, reason);
    }
}

impl FeedbackSink for Verifier {
    fn on_subscriptions(&self, _: Time, peer: u64, topics: &[Vec<u8>]) {
        self.update(|state| state.on_subscriptions(peer, topics));
    }

    fn on_feedback(&self, now: Time, peer: u64, feedback: FeedbackReport) {
        self.update(|state| state.on_feedback(now, peer, &feedback));
    }

    fn on_refused(&self, now: Time, peer: u64, refused: RefusedStreams) {
        for news in self.shared().state.on_refused(now, peer, &refused) {
            let RefusedBy { relay, reason, .. } = news;
            tracing::warn!(
                peer,
                relay,
                "a relay does not take a stream of this source: {reason}"
            );
        }
    }

    fn on_gone(&self, now: Time, peer: u64) {
        self.update(|state| state.on_gone(now, peer));
    }

    fn verdicts(&self, now: Time, peer: u64) -> Vec<ViewerVerdict> {
        self.shared().state.verdicts(now, peer)
    }

    fn status(&self, now: Time) -> Vec<u8> {
        let mut shared = self.shared();
        if let Some((_, status)) = shared
            .status
            .as_ref()
            .filter(|(at, _)| now.saturating_since(*at) < STATUS_KEPT)
        {
            return status.clone();
        }
        let status = encoded(shared.state.report(now), MAX_STATUS_BYTES);
        shared.status = Some((now, status.clone()));
        status
    }
}

/// The report as JSON of at most `limit` bytes. The healthiest screens are left out first.
fn encoded(mut report: Report, limit: usize) -> Vec<u8> {
    loop {
        let json = serde_json::to_vec(&report).unwrap_or_default();
        let held = report.screens.len();
        if json.len() <= limit || held == 0 {
            return json;
        }

        // A little fewer than would fit if all rows were as long as they are on average, so that the loop ends soon.
        let kept = (held * limit / json.len()).saturating_sub(1 + held / 50);
        report.screens_left_out += (held - kept) as u64;
        report.screens.truncate(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::report::Screen;
    use super::*;

    #[test]
    fn a_report_of_too_many_screens_fits_and_says_how_many_it_leaves_out() {
        let row = |number| Screen {
            row: number,
            name: "n".repeat((number % 60) as usize),
            ..Screen::default()
        };

        let report = Report {
            screens: (0..1024).map(row).collect(),
            ..Report::default()
        };

        let json = encoded(report.clone(), 100_000);
        assert!((80_000..=100_000).contains(&json.len()), "{}", json.len());
        let newest_answers: Report = serde_json::from_slice(&json).unwrap();
        assert_eq!(
            newest_answers.screens.len() as u64 + newest_answers.screens_left_out,
            1024
        );

        assert_eq!(
            newest_answers.screens[..],
            report.screens[..newest_answers.screens.len()]
        );

        assert!(
            encoded(report, 10).len() < 1000,
            "without any row it is what it is"
        );
    }
}
