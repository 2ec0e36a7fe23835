//! Clocks that jump and run askew: promise P15.

use fanlight_tests::sim::{Action, Case, Clock, Link, Node, Step, random_case, run_with, seeds};

use crate::{ms, s};

const TEN_YEARS_NS: i64 = 10 * 365 * 86_400 * 1_000_000_000;

/// The same case with wall clocks that jump by ten years, to and fro, on every node.
fn jumping(case: &Case) -> Case {
    let nodes = (0..case.relays.len())
        .map(Node::Relay)
        .chain((0..case.viewers.len()).map(Node::Viewer));
    let nodes: Vec<_> = nodes.chain([Node::Source(0)]).collect();
    let jumps = (1..24_u64).map(|quarter| {
        let years = if quarter % 2 == 0 {
            -TEN_YEARS_NS
        } else {
            TEN_YEARS_NS
        };

        let act = Action::StepWall(nodes[quarter as usize % nodes.len()], years);
        Step {
            at: ms(250 * quarter),
            sentence: "a wall clock jumps by ten years",
            act,
        }
    });

    let mut steps: Vec<_> = case.steps.iter().cloned().chain(jumps).collect();
    steps.sort_by_key(|step| step.at);
    Case {
        steps,
        ..case.clone()
    }
}

#[test]
fn p15_jumps_of_the_wall_clock_change_nothing_that_any_node_does() {
    for seed in seeds(0..25) {
        let case = random_case(seed);
        let [still, jumped] =
            [&case, &jumping(&case)].map(|case| run_with(case, seed, |world| world.keep_trace()));
        assert!(still.trace().len() > 100);
        assert!(
            still.trace() == jumped.trace(),
            "seed {seed}: wall clocks changed what happens"
        );
    }
}

#[test]
fn p15_hosts_whose_clocks_have_other_origins_and_speeds_lose_no_frame() {
    for (seed, ppm) in [(1, -500), (2, 500)] {
        let mut case = Case::simple(
            "p15_hosts",
            "no two clocks agree",
            Link::clean(ms(5)),
            s(60),
        );

        case.viewers[0].clock = Clock {
            offset: s(1 << 33),
            drift_ppm: ppm,
            wall_offset_ns: 0,
        };

        case.relays[0].clock = Clock {
            offset: s(1),
            drift_ppm: -ppm,
            wall_offset_ns: 0,
        };

        let world = run_with(&case, seed, |_| {});
        assert_eq!(world.tally(0).losses.total(), 0, "{:?}", world.tally(0));
        assert_eq!(world.tally(0).joins, 1);
    }
}
