//! Whatever ends, stops or starts, in any order: the screens are live again by themselves, and in time.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_tests::program::{Program, WATCHDOG};
use fanlight_tests::promise::{Measurement, judge};
use fanlight_tests::raw_client::{RawClient, join};
use fanlight_tests::usage::MIB;
use fanlight_tests::viewer_process::{Report, ViewerProcess};
use fanlight_tests::wait::{SOON, pause, throughout, until};
use fanlight_tests::{TestEnv, long, zmtp};

const INPUT: &str = "--input ball --size 640x360 --rate 30";

/// Promise P3: frames at the viewer so long after a source is ready.
const SOURCE_BACK: Duration = Duration::from_secs(1);

/// Promise P3: the viewer says that the source is gone.
const SOURCE_MISSED: Duration = Duration::from_millis(1500);

/// Promises P2 and P25: from SIGTERM to the end.
const STOP_LIMIT: Duration = Duration::from_millis(500);

/// Between starts in different orders: long enough for each program to find the others missing.
const APART: Duration = Duration::from_millis(300);

fn rounds() -> usize {
    if long() { 20 } else { 5 }
}

/// A source, a relay and three viewers that show.
fn live(env: &TestEnv) -> (Program, Program, [ViewerProcess; 3]) {
    let source = env.source("cam").flags(INPUT).ready();
    let relay = env.relay(0, &[env.ipc("cam")]).ready();
    let viewers = [(); 3].map(|()| env.viewer(env.relay_address(0), "cam").start());
    viewers.iter().for_each(|viewer| viewer.wait_shown(5));
    (source, relay, viewers)
}

fn finish_balanced(viewers: impl IntoIterator<Item = ViewerProcess>) -> Vec<Report> {
    let finish = |viewer: ViewerProcess| {
        let (report, frames) = viewer.finish();
        report.assert_balanced();
        assert_eq!(report.decode.errors, 0);
        assert!(
            frames
                .windows(2)
                .all(|pair| pair[0].at <= pair[1].at && pair[0].captured < pair[1].captured)
        );

        report
    };

    viewers.into_iter().map(finish).collect()
}

/// How long after `since` each viewer shows a frame that was captured after `fresh`.
pub(crate) fn gaps(viewers: &[ViewerProcess], since: Time, fresh: Time) -> Vec<Duration> {
    let gap = |viewer: &ViewerProcess| {
        let shown = until("the viewer is live again", SOON, || {
            viewer.shown().into_iter().find(|s| s.captured > fresh)
        });

        shown.at.saturating_since(since)
    };

    viewers.iter().map(gap).collect()
}

pub(crate) fn judge_median_and_worst(
    measurement: &mut Measurement,
    what: &str,
    mut gaps: Vec<Duration>,
    median: Duration,
    worst: Duration,
) {
    gaps.sort_unstable();
    measurement.at_most(
        format!("{what}, median of {}", gaps.len()),
        median,
        gaps[gaps.len() / 2],
    );

    measurement.at_most(
        format!("{what}, worst of {}", gaps.len()),
        worst,
        gaps[gaps.len() - 1],
    );
}

#[test]
#[ignore = "./dev promises"]
fn programs_may_be_started_in_any_order() {
    judge("programs started in any order", |measurement| {
        for order in ["srv", "svr", "rsv", "rvs", "vsr", "vrs"] {
            let env = TestEnv::new();
            let mut programs = Vec::new();
            let mut viewer = None;

            for letter in order.chars() {
                match letter {
                    's' => programs.push(env.source("cam").flags(INPUT).ready()),
                    'r' => programs.push(env.relay(0, &[env.ipc("cam")]).ready()),
                    _ => viewer = Some(env.viewer(env.relay_address(0), "cam").start()),
                }

                pause(APART);
            }

            let viewer = viewer.expect("each order has a viewer");
            let last = programs
                .iter()
                .map(Program::started)
                .chain([viewer.program().started()])
                .max();

            let shown = until("the first frame is shown", SOON, || {
                viewer.shown().into_iter().next()
            });

            let took = shown
                .at
                .saturating_since(last.expect("three programs were started"));
            measurement.at_most(
                format!("started as {order}: the first frame"),
                Duration::from_millis(1500),
                took,
            );

            finish_balanced([viewer]);
        }
    });
}

