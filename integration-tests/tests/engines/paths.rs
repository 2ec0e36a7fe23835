//! Ways that break and heal, and addresses that change: promises P5, P6 and P7.

use std::time::Duration;

use fanlight_tests::sim::{Action, Case, Expect, LONGEST_LIE, Link, Node, run, seeds};

use crate::{ms, s};

/// A viewer 5 ms away is cut off for `length`; the begin of that moves through the phases of everything periodic.
fn partition(length: Duration, within: Duration, phase: u64) -> Case {
    let begin = s(2) + ms(37 * phase);
    let path = 0;
    let healed = begin + length;
    let case = Case::simple(
        "p5_a_healed_partition",
        "a viewer is cut off for a while",
        Link::clean(ms(5)),
        healed + s(3),
    )
    .step(begin, "the path is cut", Action::Cut { viewer: 0, path })
    .step(
        healed,
        "the path is joined",
        Action::Join { viewer: 0, path },
    )
    .check(
        "the picture is back in time",
        Expect::FrameWithin {
            viewer: 0,
            of: healed,
            within,
        },
    );

    if length <= LONGEST_LIE {
        return case;
    }

    let at = begin + LONGEST_LIE;
    case.check(
        "the frozen picture does not pass for live",
        Expect::NotLive { viewer: 0, at },
    )
    .check(
        "nor just before the end",
        Expect::NotLive {
            viewer: 0,
            at: healed,
        },
    )
}

#[test]
fn p5_a_healed_partition_of_1_s_is_live_within_500_ms() {
    seeds(0..40).for_each(|seed| drop(run(&partition(s(1), ms(500), seed), seed)));
}

#[test]
fn p5_a_healed_partition_of_4_s_is_live_within_500_ms() {
    seeds(0..40).for_each(|seed| drop(run(&partition(s(4), ms(500), seed), seed)));
}

#[test]
fn p5_a_healed_partition_of_30_s_is_live_within_1_s() {
    seeds(0..40).for_each(|seed| drop(run(&partition(s(30), s(1), seed), seed)));
}

#[test]
fn a_stream_that_comes_is_shown_a_round_trip_after_its_first_frame_to_who_waited_for_it() {
    for seed in seeds(0..20) {
        let comes = s(3) + ms(37 * seed);
        let case = Case::simple(
            "a_stream_that_comes",
            "the relay has no stream yet",
            Link::clean(ms(1)),
            comes + s(1),
        )
        .step(ms(0), "no source yet", Action::Kill(Node::Source(0)))
        .step(ms(0), "no relay yet", Action::Kill(Node::Relay(0)))
        .step(s(1), "the relay starts", Action::Start(Node::Relay(0)))
        .step(comes, "the source starts", Action::Start(Node::Source(0)))
        .check(
            "it is shown at once",
            Expect::FrameWithin {
                viewer: 0,
                of: comes,
                within: ms(10),
            },
        );
        run(&case, seed);
    }
}

#[test]
fn p5_a_relay_cut_off_from_its_source_does_not_pass_for_live() {
    for seed in seeds(0..20) {
        let begin = s(2) + ms(41 * seed);
        let case = Case::simple(
            "p5_a_relay_cut_off",
            "the source is out of reach",
            Link::clean(ms(5)),
            s(9),
        )
        .step(begin, "the relay loses its source", Action::CutLeg(0))
        .step(begin + s(4), "it is back", Action::JoinLeg(0))
        .check(
            "the card says so",
            Expect::NotLive {
                viewer: 0,
                at: begin + LONGEST_LIE,
            },
        )
        .check(
            "and is gone",
            Expect::FrameWithin {
                viewer: 0,
                of: begin + s(4),
                within: ms(500),
            },
        )
        .check(
            "in the same session",
            Expect::JoinsAtMost {
                viewer: 0,
                joins: 1,
            },
        );

        run(&case, seed);
    }
}

