use fanlight_proto::detections::encode;
use fanlight_proto::message::Report;

use super::*;

const EPOCH: u64 = 7;

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

/// A frame each 33 ms, of which every seventh number was dropped before it was published.
fn truths(count: u64) -> GroundTruth {
    let mut truths = GroundTruth::new(EPOCH);
    for number in (0..count).filter(|number| number % 7 != 6) {
        truths.on_published(PublishedFrame {
            number,
            at: at(number * 33),
            prepared_us: 1000,
            ball: Some(truth(number)),
        });
    }

    truths
}

fn detection(number: u64, offset: f32) -> Detection {
    let ball = Ball {
        x: truth(number).x + offset,
        ..truth(number)
    };

    let (transit_us, wait_us, decode_us, present_us, track_us) = (2000, 300, 4000, 5000, 6000);
    Detection {
        epoch: EPOCH,
        number,
        ball: Some(ball),
        transit_us,
        wait_us,
        decode_us,
        present_us,
        track_us,
        ..Detection::default()
    }
}

fn nothing(number: u64) -> Detection {
    Detection {
        ball: None,
        ..detection(number, 0.0)
    }
}

fn update(viewer: &mut Viewer, truths: &GroundTruth, now: Time, detections: Vec<Detection>) {
    let sent = viewer.kinds.received + detections.len() as u64;
    let seen = ViewerReport {
        detections: detections.into_iter().map(|found| encode(&found)).collect(),
        sent,
        screen: 9,
        ..ViewerReport::default()
    };

    viewer.on_viewer_report(
        &Reference {
            truths,
            second: now.as_nanos() / 1_000_000_000,
            now,
        },
        &seen,
    );
}

fn viewer(truths: &GroundTruth) -> Viewer {
    Viewer::new(at(0), 30, truths)
}

#[test]
fn an_error_is_the_distance_to_the_truth_of_that_frame_however_late_it_comes() {
    let truths = truths(1000);
    let mut viewer = viewer(&truths);

    for number in [3, 500, 4, 0] {
        update(
            &mut viewer,
            &truths,
            at(40_000),
            vec![detection(number, 0.5)],
        );
    }

    assert_eq!(
        (viewer.error_now, viewer.total.count, viewer.total.max),
        (Some(0.5), 4, 0.5)
    );

    assert_eq!(
        viewer.kinds,
        DetectionCounts {
            received: 4,
            answered: 4,
            found: 4,
            ..DetectionCounts::default()
        }
    );

    let stages = viewer.answers.newest_first().next().unwrap().stages;
    assert_eq!((stages.shown(), stages.found()), (12_300, 18_300));
}

#[test]
fn what_fits_no_frame_is_counted_and_is_the_basis_of_nothing() {
    let truths = truths(100);
    let mut viewer = viewer(&truths);
    let foreign = Detection {
        epoch: EPOCH + 1,
        ..detection(3, 0.0)
    };

    let nan = Detection {
        ball: Some(Ball {
            x: f32::NAN,
            ..truth(3)
        }),
        ..detection(3, 0.0)
    };

    update(
        &mut viewer,
        &truths,
        at(4000),
        vec![
            foreign,
            detection(6, 0.0),
            detection(100, 0.0),
            detection(u64::MAX, 0.0),
            nan,
        ],
    );

    assert_eq!(
        viewer.kinds,
        DetectionCounts {
            received: 5,
            mismatched: 5,
            ..DetectionCounts::default()
        }
    );

    assert_eq!(
        (
            viewer.total.count,
            viewer.tracking_since,
            viewer.expected(at(9000), &truths)
        ),
        (0, None, 0)
    );

    update(
        &mut viewer,
        &truths,
        at(4000),
        vec![detection(3, 0.0), detection(3, 0.0), detection(3, 50.0)],
    );

    assert_eq!(
        (
            viewer.kinds.answered,
            viewer.kinds.mismatched,
            viewer.total.max
        ),
        (1, 7, 0.0)
    );
}

