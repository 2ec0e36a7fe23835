use fanlight_proto::clock::Time;
use fanlight_proto::message::FrameId;
use serde_json::Value;

use super::*;
use crate::load::totals::Delivery;
use fanlight_viewer::engine::Summary;

fn ms(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

/// Frame `number` at 10 frames a second.
fn delivery(number: u64, age: u64) -> Delivery {
    Delivery {
        id: FrameId { epoch: 1, number },
        at: ms(1000 + 100 * number + age),
        age: Duration::from_millis(age),
        clock: "monotonic",
        bytes: 125_000,
        rate_millihertz: 10_000,
    }
}

/// Four viewers: all is well with the first, the second loses frame 4, the third is not let in, the fourth gets nothing.
fn totals() -> Totals {
    let totals = Totals::new(4);
    for (number, joined) in [(0, Some(20)), (1, Some(45)), (2, None), (3, Some(60))] {
        let mut session = totals.session(number);
        session.asked = Some(ms(10 * number as u64));
        session.joined = joined.map(ms);
        session.link_state = match number {
            2 => LinkState::Busy(Duration::from_secs(1)),
            3 => LinkState::NoFrames,
            _ => LinkState::Live,
        };
    }

    for session in [0, 1, 3] {
        totals.session(session).on_summary(&summary(7, 0), false);
    }

    totals.begin();
    for session in [0, 1, 3] {
        totals.session(session).on_summary(&summary(7, 0), true);
    }

    for number in 0..10 {
        totals.on_delivery(0, &delivery(number, 5));
        if number != 4 {
            totals.on_delivery(1, &delivery(number, 8));
        }
    }

    totals.session(0).on_summary(&summary(107, 0), true);
    totals.session(1).on_summary(&summary(97, 1), true);
    totals.end();
    totals
}

fn summary(datagrams: u64, link: u64) -> Summary {
    let losses = Losses {
        link,
        ..Losses::default()
    };

    Summary {
        stream: "hall".parse().ok(),
        joins: 1,
        datagrams,
        losses,
        ..Summary::default()
    }
}

fn meter(process: u32, spent: u64, ended: bool) -> Meter {
    let mut meter = Meter::start(std::process::id()).unwrap();
    meter.process = process;
    meter.spent = Duration::from_millis(spent);
    meter.ended = ended;
    meter
}

fn report(relays: Vec<RelayMeter>) -> Report {
    let own = Ok(meter(9, 380, false));
    Report::of(
        &totals(),
        Measured {
            began: ms(1000),
            ended: ms(3000),
            own,
            relays,
        },
    )
}

fn relay(name: &str, meter: Result<Meter, &str>) -> RelayMeter {
    RelayMeter {
        relay: name.to_owned(),
        meter: meter.map_err(str::to_owned),
    }
}

#[test]
fn frames_gaps_and_sessions_are_summed_over_the_viewers() {
    let report = report(Vec::new());
    let Sessions {
        asked,
        joined,
        served,
        refused,
        rejoins,
        all_joined_ms,
        slowest_join_ms,
        first_frame_ms,
    } = report.sessions;

    assert_eq!(
        (asked, joined, served, rejoins, all_joined_ms),
        (4, 3, 2, 0, None)
    );

    assert_eq!(
        (refused, slowest_join_ms),
        (BTreeMap::from([("busy", 1)]), Some(35.0))
    );

    // Asked at 0 and 10 ms, served at 1005 and 1008.
    let longest = first_frame_ms.max.unwrap();
    assert!((longest / 1005.0 - 1.0).abs() < 0.05, "{longest}");

    assert_eq!(
        (
            report.frames.expected,
            report.frames.delivered,
            report.frames.lost.total
        ),
        (20, 19, 1)
    );

    assert_eq!(report.frames.lost.by_reason["link"], 1);
    assert_eq!(
        report.frames.least_delivered_percent, 0.0,
        "one got nothing"
    );

    // Frame 4, and at both the time from the last frame to the end.
    assert_eq!(
        (
            report.gaps.count,
            report.gaps.viewers,
            report.gaps.longest_frames
        ),
        (3, 2, 1)
    );

    assert_eq!(report.gaps.longest_ms, 1095.0);
    assert_eq!(
        (report.datagrams, report.stream.as_deref()),
        (190, Some("hall"))
    );
}

#[test]
fn ages_are_told_over_all_and_at_the_first_and_the_last_viewer() {
    let FanOutAges {
        all,
        first,
        last,
        spread,
    } = report(Vec::new()).age_ms;

    // A percentile is up to 1/64 above the true value.
    assert_eq!((all.p50.map(f64::round), all.max), (Some(5.0), Some(8.0)));
    // Frame 4 came to one viewer only.
    assert_eq!(
        (first.p99, last.p50, spread.max),
        (Some(5.0), Some(8.0), Some(3.0))
    );
}

#[test]
fn processor_time_is_told_for_each_gigabit_delivered() {
    let report = report(vec![
        relay("a:1", Ok(meter(3, 95, false))),
        relay("b:2", Ok(meter(4, 190, false))),
    ]);

    assert!((report.gigabits - 0.019).abs() < 1e-12);
    let cost: Vec<_> = report
        .cpu
        .relays
        .iter()
        .map(|relay| relay.ms_per_gigabit.unwrap().round())
        .collect();

    assert_eq!(
        (cost, report.cpu.relays_ms_per_gigabit.unwrap().round()),
        (vec![5000.0, 10_000.0], 15_000.0)
    );

    assert_eq!(
        (report.cpu.relays[1].cores, report.cpu.own.pid),
        (Some(0.095), Some(9))
    );
}

#[test]
fn a_relay_whose_time_is_not_known_says_why_and_has_no_figure() {
    let report = report(vec![
        relay("a:1", Ok(meter(3, 95, true))),
        relay("b:2", Err("it is not on this host")),
    ]);

    assert_eq!(report.cpu.relays_ms_per_gigabit, None);
    assert!(
        report
            .cpu
            .relays
            .iter()
            .all(|relay| relay.cores.is_none() && relay.ms_per_gigabit.is_none())
    );

    let text = report.to_string();
    assert!(
        text.contains("a:1 (process 3) not known: its process ended while it was measured"),
        "{text}"
    );

    assert!(
        text.contains("b:2 not known: it is not on this host"),
        "{text}"
    );
}

#[test]
fn the_table_has_all_of_it_in_lines_and_the_json_says_null_for_what_is_not_known() {
    let report = report(vec![relay("a:1", Ok(meter(3, 95, false)))]);
    let text = report.to_string();

    for line in [
        "viewers   3 of 4 joined at a:1; 1 did not: busy; 2 got frames, 0 joins repeated",
        "measured  hall for 2.0 s",
        "frames    20 expected, 19 delivered: 95.00 %, to the viewer with the least 0.00 %",
        "lost      link 1",
        "gaps      3 at 2 viewers; the longest 1 frames, 1095 ms",
        "  at each frame's last viewer         8.0      8.0      8.0      8.0",
        "processor a:1 (process 3) 0.05 cores, 5000.0 ms for each gigabit delivered",
        "          load (process 9) 0.19 cores, 20000.0 ms for each gigabit delivered",
    ] {
        assert!(
            text.lines().any(|told| told == line),
            "{line}\nis not in\n{text}"
        );
    }

    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["sessions"]["all_joined_ms"], Value::Null);
    assert_eq!(json["frames"]["lost"]["link"], 1);
}

#[test]
fn the_commonest_trouble_is_that_of_most_viewers_without_frames() {
    let session = |link_state: LinkState, served| {
        let mut session = SessionTotals::default();
        session.link_state = link_state;
        session.served = served;
        session
    };

    let busy = LinkState::Busy(Duration::ZERO);
    let sessions = [
        session(LinkState::Live, Some(ms(1))),
        session(LinkState::Live, Some(ms(1))),
        session(busy.clone(), None),
        session(LinkState::NoFrames, None),
        session(busy.clone(), None),
    ];

    assert_eq!(most_common_state(&sessions), busy);
    assert_eq!(most_common_state(&sessions[..2]), LinkState::Connecting);
}
