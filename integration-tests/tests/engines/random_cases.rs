//! Random cases.

use fanlight_tests::sim::{random_case, run, seeds};

#[test]
fn whatever_happens_nothing_wrong_is_shown_and_all_heals() {
    for seed in seeds(0..300) {
        run(&random_case(seed), seed);
    }
}
