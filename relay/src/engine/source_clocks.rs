//! The offsets of the sources' clocks.

use std::time::Duration;

use fanlight_live::Clocks;
use fanlight_proto::clock::Time;
use fanlight_proto::clock_filter::drift;
use fanlight_proto::message::SourceClock;

/// The newest offset of each clock behind each upstream.
#[derive(Debug, Default)]
pub(super) struct SourceClocks(Clocks<(Time, SourceClock)>);

impl SourceClocks {
    /// Sets what was known of a clock behind upstream `origin` at `now`.
    pub(super) fn note(&mut self, now: Time, origin: usize, clock: SourceClock) {
        self.0.put(origin, clock.clock_id, (now, clock));
    }

    /// What is known at `now` of the clock `clock_id`, less certain the longer ago it was noted.
    pub(super) fn at(&self, now: Time, origin: usize, clock_id: u64) -> Option<SourceClock> {
        let (noted, clock) = *self.0.get(origin, clock_id)?;
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
            (clocks.at(then, 3, 9), clocks.at(then, 4, 9)),
            (Some(known), None)
        );

        assert_eq!(
            clocks.at(later, 3, 9),
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
        assert_eq!(clocks.at(later, 3, 5), Some(own));
    }
}
