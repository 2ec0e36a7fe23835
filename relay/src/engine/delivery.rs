//! How one viewer gets its stream's media: which frames, with how much parity, by which socket, by
//! unicast or multicast. The rules are the modules below; this one combines them.

use std::time::Duration;

use fanlight_daemon::rate_limit::TokenBucket;
use fanlight_live::ledger::REPAIR_SHARDS_PER_SECOND;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::{CONSENT_LIFETIME, PRESENT_HOLDS};
use fanlight_proto::message::{Join, KeepAlive, NotShown, Report};
use fanlight_proto::parity::level_count;

use super::congestion::CongestionController;
use super::isolation::{IsolationChange, IsolationState};
use super::multicast::{Membership, Multicast};
use super::output::{DEFAULT_CAPACITY, Route, Target, window};
use super::parity_control::ParityController;
use super::wait_estimator::WaitEstimator;

/// A viewer of a group that reports hearing nothing misses a frame that has been in flight for so
/// long. If less, the report may have crossed the frame: after a pause of the source everybody
/// reports that.
const MISSING: Duration = Duration::from_millis(50);

/// The same for one that still reports hearing something, as it does for long when frames are rare.
/// Less than what congestion control takes for a queue.
const LATE: Duration = Duration::from_millis(200);

/// Datagrams of a large frame after which a viewer says how far it has read, at least: each costs as much as some of media.
const LEAST_PROGRESS: u32 = 8;

/// What a viewer said of its screen holds for so long, unless it says it again (promise P32: blank within 1.5 s).
const HOLDS_FOR_MS: u32 = PRESENT_HOLDS.as_millis() as u32;

/// How one viewer gets its stream's media.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Datagrams that the viewer's socket holds.
    capacity: u32,
    /// Another path brings the viewer its stream.
    paused: bool,
    /// Until when the viewer has shown that it reads what is sent to it.
    consent_until: Time,
    congestion: CongestionController,
    parity: ParityController,
    isolation: IsolationState,
    membership: Membership,
    /// Shards that may be sent besides the stream's frames: repairs and catch-up frames.
    extra_shards: TokenBucket,
    report: Report,
    /// When that report was sent, by our clock.
    reported: Time,
    waits: WaitEstimator,
    aborted: u64,
}

/// How a frame goes out because of one viewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Admission {
    /// To the group.
    pub(super) group: bool,
    /// To the viewer itself.
    pub(super) unicast: bool,
}

/// What follows from a keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeepAliveOutcome {
    /// The viewer lacks the newest frame: it resumes, or lost its group.
    pub(super) needs_catch_up: bool,
    /// The viewer was taken out of its group.
    pub(super) left_group: bool,
}

impl Delivery {
    /// For a new viewer, where `dedicated_sockets` are in use.
    pub(super) fn new(now: Time, join: &Join, dedicated_sockets: usize) -> Self {
        Self {
            capacity: receive_capacity(join),
            paused: join.paused,
            // It has just brought a token back.
            consent_until: now + CONSENT_LIFETIME,
            congestion: CongestionController::new(now),
            parity: ParityController::default(),
            isolation: IsolationState::begin(now, dedicated_sockets),
            membership: Membership::default(),
            extra_shards: TokenBucket::new(REPAIR_SHARDS_PER_SECOND, REPAIR_SHARDS_PER_SECOND),
            report: Report::default(),
            reported: Time::default(),
            waits: WaitEstimator::default(),
            aborted: 0,
        }
    }

    /// Decides how the frame `sequence` goes out because of this viewer. The stream has one frame in
    /// `interval`, and a group if `has_group`.
    pub(super) fn admit_frame(
        &mut self,
        now: Time,
        sequence: u64,
        interval: Duration,
        has_group: bool,
    ) -> Admission {
        if !self.has_consent(now) {
            self.congestion.skip();
            return Admission::default();
        }

        let group = has_group && self.membership.on_frame(now);
        if self.membership.is_receiving() {
            self.congestion.on_sent(now, sequence);
            return Admission {
                group,
                unicast: false,
            };
        }

        let unicast = !self.paused && self.congestion.admit_frame(now, sequence, interval);
        Admission { group, unicast }
    }

