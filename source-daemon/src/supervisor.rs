//! Decides about one input: its status, and when to open, close or retry it. Sans-IO: times, frames and errors come in,
//! actions go out. Called by the event loop.

use std::time::Duration;

use clap::ValueEnum;
use fanlight_proto::clock::Time;
use fanlight_proto::message::State;

use crate::camera::CameraError;

/// The first pause before an input is opened again.
pub const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest pause: a camera that is plugged in again is live within 3 s (P16), opening included.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The longest pause for a network camera, which may take longer to connect to: it is live again within 2 s of its return.
pub const LONGEST_NETWORK_PAUSE: Duration = Duration::from_millis(500);

/// After an input has delivered for so long, its next failure pauses only for [`FIRST_PAUSE`] again.
pub const TRUSTED_AFTER: Duration = Duration::from_secs(5);

/// Least stall limit unless configured. Slower inputs have [`STALL_INTERVALS`] frame intervals.
pub const STALL_LIMIT: Duration = Duration::from_secs(2);

/// Frame intervals without a frame after which a slow input is stalled.
pub const STALL_INTERVALS: u32 = 3;

/// When pictures come and none can be used, the reason is told after so long, or [`STALL_INTERVALS`] frame intervals: screens
/// stop passing the last picture for live 1.2 s after it, and shall say why at once.
pub const UNUSABLE_LIMIT: Duration = Duration::from_millis(750);

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
    /// The status changed: tell viewers and operator.
    Announce(InputStatus),
    /// Close the input: nobody watches.
    Close,
    /// Publish every frame, or only as many as the rate of a stream that nobody watches allows.
    Slow(bool),
    /// The driver is stuck: end this process with an error, so that the service manager starts a new one.
    Replace(String),
}

/// What viewers are told of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputStatus {
    /// The state.
    pub state: State,
    /// The reason for people; empty when all is well.
    pub reason: String,
}

impl InputStatus {
    /// A status; `reason` may be empty.
    #[must_use]
    pub fn new(state: State, reason: impl Into<String>) -> Self {
        Self {
            state,
            reason: reason.into(),
        }
    }
}

/// What becomes of a stream that nobody watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IdlePolicy {
    /// Its frames are published as ever.
    Keep,
    /// Few of its frames are published, and nothing is encoded in between.
    Slow,
    /// Its input is closed.
    Close,
}

fanlight_daemon::display_choice!(IdlePolicy);

/// The reason in the status of a stream that nobody watches.
pub const NO_VIEWERS: &str = "nobody watches";

/// The reason in the status of an input that is opened again because somebody watches.
pub const WAKING: &str = "waking";

/// Watches one input.
#[derive(Debug)]
pub struct Supervisor {
    status: InputStatus,
    phase: Phase,
    /// When the driver last returned: from opening, with a picture or with an error.
    progress: Time,
    /// The pause before the next opening, jitter left aside.
    pause: Duration,
    longest_pause: Duration,
    /// The least stall limit.
    least_stall_limit: Duration,
    /// Whether an input that does not return is a driver that hangs.
    replaces_stuck_driver: bool,
    /// The stall limit of the open input.
    stall_limit: Duration,
    /// See [`UNUSABLE_LIMIT`].
    unusable_limit: Duration,
    /// Why the newest pictures could not be used, as long as none could be.
    unusable: Option<InputStatus>,
    /// What to do when nobody watches, and after how long.
    rest: (IdlePolicy, Duration),
    /// Since when nobody has watched.
    unwatched: Option<Time>,
    /// Whether the idle policy is in force.
    with_idle_policy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The driver has nothing to do: it is ours to open it.
    Idle,
    /// Within the driver's `open`.
    Opening,
    /// Open. `since`: the first frame after opening; `newest`: the newest frame, or the opening before there is one.
    Open { since: Option<Time>, newest: Time },
    /// Closed, or being closed, because nobody watches.
    Closed,
    /// The driver is to be left alone for good.
    Over,
}