#[test]
#[ignore = "./dev promises"]
fn a_relay_that_is_killed_and_replaced_is_back_on_every_screen_within_a_second() {
    judge("P1: a relay is killed and replaced", |measurement| {
        let env = TestEnv::new();
        let (_source, relay, viewers) = live(&env);
        relay.keep();
        let mut all = Vec::new();

        for _ in 0..rounds() {
            let killed = relay.kill();
            let back = until("the relay runs again", SOON, || {
                relay.pid().map(|_| relay.started())
            });

            all.extend(gaps(&viewers, killed, back));
        }

        judge_median_and_worst(
            measurement,
            "after the relay was killed",
            all,
            Duration::from_secs(1),
            Duration::from_millis(1500),
        );

        assert!(
            finish_balanced(viewers)
                .iter()
                .all(|report| report.joins as usize > rounds() / 2)
        );
    });
}

#[test]
#[ignore = "./dev promises"]
fn a_source_that_comes_back_is_on_every_screen_within_a_second_however_long_it_was_away() {
    judge("P3: a source comes back", |measurement| {
        let env = TestEnv::new();
        let (source, _relay, viewers) = live(&env);
        let away: &[u64] = if long() { &[1, 20, 60] } else { &[0, 1, 3] };
        let mut killed_at = Vec::new();
        let mut all = Vec::new();

        for seconds in away {
            killed_at.push((source.kill(), Duration::from_secs(*seconds)));
            pause(Duration::from_secs(*seconds));
            source.start_again();
            let ready = source.wait_ready();
            all.extend(gaps(&viewers, ready, source.started()));
        }

        measurement.all_at_most("after the source was ready", SOURCE_BACK, all);
        let births: Vec<Time> = viewers
            .iter()
            .map(|viewer| viewer.program().started())
            .collect();

        for (report, born) in finish_balanced(viewers).iter().zip(births) {
            let gone = report
                .signals
                .iter()
                .filter(|change| change.state == "source-gone");

            let gone: Vec<Time> = gone.map(|change| born + change.at()).collect();
            for (killed, away) in killed_at.iter().filter(|(_, away)| *away >= SOURCE_MISSED) {
                let said = gone.iter().find(|at| *at > killed);
                let said = said.unwrap_or_else(|| {
                    panic!("gone for {away:?} from {killed:?}: {:?}", report.signals)
                });

                measurement.at_most(
                    "the viewer says that the source is gone",
                    SOURCE_MISSED,
                    said.saturating_since(*killed),
                );
            }
        }
    });
}

#[test]
#[ignore = "./dev promises"]
fn a_source_on_tcp_comes_back_on_its_port_and_on_every_screen() {
    judge("P3: a source on TCP comes back", |measurement| {
        let env = TestEnv::new();
        let endpoint = format!("tcp://{}", env.source_address(0));
        let source = env
            .program("source")
            .flags("--stream cam")
            .flag("publish", &endpoint)
            .flags(INPUT)
            .ready();

        let _relay = env.relay(0, &[endpoint]).ready();
        let viewers = [(); 2].map(|()| env.viewer(env.relay_address(0), "cam").start());
        viewers.iter().for_each(|viewer| viewer.wait_shown(5));
        let mut all = Vec::new();

        for away in [0, 300, 1500] {
            source.kill();
            pause(Duration::from_millis(away));
            source.start_again();
            all.extend(gaps(&viewers, source.wait_ready(), source.started()));
        }

        measurement.all_at_most("after the source was ready", SOURCE_BACK, all);
        finish_balanced(viewers);
    });
}

