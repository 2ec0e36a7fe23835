use super::*;
use crate::proof::report::CanaryStatus;

const DEMANDS: Demands = Demands {
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
fn judged(change: impl FnOnce(&mut Second)) -> Judgement {
    let mut court = Court::new(DEMANDS);
    let mut changed = second(11);
    change(&mut changed);
    court.on_report(&report(10, vec![screen(1, vec![second(10)])]));
    court.on_report(&report(11, vec![screen(1, vec![second(10), second(11)])]));
    court.on_report(&report(
        13,
        vec![screen(1, vec![second(10), changed, second(12), second(13)])],
    ));
    court.judge()
}

fn word(judgement: &Judgement) -> &str {
    &judgement.screens[0].verdict
}

#[test]
fn a_screen_that_was_right_all_the_time_is_right() {
    let judgement = judged(|_| {});
    assert!(judgement.right);
    assert_eq!(
        judgement.sentence,
        "1 of 1 screens showed the right picture within 2 px and 100 ms for 3 s"
    );
    assert_eq!(
        (judgement.screens[0].answers, judgement.screens[0].worst_px),
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
        let judgement = judged(change);
        assert_eq!((judgement.right, word(&judgement)), (false, expected));
        assert_eq!(
            (judgement.screens_measured, judgement.screens_right),
            (1, 0)
        );
        assert!(
            judgement
                .sentence
                .contains(&format!("screen 1 is {expected}")),
            "{}",
            judgement.sentence
        );
    }
}

#[test]
fn what_was_before_the_beginning_is_not_judged() {
    let mut court = Court::new(DEMANDS);
    let bad = Second {
        worst_px: 99.0,
        blind: true,
        ..second(10)
    };
    court.on_report(&report(10, vec![screen(1, vec![second(9), bad])]));
    court.on_report(&report(12, vec![screen(1, vec![bad, second(11)])]));
    assert!(court.judge().right);
}

#[test]
fn too_few_screens_are_not_right() {
    let mut court = Court::new(Demands {
        screens: 2,
        ..DEMANDS
    });
    for at in 10..13 {
        let unmeasured = Screen {
            health: "not measured".into(),
            ..screen(2, Vec::new())
        };
        court.on_report(&report(at, vec![screen(1, vec![second(at)]), unmeasured]));
    }
    let judgement = court.judge();
    assert!(
        !judgement.right && judgement.sentence.ends_with("; 2 have to be measured"),
        "{}",
        judgement.sentence
    );
    assert!(!Court::new(DEMANDS).judge().right, "none at all");
}

#[test]
fn picture_and_canary_of_one_screen_are_one_screen() {
    let mut court = Court::new(Demands {
        screens: 2,
        ..DEMANDS
    });
    for at in 10..13 {
        let canary = Screen {
            screen: 1,
            ..screen(2, vec![second(at)])
        };
        court.on_report(&report(at, vec![screen(1, vec![second(at)]), canary]));
    }
    let judgement = court.judge();
    assert_eq!((judgement.screens_measured, judgement.right), (1, false));
}

#[test]
fn a_picture_that_is_late_beside_a_canary_that_is_not_is_late() {
    let mut court = Court::new(DEMANDS);
    for at in 10..13 {
        let canary_status = Some(CanaryStatus {
            age_ms: Some(140.0),
            ..CanaryStatus::default()
        });
        court.on_report(&report(
            at,
            vec![Screen {
                canary_status,
                ..screen(1, vec![second(at)])
            }],
        ));
    }
    let judgement = court.judge();
    assert_eq!(
        (word(&judgement), judgement.screens[0].late_by_ms),
        ("late", Some(40.0))
    );
}

#[test]
fn a_screen_that_left_is_judged_but_not_counted() {
    let mut court = Court::new(DEMANDS);
    court.on_report(&report(10, vec![screen(1, vec![second(10)])]));
    court.on_report(&report(
        12,
        vec![Screen {
            left_s: Some(0.5),
            ..screen(1, vec![second(11)])
        }],
    ));
    let judgement = court.judge();
    assert_eq!(
        (word(&judgement), judgement.screens[0].gone),
        ("right picture", true)
    );
    assert_eq!((judgement.screens_measured, judgement.right), (0, false));
}

#[test]
fn who_had_left_before_is_not_told_of() {
    let mut court = Court::new(DEMANDS);
    for at in 10..13 {
        court.on_report(&report(
            at,
            vec![Screen {
                left_s: Some(20.0),
                ..screen(1, vec![second(8)])
            }],
        ));
    }
    assert_eq!(court.judge().screens, []);
}

#[test]
fn a_source_that_was_started_again_is_not_right() {
    let mut court = Court::new(DEMANDS);
    for at in [10, 11, 0, 1, 2] {
        court.on_report(&report(at, vec![screen(1, vec![second(at)])]));
    }
    let judgement = court.judge();
    assert!(
        !judgement.right && judgement.sentence.contains("started again"),
        "{}",
        judgement.sentence
    );
}
