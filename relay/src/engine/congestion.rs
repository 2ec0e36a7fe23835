//! How many of a stream's frames one viewer gets: the congestion control that RFC 8085 section 3.1 asks of whoever sends
//! UDP. Whole frames are left out, evenly, because half a picture is worth nothing.
//!
//! Three signs lower the rate: frames that did not arrive whole (the viewer's report, once a second), frames that have
//! been on their way for long (the highest sequence in its keep-alives: a queue is filling), and very many shards lost.
//! Each second without a sign raises it.

use std::collections::VecDeque;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::Report;
use fanlight_proto::parity::LEVELS;

use super::delivery_ledger::DeliveryLedger;

/// More than this share of the frames lost lowers the rate: one frame in the 60 of two reports at 30 fps does not.
const LOSS: f64 = 0.02;

/// Of fewer frames than this, one that is lost is no sign of anything.
const FEW: u64 = 12;

/// More than this share of the frames lost: the way holds far less than it is sent.
const HEAVY_LOSS: f64 = 0.2;

/// What is left of the rate after loss, as of TCP's window (RFC 5681 section 3.1), and after heavy loss.
const AFTER_LOSS: f64 = 0.5;
/// See [`AFTER_LOSS`].
const AFTER_HEAVY_LOSS: f64 = 0.35;

/// More than this share of the shards lost lowers the rate even when parity and repair mend every frame; less is what
/// a radio loses at any rate.
const SHARD_LOSS: f64 = 0.1;

/// More than this share of the shards lost: the rate is raised carefully only. Parity that mends every frame would
/// otherwise hide from the viewer's rate what a TCP flow beside it suffers.
const SOME_SHARD_LOSS: f64 = 0.01;

/// What is left of the rate after [`SHARD_LOSS`].
const AFTER_SHARD_LOSS: f64 = 0.85;

/// A frame on its way for so much longer than the way takes at its best stands in a queue.
const QUEUED: Duration = Duration::from_millis(250);

/// Signs that are not lost frames never lower the rate below this share. Otherwise a TCP flow that keeps a deep queue
/// full would push the viewer to the least, and loss that is not congestion would too.
const LEAST_BY_SIGNS: f64 = 0.25;

/// What a clean second adds, at most: from the least to all frames in 14 s.
const RAISE: f64 = 0.1;

/// What a clean second adds near the rate at which loss was seen last, and at least.
const CAREFUL_RAISE: f64 = 0.01;

/// The same below [`LEAST_BY_SIGNS`], where one in a hundred is one frame in three seconds.
const LOW_RAISE: f64 = 0.04;

/// Near is from this share of it on.
const NEAR: f64 = 0.75;

/// Whatever is lost, one frame in so long is tried.
const LONGEST_GAP: Duration = Duration::from_secs(1);

/// Without a report for so long nothing is sent (RFC 8085 section 3.1.10: no feedback, no sending). Reports come each second.
const REPORT_SILENCE: Duration = Duration::from_secs(3);

/// Circuit breaker (RFC 8083, RFC 8084): at the least rate, with more than [`BROKEN_LOSS`] lost for [`BROKEN_AFTER`],
/// nothing is sent for [`BROKEN_PAUSE`].
const BROKEN_LOSS: f64 = 0.5;
/// See [`BROKEN_LOSS`].
const BROKEN_AFTER: Duration = Duration::from_secs(5);
/// See [`BROKEN_LOSS`].
const BROKEN_PAUSE: Duration = Duration::from_secs(5);

/// A frame on its way for so long, with nothing newer come through, is lost.
const SWALLOWED: Duration = Duration::from_secs(1);

/// Frames on their way that are remembered: half a second at 120 fps. Further ones are not; only the oldest matters.
const MAX_IN_FLIGHT: usize = 64;

/// How long the shortest time on the way is remembered: at least this, at most twice.
const BEST_AGE_WINDOW: Duration = Duration::from_secs(10);

/// A frame on its way for so much longer than the way takes at its best: the viewer has fallen behind, and its
/// datagrams may stand in a queue of this host.
const BEHIND: Duration = Duration::from_millis(300);

/// No keep-alive for so long, two of them missing, while frames are on their way: the same.
const SILENT: Duration = Duration::from_millis(600);

/// What a frame is spread over of the time to the next one that the viewer gets. The less of it, the higher the peaks that
/// a narrow way has to take.
const SPREAD: f64 = 0.85;

/// Longest that a frame is spread over, for a viewer that does not get all frames.
const LONGEST_SPREAD: Duration = Duration::from_millis(200);

/// The same in intervals of the stream; bounds how many frames of a stream are being sent at a time.
const LONGEST_SPREAD_INTERVALS: u32 = 6;

