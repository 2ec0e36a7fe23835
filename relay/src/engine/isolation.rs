//! Which viewers are sent to by a socket of their own.
//!
//! What one viewer does not take can stand in a queue of this host, before a slow class of its own egress, and fill the
//! buffer of the socket that it shares with the others: then nobody gets anything. So a viewer begins on a socket of
//! its own, with a small buffer, until it has shown that it keeps up, and goes back there when it falls behind.

use std::time::Duration;

use fanlight_proto::clock::Time;

/// Sockets of viewers' own: with a descriptor each, far below what systemd gives a service (1024).
pub const MAX_DEDICATED_SOCKETS: usize = 128;

/// Of those, the ones for viewers that have just come; the rest is kept for those that fall behind.
const MAX_PROBATION_SOCKETS: usize = MAX_DEDICATED_SOCKETS / 2;

/// How long a viewer that has just come has to keep up: eight keep-alives.
const PROBATION: Duration = Duration::from_secs(2);

/// How long one has to keep up that has been behind.
const ISOLATION_TERM: Duration = Duration::from_secs(10);

/// Whether a viewer has a socket of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum IsolationState {
    /// It shares one with the others.
    #[default]
    Shared,
    /// It has one until it has kept up for so long, counted from then.
    Own(Duration, Time),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IsolationChange {
    /// Give the viewer a socket of its own.
    Out,
    /// Let it share again.
    Back,
}

impl IsolationState {
    /// For a viewer that has just come, where `dedicated_sockets` are in use.
    pub(super) const fn begin(now: Time, dedicated_sockets: usize) -> Self {
        if dedicated_sockets < MAX_PROBATION_SOCKETS {
            Self::Own(PROBATION, now)
        } else {
            Self::Shared
        }
    }

    pub(super) const fn is_own(self) -> bool {
        matches!(self, Self::Own(..))
    }

    /// Looks after a viewer that is `behind` or not, where `dedicated_sockets` are in use.
    pub(super) fn check(
        &mut self,
        now: Time,
        behind: bool,
        dedicated_sockets: usize,
    ) -> Option<IsolationChange> {
        match *self {
            Self::Shared if behind && dedicated_sockets < MAX_DEDICATED_SOCKETS => {
                *self = Self::Own(ISOLATION_TERM, now);
                Some(IsolationChange::Out)
            }
            Self::Own(..) if behind => {
                *self = Self::Own(ISOLATION_TERM, now);
                None
            }
            Self::Own(term, since) if now.saturating_since(since) >= term => {
                *self = Self::Shared;
                Some(IsolationChange::Back)
            }
            Self::Shared | Self::Own(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_nanos(5);

    #[test]
    fn a_viewer_that_keeps_up_shares_after_its_probation() {
        let mut isolation = IsolationState::begin(START, 0);
        assert_eq!(isolation.check(START + PROBATION / 2, false, 1), None);
        assert_eq!(
            isolation.check(START + PROBATION, false, 1),
            Some(IsolationChange::Back)
        );
        assert_eq!(isolation.check(START + PROBATION * 9, false, 0), None);
    }

    #[test]
    fn a_viewer_that_falls_behind_gets_its_own_and_keeps_it_until_it_has_kept_up_for_ten_seconds() {
        let mut isolation = IsolationState::Shared;
        assert_eq!(isolation.check(START, true, 0), Some(IsolationChange::Out));
        assert_eq!(isolation.check(START + ISOLATION_TERM / 2, true, 1), None);
        assert_eq!(isolation.check(START + ISOLATION_TERM, false, 1), None);
        assert_eq!(
            isolation.check(START + ISOLATION_TERM * 3 / 2, false, 1),
            Some(IsolationChange::Back)
        );
    }

    #[test]
    fn there_are_no_more_than_the_limit_and_newcomers_leave_half_to_those_who_need_it() {
        assert!(!IsolationState::begin(START, MAX_PROBATION_SOCKETS).is_own());
        assert_eq!(
            IsolationState::Shared.check(START, true, MAX_DEDICATED_SOCKETS),
            None
        );
        assert_eq!(
            IsolationState::Shared.check(START, true, MAX_DEDICATED_SOCKETS - 1),
            Some(IsolationChange::Out)
        );
    }
}
