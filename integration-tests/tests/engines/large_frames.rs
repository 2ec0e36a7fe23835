//! Frames of the largest size that the format has.

use std::time::Duration;

use fanlight_proto::limits::{MAX_FRAME_BYTES, MAX_FRAME_PREFIX, SHARD_BYTES};
use fanlight_tests::sim::{Case, Link, run};

use crate::{ms, s};

// Whether each frame given out has the bytes it was published with is checked in every run, by its hash.
#[test]
fn frames_of_32_mib_come_whole_though_each_hundredth_datagram_is_lost() {
    let length = s(2);
    let link = Link::clean(ms(2)).losing(0.01);
    let mut case = Case::simple("large_frames", "the largest frames and loss", link, length);
    case.sources[0].frame_bytes = MAX_FRAME_BYTES - MAX_FRAME_PREFIX;
    case.sources[0].fps = 1;
    let world = run(&case, 3);

    let shown = world.watch(0).frames_between(Duration::ZERO, length).len();
    assert!(shown >= 1, "{shown} frames");
    let carried = world.carried(0, 0);
    let shards = MAX_FRAME_BYTES / SHARD_BYTES;
    assert!(
        carried.lost as usize > shards / 100 * shown / 2,
        "{carried:?}"
    );
}
