//! Decides what the input is doing and when to try it again. Sans-IO: moments, frames and errors come in, actions go out.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::State;

use crate::camera::CameraError;

/// The first pause before an input is opened again.
pub const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause: a camera that is plugged in again is live within 3 s (P16), opening included.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// An input that delivered for so long is trusted again: its next failure pauses for [`FIRST_PAUSE`].
pub const TRUSTED_AFTER: Duration = Duration::from_secs(5);

/// Least stall limit unless configured. Slower inputs have [`STALL_INTERVALS`] frame intervals.
pub const STALL_LIMIT: Duration = Duration::from_secs(2);

/// Frame intervals without a frame after which a slow input is stalled.
pub const STALL_INTERVALS: u32 = 3;

/// A driver that has not returned for so long past the stall limit never will, and a thread in it cannot be cancelled:
/// the process has to be replaced (at 10 s with the usual stall limit, P16).
pub const STUCK_AFTER_STALL: Duration = Duration::from_secs(8);

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open the input at this moment.
    Open {
        /// When.
        at: Time,
    },
    /// The condition changed: tell the viewers and the operator.
    Announce(Condition),
    /// The driver is stuck: end this process with an error, so that the service manager starts a new one.
    Replace(String),
}

/// What viewers are told of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The state.
    pub state: State,
    /// What a person should read about it; empty when all is well.
    pub reason: String,
}

impl Condition {
    fn new(state: State, reason: impl Into<String>) -> Self {
        Self { state, reason: reason.into() }
    }
}

/// Watches one input.
#[derive(Debug)]
pub struct Supervisor {
    condition: Condition,
    phase: Phase,
    /// When the driver last gave a sign of life: returned from opening, delivered a picture, or an error.
    progress: Time,
    /// The pause before the next opening, jitter left aside.
    pause: Duration,
    /// The least stall limit.
    floor: Duration,
    /// Whether an input that does not return is a driver that hangs.
    replaces: bool,
    /// The stall limit of the open input.
    stall_limit: Duration,
    /// Why the newest pictures could not be used, as long as none could be.
    unusable: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The driver has nothing to do: it is ours to open it.
    Idle,
    /// Within the driver's `open`.
    Opening,
    /// Open. `since`: the first frame after opening; `newest`: the newest frame, or the opening before there is one.
    Open { since: Option<Time>, newest: Time },
    /// The driver is to be left alone for good.
    Over,
}

impl Supervisor {
    /// Before anything was tried. `floor` is the least stall limit, usually [`STALL_LIMIT`].
    #[must_use]
    pub fn new(floor: Duration) -> Self {
        Self {
            condition: Condition::new(State::Opening, ""),
            phase: Phase::Idle,
            progress: Time::default(),
            pause: FIRST_PAUSE,
            floor,
            replaces: true,
            stall_limit: floor,
            unusable: None,
        }
    }

    /// For an input that may well be silent for long and needs no new process for it, such as a pipe: it is told stalled
    /// but never replaced.
    #[must_use]
    pub fn patient(self) -> Self {
        Self { replaces: false, ..self }
    }

    /// What viewers are to be told now.
    #[must_use]
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// The driver's `open` is being called.
    pub fn on_opening(&mut self, now: Time) {
        self.phase = Phase::Opening;
        self.progress = now;
    }

    /// The input is open and runs at `rate_millihertz`; 0 when the rate is not known.
    pub fn on_opened(&mut self, now: Time, rate_millihertz: u32) {
        let interval = Duration::from_secs(1_000).checked_div(rate_millihertz).unwrap_or_default();
        self.stall_limit = self.floor.max(interval * STALL_INTERVALS);
        self.phase = Phase::Open { since: None, newest: now };
        self.progress = now;
        self.unusable = None;
    }

    /// The driver delivered a picture; whether it is of use is not known yet.
    pub fn on_capture(&mut self, now: Time) {
        self.progress = now;
    }

    /// A picture that the driver delivered cannot be published.
    pub fn on_unusable(&mut self, reason: String) {
        self.unusable = Some(reason);
    }

    /// A frame was published.
    pub fn on_frame(&mut self, now: Time) -> Option<Action> {
        let Phase::Open { since, .. } = self.phase else { return None };
        self.phase = Phase::Open { since: Some(since.unwrap_or(now)), newest: now };
        self.unusable = None;
        self.announce(State::Live, "")
    }

