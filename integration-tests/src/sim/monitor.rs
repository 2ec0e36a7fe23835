//! What must hold in every world at every moment, checked from outside the engines.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use fanlight_live::ViewerEntry;
use fanlight_proto::datagram::{ToRelay, ToViewer};
use fanlight_proto::message::{FrameId, NotShown};

use super::viewer_node::{Viewer, ViewerCounts};

/// Nothing untrue is said of a screen for longer (promises P5 and P32).
pub const LONGEST_LIE: Duration = Duration::from_millis(1500);

/// Frames that are shown further apart are not one run of a moving picture.
const RUN_GAP: Duration = Duration::from_millis(500);

/// Tokens that are remembered of one address: it needs none but the last.
const TOKENS: usize = 8;

/// What a viewer gave out, and what came to it.
#[derive(Debug, Default)]
pub struct Monitor {
    /// Frames given out, over all its lives.
    pub frames: Vec<(Duration, FrameId)>,
    /// Its signals.
    pub signals: Vec<(Duration, &'static str)>,
    /// Since when it says that the picture is live, if it does.
    live: Option<Duration>,
    /// When it last showed a new frame, or could not act.
    fresh: Duration,
    /// When it last showed a new frame, in whichever life.
    shown: Option<Duration>,
    /// Since when new frames are shown without a gap.
    run: Duration,
    /// Of this life, the epochs in their order.
    spans: Vec<Span>,
    /// The epoch of what it last dropped as late.
    late: Option<u64>,
    given: Option<FrameId>,
    /// Frames lost in lives that have ended, by reason.
    past: [u64; REASONS],
}

/// A reason for which frames are lost, and how many were.
pub type Lost = (&'static str, u64);

/// How many reasons there are.
const REASONS: usize = 9;

/// Frames of one epoch of which something was seen within a session.
#[derive(Clone, Copy, Debug)]
struct Span {
    epoch: u64,
    /// Which run of the source that is.
    run: usize,
    first: u64,
    highest: u64,
}

impl Monitor {
    /// It starts, and knows nothing.
    pub(super) fn begin_life(&mut self, now: Duration) {
        self.spans.clear();
        self.late = None;
        self.live = None;
        self.fresh = now;
        self.run = now;
        self.given = None;
        self.signals.push((now, ""));
    }

    /// Its life ends, with these counts.
    pub(super) fn end_life(&mut self, tally: &ViewerCounts) {
        self.past = self.lost(tally).map(|(_, count)| count);
    }

    /// Frames lost in all lives, by reason; `tally` is of the present one.
    #[must_use]
    pub fn lost(&self, tally: &ViewerCounts) -> [Lost; REASONS] {
        let mut lost = tally.losses.by_reason();
        let past = lost.iter_mut().zip(self.past);
        past.for_each(|((_, count), past)| *count += past);
        lost
    }

    /// It was frozen until now, and could not say anything.
    pub(super) fn thaw(&mut self, now: Duration) {
        self.fresh = now;
        self.run = now;
    }

    /// A media datagram came in that its session takes and that is dropped as late: of a frame that is decided, or of an
    /// epoch that is not followed yet, because another relay may be ahead. That lasts a second at most.
    pub(super) fn on_late(&mut self, id: FrameId) {
        self.late = Some(id.epoch);
    }

    /// A media datagram came in that its session takes, of that `run` of the source. Parity is never said to be late.
    pub(super) fn on_shard(&mut self, id: FrameId, run: usize, is_parity: bool) {
        match self.spans.last_mut() {
            // What is late of an epoch that has ended.
            Some(newest) if newest.run > run => {}

            Some(newest) if newest.epoch == id.epoch => {
                newest.highest = newest.highest.max(id.number);
            }

            _ if is_parity && self.late == Some(id.epoch) => {}

            _ => self.spans.push(Span {
                epoch: id.epoch,
                run,
                first: id.number,
                highest: id.number,
            }),
        }
    }

    /// A frame is given out.
    pub(super) fn on_frame(&mut self, now: Duration, id: FrameId) {
        if let Some(last) = self.given {
            let newer = id.epoch != last.epoch || id.number > last.number;
            assert!(newer, "{id} was given out after {last}");
        }

        let newest = self.spans.last().expect("a frame has shards");
        assert_eq!(
            newest.epoch, id.epoch,
            "{id} came back from an epoch that has ended"
        );

        self.given = Some(id);
        self.frames.push((now, id));
    }

    /// A new frame is on the screen.
    pub(super) fn on_shown(&mut self, now: Duration) {
        self.check_state(now);
        if self.shown.is_none_or(|last| now > last + RUN_GAP) {
            self.run = now;
        }

        self.fresh = now;
        self.shown = Some(now);
    }

    /// Its signal changes.
    pub(super) fn on_signal(&mut self, now: Duration, word: &'static str) {
        self.check_state(now);
        let live = word == Viewer::live();
        if self.live.is_some() != live {
            self.run = self.run.max(now);
        }

        self.live = live.then_some(now);
        self.signals.push((now, word));
    }

    /// For how long the screen has shown a moving picture.
    fn moving(&self, now: Duration) -> Duration {
        let moves = self.shown.is_some_and(|last| now <= last + RUN_GAP);
        if moves {
            now.saturating_sub(self.run)
        } else {
            Duration::ZERO
        }
    }

    /// What the viewer says of its screen is true: no frozen picture passes for live, no moving one for none.
    pub(super) fn check_state(&self, now: Duration) {
        let age = now.saturating_sub(self.fresh);
        // The frame that makes it live comes at the same moment as the signal.
        let live = self.live.is_some_and(|since| since < now);
        assert!(
            !live || age <= LONGEST_LIE,
            "a picture of {age:?} ago passes for live"
        );

        let moving = self.moving(now);
        assert!(
            self.live.is_some() || moving <= LONGEST_LIE,
            "a picture that has moved for {moving:?} is said to be {:?}",
            self.signals.last()
        );
    }

    /// What a relay says of this screen is true: a frame is not said to be newer than it is, nor a picture that moves not
    /// to be shown.
    pub(super) fn check_relay(&self, now: Duration, said: &ViewerEntry) {
        let report = &said.report;
        if report.frames_shown > 0 {
            let claimed = Duration::from_millis(report.last_shown_ms.into());
            let truth = self.shown.map(|at| now.saturating_sub(at));
            assert!(
                truth.is_some_and(|truth| truth <= claimed + LONGEST_LIE),
                "the relay says that the newest frame was shown {claimed:?} ago, and it was {truth:?}"
            );
        }

        let moving = self.moving(now);
        let not_shown = report.not_shown();
        assert!(
            not_shown == NotShown::Unspecified || moving <= LONGEST_LIE,
            "the relay says {not_shown:?} of a picture that has moved for {moving:?}"
        );
    }

    /// What it says at `moment`.
    #[must_use]
    pub fn signal_at(&self, moment: Duration) -> &'static str {
        self.signals
            .iter()
            .rev()
            .find(|(at, _)| *at <= moment)
            .map_or("", |(_, word)| word)
    }

    /// Frames given out in a span of time.
    #[must_use]
    pub fn frames_between(&self, from: Duration, to: Duration) -> &[(Duration, FrameId)] {
        let start = self.frames.partition_point(|(at, _)| *at < from);
        let end = self.frames.partition_point(|(at, _)| *at < to);
        &self.frames[start..end.max(start)]
    }

    /// Every frame from the first that was seen to the last that is whole is whole, or lost for one reason.
    ///
    /// # Panics
    /// When that does not hold.
    pub(super) fn check_sum(&self, tally: &ViewerCounts) {
        let Some(last) = self.given else { return };
        let end = |span: &Span| {
            if span.epoch == last.epoch {
                last.number
            } else {
                span.highest
            }
        };

        let seen: u64 = self
            .spans
            .iter()
            .map(|span| end(span) - span.first + 1)
            .sum();

        let whole = tally.counts.whole;
        let lost = tally.losses.total();
        assert_eq!(
            whole + lost,
            seen,
            "{whole} whole and {lost} lost of {seen} frames: {tally:?}, {:?}",
            self.spans
        );
    }
}

/// What a relay owes to addresses that have not proved themselves: no more bytes than they sent (promise P17).
#[derive(Debug, Default)]
pub(super) struct AmplificationGuard {
    accounts: HashMap<SocketAddr, Account>,
}

#[derive(Debug, Default)]
struct Account {
    received: usize,
    sent: usize,
    tokens: Vec<Bytes>,
    proved: bool,
}

impl AmplificationGuard {
    pub(super) fn on_received(&mut self, from: SocketAddr, datagram: &[u8]) {
        let account = self.accounts.entry(from).or_default();
        if account.proved {
            return;
        }

        account.received += datagram.len();
        if let Ok(ToRelay::Join(join)) = ToRelay::parse(datagram) {
            account.proved = account.tokens.contains(&join.token);
        }
    }

    pub(super) fn on_sent(&mut self, to: SocketAddr, datagram: &[u8]) {
        let account = self.accounts.entry(to).or_default();
        if account.proved {
            return;
        }

        account.sent += datagram.len();
        let sent = account.sent;
        let received = account.received;
        assert!(
            sent <= received,
            "{to} has proved nothing, sent {received} bytes and got {sent}"
        );

        if let Ok(ToViewer::Challenge(challenge)) = ToViewer::parse(datagram) {
            account.tokens.truncate(TOKENS - 1);
            account.tokens.insert(0, challenge.token);
        }
    }
}
