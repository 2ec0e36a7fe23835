//! The offsets of the sources' clocks.

use std::collections::BTreeMap;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::clock_filter::drift;
use fanlight_proto::message::SourceClock;

/// The newest offset of each upstream's clock. There are no more than [`MAX_SOURCES`](crate::config::MAX_SOURCES).
#[derive(Debug, Default)]
pub(super) struct SourceClocks(BTreeMap<usize, (Time, SourceClock)>);

impl SourceClocks {
    /// Sets what was known of the clock of upstream `origin` at `now`.
    pub(super) fn note(&mut self, now: Time, origin: usize, clock: SourceClock) {
        self.0.insert(origin, (now, clock));
    }

    /// What is known at `now`, less certain the longer ago it was noted.
    pub(super) fn at(&self, now: Time, origin: usize) -> Option<SourceClock> {
        let (noted, clock) = *self.0.get(&origin)?;
        // A clock does not drift from itself.
        let exact = clock.offset_ns == 0 && clock.error_us == 0;
        let grown = if exact {
            Duration::ZERO
        } else {
            drift(now.saturating_since(noted))
        };

        let grown = u32::try_from(grown.as_nanos().div_ceil(1000)).unwrap_or(u32::MAX);
        Some(SourceClock {
            error_us: clock.error_us.saturating_add(grown),
            ..clock
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_clock_grows_old_unless_it_is_our_own() {
        let (mut clocks, then) = (SourceClocks::default(), Time::from_nanos(1_000_000_000));
        let later = then + Duration::from_secs(10);
        let known = SourceClock {
            clock_id: 9,
            offset_ns: -7,
            error_us: 100,
        };

        clocks.note(then, 3, known);
        assert_eq!(
            (clocks.at(then, 3), clocks.at(then, 4)),
            (Some(known), None)
        );

        assert_eq!(
            clocks.at(later, 3),
            Some(SourceClock {
                error_us: 1100,
                ..known
            })
        );

        let own = SourceClock {
            clock_id: 5,
            offset_ns: 0,
            error_us: 0,
        };

        clocks.note(then, 3, own);
        assert_eq!(clocks.at(later, 3), Some(own));
    }
}
