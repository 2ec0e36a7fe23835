//! Keys that change, viewers that may no longer look, and what was recorded: promise P28.

use fanlight_tests::sim::{Access, Action, Case, Expect, Link, Node, ViewerConfig, run, seeds};

use crate::{ms, s};

/// A source, a relay that asks for keys, and so many viewers.
fn sealed(
    name: &'static str,
    sentence: &'static str,
    link: Link,
    viewers: usize,
    seconds: u64,
) -> Case {
    let mut case = Case::simple(name, sentence, link, s(seconds));
    case.relays[0].access = Access::Keys;
    case.viewers = vec![
        ViewerConfig {
            access: Access::Keys,
            ..ViewerConfig::over(link)
        };
        viewers
    ];

    case
}

#[test]
fn p28_a_hundred_key_rotations_at_2_percent_loss_lose_no_frame() {
    for seed in seeds(0..3) {
        let link = Link::clean(ms(5)).losing(0.02);
        let mut case = sealed(
            "p28_a_hundred_key_rotations",
            "the key of the media changes",
            link,
            1,
            104,
        );

        for rotation in 0..100 {
            case = case.step(s(2) + s(1) * rotation, "a new key", Action::RotateKey(0));
        }

        let case = case.check(
            "no frame is lost",
            Expect::MissesAtMost {
                viewer: 0,
                from: s(1),
                to: s(103),
                frames: 0,
            },
        );

        run(&case, seed);
    }
}

#[test]
fn p28_a_removed_viewer_decrypts_nothing_3_s_later_though_it_hears_every_datagram() {
    for seed in seeds(0..10) {
        let at = s(3) + ms(71 * seed);
        let from = at + s(3);
        let to = s(12);
        let case = sealed(
            "p28_a_removed_viewer",
            "a viewer is taken out of the list",
            Link::clean(ms(5)),
            2,
            12,
        )
        .step(
            s(2),
            "viewer 1 listens on the wire of viewer 0",
            Action::Tap { viewer: 0, by: 1 },
        )
        .step(
            at,
            "viewer 1 is taken out",
            Action::Expel {
                relay: 0,
                viewer: 1,
            },
        )
        .check(
            "it sees nothing any more",
            Expect::Nothing {
                viewer: 1,
                from,
                to,
            },
        )
        .check(
            "the other loses nothing",
            Expect::MissesAtMost {
                viewer: 0,
                from: s(1),
                to,
                frames: 0,
            },
        );

        run(&case, seed);
    }
}

#[test]
fn p28_a_recorded_minute_that_is_replayed_changes_nothing() {
    for seed in seeds(0..3) {
        let viewer = 0;
        let path = 0;
        let case = sealed(
            "p28_a_recorded_minute",
            "an enemy sends again what it recorded",
            Link::clean(ms(5)),
            1,
            130,
        )
        .step(s(2), "it records", Action::Record { viewer, path })
        .step(
            s(62),
            "it sends all of it again",
            Action::Replay { viewer, path },
        )
        .check(
            "no frame is lost",
            Expect::MissesAtMost {
                viewer,
                from: s(1),
                to: s(129),
                frames: 0,
            },
        )
        .check("nor the session", Expect::JoinsAtMost { viewer, joins: 1 });

        run(&case, seed);
    }
}

#[test]
fn p28_what_was_recorded_of_a_relay_is_worth_nothing_after_its_restart() {
    for seed in seeds(0..3) {
        let viewer = 0;
        let path = 0;
        let case = sealed(
            "p28_what_was_recorded",
            "an enemy waits for a restart",
            Link::clean(ms(5)),
            1,
            30,
        )
        .step(s(2), "it records", Action::Record { viewer, path })
        .step(
            s(12),
            "the relay starts anew",
            Action::Start(Node::Relay(0)),
        )
        .step(
            s(15),
            "the enemy sends all of it again",
            Action::Replay { viewer, path },
        )
        .check(
            "no frame is lost",
            Expect::MissesAtMost {
                viewer,
                from: s(14),
                to: s(29),
                frames: 0,
            },
        )
        .check("nor the session", Expect::JoinsAtMost { viewer, joins: 2 });

        run(&case, seed);
    }
}

#[test]
fn who_alters_swaps_replays_and_drops_fields_without_a_key_causes_nothing_but_loss() {
    for seed in seeds(0..40) {
        let case = sealed(
            "who_alters_swaps_replays_and_drops_fields",
            "somebody on the way has no key",
            Link::clean(ms(5)),
            2,
            12,
        );

        // Two of them from the first JOIN on, one of them in the middle of its session.
        let tampering = |viewer| Action::Mutate { viewer, path: 0 };
        let sentence = "it begins to tamper";
        let case = case
            .step(ms(0), sentence, tampering(0))
            .step(s(4), sentence, tampering(1))
            .check(
                "the picture comes all the same",
                Expect::FrameWithin {
                    viewer: 1,
                    of: s(8),
                    within: s(3),
                },
            );

        run(&case, seed);
    }
}

#[test]
fn a_new_handshake_each_second_at_2_percent_loss_loses_no_frame() {
    for seed in seeds(0..3) {
        let link = Link::clean(ms(5)).losing(0.02);
        let case = sealed(
            "a_new_handshake_each_second",
            "the keys of the session change",
            link,
            1,
            60,
        )
        .check(
            "no frame is lost",
            Expect::MissesAtMost {
                viewer: 0,
                from: s(1),
                to: s(59),
                frames: 0,
            },
        )
        .check(
            "in one session",
            Expect::JoinsAtMost {
                viewer: 0,
                joins: 1,
            },
        );

        let world = run(&case, seed);
        assert!(world.tally(0).renewals > 50, "{:?}", world.tally(0));
    }
}