impl Supervisor {
    /// Before anything was tried. `least_stall_limit` is the least stall limit, usually [`STALL_LIMIT`].
    #[must_use]
    pub fn new(least_stall_limit: Duration) -> Self {
        Self {
            status: InputStatus::new(State::Opening, ""),
            phase: Phase::Idle,
            progress: Time::default(),
            pause: FIRST_PAUSE,
            longest_pause: LONGEST_PAUSE,
            least_stall_limit,
            replaces_stuck_driver: true,
            stall_limit: least_stall_limit,
            unusable_limit: UNUSABLE_LIMIT.min(least_stall_limit),
            unusable: None,
            rest: (IdlePolicy::Keep, Duration::ZERO),
            unwatched: None,
            with_idle_policy: false,
        }
    }

    /// Applies an idle policy when nobody has watched the stream for `after`.
    #[must_use]
    pub fn with_idle_policy(self, rest: IdlePolicy, after: Duration) -> Self {
        Self {
            rest: (rest, after),
            ..self
        }
    }

    /// For an input that may be silent for long, such as a pipe: it is reported stalled, but its process is never replaced.
    #[must_use]
    pub fn without_replacement(self) -> Self {
        Self {
            replaces_stuck_driver: false,
            ..self
        }
    }

    /// For a network camera, which is asked again sooner.
    #[must_use]
    pub fn for_network(self) -> Self {
        Self {
            longest_pause: LONGEST_NETWORK_PAUSE,
            ..self
        }
    }

    /// What viewers are to be told now.
    #[must_use]
    pub fn status(&self) -> &InputStatus {
        &self.status
    }

    /// The driver's `open` is being called.
    pub fn on_opening(&mut self, now: Time) {
        self.phase = Phase::Opening;
        self.progress = now;
    }

    /// Whether the driver has nothing to do, so that it may be opened.
    #[must_use]
    pub fn may_open(&self) -> bool {
        self.phase == Phase::Idle
    }

    /// The input is open and runs at `rate_millihertz`; 0 when the rate is not known.
    pub fn on_opened(&mut self, now: Time, rate_millihertz: u32) {
        let interval = Duration::from_secs(1_000)
            .checked_div(rate_millihertz)
            .unwrap_or_default();
        self.stall_limit = self.least_stall_limit.max(interval * STALL_INTERVALS);
        self.unusable_limit = UNUSABLE_LIMIT
            .max(interval * STALL_INTERVALS)
            .min(self.stall_limit);
        self.phase = Phase::Open {
            since: None,
            newest: now,
        };

        self.progress = now;
        self.unusable = None;
    }

    /// The driver delivered a picture; whether it is of use is not known yet.
    pub fn on_capture(&mut self, now: Time) {
        self.progress = now;
        // While the stream is slow, most pictures are not published, which is no stall.
        if let (
            Phase::Open {
                since: Some(since), ..
            },
            true,
        ) = (self.phase, self.with_idle_policy)
        {
            self.phase = Phase::Open {
                since: Some(since),
                newest: now,
            };
        }
    }

    /// Somebody watches, or nobody does. To be called as often as [`on_tick`](Self::on_tick).
    pub fn on_demand(&mut self, now: Time, watched: bool) -> Vec<Action> {
        if watched {
            self.unwatched = None;
            return if self.with_idle_policy {
                self.wake(now)
            } else {
                Vec::new()
            };
        }

        let since = *self.unwatched.get_or_insert(now);
        let (rest, after) = self.rest;
        let due = !self.with_idle_policy && now.saturating_since(since) >= after;

        match (rest, self.phase) {
            (IdlePolicy::Slow, Phase::Open { since: Some(_), .. }) if due => self.slow_down(),
            // Within its driver's `open` it cannot be closed: it is when that returns.
            (IdlePolicy::Close, Phase::Idle | Phase::Open { .. }) if due => self.close_input(),
            _ => Vec::new(),
        }
    }

