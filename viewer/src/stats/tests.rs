use crate::engine::ClockOffset;
use fanlight_proto::message::Verdict;
use fanlight_proto::reassembly::Counts;

use super::*;

const CLOCK: Clock = Clock {
    id: 7,
    wall_offset_ns: 1_000_000_000_000,
};

fn ms(n: u64) -> Time {
    Time::from_nanos(n * 1_000_000)
}

fn info(number: u64, captured: Time) -> FrameInfo {
    FrameInfo {
        stream: "cam".parse().unwrap(),
        id: FrameId { epoch: 1, number },
        captured_ns: captured.as_nanos(),
        wall_offset_ns: CLOCK.wall_offset_ns,
        rate_millihertz: 30_000,
        clock_id: CLOCK.id,
        prepared: Duration::from_millis(1),
        relayed: None,
        begun: captured + Duration::from_millis(2),
        arrived: captured + Duration::from_millis(2),
        decoded: captured + Duration::from_millis(5),
        decoding: Duration::from_millis(2),
        bytes: 100,
        canary: None,
        traced: None,
        jpeg: None,
    }
}

#[test]
fn an_age_is_from_capture_to_the_screen() {
    let counters = Counters::new(ms(0));
    counters.on_decoded(info(3, ms(100)));
    let presented = counters
        .on_presented(
            FrameId {
                epoch: 1,
                number: 3,
            },
            ms(109),
            CLOCK,
        )
        .unwrap();

    assert_eq!(presented.age, Duration::from_millis(9));
    let report = counters.report(ms(1000), "relay");
    assert_eq!((report.age_ms.max, report.clock), (Some(9.0), "monotonic"));
    let Stages {
        prepare,
        transit,
        wait,
        decode,
        present,
    } = report.stages_ms;

    assert_eq!(
        [prepare, transit, wait, decode, present],
        [1.0, 1.0, 1.0, 2.0, 4.0].map(Some)
    );
}

#[test]
fn ages_between_hosts_are_by_wall_clock_and_said_to_be() {
    let counters = Counters::new(ms(0));
    let elsewhere = |number, wall_offset_ns| FrameInfo {
        clock_id: 8,
        wall_offset_ns,
        ..info(number, ms(100))
    };

    // The other host booted 50 ms later: its monotonic clock is 50 ms behind.
    counters.on_decoded(elsewhere(1, CLOCK.wall_offset_ns + 50_000_000));
    let presented = counters
        .on_presented(
            FrameId {
                epoch: 1,
                number: 1,
            },
            ms(170),
            CLOCK,
        )
        .unwrap();

    assert_eq!(presented.age, Duration::from_millis(20));
    // A frame from the future is as young as can be.
    counters.on_decoded(elsewhere(2, i64::MAX));
    let presented = counters
        .on_presented(
            FrameId {
                epoch: 1,
                number: 2,
            },
            ms(170),
            CLOCK,
        )
        .unwrap();

    assert_eq!(presented.age, Duration::ZERO);
    assert_eq!(counters.report(ms(1000), "relay").clock, "wall");
}

#[test]
fn ages_between_hosts_are_by_the_exchange_of_their_clocks_when_there_was_one() {
    let counters = Counters::new(ms(0));
    // The other host booted 50 ms later, and its wall clock is an hour ahead.
    let source_clock = ClockOffset {
        clock_id: 8,
        offset_ns: -50_000_000,
        error: Duration::from_micros(200),
    };

    counters.on_summary(Summary {
        source_clock: Some(source_clock),
        ..Summary::default()
    });

    let elsewhere = FrameInfo {
        clock_id: 8,
        wall_offset_ns: 3_600_000_000_000,
        ..info(1, ms(100))
    };

    counters.on_decoded(elsewhere.clone());
    let presented = counters
        .on_presented(
            FrameId {
                epoch: 1,
                number: 1,
            },
            ms(170),
            CLOCK,
        )
        .unwrap();

    assert_eq!(presented.age, Duration::from_millis(20));
    let report = counters.report(ms(1000), "relay");
    assert_eq!(
        (report.clock, report.clock_error_ms),
        ("exchange", Some(0.2))
    );

    // What is known of one clock says nothing of another.
    counters.on_decoded(FrameInfo {
        id: FrameId {
            epoch: 2,
            number: 1,
        },
        clock_id: 9,
        ..elsewhere
    });

    counters
        .on_presented(
            FrameId {
                epoch: 2,
                number: 1,
            },
            ms(170),
            CLOCK,
        )
        .unwrap();

    assert_eq!(counters.report(ms(1000), "relay").clock, "wall");
}

