//! Damage on the way: promise P14.

use std::time::Duration;

use fanlight_tests::sim::{Case, Link, ViewerConfig, run, seeds};

use crate::{ms, s};

// Whether each frame given out has the bytes it was published with is checked in every run, by its hash.
#[test]
fn p14_no_frame_is_damaged_though_of_a_million_datagrams_each_hundredth_is() {
    let link = Link {
        corrupt: 0.01,
        // UDP's own check would hide nearly all of it: what it misses is what this is about.
        udp_sum: false,
        double: 0.01,
        reorder: 0.05,
        ..Link::clean(ms(3))
    };

    for seed in seeds(14..15) {
        let length = s(140);
        let mut case = Case::simple(
            "p14_no_frame_is_damaged",
            "damage that UDP does not see",
            link,
            length,
        );

        case.viewers = vec![ViewerConfig::over(link); 5];
        case.sources[0].frame_bytes = 57_000;
        let world = run(&case, seed);
        let sum = |of: fn(&fanlight_tests::sim::Carried) -> u64| {
            (0..5).map(|v| of(&world.carried(v, 0))).sum::<u64>()
        };

        let offered = sum(|c| c.offered);
        let damaged = sum(|c| c.damaged);
        assert!(offered >= 1_000_000, "{offered} datagrams");
        assert!(damaged >= 9_000 && sum(|c| c.doubled) >= 9_000 && sum(|c| c.reordered) >= 45_000);

        for viewer in 0..5 {
            let shown = world
                .watch(viewer)
                .frames_between(Duration::ZERO, length)
                .len();

            let published = world.published(0, Duration::ZERO, length).count();
            assert!(
                shown * 100 >= published * 97,
                "viewer {viewer}: {shown} of {published} frames"
            );
        }
    }
}
