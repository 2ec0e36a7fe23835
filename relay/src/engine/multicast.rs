//! Which viewers get their stream by multicast.
//!
//! A viewer is told of its stream's group when it could be served by it, and says whether it has joined and whether it
//! hears anything. The relay sends to a group as long as one viewer has joined it. Who hears it is sent nothing else but
//! repairs; everybody else goes on getting the stream alone. Who is not served well by the group is told to leave it,
//! for a while that doubles each time: a network seldom gets better by itself, but screens run for months.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_STREAMS;
use fanlight_proto::message::{KeepAlive, Report};

use super::viewers::Viewer;
use super::{Engine, Route, Target};

/// A viewer that says that it hears nothing, and of which a frame has been on its way for so long, misses it. Less, and
/// the frame may have crossed its word: after a pause of the source everybody says so.
const MISSING: Duration = Duration::from_millis(50);

/// The same for one that still says that it hears something, as it does for long when frames are rare. Less than what a
/// viewer's rate takes for a queue.
const LATE: Duration = Duration::from_millis(200);

/// How long a viewer that has joined may hear nothing of what is sent: several times what switches take to learn who
/// wants a group.
const JOIN_TIMEOUT: Duration = Duration::from_secs(3);

/// A share of frames or shards lost by multicast that is high. Parity and repair mend it, but the parity is sent to all.
const HIGH_LOSS: f64 = 0.05;

/// Reports in a row of such loss: it stays.
const MAX_BAD_REPORTS: u32 = 3;

/// How long a viewer is not told of the group that has not served it well: at first, and at most.
const REST: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3600));

/// Where media goes for all viewers of a stream at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multicast {
    /// The group of the first stream; each further one has the next address.
    pub first: SocketAddrV4,
    /// The relay's address that its datagrams come from: who talks to another one of its addresses does not take them.
    pub from: Ipv4Addr,
    /// Whether they come back to viewers on the relay's own host.
    pub looped: bool,
}

impl Multicast {
    /// The group of the stream in place `slot`.
    #[must_use]
    pub fn group(&self, slot: usize) -> SocketAddrV4 {
        let offset = u32::try_from(slot).expect("a slot is less than MAX_STREAMS");
        SocketAddrV4::new(
            Ipv4Addr::from_bits(self.first.ip().to_bits() + offset),
            self.first.port(),
        )
    }

    /// The way to that group.
    pub(super) fn route(&self, slot: usize) -> Route {
        Route {
            remote: self.group(slot).into(),
            local: None,
        }
    }

    /// The place of the stream whose group this is.
    pub(super) fn slot(&self, to: SocketAddr) -> Option<usize> {
        (0..MAX_STREAMS).find(|slot| to == SocketAddr::V4(self.group(*slot)))
    }

    /// Whether a viewer at the end of `route` can take what is sent to a group.
    fn reaches(&self, route: Route) -> bool {
        let from = IpAddr::V4(self.from);
        let same_host = route.remote.ip() == from && !from.is_loopback();
        route.local.is_none_or(|local| local == from) && (self.looped || !same_host)
    }
}

/// How one viewer stands to the group of its stream.
#[derive(Debug, Default)]
pub(super) struct Membership {
    state: MembershipState,
    /// High loss in so many reports in a row, by what the last one said.
    bad_reports: u32,
    /// It hears the group, and yet a frame has been on its way for [`LATE`].
    late: bool,
    counted: Report,
    rest: Duration,
    rests_until: Time,
    /// The first frame that is sent to the viewer alone again; reports tell of earlier ones until it has come.
    alone_from: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
enum MembershipState {
    #[default]
    Alone,
    /// It has joined, and not heard anything of what has been sent since.
    Joined(Option<Time>),
    /// It hears the group, since then.
    Hears(Time),
}

impl Membership {
    /// Whether the viewer gets its frames by multicast.
    pub(super) const fn hears(&self) -> bool {
        matches!(self.state, MembershipState::Hears(_))
    }

    /// A frame of the stream goes out; whether it goes to the group on account of this viewer.
    pub(super) fn on_frame(&mut self, now: Time) -> bool {
        if let MembershipState::Joined(since) = &mut self.state {
            since.get_or_insert(now);
        }
        !matches!(self.state, MembershipState::Alone)
    }

    /// Whether a report says nothing of what is sent to the viewer alone; `newest` is what it has seen.
    pub(super) fn covers_report(&mut self, newest: u64) -> bool {
        let was_alone = self.alone_from.is_none() && !self.hears();
        self.alone_from.take_if(|first| newest >= *first);
        !was_alone
    }

    fn on_feedback(&mut self, now: Time, joined: bool, heard: bool, misses: bool) {
        self.state = match self.state {
            _ if !joined => MembershipState::Alone,
            MembershipState::Hears(since) if heard || !misses => MembershipState::Hears(since),
            _ if heard => MembershipState::Hears(now),
            MembershipState::Joined(since) => MembershipState::Joined(since),
            MembershipState::Hears(_) => MembershipState::Joined(Some(now)),
            MembershipState::Alone => MembershipState::Joined(None),
        };
    }

    /// Takes what a report says of the loss by multicast.
    fn note_loss(&mut self, report: &Report) {
        let before = std::mem::replace(&mut self.counted, *report);
        let more = |count: fn(&Report) -> u64| count(report).saturating_sub(count(&before)) as f64;
        let (whole, lost) = (
            more(|report| report.frames_whole),
            more(|report| report.frames_unrecovered),
        );
        let (expected, missed) = (
            more(|report| report.shards_expected),
            more(|report| report.shards_missed),
        );
        let high = lost > HIGH_LOSS * (whole + lost) || missed > HIGH_LOSS * expected;
        self.bad_reports = if high && self.hears() {
            self.bad_reports + 1
        } else {
            0
        };
    }

