//! What the sessions of a screen say, and how that stands to a direction. Used by `screens`.

use std::net::SocketAddr;
use std::time::Duration;

use fanlight_daemon::rate_limit::TokenBucket;
use fanlight_live::ShownFrame;
use fanlight_proto::clock::Time;
use fanlight_proto::direction::Stamp;
use fanlight_proto::limits::{SCREEN_REPORTS_PER_SECOND, SESSION_IDLE};
use fanlight_proto::message::{Direction, ScreenReport, StreamName};

use super::client_screens::ScreenKey;
use super::stream::Stream;

/// What a session reported holds for so long.
const REPORT_HOLDS: Duration = SESSION_IDLE;

/// Least time between two DIRECTs to one session. Those that are due are looked for every 100 ms.
const LEAST_REPEAT: Duration = Duration::from_millis(50);

/// What one session said of its screen.
#[derive(Debug)]
pub(super) struct ScreenSession {
    said: ScreenReport,
    heard: Time,
    reports: TokenBucket,
    /// When it was sent the last DIRECT.
    told: Option<Time>,
}

impl ScreenSession {
    /// The first report of a session.
    pub(super) fn new(now: Time, said: ScreenReport) -> Self {
        let mut reports = TokenBucket::new(SCREEN_REPORTS_PER_SECOND, SCREEN_REPORTS_PER_SECOND);
        reports.try_take(now, 1);
        Self {
            said,
            heard: now,
            reports,
            told: None,
        }
    }

    /// Takes a further report; whether it is not one too many.
    pub(super) fn take(&mut self, now: Time, said: ScreenReport) -> bool {
        let taken = self.reports.try_take(now, 1);
        if taken {
            self.said = said;
            self.heard = now;
        }
        taken
    }

    pub(super) const fn said(&self) -> &ScreenReport {
        &self.said
    }

    /// The place of the direction that it names.
    pub(super) fn stamp(&self) -> Stamp {
        stamp_of(self.said.direction.as_ref())
    }

    /// Whether the last DIRECT was long enough ago.
    pub(super) fn may_be_told(&self, now: Time) -> bool {
        let is_late = |told| now.saturating_since(told) >= LEAST_REPEAT;
        self.told.is_none_or(is_late)
    }

    pub(super) const fn note_told(&mut self, now: Time) {
        self.told = Some(now);
    }

    /// Forgets that it was told something: there is something else to tell.
    pub(super) const fn forget_told(&mut self) {
        self.told = None;
    }
}

/// A session of a screen, with the stream that it watches.
pub(super) struct Member<'a> {
    pub(super) key: ScreenKey,
    /// Where it is.
    pub(super) viewer: SocketAddr,
    pub(super) session: &'a ScreenSession,
    pub(super) stream: &'a Stream,
}

impl Member<'_> {
    pub(super) const fn said(&self) -> &ScreenReport {
        &self.session.said
    }

    pub(super) fn is_present(&self, now: Time) -> bool {
        now.saturating_since(self.session.heard) < REPORT_HOLDS
    }

    /// The frame that it says is on the screen, if the relay has had it. What the relay has not had may be a lie, or have come
    /// by another relay: with the relay's next frame it is known.
    pub(super) fn shown(&self) -> Option<ShownFrame> {
        let (said, status) = (self.said(), self.stream.status());
        let is_ours = said.epoch != 0 && said.epoch == status.epoch;
        (is_ours && said.number <= status.newest).then(|| ShownFrame {
            viewer: self.viewer,
            stream: self.stream.name.clone(),
            epoch: said.epoch,
            number: said.number,
        })
    }

    /// Whether it claims a frame that the relay has not had.
    pub(super) fn claims_unknown(&self) -> bool {
        self.said().epoch != 0 && self.shown().is_none()
    }

    pub(super) fn stamp(&self) -> Stamp {
        self.session.stamp()
    }
}

/// How one viewer, or all of a screen, stand to a direction.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) is_acknowledged: bool,
    /// What is asked for is on the screen.
    pub(super) is_shown: bool,
    /// And nothing else is.
    pub(super) is_right: bool,
    /// What is not so, for people.
    pub(super) missing: Option<String>,
}

impl Standing {
    /// That of the viewer with these sessions.
    pub(super) fn of(direction: &Direction, sessions: &[&Member<'_>]) -> Self {
        let named = sessions.iter().filter(|it| it.stamp() == direction.stamp());
        let Some(last) = named.max_by_key(|it| it.session.heard) else {
            return Self {
                missing: Some("it has not said that it has the direction".to_owned()),
                ..Self::default()
            };
        };

        let shown: Vec<_> = sessions.iter().filter_map(|it| it.shown()).collect();
        let popup = last.said().popup.as_str();
        if !popup.is_empty() {
            let other = shown.iter().find(|frame| frame.stream.as_str() != popup);
            return Self {
                is_acknowledged: true,
                is_shown: false,
                is_right: other.is_none(),
                missing: Some(format!("a pop-up shows {popup} for a while")),
            };
        }

        let lacking = lacking(direction, last.said().in_force, &shown);
        let other = other(direction, &shown);
        Self {
            is_acknowledged: true,
            is_shown: lacking.is_none(),
            is_right: lacking.is_none() && other.is_none(),
            missing: lacking.or(other),
        }
    }

    /// That of two viewers together.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            is_acknowledged: self.is_acknowledged && other.is_acknowledged,
            is_shown: self.is_shown && other.is_shown,
            is_right: self.is_right && other.is_right,
            missing: self.missing.or(other.missing),
        }
    }
}

/// What a viewer lacks of a direction that it has.
fn lacking(direction: &Direction, in_force: bool, shown: &[ShownFrame]) -> Option<String> {
    if direction.is_release() {
        return None;
    }

    if !in_force {
        return Some(
            "the screen cannot do it, or somebody there has chosen something else".to_owned(),
        );
    }

    if direction.is_by_word() {
        return None;
    }

    let shows = |name: &StreamName| shown.iter().any(|frame| frame.stream == *name);
    let lacking: Vec<_> = direction.stream_names().filter(|it| !shows(it)).collect();
    let enough = match direction.cycle() {
        Some(_) => lacking.len() < direction.streams.len(),
        None => lacking.is_empty(),
    };
    let names: Vec<_> = lacking.iter().map(StreamName::as_str).collect();
    (!enough).then(|| format!("it has not reported a frame of {}", names.join(", ")))
}

/// What a viewer shows that is not of the direction.
fn other(direction: &Direction, shown: &[ShownFrame]) -> Option<String> {
    let is_free = direction.is_by_word() || direction.streams.is_empty();
    let mut names = shown.iter().map(|frame| frame.stream.as_str());
    let is_other = |name: &&str| !direction.streams.iter().any(|known| known == name);
    let other = names.find(is_other).filter(|_| !is_free)?;
    Some(format!("it also shows {other}"))
}

/// The place of a direction; the least, when there is none.
pub(super) fn stamp_of(direction: Option<&Direction>) -> Stamp {
    direction.map(Direction::stamp).unwrap_or_default()
}
