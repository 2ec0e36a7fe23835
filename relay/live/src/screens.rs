//! Screens that take directions: what the engine knows of them, and what an admin wants of one, on its way from an output to
//! the engine. Plain data.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanlight_proto::direction::Stamp;
use fanlight_proto::message::{Direction, Notice, StreamName};
use tokio::sync::oneshot;

/// Orders that wait for the engine: each screen of two scenes that are applied at once. Further ones are refused.
pub(crate) const MAX_WAITING: usize = 512;

/// What an admin wants of a screen. The engine answers at once.
#[derive(Debug)]
pub enum ScreenOrder {
    /// That it does this from now on.
    Direct {
        /// Its name.
        screen: String,
        /// What; the engine sets its version and origin.
        direction: Direction,
        /// Gets the place of the direction among all of the screen.
        answer: oneshot::Sender<Result<Stamp, OrderError>>,
    },
    /// That it shows this for a while.
    Notify {
        /// Its name.
        screen: String,
        /// What; the engine sets its id.
        notice: Notice,
        /// Gets the id of the notice.
        answer: oneshot::Sender<Result<u64, OrderError>>,
    },
}

/// Why a screen is not told what an admin wants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// None of that name has said that it takes directions.
    #[error("no screen {0:?} has said that it takes directions")]
    NoSuchScreen(String),
    /// The relay does not have a stream of it.
    #[error("the relay has no stream {0:?}")]
    NoSuchStream(String),
    /// Something is out of its bounds; see PROTOCOL.md.
    #[error("{0} is out of its bounds")]
    Field(&'static str),
    /// A viewer of that name claims the last direction that there can be.
    #[error(
        "a viewer called {0:?} says that it was given the last direction that there can be: end it, or give the screen \
         another name"
    )]
    Exhausted(String),
    /// The relay is not up to it at present.
    #[error("the relay has more orders for screens than it can take at once: try again")]
    Busy,
}

/// How a screen stands to its newest direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScreenState {
    /// It was given none, or told to go by its own settings.
    #[default]
    Own,
    /// It has not said that it has it.
    Asked,
    /// It has said so.
    Acknowledged,
    /// It does what was asked; where that is streams, it has reported a frame of each.
    Showing,
    /// It has it and does something else, for longer than it takes to change.
    Wrong,
    /// None of its viewers has said anything lately.
    Away,
}

impl ScreenState {
    /// Each of them.
    pub const ALL: [Self; 6] = [
        Self::Own,
        Self::Asked,
        Self::Acknowledged,
        Self::Showing,
        Self::Wrong,
        Self::Away,
    ];

    /// The word for it in lists and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Asked => "asked",
            Self::Acknowledged => "acknowledged",
            Self::Showing => "showing",
            Self::Wrong => "wrong",
            Self::Away => "away",
        }
    }
}

/// One screen that takes directions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScreenEntry {
    /// What its operator calls it: all viewers of that name are one screen.
    pub name: String,
    /// How it stands to `direction`.
    pub state: ScreenState,
    /// The newest direction that the relay knows of.
    pub direction: Option<Arc<Direction>>,
    /// The one that it tells every session which has a lesser one.
    pub given: Option<Arc<Direction>>,
    /// How long ago this relay gave it; none when it was told of it by the screen.
    pub asked: Option<Duration>,
    /// How long after that the screen had it.
    pub acknowledged_after: Option<Duration>,
    /// How long after that the screen did as asked.
    pub shown_after: Option<Duration>,
    /// What of `direction` is not so, for people; none while it is.
    pub missing: Option<String>,
    /// What it shows for a while besides, and for how long.
    pub notice: Option<Notice>,
    /// The frames that it has on itself.
    pub frames: Vec<ShownFrame>,
    /// Sessions of it that report.
    pub sessions: usize,
}

/// A frame that a screen says it has on itself, and that the relay has had too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownFrame {
    /// The viewer that says so.
    pub viewer: SocketAddr,
    /// Of which stream.
    pub stream: StreamName,
    /// Of which run of its source.
    pub epoch: u64,
    /// Its number in that run.
    pub number: u64,
}