#[test]
fn lost_frames_have_reasons_that_sum_up_and_pending_ones_are_told_apart() {
    let counters = Counters::new(ms(0));
    for number in 0..6 {
        counters.on_decoded(info(number, ms(number)));
    }

    counters.on_presented(
        FrameId {
            epoch: 1,
            number: 2,
        },
        ms(9),
        CLOCK,
    );

    counters.on_presented(
        FrameId {
            epoch: 1,
            number: 4,
        },
        ms(19),
        CLOCK,
    );

    counters.on_superseded();
    counters.on_rejected(NotShown::Damaged);
    let counts = Counts {
        whole: 7,
        ..Counts::default()
    };

    let losses = Losses {
        link: 3,
        away: 2,
        ..Losses::default()
    };

    counters.on_summary(Summary {
        counts,
        losses,
        ..Summary::default()
    });

    let frames = counters.report(ms(1000), "relay").frames;
    assert_eq!((frames.shown, frames.pending, frames.lost.total), (2, 3, 7));
    assert_eq!(
        frames.lost.by_reason.values().sum::<u64>(),
        frames.lost.total
    );

    assert_eq!(frames.lost.by_reason["superseded"], 1);
}

#[test]
fn a_second_is_told_in_one_line_and_the_next_begins_anew() {
    let counters = Counters::new(ms(0));
    for number in 0..30 {
        let captured = ms(number * 33);
        counters.on_decoded(info(number, captured));
        counters.on_presented(
            FrameId { epoch: 1, number },
            captured + Duration::from_millis(6),
            CLOCK,
        );
    }

    counters.on_link_state(ms(5), &LinkState::Live);
    counters.on_summary(Summary {
        bytes: 1_000_000,
        stream: Some("lobby".parse().unwrap()),
        ..Summary::default()
    });

    assert_eq!(
        counters.line(ms(1000)),
        "30.0 fps  age 6.0/6.0/6.0 ms  lost 0  8.0 Mbit/s  lobby live"
    );

    assert_eq!(
        counters.presentation(),
        Presentation {
            shown: 30,
            lost: 0,
            age_us: 6000
        }
    );

    assert_eq!(
        counters.line(ms(2000)),
        "0.0 fps  age -  lost 0  0.0 Mbit/s  lobby live"
    );
}

#[test]
fn figures_and_verdict_are_blank_soon_after_the_last_frame_shown() {
    let counters = Counters::new(ms(0));
    let id = FrameId {
        epoch: 1,
        number: 0,
    };

    counters.on_decoded(info(0, ms(0)));
    counters.on_presented(id, ms(6), CLOCK);
    counters.on_summary(Summary {
        verdict: Some(Verdict::default()),
        ..Summary::default()
    });

    assert!(counters.line(ms(900)).ends_with("unknown"));
    let second = counters.last_second(ms(1000));
    assert!(second.age.is_some() && second.verdict.is_some() && second.silence.is_none());

    let second = counters.last_second(ms(1506));
    let silence = Some(Duration::from_millis(1500));
    assert_eq!(
        (second.age, second.verdict, second.silence),
        (None, None, silence)
    );

    assert!(!counters.line(ms(1900)).contains("unknown"));
}

#[test]
fn frames_are_rejected_for_their_first_reason_until_one_is_shown() {
    let counters = Counters::new(ms(0));
    counters.on_rejected(NotShown::Damaged);
    counters.on_rejected(NotShown::Sampling);
    assert_eq!(counters.display(), (None, Some(NotShown::Damaged)));

    let id = FrameId {
        epoch: 1,
        number: 0,
    };

    counters.on_decoded(info(0, ms(0)));
    counters.on_presented(id, ms(6), CLOCK);
    assert_eq!(counters.display(), (Some(ms(6)), None));
}

#[test]
fn memory_is_bounded_however_long_it_runs() {
    let counters = Counters::new(ms(0));
    for number in 0..5000 {
        counters.on_decoded(info(number, ms(number)));
        counters.on_link_state(ms(number), &LinkState::NoFrames);
    }

    assert_eq!(counters.0.lock().in_flight.len(), MAX_IN_FLIGHT);
    let report = counters.report(ms(1), "relay");
    assert_eq!(
        (report.link_states.len(), report.link_states_forgotten),
        (1000, 4000)
    );

    assert_eq!(report.link_states[999].at_ms, 4999.0);
}

#[test]
fn a_report_is_json_with_the_names_that_others_read() {
    let json =
        serde_json::to_value(Counters::new(ms(0)).report(ms(2500), "127.0.0.1:5004")).unwrap();
    assert_eq!(json["duration_s"], 2.5);
    assert_eq!(json["frames"]["lost"]["total"], 0);
    assert_eq!(json["frames"]["lost"]["upstream"], 0);
    assert_eq!(json["age_ms"]["p95"], serde_json::Value::Null);
    assert_eq!(json["repairs"]["asked"], 0);
}
