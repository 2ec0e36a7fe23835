//! Streams that nobody watches.

use super::*;

const AFTER: Duration = Duration::from_secs(5);

fn watched(rest: IdlePolicy) -> Supervisor {
    let mut supervisor = live(at(0)).with_idle_policy(rest, AFTER);
    assert_eq!(supervisor.on_demand(at(0), true), []);
    supervisor
}

/// Frames come, and nobody watches, from `from` to `to`; what is done, and when.
fn unwatched(supervisor: &mut Supervisor, from: u64, to: u64) -> Vec<(u64, Action)> {
    let mut done = Vec::new();
    for millis in (from..to).step_by(50) {
        supervisor.on_capture(at(millis));
        done.extend(
            supervisor
                .on_frame(at(millis))
                .map(|action| (millis, action)),
        );

        done.extend(
            supervisor
                .on_demand(at(millis), false)
                .into_iter()
                .map(|action| (millis, action)),
        );

        done.extend(
            supervisor
                .on_tick(at(millis))
                .map(|action| (millis, action)),
        );
    }

    done
}

#[test]
fn a_stream_that_is_kept_never_rests() {
    assert_eq!(unwatched(&mut watched(IdlePolicy::Keep), 1000, 100_000), []);
}

#[test]
fn an_input_is_closed_when_nobody_has_watched_for_a_while_and_opened_at_once_when_somebody_does() {
    let mut supervisor = watched(IdlePolicy::Close);
    let done = unwatched(&mut supervisor, 1000, 20_000);
    assert_eq!(
        done,
        [
            (6000, Action::Close),
            (6000, announced(State::Idle, NO_VIEWERS))
        ]
    );

    let woken = supervisor.on_demand(at(20_000), true);
    assert_eq!(
        woken,
        [
            announced(State::Opening, WAKING),
            Action::Open { at: at(20_000) }
        ]
    );

    supervisor.on_opening(at(20_000));
    assert_eq!(supervisor.on_demand(at(20_001), true), []);
    supervisor.on_opened(at(20_100), 30_000);
    assert_eq!(
        supervisor.on_frame(at(20_140)),
        Some(announced(State::Live, ""))
    );
}

#[test]
fn who_comes_back_in_time_notices_nothing() {
    let mut supervisor = watched(IdlePolicy::Close);
    for round in 0..10 {
        assert_eq!(
            unwatched(&mut supervisor, round * 10_000, round * 10_000 + 4_900),
            []
        );
        assert_eq!(supervisor.on_demand(at(round * 10_000 + 4_950), true), []);
    }
}

#[test]
fn a_slow_stream_is_told_idle_and_its_silence_is_no_stall() {
    let mut supervisor = watched(IdlePolicy::Slow);
    let done = unwatched(&mut supervisor, 0, 6000);
    assert_eq!(
        done,
        [
            (5000, Action::Slow(true)),
            (5000, announced(State::Idle, NO_VIEWERS))
        ]
    );

    for millis in (6000..60_000).step_by(50) {
        supervisor.on_capture(at(millis));
        assert_eq!(supervisor.on_tick(at(millis)), None);
        let frame = if millis % 10_000 == 0 {
            supervisor.on_frame(at(millis))
        } else {
            None
        };

        assert_eq!(frame, None);
    }

    assert_eq!(
        supervisor.on_demand(at(60_000), true),
        [Action::Slow(false), announced(State::Live, "")]
    );
}

#[test]
fn a_slow_camera_that_fails_is_told_and_tried_again_although_nobody_watches() {
    let mut supervisor = watched(IdlePolicy::Slow);
    unwatched(&mut supervisor, 0, 6000);
    let actions = supervisor.on_error(at(6000), &unplugged(), 0);
    assert_eq!(
        actions,
        [
            announced(State::Unplugged, "camera unplugged: /dev/video0"),
            Action::Open { at: at(6250) }
        ]
    );

    supervisor.on_opening(at(6250));
    supervisor.on_opened(at(6300), 30_000);
    assert_eq!(
        supervisor.on_frame(at(6340)),
        Some(announced(State::Idle, NO_VIEWERS))
    );

    assert_eq!(
        supervisor.on_demand(at(7000), true),
        [Action::Slow(false), announced(State::Live, "")]
    );
}

#[test]
fn a_camera_that_fails_is_not_tried_again_while_nobody_watches_and_is_when_somebody_does() {
    let mut supervisor = watched(IdlePolicy::Close);
    supervisor.on_error(at(100), &unplugged(), 0);
    assert_eq!(supervisor.on_demand(at(200), false), []);
    let asleep = supervisor.on_demand(at(5200), false);
    assert_eq!(asleep, [Action::Close, announced(State::Idle, NO_VIEWERS)]);
    assert!(!supervisor.may_open());
    assert_eq!(supervisor.on_tick(at(1_000_000)), None);
    let woken = supervisor.on_demand(at(1_000_000), true);
    assert_eq!(woken.last(), Some(&Action::Open { at: at(1_000_000) }));
    assert!(supervisor.may_open());
}

#[test]
fn what_comes_of_a_camera_while_it_is_being_closed_changes_nothing() {
    let mut supervisor = watched(IdlePolicy::Close);
    unwatched(&mut supervisor, 0, 5050);
    supervisor.on_capture(at(5060));
    assert_eq!(supervisor.on_frame(at(5060)), None);
    assert_eq!(supervisor.on_error(at(5070), &unplugged(), 0), []);
    assert_eq!(
        supervisor.status(),
        &InputStatus::new(State::Idle, NO_VIEWERS)
    );
}

#[test]
fn a_driver_that_hangs_in_opening_is_replaced_although_nobody_watches() {
    let mut supervisor = Supervisor::new(STALL_LIMIT).with_idle_policy(IdlePolicy::Close, AFTER);
    supervisor.on_opening(at(0));
    let mut done = Vec::new();

    for millis in (0..=10_000).step_by(50) {
        assert_eq!(supervisor.on_demand(at(millis), false), []);
        done.extend(supervisor.on_tick(at(millis)));
    }

    assert!(
        matches!(done[..], [Action::Announce(_), Action::Replace(_)]),
        "{done:?}"
    );
}

#[test]
fn an_input_that_has_ended_stays_ended() {
    let mut supervisor = watched(IdlePolicy::Close);
    supervisor.on_error(at(40), &CameraError::Ended("over".into()), 0);
    assert_eq!(supervisor.on_demand(at(50), false), []);
    assert_eq!(supervisor.on_demand(at(60_000), false), []);
    assert_eq!(supervisor.status().state, State::Ended);
    assert_eq!(supervisor.on_demand(at(60_050), true), []);
}
