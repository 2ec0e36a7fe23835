//! Relays that feed relays, three levels of them, through kills and partitions.

use std::time::Duration;

use fanlight_tests::sim::{
    Action, Case, Expect, Link, Node, RelayConfig, ViewerConfig, run, seeds,
};

use crate::{ms, s};

/// A relay at the source, `middle` relays below it, `leaves` below each of those, and `viewers` at each of the last.
fn tree(middle: usize, leaves: usize, viewers: usize, length: Duration) -> Case {
    let link = Link::clean(ms(2)).losing(0.01);
    let mut case = Case::simple("a_tree", "three levels of relays", link, length);
    let below = |above| RelayConfig {
        above: Some(above),
        ..RelayConfig::default()
    };
    case.relays.extend((0..middle).map(|_| below(0)));
    for above in 1..=middle {
        case.relays.extend((0..leaves).map(|_| below(above)));
    }

    let last = 1 + middle..case.relays.len();
    let served = last.flat_map(|relay| (0..viewers).map(move |_| relay));
    let viewer = |relay| ViewerConfig {
        paths: vec![(relay, link)],
        ..ViewerConfig::over(link)
    };
    case.viewers = served.map(viewer).collect();
    case
}

// That frames are genuine, that losses have one reason each, and that all heals is checked in every run.
#[test]
fn every_branch_of_a_tree_is_live_again_after_kills_and_partitions() {
    for seed in seeds(0..4) {
        let case = tree(2, 2, 3, s(9))
            .step(
                s(2),
                "a middle relay is killed",
                Action::Kill(Node::Relay(1)),
            )
            .step(s(3), "it is back", Action::Start(Node::Relay(1)))
            .step(s(4), "the other is cut off", Action::CutLeg(2))
            .step(s(6), "it is joined", Action::JoinLeg(2))
            .step(
                s(7),
                "the first relay is killed",
                Action::Kill(Node::Relay(0)),
            )
            .step(s(8), "it is back", Action::Start(Node::Relay(0)));
        let case = [(0, s(3)), (11, s(6)), (0, s(8)), (11, s(8))]
            .into_iter()
            .fold(case, |case, (viewer, of)| {
                let within = ms(500);
                let expect = Expect::FrameWithin { viewer, of, within };
                case.check("the branch is live again", expect)
            });
        run(&case, seed);
    }
}
