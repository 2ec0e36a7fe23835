//! Trees of relays as data: three levels, viewers at every relay, and the troubles that they go through. `engines tree` runs a
//! small one, `./dev sim --tree` one of 100 relays with 10 000 viewers.

mod trouble;

use std::ops::Range;
use std::time::Duration;

use super::{Case, Expect, Link, RelayConfig, ViewerConfig};
pub use trouble::Trouble;

/// Between relays and viewers.
const LINK: Link = Link::clean(Duration::from_millis(2)).losing(0.005);

/// Two shards.
const FRAME_BYTES: usize = 2_000;

/// Every so manieth viewer of the last level asks the next relay as well.
const TWO_PATHS: usize = 8;

/// Of the picture at a viewer with a relay that has the stream from two, while one of these dies: three frames may be missing.
const SPARED_GAP: u32 = 4;

/// Who has lost the picture is shown it again within this, once what it had it from is back.
const BACK_WITHIN: Duration = Duration::from_secs(1);

/// A source, a relay near it, `middle` relays below that, `leaves` relays below each of those, and `viewers` at each relay.
/// Every other relay of the last level has the stream from two relays.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "see above")]
pub struct Tree {
    pub middle: usize,
    pub leaves: usize,
    pub viewers: usize,
    /// Frames a second.
    pub fps: u32,
}

impl Tree {
    /// 13 relays and 208 viewers.
    pub const SMALL: Self = Self {
        middle: 3,
        leaves: 3,
        viewers: 16,
        fps: 10,
    };

    /// 100 relays and 10 000 viewers.
    pub const LARGE: Self = Self {
        middle: 9,
        leaves: 10,
        viewers: 100,
        fps: 10,
    };

    /// How many relays it has.
    #[must_use]
    pub const fn relays(&self) -> usize {
        1 + self.middle + self.middle * self.leaves
    }

    /// The level of a relay: 1 is at the source.
    #[must_use]
    pub const fn level(&self, relay: usize) -> usize {
        match relay {
            0 => 1,
            _ if relay <= self.middle => 2,
            _ => 3,
        }
    }

    /// The relay of a viewer, the first if it has two.
    #[must_use]
    pub const fn relay_of(&self, viewer: usize) -> usize {
        viewer / self.viewers
    }

    /// The viewers of a relay.
    fn viewers_of(&self, relay: usize) -> Range<usize> {
        relay * self.viewers..(relay + 1) * self.viewers
    }

    /// The relays below relay `middle` of the second level.
    fn leaves_of(&self, middle: usize) -> Range<usize> {
        let first = 1 + self.middle + (middle - 1) * self.leaves;
        first..first + self.leaves
    }

    /// Whether a relay has the stream from two.
    fn has_spare(&self, relay: usize) -> bool {
        self.level(relay) == 3 && relay.is_multiple_of(2)
    }

    /// The relays that a relay has the stream from.
    fn above(&self, relay: usize) -> Vec<usize> {
        match self.level(relay) {
            1 => Vec::new(),
            2 => vec![0],
            _ => {
                let own = 1 + (relay - 1 - self.middle) / self.leaves;
                let next = own % self.middle + 1;
                let both = [own, next].into_iter();
                both.take(1 + usize::from(self.has_spare(relay))).collect()
            }
        }
    }

    /// The relays that a viewer asks.
    fn asked(&self, viewer: usize) -> impl Iterator<Item = usize> + use<> {
        let own = self.relay_of(viewer);
        let two =
            self.level(own) == 3 && own + 1 < self.relays() && viewer.is_multiple_of(TWO_PATHS);
        own..=own + usize::from(two)
    }

    /// The tree through its troubles, which shows that everybody is back in time, and that who has two ways has the picture all
    /// the time.
    #[must_use]
    pub fn case(&self) -> Case {
        let troubles = self.troubles();
        let end = troubles.last().map_or(Duration::ZERO, |last| last.to) + BACK_WITHIN;
        let mut case = Case::simple("a_tree", "three levels of relays", LINK, end);
        case.sources[0].fps = self.fps;
        case.sources[0].frame_bytes = FRAME_BYTES;

        let relay = |relay| RelayConfig {
            above: self.above(relay),
            ..RelayConfig::default()
        };
        case.relays = (0..self.relays()).map(relay).collect();
        let viewer = |viewer| ViewerConfig {
            paths: self.asked(viewer).map(|relay| (relay, LINK)).collect(),
            ..ViewerConfig::over(LINK)
        };
        case.viewers = (0..self.relays() * self.viewers).map(viewer).collect();

        let steps = trouble::steps(&troubles);
        case = steps.fold(case, |case, (at, sentence, action)| {
            case.step(at, sentence, action)
        });
        self.checks(&troubles).fold(case, |case, expect| {
            case.check("each viewer has its picture in time", expect)
        })
    }

    fn checks<'a>(&self, troubles: &'a [Trouble]) -> impl Iterator<Item = Expect> + use<'a> {
        let gap = Duration::from_secs(1) * SPARED_GAP / self.fps;
        let back = |viewer, of| Expect::FrameWithin {
            viewer,
            of,
            within: BACK_WITHIN,
        };

        let all = (0..self.relays() * self.viewers).map(move |viewer| back(viewer, Duration::ZERO));
        all.chain(troubles.iter().flat_map(move |trouble| {
            let Trouble { from, to, .. } = *trouble;
            let spared = trouble.spared.iter().map(move |viewer| Expect::GapAtMost {
                viewer: *viewer,
                from,
                to,
                gap,
            });
            let dark = trouble.dark.iter();
            spared.chain(dark.map(move |viewer| back(*viewer, to)))
        }))
    }
}