    fn is_deaf(&self, now: Time) -> bool {
        matches!(self.state, MembershipState::Joined(Some(since)) if now.saturating_since(since) >= JOIN_TIMEOUT)
    }

    /// Rests from the group. Whom it has served for longer than the last rest begins with the shortest again.
    fn rest(&mut self, now: Time) {
        let served = match self.state {
            MembershipState::Hears(since) => now.saturating_since(since),
            _ => Duration::ZERO,
        };
        self.rest = if served > self.rest {
            REST.0
        } else {
            (self.rest * 2).clamp(REST.0, REST.1)
        };
        self.rests_until = now + self.rest;
        (self.bad_reports, self.late) = (0, false);
    }
}

impl Engine {
    /// Counts a frame that did not go out whole to the viewer, or the group, at `to`; `begun`: some of it did.
    pub fn on_aborted(&mut self, to: SocketAddr, begun: bool) {
        self.counts.aborted += u64::from(begun);
        let slot = self
            .config
            .multicast
            .and_then(|multicast| multicast.slot(to));
        let Self {
            streams, viewers, ..
        } = self;
        match streams.iter().find(|stream| Some(stream.slot) == slot) {
            None => viewers
                .at_mut(to)
                .into_iter()
                .for_each(|viewer| viewer.on_aborted(begun)),
            Some(stream) => {
                for address in stream.members() {
                    let viewer = viewers
                        .at_mut(*address)
                        .filter(|viewer| viewer.membership.hears());
                    viewer
                        .into_iter()
                        .for_each(|viewer| viewer.on_aborted(begun));
                }
            }
        }
    }

    /// How many viewers get their stream by multicast.
    #[must_use]
    pub fn in_groups(&self) -> usize {
        self.viewers
            .iter()
            .filter(|viewer| viewer.membership.hears())
            .count()
    }
}

impl Viewer {
    /// Whether the group could serve the viewer. It is for who gets all frames at once: who gets fewer, or has a socket
    /// of its own, would get more by it than its way can take.
    pub(super) fn may_join(&self, now: Time, multicast: &Multicast) -> bool {
        let fit = !self.paused && !self.isolation.is_own() && self.congestion.share() >= 1.0;
        fit && multicast.reaches(self.route) && now >= self.membership.rests_until
    }

    /// Takes what the viewer says of the group; whether it misses frames that were sent there.
    pub(super) fn on_group_status(
        &mut self,
        now: Time,
        multicast: Option<&Multicast>,
        body: &KeepAlive,
    ) -> bool {
        let joined =
            body.group_joined && multicast.is_some_and(|multicast| self.may_join(now, multicast));
        let missing = self.congestion.age_after(now, body.newest_sequence);
        let heard = self.membership.hears();
        self.membership
            .on_feedback(now, joined, body.group_heard, missing >= MISSING);
        self.membership.late = heard && self.membership.hears() && missing >= LATE;
        let falls = heard && (self.membership.late || !self.membership.hears());
        if falls {
            self.return_to_unicast(now);
        }
        falls && missing >= MISSING
    }

    /// Takes a report, with the frames lost by the relay's count. What was lost by multicast is no sign of what the
    /// way can take that the viewer alone is sent on.
    pub(super) fn on_report(&mut self, now: Time, newest: u64, report: &Report) {
        let parity_begins = self.parity.on_report(now, report);
        self.report = *report;
        let lost = self.congestion.lost(report.frames_whole);
        let report = Report {
            frames_unrecovered: lost,
            ..*report
        };
        if self.membership.covers_report(newest) {
            self.congestion.ignore_report(now, &report);
        } else if parity_begins {
            self.congestion.ignore_until_parity(now, &report);
        } else {
            self.congestion.on_report(now, &report);
        }
        self.membership.note_loss(&report);
    }

    /// Takes a viewer out of the group that does not hear it, that it serves badly, or for which it is too much; whether
    /// it was one of those.
    pub(super) fn check_group(&mut self, now: Time) -> bool {
        let unfit = self.congestion.share() < 1.0
            || self.membership.late
            || self.membership.bad_reports >= MAX_BAD_REPORTS;
        let leaves = self.membership.is_deaf(now) || (unfit && self.membership.hears());
        if leaves {
            self.membership.rest(now);
            self.leave_group(now);
        }
        leaves
    }

    /// From now on the viewer is served alone.
    pub(super) fn leave_group(&mut self, now: Time) {
        if self.membership.hears() {
            self.return_to_unicast(now);
        }
        self.membership.state = MembershipState::Alone;
    }

    fn return_to_unicast(&mut self, now: Time) {
        self.membership.alone_from = Some(self.congestion.newest_sent() + 1);
        self.congestion.resume(now);
    }
}

/// The group as one that frames are sent to: as fast as all of its viewers can take it, with the parity that one needs.
pub(super) fn merge_group_target(former: Option<Target>, route: Route, viewer: &Target) -> Target {
    let former = former.unwrap_or(Target {
        route,
        own_socket: false,
        spread: Duration::ZERO,
        ..*viewer
    });
    let (capacity, parity) = (
        former.capacity.min(viewer.capacity),
        former.parity.max(viewer.parity),
    );
    Target {
        capacity,
        parity,
        ..former
    }
}
