//! The anti-replay window of a sealed session.

use crate::limits::REPLAY_WINDOW;

/// The anti-replay window of RFC 4303 section 3.4.3: of the newest [`REPLAY_WINDOW`] counters it knows each, and
/// everything older passes for seen.
///
/// A message is asked for with [`accepts`](Self::accepts) before it is opened, and noted once its seal has held; noting
/// what nobody has authenticated would let a stranger move the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayWindow {
    newest: u64,
    /// Bit i: the counter i below the newest has been seen. 0: none yet.
    seen: u64,
}

const _: () = assert!(REPLAY_WINDOW == u64::BITS as u64, "the window is one word");

impl ReplayWindow {
    /// Whether `counter` is neither seen nor older than the window.
    #[must_use]
    pub const fn accepts(&self, counter: u64) -> bool {
        if self.seen == 0 || counter > self.newest {
            return true;
        }
        let behind = self.newest - counter;
        behind < REPLAY_WINDOW && self.seen & (1 << behind) == 0
    }

    /// Remembers `counter`.
    pub fn note(&mut self, counter: u64) {
        if self.seen == 0 || counter > self.newest {
            let ahead = counter - if self.seen == 0 { counter } else { self.newest };
            self.seen = if ahead < REPLAY_WINDOW {
                self.seen << ahead
            } else {
                0
            } | 1;
            self.newest = counter;
        } else if self.newest - counter < REPLAY_WINDOW {
            self.seen |= 1 << (self.newest - counter);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_counter_is_accepted_once_in_any_order_within_the_window() {
        let mut window = ReplayWindow::default();
        for counter in [0, 5, 3, 64, 1, 67, 4] {
            assert!(window.accepts(counter), "{counter}");
            window.note(counter);
            assert!(!window.accepts(counter), "{counter}");
        }

        assert!(!window.accepts(3), "64 behind is out of the window");
        assert!(window.accepts(6));
    }

    #[test]
    fn the_ends_of_the_range_hold() {
        let mut window = ReplayWindow::default();
        window.note(u64::MAX);
        assert!(!window.accepts(u64::MAX) && !window.accepts(0) && !window.accepts(u64::MAX - 64));
        assert!(window.accepts(u64::MAX - 63));
        let mut window = ReplayWindow::default();
        window.note(0);
        window.note(u64::MAX);
        assert!(!window.accepts(0) && !window.accepts(u64::MAX) && window.accepts(u64::MAX - 1));
    }

    #[test]
    fn a_window_does_what_a_set_of_everything_seen_would() {
        let (mut window, mut seen) = (ReplayWindow::default(), BTreeSet::new());
        let (mut state, mut base) = (1_u64, 0_u64);

        for _ in 0..100_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            base += (state >> 60) / 5;
            let counter = base + (state >> 32) % 100;
            let newest = seen.last().copied();
            let wanted = !seen.contains(&counter)
                && newest.is_none_or(|newest| counter + REPLAY_WINDOW > newest);
            assert_eq!(
                window.accepts(counter),
                wanted,
                "{counter} after {newest:?}"
            );

            if wanted {
                window.note(counter);
                seen.insert(counter);
            }
        }
    }
}