#[test]
fn an_answer_for_a_forgotten_frame_is_neither_right_nor_wrong() {
    let mut truths = truths(0);
    for number in 0..5000 {
        truths.on_published(PublishedFrame {
            number,
            at: at(number),
            prepared_us: 0,
            ball: Some(truth(number)),
        });
    }

    let mut viewer = viewer(&truths);
    update(&mut viewer, &truths, at(6000), vec![detection(5, 0.0)]);
    assert_eq!(
        viewer.kinds,
        DetectionCounts {
            received: 1,
            too_old: 1,
            ..DetectionCounts::default()
        }
    );
}

#[test]
fn frames_without_an_answer_are_missing_once_an_answer_could_have_come() {
    let truths = truths(70);
    let mut viewer = viewer(&truths);
    update(
        &mut viewer,
        &truths,
        at(1000),
        vec![detection(7, 0.0), detection(8, 0.0), nothing(9)],
    );

    // Of 7 to 20, two numbers (13 and 20) were never published.
    let now = at(20 * 33 + 1000);
    assert_eq!(
        (viewer.expected(now, &truths), viewer.missing(now, &truths)),
        (12, 9)
    );

    update(
        &mut viewer,
        &truths,
        now,
        vec![detection(19, 0.0), detection(60, 0.0)],
    );

    assert_eq!((viewer.missing(now, &truths), viewer.kinds.none), (8, 1));
    viewer.left = Some(now);
    assert_eq!(
        viewer.expected(at(100_000), &truths),
        12,
        "nothing is expected of one who left"
    );
}

#[test]
fn it_owes_an_answer_from_the_oldest_frame_after_the_newest_it_answered_for() {
    let truths = truths(60);
    let mut viewer = Viewer::new(at(0), 30, &self::truths(0));
    assert_eq!(
        viewer.overdue(at(3000), &truths),
        Some(Duration::from_secs(3))
    );

    update(&mut viewer, &truths, at(3000), vec![detection(10, 0.0)]);
    assert_eq!(
        viewer.overdue(at(3000), &truths),
        Some(Duration::from_millis(3000 - 11 * 33))
    );

    update(&mut viewer, &truths, at(3000), vec![detection(59, 0.0)]);
    assert_eq!(
        viewer.overdue(at(90_000), &truths),
        None,
        "no frame has been published since"
    );

    assert_eq!(
        Viewer::new(at(2000), 30, &truths).overdue(at(90_000), &truths),
        None,
        "it came after the last frame"
    );
}

#[test]
fn a_canary_tells_how_long_the_picture_beside_it_has_been_owed() {
    let truths = truths(100);
    let mut viewer = viewer(&truths);
    let mut tell = |shown, silent_ms| {
        let canary_status = Some(CanaryStatus {
            stream: "cam".into(),
            shown,
            silent_ms,
            ..CanaryStatus::default()
        });

        viewer.on_viewer_report(
            &Reference {
                truths: &truths,
                second: 3,
                now: at(3000),
            },
            &ViewerReport {
                canary_status,
                ..ViewerReport::default()
            },
        );

        viewer.main_overdue(&truths)
    };

    assert_eq!(
        tell(10, 20),
        Some(Duration::ZERO),
        "the next frame comes at 3003 ms"
    );

    assert_eq!(tell(10, 2500), Some(Duration::from_millis(3000 - 16 * 33)));
    assert_eq!(
        tell(0, 0),
        Some(Duration::from_millis(3000 - 33)),
        "it has shown none since it came"
    );
}

#[test]
fn the_worst_of_a_second_is_kept() {
    let truths = truths(200);
    let mut viewer = viewer(&truths);
    let late = Detection {
        transit_us: 500_000,
        ..detection(31, 0.0)
    };

    update(
        &mut viewer,
        &truths,
        at(1200),
        vec![detection(30, 3.0), late, nothing(32)],
    );

    update(&mut viewer, &truths, at(2100), vec![detection(60, 0.25)]);
    let seconds: Vec<_> = viewer.seconds.since(0).copied().collect();
    assert_eq!(
        (seconds[0].answers, seconds[0].found, seconds[0].none),
        (3, 2, 1)
    );

    assert_eq!(
        (seconds[0].worst_error, seconds[0].oldest_us),
        (3.0, 510_300)
    );

    assert_eq!(
        (seconds[1].worst_error, seconds[1].oldest_us),
        (0.25, 12_300)
    );
}

