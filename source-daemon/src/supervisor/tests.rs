use super::*;

mod rest;

fn at(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

fn unplugged() -> CameraError {
    CameraError::Unplugged("camera unplugged: /dev/video0".into())
}

fn announced(state: State, reason: &str) -> Action {
    Action::Announce(InputStatus::new(state, reason))
}

fn opened(now: Time, rate: u32) -> Supervisor {
    let mut supervisor = Supervisor::new(STALL_LIMIT);
    supervisor.on_opening(now);
    supervisor.on_opened(now, rate);
    supervisor
}

fn live(now: Time) -> Supervisor {
    let mut supervisor = opened(now, 30_000);
    supervisor.on_capture(now);
    assert_eq!(supervisor.on_frame(now), Some(announced(State::Live, "")));
    supervisor
}

/// Fails at once after each opening; the pauses in between.
fn pauses(supervisor: &mut Supervisor, jitter: u8, count: usize) -> Vec<u64> {
    let mut now = at(100_000);
    let mut pauses = Vec::new();

    for _ in 0..count {
        let actions = supervisor.on_error(now, &unplugged(), jitter);
        let Some(Action::Open { at }) = actions.last() else {
            panic!("{actions:?}")
        };
        pauses.push(at.saturating_since(now).as_millis() as u64);
        now = *at;
        supervisor.on_opening(now);
    }

    pauses
}

#[test]
fn an_input_is_opening_until_its_first_frame() {
    let mut supervisor = Supervisor::new(STALL_LIMIT);
    assert_eq!(supervisor.status().state, State::Opening);
    supervisor.on_opening(at(0));
    supervisor.on_opened(at(100), 30_000);
    assert_eq!(supervisor.status().state, State::Opening);
    assert_eq!(
        supervisor.on_frame(at(130)),
        Some(announced(State::Live, ""))
    );

    assert_eq!(supervisor.on_frame(at(160)), None, "a change is told once");
}

#[test]
fn every_error_has_its_state_and_is_told_at_once() {
    for (error, state) in [
        (unplugged(), State::Unplugged),
        (CameraError::Busy("held".into()), State::Busy),
        (
            CameraError::WrongFormat("offers YUYV".into()),
            State::WrongFormat,
        ),
        (CameraError::Stalled("no picture".into()), State::Stalled),
        (CameraError::Failed("EIO".into()), State::Failed),
    ] {
        let actions = live(at(0)).on_error(at(40), &error, 0);
        assert_eq!(
            actions,
            [
                announced(state, &error.to_string()),
                Action::Open { at: at(290) }
            ]
        );
    }
}

#[test]
fn an_input_that_ended_is_left_alone() {
    let mut supervisor = live(at(0));
    let ended = CameraError::Ended("the pipe closed".into());
    assert_eq!(
        supervisor.on_error(at(40), &ended, 0),
        [announced(State::Ended, "the pipe closed")]
    );
    assert_eq!(supervisor.on_tick(at(1_000_000)), None);
}

#[test]
fn pauses_double_to_two_seconds_less_the_jitter() {
    assert_eq!(
        pauses(&mut Supervisor::new(STALL_LIMIT), 0, 6),
        [250, 500, 1000, 2000, 2000, 2000]
    );

    assert_eq!(
        pauses(&mut Supervisor::new(STALL_LIMIT), 255, 5),
        [187, 375, 750, 1500, 1500]
    );
}

#[test]
fn pauses_are_short_again_after_five_seconds_of_frames() {
    for (length, first) in [(4_999, 2_000), (5_000, 250)] {
        let mut supervisor = live(at(0));
        pauses(&mut supervisor, 0, 5);
        supervisor.on_opened(at(200_000), 30_000);
        supervisor.on_frame(at(200_000));
        supervisor.on_frame(at(200_000 + length));
        assert_eq!(pauses(&mut supervisor, 0, 1), [first]);
    }
}

#[test]
fn a_failure_that_lasts_is_told_once_and_stays_while_it_is_tried_again() {
    let mut supervisor = live(at(0));
    supervisor.on_error(at(40), &unplugged(), 0);
    supervisor.on_opening(at(290));
    assert_eq!(
        supervisor.on_error(at(291), &unplugged(), 0),
        [Action::Open { at: at(791) }]
    );

    supervisor.on_opening(at(791));
    supervisor.on_opened(at(800), 30_000);
    assert_eq!(supervisor.status().state, State::Unplugged);
    assert_eq!(
        supervisor.on_frame(at(840)),
        Some(announced(State::Live, ""))
    );
}

#[test]
fn a_silent_driver_is_stalled_at_two_seconds_and_the_process_replaced_at_ten() {
    let mut supervisor = live(at(0));
    assert_eq!(supervisor.on_tick(at(1_999)), None);
    assert_eq!(
        supervisor.on_tick(at(2_000)),
        Some(announced(State::Stalled, "no picture for 2 s"))
    );

    assert_eq!(supervisor.on_tick(at(9_999)), None);
    assert!(matches!(
        supervisor.on_tick(at(10_000)),
        Some(Action::Replace(_))
    ));
}

#[test]
fn a_driver_that_hangs_while_opening_is_stalled_and_replaced_as_well() {
    let mut supervisor = Supervisor::new(STALL_LIMIT);
    supervisor.on_opening(at(0));
    assert!(matches!(
        supervisor.on_tick(at(2_000)),
        Some(Action::Announce(_))
    ));

    assert_eq!(supervisor.status().state, State::Stalled);
    assert!(matches!(
        supervisor.on_tick(at(10_000)),
        Some(Action::Replace(_))
    ));
}

#[test]
fn a_silent_pipe_is_stalled_and_never_replaced() {
    let mut supervisor = live(at(0)).without_replacement();
    assert!(matches!(
        supervisor.on_tick(at(2_000)),
        Some(Action::Announce(_))
    ));
    assert_eq!(supervisor.on_tick(at(1_000_000)), None);
}

#[test]
fn a_stalled_input_that_goes_on_is_live_again() {
    let mut supervisor = live(at(0));
    supervisor.on_tick(at(2_500));
    supervisor.on_capture(at(9_000));
    assert_eq!(
        supervisor.on_frame(at(9_000)),
        Some(announced(State::Live, ""))
    );

    assert_eq!(supervisor.on_tick(at(10_500)), None);
}

#[test]
fn a_slow_input_is_stalled_after_three_of_its_intervals() {
    let mut supervisor = opened(at(0), 100);
    supervisor.on_frame(at(0));
    assert_eq!(supervisor.on_tick(at(29_999)), None);
    assert!(matches!(
        supervisor.on_tick(at(30_000)),
        Some(Action::Announce(_))
    ));

    assert_eq!(supervisor.on_tick(at(37_999)), None);
    assert!(matches!(
        supervisor.on_tick(at(38_000)),
        Some(Action::Replace(_))
    ));
}

#[test]
fn pictures_that_are_of_no_use_do_not_pass_for_live_and_replace_nothing() {
    let mut supervisor = live(at(0));
    for millis in (40..20_000).step_by(40) {
        supervisor.on_capture(at(millis));
        supervisor.on_unusable(InputStatus::new(
            State::Failed,
            "every picture is cut short",
        ));

        let action = supervisor.on_tick(at(millis));
        let due = (millis == 760).then(|| announced(State::Failed, "every picture is cut short"));
        assert_eq!(action, due, "{millis}");
    }
}

#[test]
fn a_frame_that_comes_after_the_error_of_its_camera_does_not_pass_for_live() {
    let mut supervisor = live(at(0));
    supervisor.on_error(at(40), &unplugged(), 0);
    assert_eq!(supervisor.on_frame(at(41)), None);
    assert_eq!(supervisor.status().state, State::Unplugged);
}
