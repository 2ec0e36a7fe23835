//! Relays that feed relays, three levels of them, through kills and partitions.

use fanlight_tests::sim::{Tree, run, seeds};

// That frames are genuine, that losses have one reason each, and that all heals is checked in every run.
#[test]
fn every_viewer_of_a_tree_is_live_again_after_kills_and_partitions_and_by_two_ways_all_the_time() {
    for seed in seeds(0..2) {
        run(&Tree::SMALL.case(), seed);
    }
}
