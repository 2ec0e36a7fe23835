//! A link that is too narrow: promise P10.

use fanlight_tests::sim::{Action, Case, Expect, Link, run, seeds};

use crate::{ms, s};

/// 50 shards at 30 frames a second: about 1.8 MB/s on the wire.
const FRAME_BYTES: usize = 57_000;

/// A quarter of that.
const NARROW: u64 = 451_500;

#[test]
fn p10_a_viewer_behind_a_narrow_link_keeps_half_of_what_it_holds_and_gets_all_when_it_is_wide_again()
 {
    for seed in seeds(0..5) {
        let clean = Link::clean(ms(5));
        let path = 0;
        let down = clean.narrow(NARROW, NARROW / 20);
        let mut case = Case::simple(
            "p10_a_viewer_behind_a_narrow_link",
            "the link narrows and widens",
            clean,
            s(56),
        )
        .step(
            s(4),
            "the link narrows",
            Action::SetLinks {
                viewer: 0,
                path,
                up: clean,
                down,
            },
        )
        .step(
            s(24),
            "it is wide again",
            Action::SetLinks {
                viewer: 0,
                path,
                up: clean,
                down: clean,
            },
        )
        .check(
            "frames come",
            Expect::FpsAtLeast {
                viewer: 0,
                from: s(14),
                to: s(24),
                fps: 4.0,
            },
        )
        .check(
            "most arrives",
            Expect::LinkLossAtMost {
                viewer: 0,
                from: s(14),
                to: s(24),
                share: 0.2,
            },
        )
        .check(
            "all frames come again",
            Expect::FpsAtLeast {
                viewer: 0,
                from: s(44),
                to: s(54),
                fps: 29.5,
            },
        );

        case.sources[0].frame_bytes = FRAME_BYTES;
        run(&case, seed);
    }
}
