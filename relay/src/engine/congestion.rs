//! Congestion control: how many of a stream's frames one viewer gets (RFC 8085 section 3.1).
//!
//! Whole frames are left out, evenly, because half a picture is worth nothing. Three signs lower the
//! share of frames that is sent: frames that did not arrive whole (the viewer's report, once a
//! second), frames that are in flight for long (the highest sequence in its keep-alives: a queue
//! fills), and very many lost shards. Each second without a sign raises it.

mod in_flight;
mod params;

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::Report;
use fanlight_proto::parity::LEVELS;

use super::delivery_ledger::DeliveryLedger;
use in_flight::InFlight;
use params::PARAMS;

/// Reports come each second: an interval of at least this without a sign raises the share.
const MIN_CLEAN_INTERVAL: Duration = Duration::from_millis(500);

/// A queue lowers the share at most once in this time.
const QUEUE_REACTION_INTERVAL: Duration = Duration::from_secs(1);

/// Sums of shares are not exact.
const EPSILON: f64 = 1e-9;

/// What one viewer is sent of its stream.
#[derive(Debug)]
pub(super) struct CongestionController {
    /// The part of the frames that is sent.
    share: f64,
    /// The share at one frame in `PARAMS.max_gap`.
    min_share: f64,
    /// A frame is sent when this reaches one.
    credit: f64,
    /// The share at which frames were lost last.
    lost_at: f64,
    last_sent: Option<Time>,
    in_flight: InFlight,
    ledger: DeliveryLedger,
    report: Report,
    reported: Time,
    /// The last report and the one before, unless they have lowered the share.
    periods: [ReportPeriod; 2],
    /// Frames sent since the last report, and between that one and the one before.
    sent_since: [u64; 2],
    lowered: Time,
    /// The newest frame sent when the share was lowered.
    lowered_at: u64,
    /// The newest frame that had arrived at the last report.
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
    /// Nothing arrived, so the viewer does not know what it has lost.
    swallowed: bool,
}

