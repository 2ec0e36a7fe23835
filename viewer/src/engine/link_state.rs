//! The link state, and the timeouts by which it is derived from what a relay sends.

use std::fmt;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::{
    NotShown, Refusal, Refuse, State, Status, StreamInfo, StreamName, truncate_reason,
};

/// A picture older than this no longer passes for live, unless its stream has frames more rarely (promise P5: a card
/// within 1.5 s). A little longer than a relay takes to miss its source, so that the card says so at once.
const FRAME_TIMEOUT: Duration = Duration::from_millis(1200);

/// The same for a stream of few frames a second: so many intervals, and never more than [`MAX_FRAME_TIMEOUT`].
const TIMEOUT_INTERVALS: u32 = 3;

/// See [`TIMEOUT_INTERVALS`].
const MAX_FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// Without any datagram for so long, the picture is not live, however rare its frames are.
const LINK_TIMEOUT: Duration = Duration::from_secs(1);

/// A relay that refused, and answers nothing for so long after the next attempt was due, is taken to be gone.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(1500);

/// Why datagrams do not get to a relay is told for so long after the last failure; one is sent each second or more.
const UNREACHABLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Streams of the relay that are named when it does not have the one asked for.
const MAX_NAMED_STREAMS: usize = 8;

/// What a screen should say, frames or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// No relay has answered yet, or the one that did is silent.
    #[default]
    Connecting,
    /// The same, and why datagrams do not get to the relay.
    Unreachable(String),
    /// The relay has another version of the protocol.
    OtherVersion,
    /// The relay has no stream yet.
    NoStreams,
    /// The relay has streams, but not this one.
    NoSuchStream {
        /// The one asked for.
        wanted: String,
        /// Those that it has, as text; empty when it does not say.
        others: String,
    },
    /// The relay answered with another stream than the one asked for.
    OtherStream,
    /// The relay and this viewer do not agree about keys, and why.
    NoKey(&'static str),
    /// What answers a connection is no relay, or it does not let this viewer in, and why.
    Rejected(String),
    /// The relay serves as many viewers as it may, and says when to come again.
    Busy(Duration),
    /// The source says that its input does not deliver, and why.
    Camera {
        /// What the input is doing.
        state: State,
        /// What a person should read about it; may be empty.
        reason: String,
    },
    /// The relay has lost its source.
    SourceGone,
    /// No fault is known, but no frame comes.
    NoFrames,
    /// Frames come complete, but the screen shows none of them, and why.
    NotShown(NotShown),
    /// New frames are shown.
    Live,
}

impl LinkState {
    /// One word for reports and statistics.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Connecting | Self::Unreachable(_) => "connecting",
            Self::OtherVersion => "version",
            Self::NoStreams => "no-streams",
            Self::NoSuchStream { .. } => "no-such-stream",
            Self::OtherStream => "other-stream",
            Self::NoKey(_) => "no-key",
            Self::Rejected(_) => "rejected",
            Self::Busy(_) => "busy",
            Self::Camera { state, .. } => state_word(*state),
            Self::SourceGone => "source-gone",
            Self::NoFrames => "no-frames",
            Self::NotShown(NotShown::Display) => "not-displayed",
            Self::NotShown(NotShown::Directed) => "directed",
            Self::NotShown(_) => "undecodable",
            Self::Live => "live",
        }
    }

    /// Of what several relays say, the lowest is the one to show.
    pub(super) const fn rank(&self) -> u8 {
        match self {
            Self::Live | Self::NotShown(_) => 0,
            Self::Camera { .. } => 1,
            Self::SourceGone => 2,
            Self::NoFrames => 3,
            Self::NoSuchStream { .. } | Self::OtherStream => 4,
            Self::NoStreams => 5,
            Self::Busy(_) => 6,
            Self::NoKey(_) | Self::Rejected(_) => 7,
            Self::OtherVersion => 8,
            Self::Unreachable(_) => 9,
            Self::Connecting => 10,
        }
    }

    /// The link state that an answer in place of ACCEPT amounts to; `wanted` is the stream asked for.
    pub(super) fn of_refusal(refuse: &Refuse, wanted: &str) -> Self {
        match refuse.refusal() {
            Refusal::Version => Self::OtherVersion,
            Refusal::NoStreams => Self::NoStreams,
            Refusal::NoSuchStream => Self::NoSuchStream {
                wanted: wanted.to_owned(),
                others: named_streams(refuse),
            },
            Refusal::Key => Self::NoKey("the relay does not know this viewer's key"),
            Refusal::Busy | Refusal::Unspecified => {
                Self::Busy(Duration::from_millis(refuse.retry_after_ms.into()))
            }
        }
    }
}

