use fanlight_proto::detections::encode;
use fanlight_proto::message::{Ball, CanaryStatus, Demand, Detection, Health, NotShown, Report};

use super::*;
use crate::verification::screen_log::LogEvent;

const EPOCH: u64 = 7;
const LIMITS: Limits = Limits {
    max_error: 2.0,
    max_age: Duration::from_millis(100),
};
const MAIN: StreamIndex = StreamIndex(0);
const CANARY: StreamIndex = StreamIndex(1);

fn at(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

fn truth(number: u64) -> Ball {
    Ball {
        x: 10.0 + number as f32,
        y: 20.0,
        radius: 5.0,
    }
}

/// A ball and its canary, of which nothing was published yet.
fn verification() -> VerificationState {
    let mut state = VerificationState::new(at(0), LIMITS, 30);
    state.add_stream("cam".parse().unwrap(), Kind::Main, EPOCH, "ball");
    state.add_stream("cam.canary".parse().unwrap(), Kind::Canary, EPOCH, "ball");
    state.on_input_status(MAIN, State::Live, "");
    state
}

fn publish(
    verification: &mut VerificationState,
    stream: StreamIndex,
    number: u64,
    now: u64,
    ball: bool,
) {
    let frame = PublishedFrame {
        number,
        at: at(now),
        prepared_us: 1000,
        ball: ball.then(|| truth(number)),
    };
    verification.on_published(stream, frame);
}

fn detection(number: u64, offset: f32) -> Detection {
    let ball = Some(Ball {
        x: truth(number).x + offset,
        ..truth(number)
    });

    Detection {
        epoch: EPOCH,
        number,
        ball,
        transit_us: 20_000,
        ..Detection::default()
    }
}

fn seen(stream: &str, viewer: u64, detections: Vec<Detection>) -> ViewerReport {
    ViewerReport {
        stream: stream.into(),
        viewer,
        screen: viewer,
        name: format!("screen {viewer}"),
        detections: detections.into_iter().map(|found| encode(&found)).collect(),
        ..ViewerReport::default()
    }
}

fn feedback(relay: u64, viewers: Vec<ViewerReport>) -> FeedbackReport {
    FeedbackReport {
        relay,
        sequence: 1,
        demand: Vec::new(),
        viewers,
    }
}

/// The health of the viewers in the books, in the order in which they came.
fn health(verification: &mut VerificationState, now: u64) -> Vec<String> {
    verification.on_tick(at(now));
    let mut screens = verification.report(at(now)).screens;
    screens.sort_by_key(|screen| screen.row);
    screens.into_iter().map(|screen| screen.health).collect()
}

#[test]
fn a_liar_changes_its_own_row_and_no_other() {
    let mut verification = verification();
    for number in 0..30 {
        publish(&mut verification, MAIN, number, number * 33, true);
        let honest = seen("cam", 1, vec![detection(number, 0.25)]);
        let liar = seen(
            "cam",
            2,
            vec![
                detection(number, 500.0),
                detection(number, 0.0),
                detection(number + 900, 0.0),
            ],
        );

        let nobody = seen("other", 3, vec![detection(number, 0.0)]);
        verification.on_feedback(at(number * 33), 5, &feedback(1, vec![honest, liar, nobody]));
    }

    assert_eq!(health(&mut verification, 1000), ["right picture", "wrong"]);
    let verdicts = verification.verdicts(at(1000), 5);
    let events: Vec<_> = verdicts
        .iter()
        .map(|events| (events.viewer, events.verdict.unwrap()))
        .collect();

    assert_eq!(
        (events[0].0, events[0].1.health, events[0].1.max),
        (1, Health::Right as i32, 0.25)
    );

    assert_eq!(
        (
            events[0].1.latency_us,
            events[0].1.count,
            events[0].1.deviation
        ),
        (21_000, 30, 0.0)
    );

    assert_eq!(
        (events[1].0, events[1].1.health, events[1].1.error),
        (2, Health::Wrong as i32, 500.0)
    );

    assert_eq!(
        verification.verdicts(at(1000), 6),
        [],
        "another relay is events nothing of them"
    );

    assert_eq!(
        verification.verdicts(at(5000), 5),
        [],
        "and nobody what is old"
    );

    let report = verification.report(at(1000));
    let row = |name: &str| {
        report
            .screens
            .iter()
            .find(|screen| screen.name == name)
            .unwrap()
    };

    assert_eq!(
        (
            row("screen 1").frames.mismatched,
            row("screen 2").frames.mismatched
        ),
        (0, 60)
    );
}

#[test]
fn a_screen_that_falls_silent_is_blind_and_one_that_never_tracked_is_not_measured() {
    let mut verification = verification();
    let silent = ViewerReport {
        screen: 0,
        ..seen("cam", 2, Vec::new())
    };

    for number in 0..150 {
        publish(&mut verification, MAIN, number, number * 33, true);
        let detections = if number < 30 {
            vec![detection(number, 0.0)]
        } else {
            Vec::new()
        };

        verification.on_feedback(
            at(number * 33),
            5,
            &feedback(1, vec![seen("cam", 1, detections), silent.clone()]),
        );

        let expected = if number * 33 > 30 * 33 + 1200 {
            "blind"
        } else {
            "right picture"
        };

        assert_eq!(
            health(&mut verification, number * 33),
            [expected, "not measured"],
            "{number}"
        );
    }

    assert!(
        verification.report(at(150 * 33)).screens[0]
            .seconds
            .last()
            .unwrap()
            .blind
    );
}

#[test]
fn a_source_that_publishes_nothing_makes_nobody_blind() {
    let mut verification = verification();
    publish(&mut verification, MAIN, 0, 0, true);
    verification.on_feedback(
        at(10),
        5,
        &feedback(1, vec![seen("cam", 1, vec![detection(0, 0.0)])]),
    );

    assert_eq!(health(&mut verification, 100), ["right picture"]);
    assert_eq!(health(&mut verification, 60_000), ["not measured"]);
}

#[test]
fn a_canary_tells_of_the_picture_beside_it() {
    for (silent_ms, age_us, state, expected) in [
        (30, 40_000, State::Live, "right picture"),
        (30, 140_000, State::Live, "late"),
        (2800, 40_000, State::Live, "blind"),
        (2800, 40_000, State::Unplugged, "right picture"),
    ] {
        let mut verification = verification();
        verification.on_input_status(MAIN, state, "");
        for number in 0..90 {
            publish(&mut verification, MAIN, number, number * 33, false);
        }
        for number in 0..15 {
            publish(&mut verification, CANARY, number, number * 200, true);
            let shown = 90;
            let canary_status = Some(CanaryStatus {
                stream: "cam".into(),
                shown,
                silent_ms,
                age_us,
                ..CanaryStatus::default()
            });

            let seen = ViewerReport {
                canary_status,
                ..seen("cam.canary", 1, vec![detection(number, 0.1)])
            };

            verification.on_feedback(at(number * 200), 5, &feedback(1, vec![seen]));
        }
        assert_eq!(
            health(&mut verification, 2950),
            [expected],
            "{silent_ms} {age_us} {state:?}"
        );
    }
}

#[test]
fn a_viewer_of_the_canary_that_never_tells_is_blind() {
    let mut verification = verification();
    for number in 0..20 {
        publish(&mut verification, CANARY, number, number * 200, true);
        let seen = ViewerReport {
            screen: 0,
            ..seen("cam.canary", 1, Vec::new())
        };
        verification.on_feedback(at(number * 200), 5, &feedback(1, vec![seen]));
    }

    assert_eq!(health(&mut verification, 4000), ["blind"]);
}

#[test]
fn a_screen_that_tells_by_another_relay_is_not_blind_at_the_first() {
    let mut verification = verification();
    for number in 0..150 {
        publish(&mut verification, MAIN, number, number * 33, true);
        let (first, second) = if number < 30 {
            (vec![detection(number, 0.0)], vec![])
        } else {
            (vec![], vec![detection(number, 0.0)])
        };

        verification.on_feedback(
            at(number * 33),
            5,
            &feedback(1, vec![seen("cam", 1, first)]),
        );

        verification.on_feedback(
            at(number * 33),
            6,
            &feedback(
                2,
                vec![ViewerReport {
                    viewer: 8,
                    ..seen("cam", 1, second)
                }],
            ),
        );
    }

    assert_eq!(health(&mut verification, 150 * 33), ["right picture"]);
    let screens = verification.report(at(150 * 33)).screens;
    assert_eq!(screens.len(), 1, "it is one screen");
    assert_eq!(screens[0].health, "right picture");
    assert_eq!(screens[0].paths.len(), 2);
}

#[test]
fn a_relay_that_starts_again_has_new_viewers_and_the_old_ones_are_gone() {
    let mut verification = verification();
    publish(&mut verification, MAIN, 0, 0, true);
    verification.on_feedback(
        at(10),
        5,
        &feedback(1, vec![seen("cam", 1, vec![detection(0, 0.0)])]),
    );

    verification.on_gone(at(500), 5);
    publish(&mut verification, MAIN, 1, 900, true);
    verification.on_feedback(
        at(1000),
        6,
        &feedback(2, vec![seen("cam", 1, vec![detection(1, 0.0)])]),
    );

    verification.on_tick(at(1000));
    let screens = verification.report(at(1000)).screens;
    assert_eq!(screens.len(), 1, "it is one screen");
    assert_eq!(screens[0].left_s, None);
    let left: Vec<_> = screens[0].paths.iter().map(|path| path.left_s).collect();
    assert_eq!(left, [Some(0.5), None]);
    verification.on_tick(at(500) + LEFT_KEPT);
    assert_eq!(
        verification.report(at(500) + LEFT_KEPT).screens[0]
            .paths
            .len(),
        1,
        "they are forgotten after a while"
    );
}

#[test]
fn detections_of_the_last_run_of_the_source_are_mismatched_and_make_nobody_wrong() {
    let mut verification = verification();
    publish(&mut verification, MAIN, 0, 0, true);
    let old = Detection {
        epoch: EPOCH - 1,
        ..detection(0, 99.0)
    };

    verification.on_feedback(
        at(10),
        5,
        &feedback(1, vec![seen("cam", 1, vec![old, detection(0, 0.0)])]),
    );

    assert_eq!(health(&mut verification, 20), ["right picture"]);
    assert_eq!(verification.report(at(20)).screens[0].frames.mismatched, 1);
}

#[test]
fn a_relay_that_invents_viewers_fills_no_more_than_its_share() {
    let mut verification = verification();
    let invented = |from: u64| {
        (from..from + 128)
            .map(|viewer| seen("cam", viewer, Vec::new()))
            .collect()
    };

    for from in 0..40 {
        verification.on_feedback(at(from), 1, &feedback(1, invented(from * 128)));
    }

    assert_eq!(verification.rows.len(), MAX_VIEWERS);
    for from in 0..3 {
        verification.on_feedback(at(100 + from), 2, &feedback(2, invented(from * 128)));
    }

    let of = |verification: &VerificationState, peer| {
        verification
            .rows
            .keys()
            .filter(|key| key.peer == peer)
            .count()
    };

    assert_eq!(
        (of(&verification, 1), of(&verification, 2)),
        (MAX_VIEWERS - 384, 384)
    );

    verification.on_feedback(at(200), 1, &feedback(1, invented(1 << 20)));
    assert_eq!(
        (of(&verification, 1), of(&verification, 2)),
        (MAX_VIEWERS - 384, 384),
        "and it takes none of theirs back"
    );

    assert!(verification.report(at(300)).screens_refused > 4000);
}

#[test]
fn who_watches_is_the_sum_over_relays_and_peers_that_say_nothing() {
    let mut verification = verification();
    let (main, canary) = (verification.demand(MAIN), verification.demand(CANARY));
    assert!(
        verification.on_subscriptions(1, &[Vec::new()]),
        "it may be somebody who looks"
    );

    assert!(main.is_watched() && canary.is_watched());
    let demand = |stream: &str, viewers, clients| Demand {
        stream: stream.into(),
        viewers,
        clients,
    };

    let says = |relay, demand| FeedbackReport {
        relay,
        sequence: 1,
        demand,
        viewers: Vec::new(),
    };

    assert!(
        verification.on_feedback(at(0), 1, &says(1, vec![demand("cam", 0, 0)])),
        "it is a relay, and nobody looks"
    );

    assert!(!main.is_watched() && !canary.is_watched());
    assert!(verification.on_feedback(
        at(0),
        2,
        &says(2, vec![demand("cam", 3, 0), demand("cam.canary", 2, 0)])
    ));

    assert!(
        !verification.on_feedback(at(0), 1, &says(1, vec![demand("cam", 1, 4)])),
        "one more is no news"
    );

    assert_eq!((main.counts(), canary.counts()), ((4, 4), (2, 0)));
    assert!(verification.on_gone(at(0), 2));
    assert!(main.is_watched() && !canary.is_watched());
    assert!(verification.on_gone(at(0), 1) && !main.is_watched());
}

#[test]
fn the_log_tells_each_change_once_and_sums_the_rest() {
    let mut verification = verification();
    let mut events = Vec::new();

    for number in 0..600_u64 {
        let now = number * 50;
        publish(&mut verification, MAIN, number, now, true);
        let error = if (200..210).contains(&number) {
            50.0
        } else {
            0.0
        };

        verification.on_feedback(
            at(now),
            5,
            &feedback(1, vec![seen("cam", 1, vec![detection(number, error)])]),
        );

        events.extend(verification.on_tick(at(now)));
    }

    let changes: Vec<_> = events
        .iter()
        .filter_map(|news| {
            if let LogEvent::HealthChange(change, _) = news {
                Some((change.was.as_str(), change.is.as_str()))
            } else {
                None
            }
        })
        .collect();

    assert_eq!(
        changes,
        [
            ("not measured", "right picture"),
            ("right picture", "wrong"),
            ("wrong", "right picture")
        ]
    );

    let sums = events
        .iter()
        .filter(|news| matches!(news, LogEvent::Summary(summary) if summary.stream == "cam"))
        .count();

    assert_eq!(sums, 3);
    assert!(
        events.len() == changes.len() + sums,
        "nothing is events of the canary, which nobody watches: {events:?}"
    );
}

#[test]
fn a_screen_that_says_it_shows_nothing_is_blind_even_without_a_tracker() {
    let seen_with = |report: Report| {
        let mut verification = verification();
        for number in 0..120 {
            publish(&mut verification, MAIN, number, number * 33, true);
        }

        let viewer = ViewerReport {
            screen: 0,
            report: Some(report),
            ..seen("cam", 1, Vec::new())
        };

        verification.on_feedback(at(4000), 5, &feedback(1, vec![viewer]));
        verification.on_tick(at(4000));
        let screen = verification.report(at(4000)).screens.remove(0);
        (screen.health, screen.reason)
    };

    let shows = Report {
        frames_shown: 100,
        last_shown_ms: 40,
        ..Report::default()
    };

    assert_eq!(seen_with(shows).0, "not measured");

    let (health, reason) = seen_with(Report {
        not_shown: NotShown::Damaged as i32,
        ..shows
    });

    assert_eq!(health, "blind");
    assert!(reason.contains("damaged JPEG"), "{reason}");

    let (health, reason) = seen_with(Report {
        last_shown_ms: 3000,
        ..shows
    });

    assert_eq!(health, "blind");
    assert!(reason.contains("shows no picture for"), "{reason}");
}
