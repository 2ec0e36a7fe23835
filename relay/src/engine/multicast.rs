//! Multicast: the group of each stream, and how one viewer stands to the group of its stream.
//!
//! A viewer is told of its stream's group when the group could serve it. It says whether it has joined
//! and whether it hears anything. The relay sends to a group as long as one viewer has joined it. A
//! viewer that hears the group is sent nothing else but repairs; everybody else gets unicast. A viewer
//! that the group serves badly is told to leave it, for a time that doubles at each repetition: a
//! network seldom gets better by itself, but screens run for months.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::limits::MULTICAST_GROUPS;
use fanlight_proto::message::Report;

use super::output::{Route, Target};

/// How long a viewer that has joined may hear nothing of what is sent: several times what switches
/// take to learn who wants a group.
const JOIN_TIMEOUT: Duration = Duration::from_secs(3);

/// More than this part of the frames or shards lost by multicast is high. Parity and repair recover
/// them, but the parity is sent to all.
const HIGH_LOSS: f64 = 0.05;

/// A viewer leaves after so many reports of high loss in a row.
const MAX_BAD_REPORTS: u32 = 3;

/// How long a viewer is not told of a group that has served it badly: at first.
const MIN_BACK_OFF: Duration = Duration::from_secs(30);

/// See [`MIN_BACK_OFF`]: at most.
const MAX_BACK_OFF: Duration = Duration::from_secs(3600);

/// Where media goes for all viewers of a stream at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multicast {
    /// The group of the first stream; each further one has the next address.
    pub first: SocketAddrV4,
    /// The relay's address that its datagrams come from: a viewer that talks to another one of its
    /// addresses does not take them.
    pub from: Ipv4Addr,
    /// Whether they come back to viewers on the relay's own host.
    pub looped: bool,
}

impl Multicast {
    /// Whether the stream in place `slot` has a group.
    pub(super) const fn has_group(slot: usize) -> bool {
        slot < MULTICAST_GROUPS
    }

    /// The group of the stream in place `slot`.
    #[must_use]
    pub fn group(&self, slot: usize) -> SocketAddrV4 {
        let offset =
            u32::try_from(slot).expect("a stream with a group has one of the first places");
        let address = Ipv4Addr::from_bits(self.first.ip().to_bits() + offset);
        SocketAddrV4::new(address, self.first.port())
    }

    /// The route to that group.
    pub(super) fn route(&self, slot: usize) -> Route {
        Route {
            remote: self.group(slot).into(),
            local: None,
        }
    }

    /// The place of the stream whose group `to` is.
    pub(super) fn slot(&self, to: SocketAddr) -> Option<usize> {
        (0..MULTICAST_GROUPS).find(|slot| to == SocketAddr::V4(self.group(*slot)))
    }

    /// Whether a viewer at the end of `route` can take what is sent to a group.
    pub(super) fn reaches(&self, route: Route) -> bool {
        let from = IpAddr::V4(self.from);
        let same_host = route.remote.ip() == from && !from.is_loopback();
        route.local.is_none_or(|local| local == from) && (self.looped || !same_host)
    }
}

/// Adds `viewer` to the target of its group: as fast as all of its viewers can take it, with the
/// parity that one of them needs.
pub(super) fn merge_group_target(group: Option<Target>, route: Route, viewer: &Target) -> Target {
    let group = group.unwrap_or(Target {
        route,
        own_socket: false,
        spread: Duration::ZERO,
        ..*viewer
    });

    Target {
        capacity: group.capacity.min(viewer.capacity),
        parity: group.parity.max(viewer.parity),
        ..group
    }
}