/// The reason as a person reads it on a card.
impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("no answer from the relay"),
            Self::Unreachable(why) => write!(f, "no answer from the relay: {why}"),
            Self::OtherVersion => f.write_str("the relay speaks another version"),
            Self::NoStreams => f.write_str("the relay has no stream yet"),
            Self::NoSuchStream { wanted, others } if others.is_empty() => {
                write!(f, "the relay has no stream {wanted}")
            }
            Self::NoSuchStream { wanted, others } => {
                write!(f, "the relay has no stream {wanted}; it has {others}")
            }
            Self::OtherStream => f.write_str("the relay answered with another stream"),
            Self::NoKey(why) => f.write_str(why),
            Self::Rejected(why) => f.write_str(why),
            Self::Busy(_) => f.write_str("the relay serves as many viewers as it may"),
            // This viewer's request wakes the camera.
            Self::Camera {
                state: State::Idle,
                reason,
            } if reason.is_empty() => f.write_str("the camera sleeps and wakes now"),
            Self::Camera {
                state: State::Idle,
                reason,
            } => write!(f, "the camera sleeps ({reason}) and wakes now"),
            Self::Camera { reason, .. } if !reason.is_empty() => f.write_str(reason),
            Self::Camera { state, .. } => write!(f, "camera {}", state_word(*state)),
            Self::SourceGone => f.write_str("source gone: the relay no longer hears it"),
            Self::NoFrames => f.write_str("no frames come"),
            Self::NotShown(reason) => f.write_str(reason.label()),
            Self::Live => f.write_str("live"),
        }
    }
}

/// The streams that a REFUSE names, as text.
fn named_streams(refuse: &Refuse) -> String {
    let names = refuse.streams.iter().take(MAX_NAMED_STREAMS);
    // What is no name of a stream could be anything.
    let names: Vec<_> = names
        .filter_map(|name| name.parse::<StreamName>().ok())
        .collect();
    let text: Vec<_> = names.iter().map(StreamName::as_str).collect();
    let text = text.join(", ");
    match refuse.total_streams as usize {
        total if total > names.len() && !names.is_empty() => {
            format!("{text} and {} more", total - names.len())
        }
        _ => text,
    }
}

/// The state in one word, as reports and lists say it.
#[must_use]
pub const fn state_word(state: State) -> &'static str {
    match state {
        // Not to be taken for a relay that is busy.
        State::Busy => "busy-device",
        State::WrongFormat => "wrong-format",
        other => other.label(),
    }
}

/// What the link state is derived from.
#[derive(Debug, Default)]
pub(super) struct LinkMonitor {
    /// When the relay opened the session, while there is one.
    pub(super) joined: Option<Time>,
    /// When anything of a session last came.
    pub(super) last_received: Option<Time>,
    /// When a frame was last whole.
    pub(super) frame: Option<Time>,
    /// The stream's rate in thousandths of a frame a second; 0 when not known.
    rate_millihertz: u32,
    /// Why datagrams do not get to the relay, and until when that holds.
    unreachable: Option<(String, Time)>,
    /// The relay's last refusal, and until when it holds.
    refusal: Option<(LinkState, Time)>,
    /// What the relay says is wrong with the stream.
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    link_state: LinkState,
    since: Time,
    /// When the relay said that it was over: frames should follow.
    over: Option<Time>,
}