/// What one viewer is sent of its stream.
#[derive(Debug)]
pub(super) struct CongestionController {
    /// The share of the frames that is sent.
    share: f64,
    /// The share at one frame in [`LONGEST_GAP`].
    least: f64,
    /// A frame is sent when this reaches one.
    credit: f64,
    /// The share at which frames were lost last.
    lost_at: f64,
    sent: Option<Time>,
    in_flight: InFlight,
    ledger: DeliveryLedger,
    report: Report,
    reported: Time,
    /// Decided and lost frames of the last report and the one before, unless they have lowered the rate.
    periods: [ReportPeriod; 2],
    /// Frames sent since the last report, and between that and the one before.
    sent_since: [u64; 2],
    lowered: Time,
    /// The newest frame sent by then, and the newest that had come through at the last report.
    lowered_at: u64,
    reported_newest: u64,
    broken_since: Option<Time>,
    held_until: Time,
    skipped: u64,
}

/// What one report says in addition to the one before it.
#[derive(Clone, Copy, Debug, Default)]
struct ReportPeriod {
    decided: u64,
    lost: u64,
    /// Nothing came through, so that the viewer does not know what it has lost.
    swallowed: bool,
}

impl CongestionController {
    /// For a viewer that has just come: all frames.
    pub(super) fn new(now: Time) -> Self {
        Self {
            share: 1.0,
            least: 0.0,
            credit: 0.0,
            lost_at: 1.0,
            sent: None,
            in_flight: InFlight::new(now),
            ledger: DeliveryLedger::default(),
            report: Report::default(),
            reported: now,
            periods: [ReportPeriod::default(); 2],
            sent_since: [0; 2],
            lowered: now,
            lowered_at: 0,
            reported_newest: 0,
            broken_since: None,
            held_until: now,
            skipped: 0,
        }
    }

    /// Whether the viewer gets the frame `sequence` of a stream with one frame in `interval`; what it does not get is counted.
    pub(super) fn take(&mut self, now: Time, sequence: u64, interval: Duration) -> bool {
        self.least = (interval.as_secs_f64() / LONGEST_GAP.as_secs_f64()).min(1.0);
        self.share = self.share.max(self.least);
        let held = now < self.held_until || now.saturating_since(self.reported) >= REPORT_SILENCE;
        let due = self.credit + if held { 0.0 } else { self.share };
        let waited = self
            .sent
            .is_none_or(|sent| now.saturating_since(sent) >= LONGEST_GAP);
        // Sums of shares are not exact.
        if held || (due < 1.0 - 1e-9 && !waited) {
            self.credit = due;
            self.skipped += 1;
            return false;
        }
        self.credit = (due - 1.0).max(0.0);
        self.on_sent(now, sequence);
        true
    }

    /// Notes that the viewer is sent the frame `sequence`, whose turn or not.
    pub(super) fn on_sent(&mut self, now: Time, sequence: u64) {
        self.ledger.on_sent(sequence);
        self.on_catch_up(now, sequence);
    }

    /// Notes that the viewer is sent the frame `sequence` as a welcome. Of no account: the viewer may have it already, from
    /// another relay, and does not count it again.
    pub(super) fn on_catch_up(&mut self, now: Time, sequence: u64) {
        self.sent = Some(now);
        self.sent_since[0] += 1;
        self.in_flight.add(now, sequence);
    }

    /// Takes the highest sequence that has come through, as a keep-alive says it.
    pub(super) fn on_keep_alive(&mut self, now: Time, newest: u64) {
        let queued = self
            .flight
            .on_keep_alive(now, newest)
            .is_some_and(|delay| delay > QUEUED);
        let rested = now.saturating_since(self.lowered) >= Duration::from_secs(1);
        if queued && rested && self.share > LEAST_BY_SIGNS {
            self.lower(now, AFTER_LOSS, LEAST_BY_SIGNS);
        }
    }

    /// Of the frames that the viewer was sent, how many did not come through, when it has `whole`.
    pub(super) fn lost(&mut self, whole: u64) -> u64 {
        self.ledger.lost(self.in_flight.newest, whole)
    }

