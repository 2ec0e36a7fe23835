//! The counts of all sessions: the receiving threads write, the main thread reads.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::FrameId;
use fanlight_proto::reassembly::{Counts, Losses};
use parking_lot::{Mutex, MutexGuard};

use super::fan_out::FanOut;
use super::gaps::Gaps;
use fanlight_viewer::engine::{LinkState, Summary};

/// Shared by all threads; each session has its own lock.
#[derive(Debug)]
pub(super) struct Totals {
    sessions: Vec<Mutex<SessionTotals>>,
    fan_out: Mutex<FanOut>,
    /// [`BEFORE`], [`MEASURING`] or [`OVER`].
    phase: AtomicU8,
}

/// Sessions join.
const BEFORE: u8 = 0;

/// What comes counts.
const MEASURING: u8 = 1;

/// Sessions take leave.
const OVER: u8 = 2;

/// The account of one session.
#[derive(Clone, Debug, Default)]
pub(super) struct SessionTotals {
    /// When it first asked to join, first had a session, and first had a frame.
    pub(super) asked: Option<Time>,
    pub(super) joined: Option<Time>,
    pub(super) served: Option<Time>,
    pub(super) link_state: LinkState,
    pub(super) stream: Option<String>,
    /// Since the measuring began: whole frames, their bytes, and whole frames that no viewer could decode.
    pub(super) delivered: u64,
    pub(super) bytes: u64,
    pub(super) undecodable: u64,
    pub(super) gaps: Gaps,
    /// What the latest age was measured by.
    pub(super) clock: &'static str,
    latest: EngineCounts,
    /// The account when the measuring began.
    before: Option<EngineCounts>,
}

/// The counts of an engine. None falls, but frames lost on the link may turn out to have been withheld.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EngineCounts {
    pub(super) joins: u64,
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
    pub(super) counts: Counts,
    pub(super) losses: Losses,
}

impl EngineCounts {
    fn of(summary: &Summary) -> Self {
        let Summary {
            joins,
            datagrams,
            bytes,
            counts,
            losses,
            ..
        } = *summary;

        Self {
            joins,
            datagrams,
            bytes,
            counts,
            losses,
        }
    }
}

/// A whole frame at a viewer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    pub(super) id: FrameId,
    pub(super) at: Time,
    pub(super) age: Duration,
    pub(super) clock: &'static str,
    pub(super) bytes: usize,
    pub(super) rate_millihertz: u32,
}

impl Totals {
    /// Empty ones for so many sessions.
    pub(super) fn new(sessions: usize) -> Self {
        Self {
            sessions: (0..sessions).map(|_| Mutex::default()).collect(),
            fan_out: Mutex::default(),
            phase: AtomicU8::new(BEFORE),
        }
    }

    /// The totals of session `number`.
    pub(super) fn session(&self, number: usize) -> MutexGuard<'_, SessionTotals> {
        self.sessions[number].lock()
    }

    /// Copies of all sessions.
    pub(super) fn sessions(&self) -> Vec<SessionTotals> {
        self.sessions
            .iter()
            .map(|session| session.lock().clone())
            .collect()
    }

    pub(super) fn fan_out(&self) -> MutexGuard<'_, FanOut> {
        self.fan_out.lock()
    }

    /// Counts from zero from now on.
    pub(super) fn begin(&self) {
        for session in &self.sessions {
            session.lock().begin();
        }
        *self.fan_out() = FanOut::default();
        self.phase.store(MEASURING, Ordering::Release);
    }

    /// Counts no more frames.
    pub(super) fn end(&self) {
        self.phase.store(OVER, Ordering::Release);
    }

    /// Whether the measuring has begun: each session then gives its account at once.
    pub(super) fn is_measuring(&self) -> bool {
        self.phase.load(Ordering::Acquire) == MEASURING
    }

    /// Takes a frame that session `number` has.
    pub(super) fn on_delivery(&self, number: usize, delivery: &Delivery) {
        if self.phase.load(Ordering::Acquire) == OVER {
            return;
        }
        self.session(number).on_delivery(delivery);
        self.fan_out().record(delivery.id, delivery.age);
    }
}

impl SessionTotals {
    fn begin(&mut self) {
        self.delivered = 0;
        self.bytes = 0;
        self.undecodable = 0;
        self.before = None;
        self.gaps.restart();
    }

    fn on_delivery(&mut self, delivery: &Delivery) {
        self.served.get_or_insert(delivery.at);
        self.delivered += 1;
        self.bytes += delivery.bytes as u64;
        self.clock = delivery.clock;
        self.gaps
            .on_frame(delivery.id, delivery.at, delivery.rate_millihertz);
    }

    /// Takes where the session's engine stands.
    pub(super) fn on_summary(&mut self, summary: &Summary, measuring: bool) {
        self.latest = EngineCounts::of(summary);
        if measuring && self.before.is_none() {
            self.before = Some(self.latest);
        }
        if self.stream.is_none() {
            self.stream = summary.stream.as_ref().map(ToString::to_string);
        }
    }