impl CongestionController {
    /// For a new viewer: all frames.
    pub(super) fn new(now: Time) -> Self {
        Self {
            share: 1.0,
            min_share: 0.0,
            credit: 0.0,
            lost_at: 1.0,
            last_sent: None,
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

    /// Whether the viewer gets the frame `sequence` of a stream with one frame in `interval`. A frame
    /// that it does not get is counted as skipped.
    pub(super) fn admit_frame(&mut self, now: Time, sequence: u64, interval: Duration) -> bool {
        self.min_share = (interval.as_secs_f64() / PARAMS.max_gap.as_secs_f64()).min(1.0);
        self.share = self.share.max(self.min_share);

        let silent = now.saturating_since(self.reported) >= PARAMS.report_timeout;
        let held = silent || now < self.held_until;
        let credit = self.credit + if held { 0.0 } else { self.share };
        let waited = self
            .last_sent
            .is_none_or(|sent| now.saturating_since(sent) >= PARAMS.max_gap);
        if held || (credit < 1.0 - EPSILON && !waited) {
            self.credit = credit;
            self.skipped += 1;
            return false;
        }

        self.credit = (credit - 1.0).max(0.0);
        self.on_sent(now, sequence);
        true
    }

    /// The viewer is sent the frame `sequence`, admitted or not.
    pub(super) fn on_sent(&mut self, now: Time, sequence: u64) {
        self.ledger.on_sent(sequence);
        self.on_catch_up(now, sequence);
    }

    /// The viewer is sent the frame `sequence` as a catch-up frame. The ledger does not count it: the
    /// viewer may have it from another relay, and then does not count it again.
    pub(super) fn on_catch_up(&mut self, now: Time, sequence: u64) {
        self.last_sent = Some(now);
        self.sent_since[0] += 1;
        self.in_flight.add(now, sequence);
    }

    /// Takes the highest sequence that has arrived, as a keep-alive says it.
    pub(super) fn on_keep_alive(&mut self, now: Time, newest: u64) {
        let delay = self.in_flight.on_keep_alive(now, newest);
        let queued = delay.is_some_and(|delay| delay > PARAMS.queued);
        let rested = now.saturating_since(self.lowered) >= QUEUE_REACTION_INTERVAL;
        if queued && rested && self.share > PARAMS.min_share_by_signs {
            self.lower(now, PARAMS.after_loss, PARAMS.min_share_by_signs);
        }
    }

    /// Of the frames that the viewer was sent, how many did not arrive, when it has `whole`.
    pub(super) fn lost(&mut self, whole: u64) -> u64 {
        self.ledger.lost(self.in_flight.newest_seen(), whole)
    }

    /// Takes the viewer's report: counts since its session began.
    pub(super) fn on_report(&mut self, now: Time, report: &Report) {
        let before = std::mem::replace(&mut self.report, *report);
        let reported_newest = self.reported_newest;
        let moved = self.in_flight.take_moved();
        let period = self.period(now, &before, moved);
        let shard_loss = ratio(
            report.shards_missed.saturating_sub(before.shards_missed),
            report
                .shards_expected
                .saturating_sub(before.shards_expected),
        );

        self.periods = [period, self.periods[0]];
        self.begin_period(now);

        // Frames that were in flight when the share was lowered say nothing of the new share.
        if reported_newest < self.lowered_at && !period.swallowed {
            self.periods = [ReportPeriod::default(); 2];
            return;
        }

        self.check_breaker(now, period);
        self.react(now, shard_loss);
    }

    /// Takes a report whose losses say nothing of the path that this controller is about.
    pub(super) fn ignore_report(&mut self, now: Time, report: &Report) {
        self.report = *report;
        self.periods = [ReportPeriod::default(); 2];
        self.in_flight.take_moved();
        self.begin_period(now);
    }

    /// Takes a report whose losses parity will recover, which begins by it: neither they nor what is
    /// in flight without parity are a sign. A path that is too narrow loses with parity too, and the
    /// next report says so.
    pub(super) fn ignore_until_parity(&mut self, now: Time, report: &Report) {
        self.ignore_report(now, report);
        self.lowered_at = self.newest_sent();
    }

    /// How long the oldest frame has been in flight for a viewer that has seen none after `newest`.
    pub(super) fn age_after(&self, now: Time, newest: u64) -> Duration {
        self.in_flight.age_after(now, newest)
    }

    /// The newest frame that was sent.
    pub(super) fn newest_sent(&self) -> u64 {
        self.ledger.newest().unwrap_or(0)
    }

    /// Begins to count anew after a pause in which nothing was sent.
    pub(super) fn resume(&mut self, now: Time) {
        self.in_flight = InFlight::new(now);
        self.reported = now;
        self.last_sent = None;
        self.sent_since = [0; 2];
    }

    /// The share of the frames that the viewer gets at present.
    pub(super) const fn share(&self) -> f64 {
        self.share
    }

    /// How long to spread a frame over, so that it does not fill the queue before a narrow path; zero:
    /// as fast as the viewer's socket takes it. Over before the next frame for this viewer comes.
    pub(super) fn spread(&self, interval: Duration) -> Duration {
        if self.share >= 1.0 {
            return Duration::ZERO;
        }

        // Frames are left out whole: at a share of 0.4 the next one may come after two intervals.
        let share = self.share.max(self.min_share.max(0.01));
        let intervals = (1.0 / share + EPSILON) as u32;
        let intervals = intervals.clamp(1, PARAMS.max_spread_intervals);
        (interval * intervals)
            .mul_f64(PARAMS.spread)
            .min(PARAMS.max_spread)
    }

    /// The level of parity for a viewer that needs `level`: full parity makes a third more traffic, and
    /// is not sent on a path that has shown itself too narrow.
    pub(super) fn cap_parity_level(&self, level: u8) -> u8 {
        if self.share < 1.0 {
            level.min(LEVELS - 2)
        } else {
            level
        }
    }

    /// Sets the share of the frames that the viewer gets.
    #[cfg(test)]
    pub(super) fn set_share(&mut self, share: f64) {
        self.share = share;
    }

    /// Whether what is sent does not arrive in time.
    pub(super) fn is_behind(&self, now: Time) -> bool {
        self.in_flight.is_behind(now)
    }

    /// Frames that the viewer did not get because of its share.
    pub(super) const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// A frame is left out for another reason than what the path takes.
    pub(super) const fn skip(&mut self) {
        self.skipped += 1;
    }

    /// The newest frame was not started, because the one before was still being sent.
    pub(super) fn on_not_started(&mut self) {
        self.skipped += 1;
        self.ledger.on_withdrawn();
    }

    fn begin_period(&mut self, now: Time) {
        self.reported = now;
        self.sent_since = [0, self.sent_since[0]];
        self.reported_newest = self.in_flight.newest_seen();
    }

    /// What became of frames since the report `before`. If nothing arrived for longer than a frame can
    /// be in flight, the viewer does not know what it has lost: all.
    fn period(&self, now: Time, before: &Report, moved: bool) -> ReportPeriod {
        let after = &self.report;
        let whole = after.frames_whole.saturating_sub(before.frames_whole);
        let lost = after
            .frames_unrecovered
            .saturating_sub(before.frames_unrecovered);
        let swallowed =
            whole == 0 && lost == 0 && !moved && self.in_flight.age(now) >= PARAMS.swallowed;
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

    /// Lowers or raises the share by the last two reports.
    fn react(&mut self, now: Time, shard_loss: f64) {
        let [new, old] = self.periods;
        let decided = new.decided.saturating_add(old.decided);
        let lost = new.lost.saturating_add(old.lost);
        let loss = ratio(lost, decided);
        let several = decided >= PARAMS.min_frames || lost > 1;
        let rested = now.saturating_since(self.lowered) >= MIN_CLEAN_INTERVAL;

        if new.lost > 0 && several && loss > PARAMS.heavy_loss {
            self.lower(now, PARAMS.after_heavy_loss, self.min_share);
        } else if new.lost > 0 && several && loss > PARAMS.loss {
            self.lower(now, PARAMS.after_loss, self.min_share);
        } else if shard_loss > PARAMS.shard_loss && self.share > PARAMS.min_share_by_signs {
            self.lower(now, PARAMS.after_shard_loss, PARAMS.min_share_by_signs);
        } else if new.lost == 0 && new.decided > 0 && rested {
            self.raise(shard_loss > PARAMS.some_shard_loss);
        }
    }

    fn check_breaker(&mut self, now: Time, period: ReportPeriod) {
        if period.decided == 0 {
            return;
        }

        let at_least_share = self.share <= self.min_share + EPSILON;
        let broken = at_least_share && ratio(period.lost, period.decided) > PARAMS.breaker_loss;
        self.broken_since = broken.then(|| self.broken_since.unwrap_or(now));

        let tripped = |since: Time| now.saturating_since(since) >= PARAMS.breaker_after;
        if self.broken_since.is_some_and(tripped) {
            self.broken_since = None;
            self.held_until = now + PARAMS.breaker_pause;
            self.reported = self.held_until;
        }
    }

    fn lower(&mut self, now: Time, factor: f64, floor: f64) {
        self.lost_at = self.share;
        self.share = (self.share * factor)
            .max(floor)
            .max(self.min_share)
            .min(1.0);

        self.periods = [ReportPeriod::default(); 2];
        self.lowered = now;
        self.lowered_at = self.newest_sent();
    }

    fn raise(&mut self, carefully: bool) {
        let near = PARAMS.near * self.lost_at;
        let is_near = self.share >= near && self.share < self.lost_at;
        let is_low = self.share < PARAMS.min_share_by_signs;
        let bold = (self.share / 2.0).clamp(PARAMS.low_raise, PARAMS.raise);

        let step = if is_near && is_low {
            PARAMS.low_raise
        } else if is_near || (carefully && !is_low) {
            PARAMS.careful_raise
        } else if self.share < near {
            // In large steps up to where loss was seen, and not beyond.
            bold.min((near - self.share).max(PARAMS.low_raise))
        } else {
            bold
        };

        self.share = (self.share + step).min(1.0);
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests;