#[test]
#[ignore = "./dev promises"]
fn a_source_that_stands_still_is_said_to_be_gone_and_is_live_again_when_it_goes_on() {
    judge("P3: a source stands still and goes on", |measurement| {
        let env = TestEnv::new();
        let (source, _relay, viewers) = live(&env);
        let frozen = fanlight_daemon::clock::now();
        source.freeze();
        pause(Duration::from_secs(3));
        let thawed = source.thaw();
        judge_median_and_worst(
            measurement,
            "after the source went on",
            gaps(&viewers, thawed, thawed),
            Duration::from_millis(600),
            SOURCE_BACK,
        );

        let births: Vec<Time> = viewers
            .iter()
            .map(|viewer| viewer.program().started())
            .collect();

        for (report, born) in finish_balanced(viewers).iter().zip(births) {
            let gone = report
                .signals
                .iter()
                .find(|change| change.state == "source-gone");

            let gone = born + gone.expect("the viewer says so").at();
            assert!(gone > frozen, "{:?}", report.signals);
            measurement.at_most(
                "the viewer says that the source is gone",
                SOURCE_MISSED,
                gone.saturating_since(frozen),
            );
        }
    });
}

#[test]
fn a_source_that_is_restarted_again_and_again_never_shows_an_old_frame_as_new() {
    let env = TestEnv::new();
    let (source, _relay, viewers) = live(&env);

    for _ in 0..rounds() {
        let (exit, _) = source.stop();
        assert_eq!(exit.code(), Some(0));
        source.start_again();
        gaps(&viewers, source.wait_ready(), source.started());
    }

    for report in finish_balanced(viewers) {
        assert_eq!(
            report.joins, 1,
            "the relay kept the session: {:?}",
            report.signals
        );
    }
}

#[test]
#[ignore = "./dev promises"]
fn a_viewer_that_is_killed_and_started_again_shows_within_a_second() {
    judge("a viewer is killed and started again", |measurement| {
        let env = TestEnv::new();
        let (_source, relay, [viewer, _, _]) = live(&env);

        for _ in 0..rounds() {
            viewer.program().kill();
            viewer.program().start_again();
            let started = viewer.program().started();
            let shown = until("the first frame is shown", SOON, || {
                // The trace is begun anew with the process.
                fanlight_tests::viewer_process::read_trace(&viewer.trace_path())
                    .into_iter()
                    .find(|shown| shown.at > started)
            });

            measurement.at_most(
                "the first frame after the start",
                Duration::from_secs(1),
                shown.at.saturating_since(started),
            );
        }

        assert!(relay.exits().is_empty());
    });
}

#[test]
#[ignore = "./dev promises"]
fn a_relay_that_stands_still_costs_the_source_nothing_and_goes_on_with_fresh_frames() {
    judge("P4: a relay stands still and goes on", |measurement| {
        let env = TestEnv::new();
        let source = env
            .source("cam")
            .flags("--input pattern --size 1280x720 --rate 30")
            .ready();

        let relay = env.relay(0, &[env.ipc("cam")]).ready();
        let viewer = env.viewer(env.relay_address(0), "cam").start();
        viewer.wait_shown(30);
        let before = source.usage().resident;

        // For a moment, in which nobody gives anybody up and old frames wait in the kernel; and for long.
        for seconds in [2, if long() { 60 } else { 10 }] {
            relay.freeze();
            let mut most = 0;
            let still = Duration::from_secs(seconds);
            throughout(still, Duration::from_millis(100), || {
                most = most.max(source.usage().resident);
            });

            let thawed = relay.thaw();
            let first = viewer.wait_shown_after(thawed, SOON);
            assert!(most <= before + 16 * MIB, "grown from {before} to {most}");
            measurement.at_most(
                format!("age of the first frame after {seconds} s"),
                Duration::from_millis(250),
                first.age(),
            );

            measurement.at_most(
                format!("the first frame after {seconds} s"),
                Duration::from_secs(1),
                first.at.saturating_since(thawed),
            );

            viewer.wait_more(30);
        }

        finish_balanced([viewer]);
    });
}