    /// Frames lost since the session began.
    pub(super) fn lost_in_all(&self) -> u64 {
        self.latest.losses.total()
    }

    /// What was counted since the measuring began.
    pub(super) fn measured(&self) -> EngineCounts {
        let now = &self.latest;
        let before = self.before.as_ref().unwrap_or(&self.latest);
        EngineCounts {
            joins: now.joins - before.joins,
            datagrams: now.datagrams - before.datagrams,
            bytes: now.bytes - before.bytes,
            counts: Counts {
                repairs_asked: now.counts.repairs_asked - before.counts.repairs_asked,
                repairs_received: now.counts.repairs_received - before.counts.repairs_received,
                recovered: now.counts.recovered - before.counts.recovered,
                ..Counts::default()
            },
            losses: Losses {
                undecodable: self.undecodable,
                ..lost_between(&before.losses, &now.losses)
            },
        }
    }
}

/// The losses from `before` to `now`. Frames lost on the link may turn out to have been withheld, and the other way round
/// when messages overtake each other: only the sum of both never falls.
fn lost_between(before: &Losses, now: &Losses) -> Losses {
    let (skipped, link) = shared_out((before.skipped, before.link), (now.skipped, now.link));
    let (aborted, incomplete) = shared_out(
        (before.aborted, before.incomplete),
        (now.aborted, now.incomplete),
    );

    Losses {
        upstream: now.upstream - before.upstream,
        relay: now.relay - before.relay,
        skipped,
        aborted,
        link,
        incomplete,
        away: now.away - before.away,
        superseded: now.superseded - before.superseded,
        undecodable: now.undecodable - before.undecodable,
    }
}

/// What came to two counts whose sum never falls: to the first what it rose by, to the second the rest.
fn shared_out(before: (u64, u64), now: (u64, u64)) -> (u64, u64) {
    let both = (now.0 + now.1).saturating_sub(before.0 + before.1);
    let first = now.0.saturating_sub(before.0).min(both);
    (first, both - first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    fn delivery(number: u64) -> Delivery {
        Delivery {
            id: FrameId { epoch: 1, number },
            at: ms(100 * number),
            age: Duration::from_millis(7),
            clock: "monotonic",
            bytes: 1000,
            rate_millihertz: 10_000,
        }
    }

    fn summary(datagrams: u64, losses: Losses) -> Summary {
        Summary {
            joins: 1,
            datagrams,
            losses,
            ..Summary::default()
        }
    }

    #[test]
    fn only_what_comes_while_it_is_measured_counts() {
        let totals = Totals::new(2);
        [3, 5]
            .iter()
            .for_each(|number| totals.on_delivery(1, &delivery(*number)));
        totals.begin();
        assert!(totals.is_measuring());
        let link = |link| Losses {
            link,
            ..Losses::default()
        };

        totals.session(1).on_summary(&summary(20, link(4)), true);
        [6, 8, 9]
            .iter()
            .for_each(|number| totals.on_delivery(1, &delivery(*number)));
        totals.session(1).undecodable += 1;
        totals.session(1).on_summary(&summary(50, link(5)), true);
        let session = totals.sessions().swap_remove(1);
        let measured = session.measured();
        assert_eq!(
            (
                session.delivered,
                session.bytes,
                session.gaps.count,
                session.served
            ),
            (3, 3000, 1, Some(ms(300)))
        );

        assert_eq!((measured.joins, measured.datagrams), (0, 30));
        assert_eq!(
            measured.losses,
            Losses {
                link: 1,
                undecodable: 1,
                ..Losses::default()
            }
        );

        assert_eq!(
            (totals.fan_out().all.count(), session.lost_in_all()),
            (3, 5)
        );

        totals.end();
        totals.on_delivery(1, &delivery(10));
        assert_eq!(
            (totals.session(1).delivered, totals.is_measuring()),
            (3, false)
        );
    }

    #[test]
    fn a_session_that_gave_no_account_has_lost_nothing() {
        let totals = Totals::new(1);
        totals.begin();
        assert_eq!(totals.session(0).measured(), EngineCounts::default());
    }

    #[test]
    fn what_turns_out_to_have_been_withheld_before_is_not_lost_again() {
        let before = Losses {
            link: 5,
            incomplete: 2,
            ..Losses::default()
        };

        let now = Losses {
            skipped: 6,
            aborted: 2,
            relay: 1,
            ..Losses::default()
        };

        let lost = lost_between(&before, &now);
        assert_eq!(
            lost,
            Losses {
                skipped: 1,
                relay: 1,
                ..Losses::default()
            }
        );

        assert_eq!(lost.total(), now.total() - before.total());
        // And back, when an older message overtakes a newer one.
        assert_eq!(shared_out((6, 0), (4, 3)), (0, 1));
    }
}
