//! A link that is too narrow: promise P10.

use std::time::Duration;

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

/// A viewer of a stream of 27 Mbit/s behind a bottleneck that queues what it takes in `queue`.
fn behind(name: &'static str, megabits: u64, queue: Duration, from: Duration, fps: f64) {
    for seed in seeds(0..3) {
        let clean = Link::clean(ms(1));
        let rate = megabits * 125_000;
        let down = clean.narrow(rate, rate * queue.as_millis() as u64 / 1000);
        let link = Action::SetLinks {
            viewer: 0,
            path: 0,
            up: clean,
            down,
        };
        let mut case = Case::simple(name, "a frame is more than the queue holds", clean, s(8))
            .step(s(0), "the link is narrow", link)
            .check(
                "frames come",
                Expect::FpsAtLeast {
                    viewer: 0,
                    from,
                    to: s(8),
                    fps,
                },
            );

        case.sources[0].fps = 24;
        case.sources[0].frame_bytes = 140_000;
        run(&case, seed);
    }
}

#[test]
fn frames_that_overrun_a_short_queue_are_spread_and_come_whole_after_a_second() {
    behind("a_short_queue", 30, ms(10), s(1), 19.0);
}

#[test]
fn a_viewer_behind_a_little_too_little_gets_most_of_it_after_two_seconds() {
    behind("a_little_too_little", 25, ms(50), s(2), 14.0);
}