impl LinkMonitor {
    /// Takes what the relay says of the stream.
    pub(super) fn on_status(&mut self, now: Time, status: &Status) {
        let outage = match State::try_from(status.state).unwrap_or(State::Unspecified) {
            _ if status.source_gone => Some(LinkState::SourceGone),
            State::Live | State::Unspecified => None,
            state => {
                let mut reason = status.reason.clone();
                truncate_reason(&mut reason);
                Some(LinkState::Camera { state, reason })
            }
        };

        match (&mut self.outage, outage) {
            (Some(former), None) => former.over = former.over.or(Some(now)),
            // The same status again does not restart the outage: frames may have come since.
            (Some(former), Some(link_state))
                if former.link_state == link_state && former.over.is_none() => {}
            (_, Some(link_state)) => {
                self.outage = Some(Outage {
                    link_state,
                    since: now,
                    over: None,
                });
            }
            (None, None) => {}
        }
    }

    /// A datagram of a session came.
    pub(super) fn on_received(&mut self, now: Time) {
        self.last_received = Some(now);
        self.unreachable = None;
    }

    /// A session is open.
    pub(super) fn on_session(&mut self, now: Time, info: &StreamInfo) {
        self.joined = Some(now);
        self.on_received(now);
        self.rate_millihertz = info.rate_millihertz;
        self.refusal = None;
        self.outage = None;
        self.on_status(now, &info.status.clone().unwrap_or_default());
    }

    /// Datagrams do not get to the relay.
    pub(super) fn on_unreachable(&mut self, now: Time, why: String) {
        self.unreachable = Some((why, now + UNREACHABLE_TIMEOUT));
    }

    /// The relay opens no session; a new attempt is due at `retry`.
    pub(super) fn on_refusal(&mut self, link_state: LinkState, retry: Time) {
        self.refusal = Some((link_state, retry + REFUSAL_TIMEOUT));
    }

    /// The link state at `now`, and when it changes by itself if nothing comes.
    pub(super) fn assess(&self, now: Time) -> (LinkState, Option<Time>) {
        let fresh_until = self.fresh_until();
        if fresh_until.is_some_and(|until| now < until) {
            return (LinkState::Live, fresh_until);
        }

        let linked_until = self
            .last_received
            .map(|at| at + LINK_TIMEOUT)
            .filter(|until| now < *until);

        if let (Some(joined), Some(linked_until)) = (self.joined, linked_until) {
            let within_timeout =
                |since: Time| Some(since + self.frame_timeout()).filter(|until| now < *until);
            if let Some(outage) = &self.outage {
                let until = outage.over.map_or(Some(linked_until), within_timeout);
                if let Some(until) = until {
                    return (outage.link_state.clone(), Some(until.min(linked_until)));
                }
            }

            let none_yet = self.frame.is_none_or(|frame| frame < joined);
            return match within_timeout(joined).filter(|_| none_yet) {
                Some(until) => (LinkState::Connecting, Some(until.min(linked_until))),
                None => (LinkState::NoFrames, Some(linked_until)),
            };
        }

        match (&self.refusal, &self.unreachable) {
            (Some((refusal, until)), _) if now < *until => (refusal.clone(), Some(*until)),
            (_, Some((why, until))) if now < *until => {
                (LinkState::Unreachable(why.clone()), Some(*until))
            }
            _ => (LinkState::Connecting, None),
        }
    }

    /// Until when the newest frame passes for live.
    fn fresh_until(&self) -> Option<Time> {
        let frame = self.frame?;
        if self
            .outage
            .as_ref()
            .is_some_and(|outage| outage.since >= frame)
        {
            return None;
        }
        Some((frame + self.frame_timeout()).min(self.last_received? + LINK_TIMEOUT))
    }

    /// Whether the relay says that the stream has no frames at present.
    pub(super) fn has_outage(&self) -> bool {
        self.outage
            .as_ref()
            .is_some_and(|outage| outage.over.is_none())
    }

    /// The time between frames, when the stream says its rate.
    pub(super) fn interval(&self) -> Option<Duration> {
        Duration::from_secs(1000).checked_div(self.rate_millihertz)
    }

    pub(super) fn frame_timeout(&self) -> Duration {
        (self.interval().unwrap_or_default() * TIMEOUT_INTERVALS)
            .clamp(FRAME_TIMEOUT, MAX_FRAME_TIMEOUT)
    }
}