    /// The driver failed. `jitter` is random within 0 to 255 and takes up to a quarter off the pause, so that inputs
    /// that failed together do not try together.
    pub fn on_error(&mut self, now: Time, error: &CameraError, jitter: u8) -> Vec<Action> {
        let trusted = matches!(self.phase, Phase::Open { since: Some(since), newest }
            if newest.saturating_since(since) >= TRUSTED_AFTER);
        if trusted {
            self.pause = FIRST_PAUSE;
        }
        self.progress = now;
        let mut actions = Vec::from_iter(self.announce(state_of(error), &error.to_string()));
        if let CameraError::Ended(_) = error {
            self.phase = Phase::Over;
        } else {
            self.phase = Phase::Idle;
            actions.push(Action::Open { at: now + (self.pause - self.pause / 4 * u32::from(jitter) / 255) });
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
        actions
    }

    /// Time has passed. To be called at least every 250 ms.
    pub fn on_tick(&mut self, now: Time) -> Option<Action> {
        let silence = match self.phase {
            Phase::Idle | Phase::Over => return None,
            Phase::Opening => now.saturating_since(self.progress),
            Phase::Open { newest, .. } => now.saturating_since(newest),
        };
        let stuck = self.stall_limit + STUCK_AFTER_STALL;
        if self.replaces && now.saturating_since(self.progress) >= stuck {
            return Some(Action::Replace(format!("the driver has not returned for {} s", stuck.as_secs())));
        }
        if silence < self.stall_limit {
            return None;
        }
        match (self.phase, self.unusable.clone()) {
            (Phase::Open { .. }, Some(reason)) => self.announce(State::Failed, &reason),
            (Phase::Opening, _) => self.announce(State::Stalled, "the input does not open: the driver hangs"),
            _ => self.announce(State::Stalled, &format!("no picture for {} s", self.stall_limit.as_secs())),
        }
    }

    fn announce(&mut self, state: State, reason: &str) -> Option<Action> {
        if self.condition.state == state && self.condition.reason == reason {
            return None;
        }
        self.condition = Condition::new(state, reason);
        Some(Action::Announce(self.condition.clone()))
    }
}

fn state_of(error: &CameraError) -> State {
    match error {
        CameraError::Unplugged(_) => State::Unplugged,
        CameraError::Busy(_) => State::Busy,
        CameraError::WrongFormat(_) => State::WrongFormat,
        CameraError::Stalled(_) => State::Stalled,
        CameraError::Ended(_) => State::Ended,
        CameraError::Failed(_) => State::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    fn unplugged() -> CameraError {
        CameraError::Unplugged("camera unplugged: /dev/video0".into())
    }

    fn announced(state: State, reason: &str) -> Action {
        Action::Announce(Condition::new(state, reason))
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
            let Some(Action::Open { at }) = actions.last() else { panic!("{actions:?}") };
            pauses.push(at.saturating_since(now).as_millis() as u64);
            now = *at;
            supervisor.on_opening(now);
        }
        pauses
    }

    #[test]
    fn an_input_is_opening_until_its_first_frame() {
        let mut supervisor = Supervisor::new(STALL_LIMIT);
        assert_eq!(supervisor.condition().state, State::Opening);
        supervisor.on_opening(at(0));
        supervisor.on_opened(at(100), 30_000);
        assert_eq!(supervisor.condition().state, State::Opening);
        assert_eq!(supervisor.on_frame(at(130)), Some(announced(State::Live, "")));
        assert_eq!(supervisor.on_frame(at(160)), None, "a change is told once");
    }

    #[test]
    fn every_error_has_its_state_and_is_told_at_once() {
        for (error, state) in [
            (unplugged(), State::Unplugged),
            (CameraError::Busy("held".into()), State::Busy),
            (CameraError::WrongFormat("offers YUYV".into()), State::WrongFormat),
            (CameraError::Stalled("no picture".into()), State::Stalled),
            (CameraError::Failed("EIO".into()), State::Failed),
        ] {
            let actions = live(at(0)).on_error(at(40), &error, 0);
            assert_eq!(actions, [announced(state, &error.to_string()), Action::Open { at: at(290) }]);
        }
    }

    #[test]
    fn an_input_that_ended_is_left_alone() {
        let mut supervisor = live(at(0));
        let ended = CameraError::Ended("the pipe closed".into());
        assert_eq!(supervisor.on_error(at(40), &ended, 0), [announced(State::Ended, "the pipe closed")]);
        assert_eq!(supervisor.on_tick(at(1_000_000)), None);
    }

    #[test]
    fn pauses_double_to_two_seconds_less_the_jitter() {
        assert_eq!(pauses(&mut Supervisor::new(STALL_LIMIT), 0, 6), [250, 500, 1000, 2000, 2000, 2000]);
        assert_eq!(pauses(&mut Supervisor::new(STALL_LIMIT), 255, 5), [187, 375, 750, 1500, 1500]);
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
        assert_eq!(supervisor.on_error(at(291), &unplugged(), 0), [Action::Open { at: at(791) }]);
        supervisor.on_opening(at(791));
        supervisor.on_opened(at(800), 30_000);
        assert_eq!(supervisor.condition().state, State::Unplugged);
        assert_eq!(supervisor.on_frame(at(840)), Some(announced(State::Live, "")));
    }

    #[test]
    fn a_silent_driver_is_stalled_at_two_seconds_and_the_process_replaced_at_ten() {
        let mut supervisor = live(at(0));
        assert_eq!(supervisor.on_tick(at(1_999)), None);
        assert_eq!(supervisor.on_tick(at(2_000)), Some(announced(State::Stalled, "no picture for 2 s")));
        assert_eq!(supervisor.on_tick(at(9_999)), None);
        assert!(matches!(supervisor.on_tick(at(10_000)), Some(Action::Replace(_))));
    }

    #[test]
    fn a_driver_that_hangs_while_opening_is_stalled_and_replaced_as_well() {
        let mut supervisor = Supervisor::new(STALL_LIMIT);
        supervisor.on_opening(at(0));
        assert!(matches!(supervisor.on_tick(at(2_000)), Some(Action::Announce(_))));
        assert_eq!(supervisor.condition().state, State::Stalled);
        assert!(matches!(supervisor.on_tick(at(10_000)), Some(Action::Replace(_))));
    }

    #[test]
    fn a_silent_pipe_is_stalled_and_never_replaced() {
        let mut supervisor = live(at(0)).patient();
        assert!(matches!(supervisor.on_tick(at(2_000)), Some(Action::Announce(_))));
        assert_eq!(supervisor.on_tick(at(1_000_000)), None);
    }

    #[test]
    fn a_stalled_input_that_goes_on_is_live_again() {
        let mut supervisor = live(at(0));
        supervisor.on_tick(at(2_500));
        supervisor.on_capture(at(9_000));
        assert_eq!(supervisor.on_frame(at(9_000)), Some(announced(State::Live, "")));
        assert_eq!(supervisor.on_tick(at(10_500)), None);
    }

    #[test]
    fn a_slow_input_is_stalled_after_three_of_its_intervals() {
        let mut supervisor = opened(at(0), 100);
        supervisor.on_frame(at(0));
        assert_eq!(supervisor.on_tick(at(29_999)), None);
        assert!(matches!(supervisor.on_tick(at(30_000)), Some(Action::Announce(_))));
        assert_eq!(supervisor.on_tick(at(37_999)), None);
        assert!(matches!(supervisor.on_tick(at(38_000)), Some(Action::Replace(_))));
    }

    #[test]
    fn pictures_that_are_of_no_use_do_not_pass_for_live_and_replace_nothing() {
        let mut supervisor = live(at(0));
        for millis in (40..20_000).step_by(40) {
            supervisor.on_capture(at(millis));
            supervisor.on_unusable("every picture is cut short".into());
            let action = supervisor.on_tick(at(millis));
            let due = (millis == 2_000).then(|| announced(State::Failed, "every picture is cut short"));
            assert_eq!(action, due, "{millis}");
        }
    }

    #[test]
    fn a_frame_that_comes_after_the_error_of_its_camera_does_not_pass_for_live() {
        let mut supervisor = live(at(0));
        supervisor.on_error(at(40), &unplugged(), 0);
        assert_eq!(supervisor.on_frame(at(41)), None);
        assert_eq!(supervisor.condition().state, State::Unplugged);
    }
}