    /// Takes the viewer's report: counts since its session began.
    pub(super) fn on_report(&mut self, now: Time, report: &Report) {
        let before = std::mem::replace(&mut self.report, *report);
        self.reported = now;
        let period = self.period(now, &before);
        let shards = share(
            report.shards_missed.saturating_sub(before.shards_missed),
            report
                .shards_expected
                .saturating_sub(before.shards_expected),
        );
        self.periods = [period, self.periods[0]];
        self.sent_since = [0, self.sent_since[0]];
        self.in_flight.moved = false;
        // Frames that were on their way when the rate was lowered say nothing of the new one.
        let answered =
            std::mem::replace(&mut self.reported_newest, self.in_flight.newest) < self.lowered_at;
        if answered && !period.swallowed {
            self.periods = [ReportPeriod::default(); 2];
            return;
        }
        self.check_breaker(now, period);
        let [new, old] = self.periods;
        let decided = new.decided.saturating_add(old.decided);
        let lost = share(new.lost.saturating_add(old.lost), decided);
        let several = decided >= FEW || new.lost.saturating_add(old.lost) > 1;
        if new.lost > 0 && several && lost > LOSS {
            let factor = if lost > HEAVY_LOSS {
                AFTER_HEAVY_LOSS
            } else {
                AFTER_LOSS
            };
            self.lower(now, factor, self.least);
        } else if shards > SHARD_LOSS && self.share > LEAST_BY_SIGNS {
            self.lower(now, AFTER_SHARD_LOSS, LEAST_BY_SIGNS);
        } else if new.lost == 0
            && new.decided > 0
            && now.saturating_since(self.lowered) >= Duration::from_millis(500)
        {
            self.raise(shards > SOME_SHARD_LOSS);
        }
    }

    /// Takes a report whose losses say nothing of the way that this is about.
    pub(super) fn pass_report(&mut self, now: Time, report: &Report) {
        self.report = *report;
        self.reported = now;
        self.periods = [ReportPeriod::default(); 2];
        self.sent_since = [0, self.sent_since[0]];
        self.in_flight.moved = false;
        self.reported_newest = self.in_flight.newest;
    }

    /// Takes a report of losses that parity will mend, which begins by it: neither they nor what is on its way without
    /// parity are a sign. A way that is too narrow loses with parity too, and the next report says so.
    pub(super) fn await_parity(&mut self, now: Time, report: &Report) {
        self.pass_report(now, report);
        self.lowered_at = self.newest_sent();
    }

    /// How long the oldest frame has been on its way for a viewer that has seen none after `newest`.
    pub(super) fn missing(&self, now: Time, newest: u64) -> Duration {
        let oldest = self
            .flight
            .sent
            .iter()
            .find(|(sequence, _)| *sequence > newest);
        oldest.map_or(Duration::ZERO, |(_, sent)| now.saturating_since(*sent))
    }

    /// The newest frame that was sent.
    pub(super) fn newest_sent(&self) -> u64 {
        self.ledger.newest().unwrap_or(0)
    }

    /// Begins to count anew after a pause in which nothing was sent.
    pub(super) fn resume(&mut self, now: Time) {
        self.in_flight = InFlight::new(now);
        self.reported = now;
        self.sent = None;
        self.sent_since = [0; 2];
    }

    /// The share of the frames that the viewer gets at present.
    pub(super) const fn share(&self) -> f64 {
        self.share
    }

    /// How long a frame is spread over, so that it does not fill the queue before a narrow way; zero: as fast as the
    /// viewer's socket takes it. Over before the next frame for this viewer comes.
    pub(super) fn spread(&self, interval: Duration) -> Duration {
        if self.share >= 1.0 {
            return Duration::ZERO;
        }
        // Frames are left out whole: of a share of 0.4 the next one may come after two intervals.
        let intervals = ((1.0 / self.share.max(self.least.max(0.01)) + 1e-9) as u32)
            .clamp(1, LONGEST_SPREAD_INTERVALS);
        (interval * intervals).mul_f64(SPREAD).min(LONGEST_SPREAD)
    }

    /// The level of parity for a viewer that needs `level`: full parity makes a third more traffic, and is not sent on a
    /// way that has shown itself too narrow.
    pub(super) fn parity_level(&self, level: u8) -> u8 {
        if self.share < 1.0 {
            level.min(LEVELS - 2)
        } else {
            level
        }
    }

    /// Lets the viewer get that share of the frames.
    #[cfg(test)]
    pub(super) fn narrow(&mut self, share: f64) {
        self.share = share;
    }

    /// Whether what is sent does not come through in time.
    pub(super) fn behind(&self, now: Time) -> bool {
        self.in_flight.behind(now)
    }

    /// Frames that the viewer did not get for the sake of its rate.
    pub(super) const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Counts a frame that was not begun because the one before was still being sent.
    pub(super) fn on_skipped(&mut self) {
        self.skipped += 1;
        self.ledger.on_withdrawn();
    }

