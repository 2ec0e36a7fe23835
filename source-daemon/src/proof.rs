//! Proof that screens show the right picture in time: what viewers found in frames of which the source knows what they
//! show, held against the truth of that very frame.
//!
//! Everything here but [`Proof`] is without clock and without input or output: frames, feedback and moments come in, and
//! verdicts, reports and lines for the log come out. All of what viewers say may be a lie: it changes nothing but their
//! own rows.

mod answered;
pub mod audience;
pub mod figures;
pub mod health;
pub mod ledger;
pub mod news;
pub mod report;
pub mod seconds;
pub mod table;
pub mod text;
pub mod truth;
pub mod viewer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::envelope::MAX_STATUS_BYTES;
use fanlight_proto::message::{FeedbackReport, State, StreamName, ViewerVerdict};
use tokio::sync::Notify;

use crate::publisher::Ear;
use audience::Audience;
use health::Limits;
use ledger::{Kind, Ledger, StreamIndex};
use news::News;
use report::Report;
use truth::Published;

/// An answer to who asks how things stand is good for so long: asking often costs no more than that.
const STATUS_KEPT: Duration = Duration::from_millis(200);

/// The ledger, to be shared by the threads of a source.
#[derive(Debug)]
pub struct Proof {
    books: Mutex<Books>,
    wake: Arc<Notify>,
}

#[derive(Debug)]
struct Books {
    ledger: Ledger,
    status: Option<(Time, Vec<u8>)>,
}

impl Proof {
    /// See [`Ledger::new`]. When somebody begins or ceases to watch a stream, `wake` is notified.
    #[must_use]
    pub fn new(started: Time, limits: Limits, history: usize, wake: Arc<Notify>) -> Self {
        let books = Books {
            ledger: Ledger::new(started, limits, history),
            status: None,
        };
        Self {
            books: Mutex::new(books),
            wake,
        }
    }

    /// See [`Ledger::add_stream`].
    pub fn add_stream(
        self: &Arc<Self>,
        name: &StreamName,
        kind: Kind,
        epoch: u64,
        input: &str,
    ) -> Witness {
        let mut books = self.books();
        let stream = books.ledger.add_stream(name.clone(), kind, epoch, input);
        let audience = books.ledger.audience(stream);
        Witness {
            proof: Arc::clone(self),
            stream,
            audience,
        }
    }

    /// Whether there is a screen to judge, or one that left lately.
    pub fn has_rows(&self) -> bool {
        self.books().ledger.has_rows()
    }

    /// See [`Ledger::on_tick`].
    pub fn on_tick(&self, now: Time) -> Vec<News> {
        self.books().ledger.on_tick(now)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, news: impl FnOnce(&mut Ledger) -> bool) {
        if news(&mut self.books().ledger) {
            self.wake.notify_one();
        }
    }
}

/// What one stream tells the ledger.
#[derive(Clone, Debug)]
pub struct Witness {
    proof: Arc<Proof>,
    stream: StreamIndex,
    audience: Arc<Audience>,
}

impl Witness {
    /// Whether anybody watches the stream.
    #[must_use]
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// A frame is about to be published.
    pub fn on_published(&self, frame: Published) {
        self.proof.books().ledger.on_published(self.stream, frame);
    }

    /// What becomes of its input.
    pub fn on_condition(&self, state: State, reason: &str) {
        self.proof
            .books()
            .ledger
            .on_condition(self.stream, state, reason);
    }
}

impl Ear for Proof {
    fn on_subscriptions(&self, _: Time, peer: u64, topics: &[Vec<u8>]) {
        self.hear(|ledger| ledger.on_subscriptions(peer, topics));
    }

    fn on_feedback(&self, now: Time, peer: u64, feedback: FeedbackReport) {
        self.hear(|ledger| ledger.on_feedback(now, peer, &feedback));
    }

    fn on_gone(&self, now: Time, peer: u64) {
        self.hear(|ledger| ledger.on_gone(now, peer));
    }

    fn verdicts(&self, now: Time, peer: u64) -> Vec<ViewerVerdict> {
        self.books().ledger.verdicts(now, peer)
    }

    fn status(&self, now: Time) -> Vec<u8> {
        let mut books = self.books();
        if let Some((_, status)) = books
            .status
            .as_ref()
            .filter(|(at, _)| now.saturating_since(*at) < STATUS_KEPT)
        {
            return status.clone();
        }
        let status = encoded(books.ledger.report(now), MAX_STATUS_BYTES);
        books.status = Some((now, status.clone()));
        status
    }
}

/// The report as JSON of at most `limit` bytes: the screens that stand best are left out first.
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
        let told: Report = serde_json::from_slice(&json).unwrap();
        assert_eq!(told.screens.len() as u64 + told.screens_left_out, 1024);
        assert_eq!(told.screens[..], report.screens[..told.screens.len()]);
        assert!(
            encoded(report, 10).len() < 1000,
            "without any row it is what it is"
        );
    }
}
