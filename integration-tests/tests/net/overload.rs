//! Promise P9: more viewers than the relay's processor can serve.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::lab::Host;
use fanlight_tests::light_viewers::{LightViewers, ViewerStats, age_percentile, fairness};
use fanlight_tests::long;
use fanlight_tests::promise::Alone;
use fanlight_tests::viewer_process::ViewerProcess;
use fanlight_tests::wait::{SOON, pause, until};

use crate::fixture::{Fixture, Pictures};

/// About 100 kB a frame: the relay's time goes into sending.
const PICTURES: Pictures = Pictures {
    size: (1104, 624),
    rate: 30,
};

/// Viewers by which it is measured how many the relay can serve.
const PROBE: usize = 10;

/// Times as many as it can serve.
const OVER: f64 = 3.0;

/// So many the test's own receiver can bear.
const MOST: usize = 600;

const AGE: Duration = Duration::from_millis(150);

/// What a machine that others use may add: the promise is that of an idle one, and here the load is the test's own, so that
/// no control beside it can tell.
const NOISE: Duration = Duration::from_millis(40);

const FAIR: f64 = 0.95;
const JOIN: Duration = Duration::from_secs(1);

/// Of a hundred frames that a member got shards of, how many may be partial: whole frames are skipped, not pieces.
const PARTIAL: f64 = 5.0;

fn measure(seconds: u64) -> Duration {
    Duration::from_secs(if long() { 4 * seconds } else { seconds })
}

/// The part of a processor that the relay uses.
fn load(fixture: &Fixture, length: Duration) -> f64 {
    let before = fixture.relay.usage().cpu;
    let began = clock::now();
    pause(length);
    (fixture.relay.usage().cpu - before).as_secs_f64()
        / clock::now().saturating_since(began).as_secs_f64()
}

/// How many viewers the relay can serve, by what a few cost.
fn capacity(fixture: &Fixture, host: &Host) -> usize {
    let idle = load(fixture, measure(1));
    let probe = fixture.light_viewers(host, PROBE);
    probe.wait_served(SOON);
    let each = (load(fixture, measure(2)) - idle).max(0.001) / PROBE as f64;
    eprintln!(
        "measured: {:.2} % of a processor for each viewer, {:.2} % for none",
        100.0 * each,
        100.0 * idle
    );

    ((1.0 - idle) / each) as usize
}

#[test]
#[ignore = "./dev promises"]
fn under_three_times_its_load_a_relay_skips_whole_frames_evenly_and_keeps_the_newest() {
    let alone = Alone::wait();
    // One core for the relay, which cuts its trains itself, and the other for everybody else.
    let Some(fixture) = Fixture::with(PICTURES, |relay| {
        relay.under(&["taskset", "-c", "0"]).flags("--gso off")
    }) else {
        return;
    };

    let host = fixture.lab.host("viewers");
    let size = ((OVER * capacity(&fixture, &host) as f64) as usize).min(MOST);
    let light_viewers = fixture.light_viewers(&host, size);
    light_viewers.wait_joined(SOON);
    alone.judge("P9: a relay under three times its load", |measurement| {
        light_viewers.begin();
        let load = load(&fixture, measure(6));
        let seen = light_viewers.seen();
        let delivery = seen.iter().map(ViewerStats::delivery).sum::<f64>() / seen.len() as f64;
        eprintln!(
            "measured: {} viewers at {:.0} % of a processor: {delivery:.1} % of the frames",
            seen.len(),
            100.0 * load
        );

        let oldest = age_percentile(&seen, 99).expect("some frames come whole");
        measurement.compare(
            "99th percentile of age",
            format!("<= {AGE:?}, and {NOISE:?}"),
            format!("{oldest:.1?}"),
            "",
            oldest <= AGE + NOISE,
        );

        let fairness = fairness(&seen);
        measurement.compare(
            "fairness",
            format!(">= {FAIR}"),
            format!("{fairness:.3}"),
            "1.000",
            fairness >= FAIR,
        );

        let partial = partial(&seen);
        measurement.compare(
            "frames that are partial",
            format!("<= {PARTIAL} %"),
            format!("{partial:.1} %"),
            "",
            partial <= PARTIAL,
        );

        let late = fixture.light_viewers(&host, 1);
        late.wait_joined(SOON);
        let joined = late.seen()[0].joined_after.expect("it has joined");
        measurement.at_most("a further viewer joins", JOIN, joined);
    });
}

fn partial(seen: &[ViewerStats]) -> f64 {
    let sum = |count: fn(&ViewerStats) -> u64| seen.iter().map(count).sum::<u64>() as f64;
    100.0 * sum(|seen| seen.partial) / sum(|seen| seen.partial + seen.whole).max(1.0)
}

#[test]
fn above_the_most_viewers_the_answer_is_busy_and_those_within_stay() {
    let Some(fixture) = Fixture::with(PICTURES, |relay| relay.flags("--max-viewers 8")) else {
        return;
    };

    let host = fixture.lab.host("viewers");
    let within = fixture.light_viewers(&host, 8);
    within.wait_served(SOON);
    within.begin();
    let above = fixture.light_viewers(&host, 8);
    until("each of the others is refused", SOON, || {
        let seen = above.seen();
        seen.iter().all(|seen| seen.refusals > 0).then_some(())
    });

    assert!(
        above.seen().iter().all(|seen| seen.joins == 0),
        "{:?}",
        above.seen()
    );

    assert_eq!(busy(&fixture, &host).count(), 0);
    assert!(
        within.seen().iter().all(|seen| seen.joins == 1),
        "{:?}",
        within.seen()
    );
}

/// A viewer that is refused, and says why.
fn busy(fixture: &Fixture, host: &Host) -> ViewerProcess {
    let viewing = fixture.watch().under(&host.enter()).start();
    viewing
        .program()
        .wait_for_line("the relay serves as many viewers as it may");
    viewing
}

#[test]
fn those_who_leave_make_room_for_the_next() {
    let Some(fixture) = Fixture::with(PICTURES, |relay| relay.flags("--max-viewers 8")) else {
        return;
    };

    let host = fixture.lab.host("viewers");
    for _ in 0..3 {
        let light_viewers: LightViewers = fixture.light_viewers(&host, 8);
        light_viewers.wait_joined(SOON);
    }
}
