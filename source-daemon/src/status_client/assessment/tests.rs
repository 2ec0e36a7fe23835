use super::*;
use crate::verification::report::CanaryStatus;

const DEMANDS: Requirements = Requirements {
    max_error_px: 2.0,
    max_age_ms: 100.0,
    screens: 1,
};

fn second(second: u64) -> Second {
    Second {
        second,
        answers: 5,
        found: 5,
        none: 0,
        worst_px: 0.5,
        oldest_ms: 40.0,
        blind: false,
    }
}

fn screen(row: u64, seconds: Vec<Second>) -> Screen {
    Screen {
        row,
        screen: row,
        name: format!("screen {row}"),
        stream: "cam".into(),
        seconds,
        ..Screen::default()
    }
}

fn report(second: u64, screens: Vec<Screen>) -> Report {
    Report {
        second,
        screens,
        ..Report::default()
    }
}

/// One screen is looked at from second 10 on; the answers of second 11 are changed by `change`.
fn judged(change: impl FnOnce(&mut Second)) -> Assessment {
    let mut assessor = Assessor::new(DEMANDS);
    let mut changed = second(11);
    change(&mut changed);
    assessor.on_report(&report(10, vec![screen(1, vec![second(10)])]));
    assessor.on_report(&report(11, vec![screen(1, vec![second(10), second(11)])]));
    assessor.on_report(&report(
        13,
        vec![screen(1, vec![second(10), changed, second(12), second(13)])],
    ));

    assess(assessor.requirements, std::slice::from_ref(&assessor))
}

fn word(assessment: &Assessment) -> &str {
    &assessment.screens[0].verdict
}

#[test]
fn a_screen_that_was_right_all_the_time_is_right() {
    let assessment = judged(|_| {});
    assert!(assessment.right);
    assert_eq!(
        assessment.summary,
        "1 of 1 screens showed the right picture within 2 px and 100 ms for 3 s"
    );

    assert_eq!(
        (
            assessment.screens[0].answers,
            assessment.screens[0].worst_px
        ),
        (15, 0.5)
    );
}

