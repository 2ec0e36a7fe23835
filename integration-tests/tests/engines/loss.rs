//! Promise P13: what of lossy links the viewer sees. The real protocol code over a simulated link, in virtual time;
//! `./dev bench loss` prints the whole table.

use std::time::Duration;

use fanlight_tests::lossy::{Case, Channel, Outcome, Scheme, run};
use fanlight_tests::seeded::seed;

const FRAMES: u64 = 2_500;

const RANDOM_1: Channel = Channel {
    share: 0.01,
    burst: 1,
};
const RANDOM_5: Channel = Channel {
    share: 0.05,
    burst: 1,
};
const ROWS_OF_3: Channel = Channel {
    share: 0.05,
    burst: 3,
};

fn outcome(channel: Channel, level: u8, repair: bool) -> Outcome {
    let scheme = Scheme { level, repair };
    let round_trip = Duration::from_millis(2);
    run(&Case {
        shards: 50,
        channel,
        scheme,
        round_trip,
        frames: FRAMES,
        seed: seed(13),
    })
}

/// Every frame is shown, but for `lost` at most: of so few frames a single one is more than a ten-thousandth.
fn assert_lost_at_most(lost: u64, outcome: &Outcome) {
    assert!(
        outcome.frames - outcome.shown <= lost,
        "{:.3} %: {outcome:?}",
        outcome.percent()
    );

    // What comes last may be decided by nobody.
    assert!(
        outcome.shown + outcome.losses.total() + 1 >= outcome.frames,
        "{outcome:?}"
    );
}

#[test]
fn p13_without_parity_and_repair_the_frames_are_lost_that_must_be() {
    let one = outcome(RANDOM_1, 0, false).percent();
    let five = outcome(RANDOM_5, 0, false).percent();
    assert!(
        (57.0..64.0).contains(&one),
        "0.99^50 is 60.5 %, not {one:.1}"
    );

    assert!(
        (6.0..10.0).contains(&five),
        "0.95^50 is 7.7 %, not {five:.1}"
    );
}

#[test]
fn p13_parity_alone_mends_random_loss() {
    assert_lost_at_most(0, &outcome(RANDOM_1, 1, false));
    assert_lost_at_most(1, &outcome(RANDOM_5, 1, false));
    assert_lost_at_most(0, &outcome(RANDOM_5, 2, false));
}

#[test]
fn p13_parity_alone_mends_short_rows_of_losses() {
    let two = outcome(ROWS_OF_3, 2, false).percent();
    let three = outcome(ROWS_OF_3, 3, false).percent();
    assert!(
        two >= 95.3 && three >= 98.9,
        "{two:.2} % at 20 %, {three:.2} % at 30 %"
    );
}

#[test]
fn p13_repair_with_any_parity_loses_next_to_nothing() {
    for level in 1..=3 {
        let outcome = outcome(RANDOM_5, level, true);
        assert_lost_at_most(0, &outcome);
    }
}

#[test]
fn p13_repair_alone_finds_the_time_for_several_rounds() {
    let outcome = outcome(RANDOM_5, 0, true);
    assert_lost_at_most(1, &outcome);
    assert!(
        outcome.counts.repairs_asked < 4 * FRAMES,
        "2.6 shards a frame are lost: {:?}",
        outcome.counts
    );
}

#[test]
fn p13_parity_is_used_before_repair_is_asked_for() {
    let without = outcome(RANDOM_5, 0, true).counts;
    let with = outcome(RANDOM_5, 1, true).counts;
    assert!(with.repairs_asked * 20 < without.repairs_asked, "{with:?}");
    assert!(with.recovered * 10 > 8 * FRAMES, "{with:?}");
}