    /// How a frame of `shards` is sent to the viewer at `route`; one comes each `interval`.
    pub(super) fn target(&self, route: Route, shards: u16, interval: Duration) -> Target {
        Target {
            route,
            capacity: self.capacity,
            parity: level_count(shards, self.parity_level()),
            own_socket: self.is_isolated(),
            spread: self.congestion.spread(interval),
        }
    }

    /// The level of parity that the viewer gets, 0 (none) to 3.
    pub(super) fn parity_level(&self) -> u8 {
        self.congestion.cap_parity_level(self.parity.level())
    }

    /// Takes what a keep-alive of the viewer at `route` says about delivery.
    pub(super) fn on_keep_alive(
        &mut self,
        now: Time,
        route: Route,
        multicast: Option<&Multicast>,
        body: &KeepAlive,
    ) -> KeepAliveOutcome {
        let resumes = self.paused && !body.paused;
        if body.paused != self.paused {
            self.paused = body.paused;
            self.congestion.resume(now);
        }

        let group_offered = multicast.is_some_and(|group| self.may_join(now, route, group));
        let misses = self.on_group_status(now, group_offered, body);
        self.congestion.on_keep_alive(now, body.newest_sequence);

        let waited = self.waits.on_keep_alive(now, body.sent_us);
        if let Some(report) = &body.report {
            self.on_report(now, body.newest_sequence, report);
            self.reported = now - waited;
        }

        KeepAliveOutcome {
            left_group: self.check_group(now),
            needs_catch_up: resumes || misses,
        }
    }

    /// The viewer has shown that it reads what is sent to it, and consents to get media `until` then; whether it had been
    /// without.
    pub(super) fn on_consent(&mut self, now: Time, until: Time) -> bool {
        let resumes = !self.has_consent(now);
        self.consent_until = self.consent_until.max(until);
        if resumes {
            self.congestion.resume(now);
        }
        resumes
    }

    /// Whether it has shown lately that it reads what is sent to it.
    pub(super) fn has_consent(&self, now: Time) -> bool {
        now < self.consent_until
    }

    /// A frame did not go out whole to the viewer; `begun`: a part of it did.
    pub(super) fn on_aborted(&mut self, begun: bool) {
        if begun {
            self.aborted += 1;
        } else {
            self.congestion.on_not_started();
        }
    }

    /// How many shards the viewer may get again now. On a narrow path less: they are traffic too.
    pub(super) fn repair_budget(&self, now: Time) -> u32 {
        if !self.has_consent(now) {
            return 0;
        }
        (f64::from(self.extra_shards.available(now)) * self.congestion.share()) as u32
    }

    /// `shards` are sent again.
    pub(super) fn on_repair(&mut self, now: Time, shards: u32) {
        self.extra_shards.take_up_to(now, shards);
    }

    /// Whether the viewer may get a frame of `shards` as a catch-up frame.
    pub(super) fn may_catch_up(&self, now: Time, shards: u16) -> bool {
        !self.paused
            && self.has_consent(now)
            && u32::from(shards) <= self.extra_shards.available(now)
    }

    /// The frame `sequence` of `shards` is sent as a catch-up frame.
    pub(super) fn on_catch_up(&mut self, now: Time, sequence: u64, shards: u16) {
        self.extra_shards.take_up_to(now, u32::from(shards));
        self.congestion.on_catch_up(now, sequence);
    }

    /// Moves a viewer that has fallen behind to a dedicated socket, and back, where
    /// `dedicated_sockets` are in use.
    pub(super) fn update_isolation(
        &mut self,
        now: Time,
        dedicated_sockets: usize,
    ) -> Option<IsolationChange> {
        let behind = self.congestion.is_behind(now);
        let change = self.isolation.update(now, behind, dedicated_sockets);
        if change == Some(IsolationChange::Isolate) {
            self.leave_group(now);
        }
        change
    }