    /// What became of frames since the report `before`. When nothing at all came through since, for longer than it can
    /// be on its way, the viewer does not know what it has lost: all.
    fn period(&self, now: Time, before: &Report) -> ReportPeriod {
        let whole = self.report.frames_whole.saturating_sub(before.frames_whole);
        let lost = self
            .report
            .frames_unrecovered
            .saturating_sub(before.frames_unrecovered);
        let swallowed = whole == 0
            && lost == 0
            && !self.in_flight.moved
            && self.in_flight.age(now) >= SWALLOWED;
        let lost = if swallowed {
            self.sent_since[1].max(1)
        } else {
            lost
        };
        ReportPeriod {
            decided: whole.saturating_add(lost),
            lost,
            swallowed,
        }
    }

    fn check_breaker(&mut self, now: Time, period: ReportPeriod) {
        if period.decided == 0 {
            return;
        }
        let broken =
            self.share <= self.least + 1e-9 && share(period.lost, period.decided) > BROKEN_LOSS;
        self.broken_since = broken.then(|| self.broken_since.unwrap_or(now));
        if self
            .broken_since
            .is_some_and(|since| now.saturating_since(since) >= BROKEN_AFTER)
        {
            self.broken_since = None;
            self.held_until = now + BROKEN_PAUSE;
            self.reported = self.held_until;
        }
    }

    fn lower(&mut self, now: Time, factor: f64, least: f64) {
        self.lost_at = self.share;
        self.share = (self.share * factor).max(least).max(self.least).min(1.0);
        self.periods = [ReportPeriod::default(); 2];
        self.lowered = now;
        self.lowered_at = self.newest_sent();
    }

    fn raise(&mut self, carefully: bool) {
        let near = NEAR * self.lost_at;
        let bold = (self.share / 2.0).clamp(LOW_RAISE, RAISE);
        let step = if self.share < LEAST_BY_SIGNS && self.share >= near && self.share < self.lost_at
        {
            LOW_RAISE
        } else if self.share >= near && self.share < self.lost_at
            || carefully && self.share >= LEAST_BY_SIGNS
        {
            CAREFUL_RAISE
        } else if self.share < near {
            // In large steps up to where it becomes tight, and not beyond.
            bold.min((near - self.share).max(LOW_RAISE))
        } else {
            bold
        };
        self.share = (self.share + step).min(1.0);
    }
}

/// The frames on their way to one viewer.
#[derive(Debug)]
struct InFlight {
    sent: VecDeque<(u64, Time)>,
    heard: Time,
    /// Whether anything new came through since the last report.
    moved: bool,
    newest: u64,
    /// What a keep-alive last said of how long the oldest has been on its way, more than at best.
    delay: Duration,
    /// The least age at a keep-alive, in this window and the one before.
    best: [Option<Duration>; 2],
    window: Time,
}

impl InFlight {
    fn new(now: Time) -> Self {
        Self {
            sent: VecDeque::with_capacity(MAX_IN_FLIGHT),
            heard: now,
            moved: false,
            newest: 0,
            delay: Duration::ZERO,
            best: [None; 2],
            window: now,
        }
    }

    /// How long the oldest has been on its way.
    fn age(&self, now: Time) -> Duration {
        self.sent
            .front()
            .map_or(Duration::ZERO, |(_, sent)| now.saturating_since(*sent))
    }

    fn add(&mut self, now: Time, sequence: u64) {
        if self.sent.len() < MAX_IN_FLIGHT {
            self.sent.push_back((sequence, now));
        }
    }

    /// How much longer than at best the oldest has been on its way; none for a viewer that has seen nothing yet.
    fn on_keep_alive(&mut self, now: Time, newest: u64) -> Option<Duration> {
        self.heard = now;
        self.moved |= newest > self.newest;
        self.newest = self.newest.max(newest);
        while self
            .sent
            .front()
            .is_some_and(|(sequence, _)| *sequence <= newest)
        {
            self.sent.pop_front();
        }
        let age = self.age(now);
        if newest == 0 {
            self.delay = age;
            return None;
        }
        self.delay = age.saturating_sub(self.best_of(now, age));
        Some(self.delay)
    }

    /// The least age of the last windows, `age` among them.
    fn best_of(&mut self, now: Time, age: Duration) -> Duration {
        if now.saturating_since(self.window) >= BEST_AGE_WINDOW {
            self.window = now;
            self.best = [None, self.best[0]];
        }
        let least = self.best[0].map_or(age, |best| best.min(age));
        self.best[0] = Some(least);
        self.best[1].map_or(least, |before| before.min(least))
    }

    fn behind(&self, now: Time) -> bool {
        let Some((_, oldest)) = self.sent.front() else {
            return false;
        };
        self.delay > BEHIND
            || (now.saturating_since(self.heard) > SILENT && now.saturating_since(*oldest) > BEHIND)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests;
