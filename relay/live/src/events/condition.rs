//! How streams and screens are, in a word.

use std::time::Duration;

use fanlight_proto::message::{Health, NotShown, State};

use super::screens::Session;
use super::{HOLD, OPENING_HOLD};
use crate::status::ListedStream;

/// A live stream is frozen when its newest picture is as old as this, or as [`FROZEN_INTERVALS`].
const FROZEN_AFTER: Duration = Duration::from_secs(3);

/// Of the rate that the input says it runs at.
const FROZEN_INTERVALS: u32 = 5;

/// How a stream or a screen is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Pictures of the stream come.
    Live,
    /// Nobody watches the stream, and its input is closed until somebody does.
    Idle,
    /// The input of the stream is being opened.
    Opening,
    /// The input is open, or the source says so, and no picture comes.
    Frozen,
    /// The camera is unplugged.
    Unplugged,
    /// Another program holds the camera.
    Busy,
    /// The input delivers nothing that can be used.
    WrongFormat,
    /// Anything else that keeps the input from delivering.
    Failed,
    /// Pictures come, and none of the screens that show the stream can decode them.
    Undecodable,
    /// The input came to its end.
    Ended,
    /// The stream's source is silent, or the screen is not connected.
    Gone,
    /// The screen shows the right picture, in time.
    Right,
    /// The screen shows pictures, and nobody verifies which.
    Unverified,
    /// The screen gets its pictures by another relay or path.
    Standby,
    /// The screen shows the right picture, too late.
    Late,
    /// The screen shows something else.
    Wrong,
    /// The screen shows nothing, or does not tell.
    Blind,
}

/// The conditions of streams.
pub const STREAM_CONDITIONS: [Condition; 11] = [
    Condition::Live,
    Condition::Idle,
    Condition::Opening,
    Condition::Frozen,
    Condition::Unplugged,
    Condition::Busy,
    Condition::WrongFormat,
    Condition::Failed,
    Condition::Undecodable,
    Condition::Ended,
    Condition::Gone,
];

/// The conditions of screens, from the best to the worst: a screen with several sessions is as its worst is.
pub const SCREEN_CONDITIONS: [Condition; 7] = [
    Condition::Standby,
    Condition::Right,
    Condition::Unverified,
    Condition::Late,
    Condition::Wrong,
    Condition::Blind,
    Condition::Gone,
];

impl Condition {
    /// The word for it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Idle => "idle",
            Self::Opening => "opening",
            Self::Frozen => "frozen",
            Self::Unplugged => "unplugged",
            Self::Busy => "busy",
            Self::WrongFormat => "wrong format",
            Self::Failed => "failed",
            Self::Undecodable => "undecodable",
            Self::Ended => "ended",
            Self::Gone => "gone",
            Self::Right => "right",
            Self::Unverified => "unverified",
            Self::Standby => "standby",
            Self::Late => "late",
            Self::Wrong => "wrong",
            Self::Blind => "blind",
        }
    }

    /// Whether somebody should look after it.
    #[must_use]
    pub const fn is_problem(self) -> bool {
        !matches!(
            self,
            Self::Live
                | Self::Idle
                | Self::Opening
                | Self::Right
                | Self::Unverified
                | Self::Standby
        )
    }

    /// How long it must last to count.
    pub(super) const fn hold(self) -> Duration {
        match self {
            Self::Opening => OPENING_HOLD,
            _ => HOLD,
        }
    }

    pub(super) fn of_screen(paused: bool, health: Option<Health>) -> Self {
        match health {
            _ if paused => Self::Standby,
            None | Some(Health::Unspecified) => Self::Unverified,
            Some(Health::Right) => Self::Right,
            Some(Health::Late) => Self::Late,
            Some(Health::Wrong) => Self::Wrong,
            Some(Health::Blind) => Self::Blind,
        }
    }

    /// The place among [`SCREEN_CONDITIONS`].
    pub(super) fn severity(self) -> Option<usize> {
        SCREEN_CONDITIONS.iter().position(|other| *other == self)
    }
}

/// How a stream is that `sessions` watch, among others, and why.
pub(super) fn of_stream(listed: &ListedStream, sessions: &[Session]) -> (Condition, String) {
    let entry = &listed.entry;
    if entry.source_gone {
        return (Condition::Gone, "its source is silent".to_owned());
    }

    let condition = match entry.state {
        State::Live | State::Unspecified => return of_live(listed, sessions),
        State::Opening => Condition::Opening,
        State::Stalled => Condition::Frozen,
        State::Unplugged => Condition::Unplugged,
        State::Busy => Condition::Busy,
        State::WrongFormat => Condition::WrongFormat,
        State::Failed => Condition::Failed,
        State::Ended => Condition::Ended,
        State::Idle => Condition::Idle,
    };
    (condition, entry.reason.clone())
}

fn of_live(listed: &ListedStream, sessions: &[Session]) -> (Condition, String) {
    let interval = match listed.entry.rate_millihertz {
        0 => Duration::ZERO,
        rate => Duration::from_secs(1_000) / rate,
    };
    let limit = FROZEN_AFTER.max(interval * FROZEN_INTERVALS);
    let age = Duration::from_micros(listed.age_us.unwrap_or(0));
    if age > limit {
        let reason = format!("the newest picture is {} s old", age.as_secs());
        return (Condition::Frozen, reason);
    }

    let mut watching = sessions
        .iter()
        .filter(|session| session.stream == listed.entry.name);
    let first = watching.next().map(|session| session.not_shown);
    let told = first.filter(|first| {
        is_undecodable(*first) && watching.all(|session| is_undecodable(session.not_shown))
    });
    told.map_or((Condition::Live, String::new()), |why| {
        (Condition::Undecodable, why.label().to_owned())
    })
}

const fn is_undecodable(not_shown: NotShown) -> bool {
    let is_decoded = matches!(
        not_shown,
        NotShown::Unspecified | NotShown::Display | NotShown::Directed
    );
    !is_decoded
}