    /// Whether the group could serve the viewer at `route`. It is for viewers that get all frames at
    /// once: one that gets fewer, or has a dedicated socket, would get more by it than its path takes.
    pub(super) fn may_join(&self, now: Time, route: Route, multicast: &Multicast) -> bool {
        let fit = !self.paused
            && self.has_consent(now)
            && !self.is_isolated()
            && self.congestion.share() >= 1.0;
        fit && multicast.reaches(route) && self.membership.may_join(now)
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether the viewer gets its frames by multicast.
    pub(super) const fn is_by_multicast(&self) -> bool {
        self.membership.is_receiving()
    }

    /// Whether the viewer has a dedicated socket.
    pub(super) const fn is_isolated(&self) -> bool {
        self.isolation.is_isolated()
    }

    /// The share of the stream's frames that the viewer is sent: 1 is all.
    pub(super) const fn share(&self) -> f64 {
        self.congestion.share()
    }

    /// Frames left out to keep within what the path takes.
    pub(super) const fn skipped(&self) -> u64 {
        self.congestion.skipped()
    }

    /// Frames of which the viewer was sent a part only.
    pub(super) const fn aborted(&self) -> u64 {
        self.aborted
    }

    /// The viewer's last report as it holds at present: its newest frame has aged since, of a picture that stands still
    /// no age is known, and of a report that is old nothing but when the newest frame was shown.
    pub(super) fn report(&self, now: Time) -> Report {
        if self.report == Report::default() {
            return self.report;
        }

        let ago = now.saturating_since(self.reported).as_millis();
        let ago = u32::try_from(ago).unwrap_or(u32::MAX);
        let mut report = self.report;
        report.last_shown_ms = report.last_shown_ms.saturating_add(ago);

        if report.last_shown_ms > HOLDS_FOR_MS {
            report.age_us = 0;
        }

        if ago > HOLDS_FOR_MS {
            report.not_shown = NotShown::Unspecified.into();
        }

        report
    }

    /// Takes what the viewer says of its group; whether it misses frames that were sent there.
    fn on_group_status(&mut self, now: Time, group_offered: bool, body: &KeepAlive) -> bool {
        let joined = body.group_joined && group_offered;
        let age = self.congestion.age_after(now, body.newest_sequence);
        let misses = age >= MISSING;
        let was_receiving = self.membership.is_receiving();
        self.membership
            .on_status(now, joined, body.group_heard, misses);

        let receiving = self.membership.is_receiving();
        let late = was_receiving && receiving && age >= LATE;
        self.membership.set_late(late);
        let falls_back = was_receiving && (late || !receiving);

        if falls_back {
            self.return_to_unicast(now);
        }

        falls_back && misses
    }

    /// Takes a report. The relay counts lost frames itself, by what it sent and what the viewer has.
    /// What was lost by multicast is no sign of what the unicast path takes.
    fn on_report(&mut self, now: Time, newest: u64, report: &Report) {
        let parity_begins = self.parity.on_report(now, report);
        self.report = *report;
        let report = Report {
            frames_unrecovered: self.congestion.lost(report.frames_whole),
            ..*report
        };

        if self.membership.covers_report(newest) {
            self.congestion.ignore_report(now, &report);
        } else if parity_begins {
            self.congestion.ignore_until_parity(now, &report);
        } else {
            self.congestion.on_report(now, &report);
        }

        self.membership.on_report(&report);
    }

    /// Takes the viewer out of a group that does not reach it, that serves it badly, or that is too
    /// much for it; whether it was one of those.
    fn check_group(&mut self, now: Time) -> bool {
        let leaves = self
            .membership
            .must_leave(now, self.congestion.share() < 1.0);
        if leaves {
            self.membership.back_off(now);
            self.leave_group(now);
        }

        leaves
    }

    fn leave_group(&mut self, now: Time) {
        if self.membership.is_receiving() {
            self.return_to_unicast(now);
        }
        self.membership.leave();
    }

    fn return_to_unicast(&mut self, now: Time) {
        self.membership
            .set_unicast_from(self.congestion.newest_sent() + 1);
        self.congestion.resume(now);
    }

    /// Sets the share of the frames that the viewer gets.
    #[cfg(test)]
    pub(super) fn set_share(&mut self, share: f64) {
        self.congestion.set_share(share);
    }

    /// Takes the viewer's dedicated socket away.
    #[cfg(test)]
    pub(super) fn end_isolation(&mut self) {
        self.isolation = IsolationState::Shared;
    }
}

/// Datagrams that the socket of a viewer holds.
const fn receive_capacity(join: &Join) -> u32 {
    match join.receive_capacity {
        0 => DEFAULT_CAPACITY,
        capacity => capacity,
    }
}

/// After how many datagrams of a large frame a viewer says how far it has read: while it reads the second half of what is on
/// its way, more comes.
pub(super) fn progress_every(join: &Join) -> u32 {
    (window(receive_capacity(join)) / 2).max(LEAST_PROGRESS)
}
