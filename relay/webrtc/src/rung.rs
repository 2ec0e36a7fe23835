//! The two ways in which a stream is encoded, and which of them a peer gets. No I/O and no clock.

use std::ops::RangeInclusive;

/// What is aimed at, in kbit/s: more than this no network is probed for.
pub(crate) const MAX_KBPS: u32 = 6_000;

/// A peer leaves the whole picture below this, in kbit/s, and gets it again above that: as an estimate is never steady.
const HALF_BELOW: u32 = 600;
const FULL_ABOVE: u32 = 1_000;

/// One of the encodings of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rung {
    /// The whole picture.
    #[default]
    Full,
    /// Half as wide and high, for networks that do not carry the whole one well: so nobody else gets less because of them.
    Half,
}

impl Rung {
    /// What an encoder begins with, in kbit/s.
    pub(crate) const fn start_kbps(self) -> u32 {
        match self {
            Self::Full => 2_500,
            Self::Half => 400,
        }
    }

    /// What an encoder may be told, in kbit/s. A peer below that loses frames and does not count.
    pub(crate) const fn bounds(self) -> RangeInclusive<u32> {
        match self {
            Self::Full => HALF_BELOW..=MAX_KBPS,
            Self::Half => 150..=FULL_ABOVE,
        }
    }

    /// Which one suits a peer on this one whose network carries so much, in kbit/s.
    pub(crate) const fn after(self, kbps: u32) -> Self {
        match self {
            Self::Full if kbps < HALF_BELOW => Self::Half,
            Self::Half if kbps > FULL_ABOVE => Self::Full,
            same => same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_goes_down_and_up_again_but_not_for_every_word_of_its_estimator() {
        let after = |rung: Rung, estimates: &[u32]| {
            estimates.iter().fold(rung, |rung, &kbps| rung.after(kbps))
        };
        assert_eq!(after(Rung::Full, &[2_500, 700, 601]), Rung::Full);
        assert_eq!(after(Rung::Full, &[599]), Rung::Half);
        assert_eq!(after(Rung::Full, &[599, 700, 999]), Rung::Half);
        assert_eq!(after(Rung::Full, &[599, 1_001]), Rung::Full);
    }
}
