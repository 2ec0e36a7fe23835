//! The set of the newest frames of which a viewer has sent a detection.

use super::ground_truth::MAX_FRAMES;

const BITS: usize = u64::BITS as usize;

/// A bit for each of the frames that [`GroundTruth`](super::ground_truth::Truths) remembers, by ordinal.
#[derive(Clone, Debug)]
pub(super) struct AnsweredFrames {
    bits: Box<[u64; MAX_FRAMES / BITS]>,
    /// One past the newest ordinal marked.
    end: u64,
}

impl Default for AnsweredFrames {
    fn default() -> Self {
        Self {
            bits: Box::new([0; MAX_FRAMES / BITS]),
            end: 0,
        }
    }
}

impl AnsweredFrames {
    /// Marks a frame; tells whether it was not marked before. A frame that is too old counts as marked.
    pub(super) fn mark(&mut self, ordinal: u64) -> bool {
        if self.end > ordinal.saturating_add(MAX_FRAMES as u64) {
            return false;
        }

        let forgotten = self
            .end
            .max((ordinal + 1).saturating_sub(MAX_FRAMES as u64));
        for passed in forgotten..=ordinal {
            let (feedback, bit) = place(passed);
            self.bits[feedback] &= !bit;
        }

        self.end = self.end.max(ordinal + 1);
        let (feedback, bit) = place(ordinal);
        let new = self.bits[feedback] & bit == 0;
        self.bits[feedback] |= bit;
        new
    }

    /// One past the newest ordinal marked; 0 when none is.
    #[must_use]
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// How many are marked of those from `ordinal` on, as far as it remembers.
    #[must_use]
    pub(super) fn count_from(&self, ordinal: u64) -> u64 {
        let oldest = self.end.saturating_sub(MAX_FRAMES as u64);
        (ordinal.max(oldest)..self.end)
            .filter(|&ordinal| self.is_marked(ordinal))
            .count() as u64
    }

    fn is_marked(&self, ordinal: u64) -> bool {
        let (feedback, bit) = place(ordinal);
        self.bits[feedback] & bit != 0
    }
}

fn place(ordinal: u64) -> (usize, u64) {
    let index = ordinal as usize % MAX_FRAMES;
    (index / BITS, 1 << (index % BITS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_frame_is_new_once_in_whatever_order_they_come() {
        let mut answered = AnsweredFrames::default();
        for ordinal in [5, 3, 4, 9, 0] {
            assert!(answered.mark(ordinal));
            assert!(!answered.mark(ordinal));
        }

        assert_eq!(
            (
                answered.count_from(0),
                answered.count_from(4),
                answered.end()
            ),
            (5, 3, 10)
        );
    }

    #[test]
    fn it_tells_what_a_set_of_the_newest_would_tell() {
        let mut answered = AnsweredFrames::default();
        let mut set = BTreeSet::new();
        let mut random = 1_u64;

        for _ in 0..20_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let (back, ahead) = (
                (random >> 50) * u64::from((random >> 33).is_multiple_of(4)),
                (random >> 40) % 7,
            );

            let ordinal = (answered.end() + ahead).saturating_sub(back % 6000);
            let old = answered.end() > ordinal + MAX_FRAMES as u64;
            assert_eq!(answered.mark(ordinal), !old && set.insert(ordinal));
        }

        let oldest = answered.end() - MAX_FRAMES as u64;
        assert_eq!(answered.count_from(0), set.range(oldest..).count() as u64);
    }

    #[test]
    fn a_leap_forgets_everything() {
        let mut answered = AnsweredFrames::default();
        (0..100).for_each(|ordinal| assert!(answered.mark(ordinal)));
        assert!(answered.mark(1 << 40));
        assert_eq!(answered.count_from(0), 1);
        assert!(!answered.mark(50));
    }
}