#[test]
fn only_recent_answers_are_evidence() {
    let truths = truths(200);
    let mut viewer = viewer(&truths);
    update(&mut viewer, &truths, at(500), vec![detection(0, 90.0)]);
    update(
        &mut viewer,
        &truths,
        at(3500),
        vec![detection(1, 1.0), nothing(2)],
    );

    let evidence = viewer.evidence(at(3600));
    assert_eq!(
        (evidence.worst_error, evidence.answers, evidence.none),
        (Some(1.0), 2, 1)
    );

    assert_eq!(evidence.age, Some(Duration::from_micros(12_300)));
    assert_eq!(viewer.evidence(at(9000)), Measurements::default());
}

#[test]
fn names_are_made_fit_and_a_report_is_taken() {
    let truths = truths(1);
    let mut viewer = viewer(&truths);
    let report = Some(Report {
        frames_shown: 12,
        frames_lost: 3,
        age_us: 40_000,
        ..Report::default()
    });

    let seen = ViewerReport {
        name: "a\u{1b}[2J".into(),
        address: "10.0.0.1:1\n".into(),
        report,
        ..ViewerReport::default()
    };

    viewer.on_viewer_report(
        &Reference {
            truths: &truths,
            second: 0,
            now: at(5),
        },
        &seen,
    );

    assert_eq!(
        (viewer.name.as_str(), viewer.address.as_str()),
        ("a?[2J", "10.0.0.1:1?")
    );

    assert_eq!(
        (viewer.shown.frames, viewer.shown.lost, viewer.shown.age_us),
        (12, 3, 40_000)
    );
}

/// Whatever is said, in whatever order and however often: the counts add up, and nothing is beyond its bounds.
#[test]
fn no_flood_of_lies_breaks_the_books() {
    let mut random = 42_u64;
    let mut draw = |bound: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };

    let mut truths = GroundTruth::new(EPOCH);
    let mut viewer = viewer(&truths);

    for step in 0..20_000_u64 {
        truths.on_published(PublishedFrame {
            number: step * 2,
            at: at(step),
            prepared_us: 0,
            ball: Some(truth(step)),
        });

        let detections = (0..draw(40))
            .map(|_| {
                let number = (step * 2)
                    .wrapping_add(draw(300))
                    .wrapping_sub(draw(12_000));
                let ball = (draw(4) > 0).then(|| Ball {
                    x: f32::from_bits(draw(1 << 32) as u32),
                    ..truth(number)
                });

                let transit_us = draw(1 << 32) as u32;
                encode(&Detection {
                    epoch: EPOCH + u64::from(draw(20) == 0),
                    number,
                    ball,
                    transit_us,
                    ..Detection::default()
                })
            })
            .collect();

        let counts = (draw(1 << 31), draw(1 << 31), draw(1 << 31));
        let seen = ViewerReport {
            detections,
            sent: counts.0,
            dropped: counts.1,
            untracked: counts.2,
            ..ViewerReport::default()
        };

        viewer.on_viewer_report(
            &Reference {
                truths: &truths,
                second: step / 1000,
                now: at(step),
            },
            &seen,
        );

        let DetectionCounts {
            received,
            answered,
            found,
            none,
            mismatched,
            too_old,
        } = viewer.kinds;

        assert_eq!(received, answered + mismatched + too_old);
        assert!(
            found + none == answered && viewer.total.count == found,
            "{:?}",
            viewer.kinds
        );

        assert!(viewer.missing(at(step), &truths) <= viewer.expected(at(step), &truths));
        assert!(viewer.expected(at(step), &truths) <= truths.total());
    }

    assert!(
        viewer.total.max <= MOST_ERROR
            && viewer.total.mean.is_finite()
            && viewer.total.deviation().is_finite()
    );

    assert!(viewer.errors.newest_first().count() == 30 && viewer.seconds.since(0).count() <= 10);
}