#[test]
#[ignore = "./dev promises"]
fn each_program_stops_within_half_a_second_and_says_so() {
    judge("P2, P25: programs stop", |measurement| {
        let env = TestEnv::new();
        for _ in 0..rounds() {
            let (source, relay, [viewer, _, _]) = live(&env);
            let socket = env.path("cam.ipc");
            assert!(socket.exists());

            for program in [viewer.program(), &relay, &source] {
                let started = program.started();
                let (exit, took) = program.stop();
                assert_eq!(exit.code(), Some(0));
                measurement.at_most("from SIGTERM to the end", STOP_LIMIT, took);
                assert!(
                    program
                        .manager()
                        .wait_for(started, "STOPPING=1", SOON)
                        .is_some()
                );

                assert_eq!(program.manager().since(started, "STOPPING=1").len(), 1);
            }

            assert!(!socket.exists(), "the socket file is removed");
        }
    });
}

#[test]
#[ignore = "./dev promises"]
fn a_relay_that_stops_says_goodbye_and_its_viewers_do_not_wait_for_silence() {
    judge("P2: a relay stops and starts", |measurement| {
        let env = TestEnv::new();
        let (_source, relay, viewers) = live(&env);
        let (exit, _) = relay.stop();
        relay.start_again();
        let ready = relay.wait_ready();
        let all = gaps(&viewers, ready, relay.started());
        judge_median_and_worst(
            measurement,
            "after the relay was ready",
            all,
            Duration::from_millis(600),
            Duration::from_secs(1),
        );

        assert!(exit.time < ready);
        finish_balanced(viewers);
    });
}

#[test]
#[ignore = "./dev promises"]
fn two_signals_end_a_program_at_once() {
    judge("P2: two signals", |measurement| {
        let env = TestEnv::new();
        let (source, relay, [viewer, _, _]) = live(&env);

        for program in [viewer.program(), &relay, &source] {
            program.freeze();
            program.signal(rustix::process::Signal::TERM);
            program.signal(rustix::process::Signal::INT);
            let thawed = program.thaw();
            let exit = program.wait_exit(SOON);
            assert!(matches!(exit.code(), Some(0 | 130)), "{exit:?}");
            measurement.at_most(
                "from two signals to the end",
                STOP_LIMIT,
                exit.time.saturating_since(thawed),
            );
        }
    });
}

#[test]
fn ready_is_said_when_the_port_answers_and_not_before() {
    let env = TestEnv::new();
    for _ in 0..rounds() {
        let address = env.source_address(0);
        let flags = format!("--stream cam --input ball --size 320x240 --publish tcp://{address}");
        let source = env.program("source").flags(&flags).ready();
        zmtp::connect(address).expect("a source that is ready takes connections");
        let relay = env.relay(0, &[format!("tcp://{address}")]).ready();
        let mut client = RawClient::to(env.relay_address(0));
        client.say(&fanlight_proto::datagram::ToRelay::Join(join("cam")));
        assert!(
            client.receive(SOON).is_some(),
            "a relay that is ready answers the first datagram"
        );

        drop((source, relay));
    }
}

#[test]
#[ignore = "./dev promises"]
fn every_program_feeds_the_watchdog_well_within_its_time() {
    judge("P24: the watchdog is fed", |measurement| {
        let env = TestEnv::new();
        let (source, relay, [viewer, _, _]) = live(&env);

        for program in [&source, &relay, viewer.program()] {
            let started = program.started();
            let fed = |count| {
                until("the watchdog is fed", SOON, || {
                    let notes = program.manager().since(started, "WATCHDOG=1");
                    (notes.len() >= count).then_some(notes)
                })
            };

            let notes = fed(4);
            for pair in notes.windows(2) {
                let apart = pair[1].time.saturating_since(pair[0].time);
                measurement.at_most("between two signs of life", WATCHDOG / 2, apart);
            }
        }
    });
}