#[test]
fn one_bad_second_between_two_questions_is_enough() {
    type Case = (&'static str, fn(&mut Second));
    let cases: [Case; 4] = [
        ("wrong", |second| second.worst_px = 2.1),
        ("wrong", |second| (second.found, second.none) = (2, 3)),
        ("late", |second| second.oldest_ms = 100.5),
        ("blind", |second| second.blind = true),
    ];

    for (expected, change) in cases {
        let assessment = judged(change);
        assert_eq!((assessment.right, word(&assessment)), (false, expected));
        assert_eq!(
            (assessment.screens_measured, assessment.screens_right),
            (1, 0)
        );

        assert!(
            assessment
                .summary
                .contains(&format!("screen 1 is {expected}")),
            "{}",
            assessment.summary
        );
    }
}

#[test]
fn what_was_before_the_beginning_is_not_judged() {
    let mut assessor = Assessor::new(DEMANDS);
    let bad = Second {
        worst_px: 99.0,
        blind: true,
        ..second(10)
    };

    assessor.on_report(&report(10, vec![screen(1, vec![second(9), bad])]));
    assessor.on_report(&report(12, vec![screen(1, vec![bad, second(11)])]));
    assert!(assess(assessor.requirements, std::slice::from_ref(&assessor)).right);
}

#[test]
fn too_few_screens_are_not_right() {
    let mut assessor = Assessor::new(Requirements {
        screens: 2,
        ..DEMANDS
    });

    for at in 10..13 {
        let unmeasured = Screen {
            address: "10.0.0.7:1".into(),
            health: "not measured".into(),
            reason: "it sends no detections".into(),
            ..screen(2, Vec::new())
        };
        assessor.on_report(&report(at, vec![screen(1, vec![second(at)]), unmeasured]));
    }

    let assessment = assess(assessor.requirements, std::slice::from_ref(&assessor));
    assert!(
        !assessment.right && assessment.summary.ends_with("; 2 have to be measured, 1 missing; screen 2 at 10.0.0.7:1 (not measured: it sends no detections)"),
        "{}",
        assessment.summary
    );

    assert!(
        !assess(DEMANDS, &[Assessor::new(DEMANDS)]).right,
        "none at all"
    );
}

#[test]
fn screens_of_several_sources_are_assessed_together() {
    let requirements = Requirements {
        screens: 2,
        ..DEMANDS
    };

    let mut sources = [Assessor::new(requirements), Assessor::new(requirements)];
    for at in 10..13 {
        for source in &mut sources {
            source.on_report(&report(at, vec![screen(1, vec![second(at)])]));
        }
    }

    let assessment = assess(requirements, &sources);
    assert!(assessment.right, "{}", assessment.summary);
    assert_eq!((assessment.screens_measured, assessment.seconds), (2, 2));
    assert!(!assess(requirements, &sources[..1]).right);
}

#[test]
fn a_picture_that_is_late_beside_a_canary_that_is_not_is_late() {
    let mut assessor = Assessor::new(DEMANDS);
    for at in 10..13 {
        let canary_status = Some(CanaryStatus {
            age_ms: Some(140.0),
            ..CanaryStatus::default()
        });

        assessor.on_report(&report(
            at,
            vec![Screen {
                canary_status,
                ..screen(1, vec![second(at)])
            }],
        ));
    }

    let assessment = assess(assessor.requirements, std::slice::from_ref(&assessor));
    assert_eq!(
        (word(&assessment), assessment.screens[0].late_by_ms),
        ("late", Some(40.0))
    );
}

#[test]
fn a_screen_that_left_is_judged_but_not_counted() {
    let mut assessor = Assessor::new(DEMANDS);
    assessor.on_report(&report(10, vec![screen(1, vec![second(10)])]));
    assessor.on_report(&report(
        12,
        vec![Screen {
            left_s: Some(0.5),
            ..screen(1, vec![second(11)])
        }],
    ));

    let assessment = assess(assessor.requirements, std::slice::from_ref(&assessor));
    assert_eq!(
        (word(&assessment), assessment.screens[0].gone),
        ("right picture", true)
    );

    assert_eq!((assessment.screens_measured, assessment.right), (0, false));
}

#[test]
fn who_had_left_before_is_not_told_of() {
    let mut assessor = Assessor::new(DEMANDS);
    for at in 10..13 {
        assessor.on_report(&report(
            at,
            vec![Screen {
                left_s: Some(20.0),
                ..screen(1, vec![second(8)])
            }],
        ));
    }

    assert_eq!(
        assess(assessor.requirements, std::slice::from_ref(&assessor)).screens,
        []
    );
}

#[test]
fn a_source_that_was_started_again_is_not_right() {
    let mut assessor = Assessor::new(DEMANDS);
    for at in [10, 11, 0, 1, 2] {
        assessor.on_report(&report(at, vec![screen(1, vec![second(at)])]));
    }

    let assessment = assess(assessor.requirements, std::slice::from_ref(&assessor));
    assert!(
        !assessment.right && assessment.summary.contains("started again"),
        "{}",
        assessment.summary
    );
}

#[test]
fn a_row_that_has_become_part_of_another_screen_is_no_screen_of_its_own() {
    let mut assessor = Assessor::new(DEMANDS);
    let silent = Second {
        answers: 0,
        found: 0,
        ..second(11)
    };
    assessor.on_report(&report(10, vec![screen(1, vec![second(10)])]));
    let both = vec![screen(1, vec![second(11)]), screen(2, vec![silent])];
    assessor.on_report(&report(11, both));
    assessor.on_report(&report(12, vec![screen(1, vec![second(12)])]));

    let assessment = assess(assessor.requirements, std::slice::from_ref(&assessor));
    assert_eq!(assessment.screens.len(), 1, "{assessment:?}");
}