    fn slow_down(&mut self) -> Vec<Action> {
        self.with_idle_policy = true;
        let told = self.announce(State::Idle, NO_VIEWERS);
        std::iter::once(Action::Slow(true)).chain(told).collect()
    }

    fn close_input(&mut self) -> Vec<Action> {
        self.with_idle_policy = true;
        self.phase = Phase::Closed;
        let told = self.announce(State::Idle, NO_VIEWERS);
        std::iter::once(Action::Close).chain(told).collect()
    }

    fn wake(&mut self, now: Time) -> Vec<Action> {
        self.with_idle_policy = false;
        if self.phase == Phase::Closed {
            self.phase = Phase::Idle;
            self.pause = FIRST_PAUSE;
            let told = self.announce(State::Opening, WAKING);
            return told.into_iter().chain([Action::Open { at: now }]).collect();
        }

        let was_idle = self.status.state == State::Idle;
        let told = was_idle.then(|| self.announce(State::Live, "")).flatten();
        std::iter::once(Action::Slow(false)).chain(told).collect()
    }

    /// A picture that the driver delivered cannot be published. If no other can either, `status` says why.
    pub fn on_unusable(&mut self, status: InputStatus) {
        self.unusable = Some(status);
    }

    /// A frame was published.
    pub fn on_frame(&mut self, now: Time) -> Option<Action> {
        let Phase::Open { since, .. } = self.phase else {
            return None;
        };

        self.phase = Phase::Open {
            since: Some(since.unwrap_or(now)),
            newest: now,
        };

        self.unusable = None;
        if self.with_idle_policy {
            self.announce(State::Idle, NO_VIEWERS)
        } else {
            self.announce(State::Live, "")
        }
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
        // It failed while it was being closed, and nobody wants it.
        if self.phase == Phase::Closed {
            return Vec::new();
        }

        let mut actions = Vec::from_iter(self.announce(state_of(error), &error.to_string()));
        if let CameraError::Ended(_) = error {
            self.phase = Phase::Over;
        } else {
            self.phase = Phase::Idle;
            actions.push(Action::Open {
                at: now + (self.pause - self.pause / 4 * u32::from(jitter) / 255),
            });
            self.pause = (self.pause * 2).min(self.longest_pause);
        }

        actions
    }

    /// Time has passed. To be called at least every 250 ms.
    pub fn on_tick(&mut self, now: Time) -> Option<Action> {
        let silence = match self.phase {
            Phase::Idle | Phase::Closed | Phase::Over => return None,
            Phase::Opening => now.saturating_since(self.progress),
            Phase::Open { newest, .. } => now.saturating_since(newest),
        };

        let stuck = self.stall_limit + STUCK_AFTER_STALL;
        if self.replaces_stuck_driver && now.saturating_since(self.progress) >= stuck {
            return Some(Action::Replace(format!(
                "the driver has not returned for {} s",
                stuck.as_secs()
            )));
        }

        if let (Phase::Open { .. }, Some(status)) = (self.phase, self.unusable.clone()) {
            return (silence >= self.unusable_limit)
                .then(|| self.announce(status.state, &status.reason))
                .flatten();
        }

        if silence < self.stall_limit {
            return None;
        }

        match self.phase {
            // An input without a driver has time limits of its own, and knows the reason better.
            Phase::Opening if !self.replaces_stuck_driver => None,
            Phase::Opening => {
                self.announce(State::Stalled, "the input does not open: the driver hangs")
            }
            _ => self.announce(
                State::Stalled,
                &format!("no picture for {} s", self.stall_limit.as_secs()),
            ),
        }
    }

    fn announce(&mut self, state: State, reason: &str) -> Option<Action> {
        if self.status.state == state && self.status.reason == reason {
            return None;
        }
        self.status = InputStatus::new(state, reason);
        Some(Action::Announce(self.status.clone()))
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
mod tests;
