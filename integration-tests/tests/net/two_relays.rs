//! Promise P31: whoever watches through two relays does not notice when one fails.

use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_tests::TestEnv;
use fanlight_tests::lab::{Host, Lab};
use fanlight_tests::long;
use fanlight_tests::program::Program;
use fanlight_tests::promise::{Measurement, judge};
use fanlight_tests::viewer_process::{Shown, ViewerProcess};

use crate::fixture::{PORT, USUAL, relay, source};

/// Frames that are shown before and after each failure.
const FRAMES: usize = 45;

/// On the way for longer than the median by more than this, a frame is late. To wait until a relay that fell silent is
/// missed would take six times as long.
const LATE: Duration = Duration::from_millis(100);

/// Frames that programs skip which are not given the processor in time, whatever the relays do.
const SKIPPED: [&str; 3] = ["upstream", "relay", "superseded"];

/// Of a hundred frames, how many those may be.
const SKIPPED_PERCENT: f64 = 10.0;

/// Of a hundred frames, how many may be late because a program was not given the processor. If a failure were waited for,
/// it would be eight.
const LATE_PERCENT: f64 = 1.0;

/// Two relays on hosts of their own, and a viewer on a third that watches through both.
struct Pair {
    viewing: ViewerProcess,
    relays: [Program; 2],
    _source: Program,
    hosts: [Host; 2],
    _screen: Host,
    _env: TestEnv,
    _lab: Lab,
}

impl Pair {
    fn open() -> Option<Self> {
        let lab = Lab::open()?;
        let env = TestEnv::new();
        let screen = lab.host("screen");
        let source = source(&env, USUAL).ready();
        let hosts = ["left", "right"].map(|name| lab.host(name));
        let relays = [0, 1].map(|at: usize| relay(&env, &hosts[at]).ready());
        let [first, second] = [0, 1].map(|at: usize| (hosts[at].address(), PORT).into());
        let watch = env
            .viewer(first, "cam")
            .flag("relay", std::net::SocketAddr::to_string(&second));
        let viewing = watch
            .flags("--redundancy both")
            .under(&screen.enter())
            .start();

        viewing.wait_shown(FRAMES);
        Some(Self {
            viewing,
            relays,
            _source: source,
            hosts,
            _screen: screen,
            _env: env,
            _lab: lab,
        })
    }

    /// Judges that no frame was missed or late for a failure since the first one.
    #[track_caller]
    fn judge_hitless(self, measurement: &mut Measurement) {
        let (report, frames) = self.viewing.finish();
        report.assert_balanced();

        let lost = &report.frames.lost;
        let skipped: u64 = SKIPPED.iter().map(|reason| lost.by_reason[*reason]).sum();
        assert_eq!(lost.total, skipped, "{report:?}");
        let skipped_percent = 100.0 * skipped as f64 / report.frames.shown as f64;
        measurement.compare(
            "frames skipped by programs that waited for the processor",
            format!("<= {SKIPPED_PERCENT} %"),
            format!("{skipped_percent:.1} %"),
            "",
            skipped_percent <= SKIPPED_PERCENT,
        );

        let way = |frame: &Shown| frame.arrived.saturating_since(frame.captured);
        let mut ways: Vec<Duration> = frames.iter().map(way).collect();
        ways.sort_unstable();
        let median = ways[ways.len() / 2];
        let longest = ways[ways.len() - 1];
        let late = ways.iter().filter(|way| **way > median + LATE).count();
        let late_percent = 100.0 * late as f64 / ways.len() as f64;
        measurement.compare(
            format!("of {} frames late, by {longest:.1?} at most", ways.len()),
            format!("<= {LATE_PERCENT} %"),
            format!("{late_percent:.2} %"),
            format!("median {median:.1?}"),
            late_percent <= LATE_PERCENT,
        );
    }
}

fn rounds() -> usize {
    if long() { 10 } else { 1 }
}

/// Lets `fail` and then `mend` happen to each relay in turn.
#[track_caller]
fn each_in_turn(fail: fn(&Program, &Host), mend: fn(&Program, &Host)) {
    judge("P31: one of two relays fails", |measurement| {
        let Some(pair) = Pair::open() else { return };
        for round in 0..2 * rounds() {
            let relay = &pair.relays[round % 2];
            let host = &pair.hosts[round % 2];
            fail(relay, host);
            let failed = clock::now();

            // Longer than sessions last.
            while clock::now().saturating_since(failed) < Duration::from_secs(4) {
                pair.viewing.wait_more(10);
            }

            mend(relay, host);
            // Until the relay is in use again: each is started or heard again within a second.
            pair.viewing.wait_more(2 * FRAMES);
        }

        pair.judge_hitless(measurement);
    });
}

#[test]
#[ignore = "./dev promises"]
fn a_relay_that_is_killed_costs_no_frame_and_delays_none() {
    each_in_turn(|relay, _| _ = relay.kill(), |relay, _| relay.start_again());
}

#[test]
#[ignore = "./dev promises"]
fn a_relay_that_stands_still_costs_no_frame_and_delays_none() {
    each_in_turn(|relay, _| relay.freeze(), |relay, _| _ = relay.thaw());
}

#[test]
#[ignore = "./dev promises"]
fn a_relay_that_is_unplugged_costs_no_frame_and_delays_none() {
    each_in_turn(|_, host| host.unplug(), |_, host| host.plug());
}