/// How one viewer stands to the group of its stream.
#[derive(Debug, Default)]
pub(super) struct Membership {
    state: MembershipState,
    /// Reports of high loss in a row.
    bad_reports: u32,
    /// The viewer hears the group, and yet a frame has been in flight for long.
    late: bool,
    last_report: Report,
    back_off: Duration,
    retry_at: Time,
    /// The first frame that is sent to the viewer by unicast again; until it has arrived, reports tell
    /// of earlier frames.
    unicast_from: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
enum MembershipState {
    #[default]
    Unicast,
    /// It has joined, and has heard nothing of what was sent since that time.
    Joined(Option<Time>),
    /// It hears the group, since then.
    Receiving(Time),
}

impl Membership {
    /// Whether the viewer gets its frames by multicast.
    pub(super) const fn is_receiving(&self) -> bool {
        matches!(self.state, MembershipState::Receiving(_))
    }

    /// Whether the viewer may be told of the group.
    pub(super) fn may_join(&self, now: Time) -> bool {
        now >= self.retry_at
    }

    /// A frame of the stream goes out; whether it goes to the group because of this viewer.
    pub(super) fn on_frame(&mut self, now: Time) -> bool {
        if let MembershipState::Joined(since) = &mut self.state {
            since.get_or_insert(now);
        }
        !matches!(self.state, MembershipState::Unicast)
    }

    /// Whether a report is about multicast; `newest` is what the viewer has seen.
    pub(super) fn covers_report(&mut self, newest: u64) -> bool {
        let was_unicast = self.unicast_from.is_none() && !self.is_receiving();
        self.unicast_from.take_if(|first| newest >= *first);
        !was_unicast
    }

    /// Takes what a keep-alive says of the group.
    pub(super) fn on_status(&mut self, now: Time, joined: bool, heard: bool, misses: bool) {
        use MembershipState::{Joined, Receiving, Unicast};
        self.state = match self.state {
            _ if !joined => Unicast,
            Receiving(since) if heard || !misses => Receiving(since),
            _ if heard => Receiving(now),
            Joined(since) => Joined(since),
            Receiving(_) => Joined(Some(now)),
            Unicast => Joined(None),
        };
    }

    pub(super) const fn set_late(&mut self, late: bool) {
        self.late = late;
    }

    /// Takes what a report says of the loss by multicast.
    pub(super) fn on_report(&mut self, report: &Report) {
        let before = std::mem::replace(&mut self.last_report, *report);
        let more = |count: fn(&Report) -> u64| count(report).saturating_sub(count(&before)) as f64;
        let whole = more(|report| report.frames_whole);
        let lost = more(|report| report.frames_unrecovered);
        let expected = more(|report| report.shards_expected);
        let missed = more(|report| report.shards_missed);

        let high = lost > HIGH_LOSS * (whole + lost) || missed > HIGH_LOSS * expected;
        self.bad_reports = if high && self.is_receiving() {
            self.bad_reports + 1
        } else {
            0
        };
    }

    /// Whether the viewer must leave the group: it does not hear it, or is served badly or is
    /// `too_narrow` for it.
    pub(super) fn must_leave(&self, now: Time, too_narrow: bool) -> bool {
        match self.state {
            MembershipState::Unicast | MembershipState::Joined(None) => false,
            MembershipState::Joined(Some(since)) => now.saturating_since(since) >= JOIN_TIMEOUT,
            MembershipState::Receiving(_) => {
                too_narrow || self.late || self.bad_reports >= MAX_BAD_REPORTS
            }
        }
    }

    /// Keeps the viewer from the group for a while. If the group has served it for longer than the
    /// last such time, it begins with the shortest again.
    pub(super) fn back_off(&mut self, now: Time) {
        let served = match self.state {
            MembershipState::Receiving(since) => now.saturating_since(since),
            MembershipState::Unicast | MembershipState::Joined(_) => Duration::ZERO,
        };

        self.back_off = if served > self.back_off {
            MIN_BACK_OFF
        } else {
            (self.back_off * 2).clamp(MIN_BACK_OFF, MAX_BACK_OFF)
        };

        self.retry_at = now + self.back_off;
        self.bad_reports = 0;
        self.late = false;
    }

    pub(super) const fn leave(&mut self) {
        self.state = MembershipState::Unicast;
    }

    /// Unicast begins again with the frame `first`.
    pub(super) const fn set_unicast_from(&mut self, first: u64) {
        self.unicast_from = Some(first);
    }
}
