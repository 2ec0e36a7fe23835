//! What befalls a tree, and who has no picture meanwhile.

use std::time::Duration;

use super::super::{Action, Node};
use super::Tree;

/// Something that takes the picture from some viewers.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What happens.
    pub sentence: &'static str,
    /// When it begins.
    pub from: Duration,
    /// When its cause is mended.
    pub to: Duration,
    /// The viewers that have no picture meanwhile.
    pub dark: Vec<usize>,
    /// The viewers that still have it by another way.
    pub spared: Vec<usize>,
    begin: Vec<Action>,
    end: Vec<Action>,
}

/// All that happens, in the order of time.
pub(super) fn steps(
    troubles: &[Trouble],
) -> impl Iterator<Item = (Duration, &'static str, Action)> {
    troubles.iter().flat_map(|trouble| {
        let step = |at, action: &Action| (at, trouble.sentence, action.clone());
        let begin = trouble
            .begin
            .iter()
            .map(move |action| step(trouble.from, action));
        let end = trouble
            .end
            .iter()
            .map(move |action| step(trouble.to, action));
        begin.chain(end)
    })
}

impl Tree {
    /// What befalls it, one after the other.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        let last = self.relays() - 1;
        let killed = |relay| {
            (
                Action::Kill(Node::Relay(relay)),
                Action::Start(Node::Relay(relay)),
            )
        };
        vec![
            self.of_relay(
                1,
                "a relay of the second level is killed",
                [3_000, 4_000],
                killed(1),
            ),
            self.of_relay(
                2,
                "a relay of the second level is cut off from the first",
                [5_000, 7_000],
                (Action::CutLeg(2), Action::JoinLeg(2)),
            ),
            self.of_links(
                last,
                "a relay of the last level is cut off from its viewers",
                [8_500, 9_500],
            ),
            self.of_relay(0, "the first relay is killed", [11_000, 11_500], killed(0)),
            self.power_cut(3, "a building has no power", [13_000, 13_500]),
            self.of_relay(
                last,
                "a relay of the last level stands still",
                [15_000, 15_600],
                (
                    Action::Freeze(Node::Relay(last)),
                    Action::Thaw(Node::Relay(last)),
                ),
            ),
            self.of_source("the source is killed", [17_000, 17_500]),
        ]
    }

    /// One relay gives nothing on.
    fn of_relay(
        &self,
        relay: usize,
        sentence: &'static str,
        span: [u64; 2],
        (begin, end): (Action, Action),
    ) -> Trouble {
        let (dark, spared) = self.without(&[relay]);
        Trouble {
            dark,
            spared,
            begin: vec![begin],
            end: vec![end],
            ..Trouble::new(sentence, span)
        }
    }

    /// All links between a relay and its viewers are cut.
    fn of_links(&self, relay: usize, sentence: &'static str, span: [u64; 2]) -> Trouble {
        let dark: Vec<_> = self.viewers_of(relay).collect();
        let paths = dark.iter().flat_map(|viewer| {
            let paths = 0..self.asked(*viewer).count();
            paths.map(|path| (*viewer, path))
        });
        let paths: Vec<_> = paths.collect();
        let cut = |(viewer, path)| Action::Cut { viewer, path };
        let join = |(viewer, path)| Action::Join { viewer, path };
        Trouble {
            begin: paths.iter().copied().map(cut).collect(),
            end: paths.iter().copied().map(join).collect(),
            dark,
            ..Trouble::new(sentence, span)
        }
    }

    /// A relay of the second level, all relays below it, and all their viewers are off, and start at once.
    fn power_cut(&self, middle: usize, sentence: &'static str, span: [u64; 2]) -> Trouble {
        let relays: Vec<_> = std::iter::once(middle)
            .chain(self.leaves_of(middle))
            .collect();
        let dark: Vec<_> = relays
            .iter()
            .flat_map(|relay| self.viewers_of(*relay))
            .collect();
        let (_, mut spared) = self.without(&relays);
        spared.retain(|viewer| !relays.contains(&self.relay_of(*viewer)));
        let off = relays.iter().copied().map(Node::Relay);
        let off: Vec<_> = off.chain(dark.iter().copied().map(Node::Viewer)).collect();
        Trouble {
            begin: off.iter().copied().map(Action::Kill).collect(),
            end: off.iter().copied().map(Action::Start).collect(),
            dark,
            spared,
            ..Trouble::new(sentence, span)
        }
    }

    fn of_source(&self, sentence: &'static str, span: [u64; 2]) -> Trouble {
        Trouble {
            begin: vec![Action::Kill(Node::Source(0))],
            end: vec![Action::Start(Node::Source(0))],
            dark: (0..self.relays() * self.viewers).collect(),
            ..Trouble::new(sentence, span)
        }
    }

    /// Without `lost` relays: the viewers that no relay with a picture serves, and those that have it although one of their
    /// relays, or one above that, has none.
    fn without(&self, lost: &[usize]) -> (Vec<usize>, Vec<usize>) {
        // Relays above have smaller numbers.
        let mut dark = Vec::new();
        let mut touched = Vec::new();
        for relay in 0..self.relays() {
            let above = self.above(relay);
            let is_dark = |above: &usize| dark[*above];
            let is_lost = lost.contains(&relay);
            let ends = is_lost || !above.is_empty() && above.iter().all(is_dark);
            touched.push(is_lost || above.iter().any(is_dark));
            dark.push(ends);
        }

        let all = 0..self.relays() * self.viewers;
        let (without, with) = all.partition(|viewer| self.asked(*viewer).all(|relay| dark[relay]));
        let mut with: Vec<usize> = with;
        with.retain(|viewer| self.asked(*viewer).any(|relay| touched[relay]));
        (without, with)
    }
}

impl Trouble {
    const fn new(sentence: &'static str, [from, to]: [u64; 2]) -> Self {
        Self {
            sentence,
            from: Duration::from_millis(from),
            to: Duration::from_millis(to),
            dark: Vec::new(),
            spared: Vec::new(),
            begin: Vec::new(),
            end: Vec::new(),
        }
    }
}
