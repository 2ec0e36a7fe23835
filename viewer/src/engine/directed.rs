//! A screen that takes directions: what it says of itself in each session, and the directions that come. The engine's caller
//! calls it on the thread of its sockets; it obeys nothing by itself.

use std::sync::Arc;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::ToRelay;
use fanlight_proto::limits::SCREEN_REPORTS_PER_SECOND;
use fanlight_proto::message::{Direct, Direction, FrameId, ScreenReport, StreamName};

use super::session::Session;
use super::{Engine, Output};

/// How often a screen says what it shows though nothing has changed.
const INTERVAL: Duration = Duration::from_secs(1);

/// Shortest time between two reports in a session: that a direction has come, and that it is shown, follow each other.
const LEAST_INTERVAL: Duration = Duration::from_millis(10);

/// Reports in one [`INTERVAL`] of a session. Half of what a relay takes, so that those of two intervals are not too many when
/// they come together.
const MAX_REPORTS: u32 = SCREEN_REPORTS_PER_SECOND / 2;

/// What a screen that takes directions says of itself; see `ScreenReport` in control.proto.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScreenState {
    /// The newest direction that it was given.
    pub direction: Option<Arc<Direction>>,
    /// Whether what it shows it shows because of that.
    pub in_force: bool,
    /// The frame that is on the screen now, and its stream.
    pub shown: Option<(StreamName, FrameId)>,
    /// The notice that it obeyed last; 0: none.
    pub notice: u64,
    /// Tiles that it has.
    pub tiles: u32,
    /// The stream that a notice shows at present.
    pub popup: Option<StreamName>,
}

impl ScreenState {
    /// Whether it says more than that the same stream has gone on.
    fn differs(&self, former: &Self) -> bool {
        let shown = |state: &Self| {
            let (stream, id) = state.shown.as_ref()?;
            Some((stream.clone(), id.epoch))
        };
        let rest = |state: &Self| (state.in_force, state.notice, state.tiles);
        rest(self) != rest(former)
            || self.popup != former.popup
            || self.direction != former.direction
            || shown(self) != shown(former)
    }

    fn report(&self, screen: u64, stream: &StreamName) -> ScreenReport {
        let shown = self.shown.as_ref().filter(|(shown, _)| shown == stream);
        ScreenReport {
            screen,
            direction: self.direction.as_deref().cloned(),
            in_force: self.in_force,
            epoch: shown.map_or(0, |(_, id)| id.epoch),
            number: shown.map_or(0, |(_, id)| id.number),
            notice: self.notice,
            tiles: self.tiles.max(1),
            popup: self
                .popup
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
        }
    }
}

/// What a screen says, and how often that has changed.
#[derive(Debug, Default)]
pub(super) struct Directed {
    state: ScreenState,
    changes: u64,
}

/// When a session was told last, and how often what was told had changed until then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    at: Time,
    changes: u64,
    /// Since when reports are counted, and how many there were.
    counted_since: Time,
    count: u32,
}

impl Session {
    /// When the next report is due in it, with so many changes so far.
    fn report_due(&self, changes: u64) -> Time {
        self.told.map_or(Time::default(), |told| {
            if told.changes == changes {
                told.at + INTERVAL
            } else if told.count < MAX_REPORTS {
                told.at + LEAST_INTERVAL
            } else {
                told.counted_since + INTERVAL
            }
        })
    }

    fn note_report(&mut self, now: Time, changes: u64) {
        let counted = self.told.map(|told| (told.counted_since, told.count));
        let counted = counted.filter(|(since, _)| now < *since + INTERVAL);
        let (counted_since, count) = counted.unwrap_or((now, 0));
        self.told = Some(Told {
            at: now,
            changes,
            counted_since,
            count: count + 1,
        });
    }
}

impl Engine {
    /// Takes what a screen that takes directions shows. From then on its relays are told, and their directions come as
    /// [`Output::Direct`]; an engine that was never told takes none. Set [`Engine::set_screen`] before.
    pub fn on_screen(&mut self, state: ScreenState) {
        let directed = self.directed.get_or_insert_default();
        directed.changes += u64::from(state.differs(&directed.state));
        directed.state = state;
    }

    /// A relay says what to show. It says so until it hears that it came, so each of them is answered by a report.
    pub(super) fn on_direct(&mut self, now: Time, at: usize, id: u64, direct: &Direct) -> bool {
        let Some(directed) = &self.directed else {
            return false;
        };

        let Some(session) = self.paths[at].session_named(id) else {
            return false;
        };

        session.told = session.told.map(|told| Told {
            changes: directed.changes.wrapping_sub(1),
            ..told
        });
        self.paths[at].note_received(now);
        self.shared
            .outputs
            .push_back(Output::Direct(Box::new(direct.clone())));
        true
    }

    /// Tells each relay what is due.
    pub(super) fn send_screen_reports(&mut self, now: Time) {
        let screen = self.detection_sender.screen();
        let Some(directed) = self.directed.as_ref().filter(|_| screen != 0) else {
            return;
        };

        for (at, path) in self.paths.iter_mut().enumerate() {
            let changes = directed.changes;
            let is_due = |session: &&mut Session| session.report_due(changes) <= now;
            let Some(session) = path.session.as_mut().filter(is_due) else {
                continue;
            };

            session.note_report(now, changes);
            let report = directed.state.report(screen, &session.name);
            let datagram = session.encode(&ToRelay::ScreenReport(session.id, report));
            self.shared.outputs.push_back(Output::Send(at, datagram));
        }
    }

    /// When [`Engine::send_screen_reports`] has something to do.
    pub(super) fn screen_report_due(&self) -> Option<Time> {
        let directed = self.directed.as_ref()?;
        self.paths
            .iter()
            .filter_map(|path| path.session.as_ref())
            .map(|session| session.report_due(directed.changes))
            .min()
            .filter(|_| self.detection_sender.screen() != 0)
    }
}
