//! Which viewers are sent to by a dedicated socket.
//!
//! What one viewer does not take can stand in a queue of this host, before a slow class of its own
//! egress, and fill the buffer of the shared socket: then nobody gets anything. So a viewer begins on
//! a dedicated socket with a small buffer, until it has shown that it keeps up, and returns there when
//! it falls behind.

use std::time::Duration;

use fanlight_proto::clock::Time;

/// Dedicated sockets: a descriptor each, far below what systemd gives a service (1024).
pub const MAX_DEDICATED_SOCKETS: usize = 128;

/// Of those, the ones for new viewers; the rest is kept for viewers that fall behind.
const MAX_PROBATION_SOCKETS: usize = MAX_DEDICATED_SOCKETS / 2;

/// How long a new viewer has to keep up: eight keep-alives.
const PROBATION: Duration = Duration::from_secs(2);

/// How long a viewer has to keep up that has been behind.
const ISOLATION_TERM: Duration = Duration::from_secs(10);

/// Whether a viewer has a dedicated socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum IsolationState {
    /// It shares the socket.
    #[default]
    Shared,
    /// It has a dedicated socket until it has kept up for `term` after `since`.
    Isolated { term: Duration, since: Time },
}

/// What is to be done with a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IsolationChange {
    /// Give it a dedicated socket.
    Isolate,
    /// Let it share the socket again.
    Rejoin,
}

impl IsolationState {
    /// For a new viewer, where `dedicated_sockets` are in use.
    pub(super) const fn begin(now: Time, dedicated_sockets: usize) -> Self {
        if dedicated_sockets < MAX_PROBATION_SOCKETS {
            Self::Isolated {
                term: PROBATION,
                since: now,
            }
        } else {
            Self::Shared
        }
    }

    pub(super) const fn is_isolated(self) -> bool {
        matches!(self, Self::Isolated { .. })
    }

    /// Updates a viewer that is `behind` or not, where `dedicated_sockets` are in use.
    pub(super) fn update(
        &mut self,
        now: Time,
        behind: bool,
        dedicated_sockets: usize,
    ) -> Option<IsolationChange> {
        let isolated = Self::Isolated {
            term: ISOLATION_TERM,
            since: now,
        };

        match *self {
            Self::Shared if behind && dedicated_sockets < MAX_DEDICATED_SOCKETS => {
                *self = isolated;
                Some(IsolationChange::Isolate)
            }
            Self::Isolated { .. } if behind => {
                *self = isolated;
                None
            }
            Self::Isolated { term, since } if now.saturating_since(since) >= term => {
                *self = Self::Shared;
                Some(IsolationChange::Rejoin)
            }
            Self::Shared | Self::Isolated { .. } => None,
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
        assert_eq!(isolation.update(START + PROBATION / 2, false, 1), None);
        assert_eq!(
            isolation.update(START + PROBATION, false, 1),
            Some(IsolationChange::Rejoin)
        );
        assert_eq!(isolation.update(START + PROBATION * 9, false, 0), None);
    }

    #[test]
    fn a_viewer_that_falls_behind_gets_its_own_and_keeps_it_until_it_has_kept_up_for_ten_seconds() {
        let mut isolation = IsolationState::Shared;
        assert_eq!(
            isolation.update(START, true, 0),
            Some(IsolationChange::Isolate)
        );

        assert_eq!(isolation.update(START + ISOLATION_TERM / 2, true, 1), None);
        assert_eq!(isolation.update(START + ISOLATION_TERM, false, 1), None);
        assert_eq!(
            isolation.update(START + ISOLATION_TERM * 3 / 2, false, 1),
            Some(IsolationChange::Rejoin)
        );
    }

    #[test]
    fn there_are_no_more_than_the_limit_and_newcomers_leave_half_to_those_who_need_it() {
        assert!(!IsolationState::begin(START, MAX_PROBATION_SOCKETS).is_isolated());
        assert_eq!(
            IsolationState::Shared.update(START, true, MAX_DEDICATED_SOCKETS),
            None
        );

        assert_eq!(
            IsolationState::Shared.update(START, true, MAX_DEDICATED_SOCKETS - 1),
            Some(IsolationChange::Isolate)
        );
    }
}