// That nothing larger than its request goes to the new address before it has answered a challenge is checked in every
// run, by the amplification of each relay.
#[test]
fn p6_a_changed_address_costs_a_gap_of_at_most_500_ms() {
    for seed in seeds(0..60) {
        let path = 0;
        let at = s(2) + ms(17 * seed);
        let case = Case::simple(
            "p6_a_changed_address",
            "the NAT forgets the viewer",
            Link::clean(ms(5)),
            s(8),
        )
        .step(at, "another address", Action::Rebind { viewer: 0, path })
        .step(
            at + s(2),
            "and another one",
            Action::Rebind { viewer: 0, path },
        )
        .check(
            "the gap is short",
            Expect::GapAtMost {
                viewer: 0,
                from: s(1),
                to: s(8),
                gap: ms(500),
            },
        )
        .check(
            "one session an address",
            Expect::JoinsAtMost {
                viewer: 0,
                joins: 3,
            },
        );

        run(&case, seed);
    }
}

#[test]
fn p6_a_changed_address_is_followed_over_a_lossy_link_too() {
    for seed in seeds(0..30) {
        let at = s(2) + ms(17 * seed);
        let link = Link {
            burst: 2.0,
            ..Link::clean(ms(20)).losing(0.05)
        };

        let case = Case::simple(
            "p6_a_changed_address",
            "the NAT forgets a viewer far away",
            link,
            s(6),
        )
        .step(at, "another address", Action::Rebind { viewer: 0, path: 0 })
        .check(
            "the gap is short",
            Expect::FrameWithin {
                viewer: 0,
                of: at + ms(40),
                within: s(2),
            },
        );

        run(&case, seed);
    }
}

#[test]
fn p7_the_first_picture_comes_within_150_ms_of_the_request() {
    for seed in seeds(0..100) {
        let at = s(1) + ms(7 * seed);
        let case = Case::simple(
            "p7_the_first_picture",
            "a viewer joins on a LAN",
            Link::clean(ms(2)),
            s(3),
        )
        .step(
            Duration::ZERO,
            "there is no viewer",
            Action::Kill(Node::Viewer(0)),
        )
        .step(at, "a viewer starts", Action::Start(Node::Viewer(0)))
        .check(
            "its picture is there",
            Expect::FrameWithin {
                viewer: 0,
                of: at,
                within: ms(150),
            },
        );

        run(&case, seed);
    }
}

#[test]
fn p1_a_killed_relay_that_is_back_after_250_ms_is_followed_within_1_s() {
    for seed in seeds(0..60) {
        let at = s(2) + ms(23 * seed);
        let relay = Node::Relay(0);
        let case = Case::simple(
            "p1_a_killed_relay",
            "the relay is killed",
            Link::clean(ms(2)),
            s(6),
        )
        .step(at, "it is killed", Action::Kill(relay))
        .step(at + ms(250), "it starts", Action::Start(relay))
        .check(
            "the picture is back",
            Expect::FrameWithin {
                viewer: 0,
                of: at + ms(4),
                within: s(1),
            },
        );

        run(&case, seed);
    }
}

#[test]
fn p31_a_viewer_of_two_relays_loses_no_frame_when_either_is_killed_frozen_or_cut_off() {
    for seed in seeds(0..30) {
        let at = s(2) + ms(29 * seed);
        let relay = (seed % 2) as usize;
        let node = Node::Relay(relay);
        let path = relay;
        let mut case = Case::simple(
            "p31_a_viewer_of_two_relays",
            "one of two relays fails",
            Link::clean(ms(2)),
            s(16),
        )
        .step(at, "it is killed", Action::Kill(node))
        .step(at + ms(250), "it starts", Action::Start(node))
        .step(at + s(4), "it stands still", Action::Freeze(node))
        .step(at + s(6), "it goes on", Action::Thaw(node))
        .step(
            at + s(8),
            "its cable is out",
            Action::Cut { viewer: 0, path },
        )
        .step(
            at + s(10),
            "its cable is in",
            Action::Join { viewer: 0, path },
        )
        .check(
            "no frame is lost",
            Expect::MissesAtMost {
                viewer: 0,
                from: s(1),
                to: s(15),
                frames: 0,
            },
        );

        case.relays.push(case.relays[0].clone());
        case.viewers[0].paths.push((1, Link::clean(ms(3))));
        run(&case, seed);
    }
}
