//! What a screen shows because it was told to, and what it tells of that: no I/O, no clock. The director calls it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::{Direct, Direction, Notice, StreamName};

use crate::cover::{Announcement, Cover};
use crate::engine::ScreenState;
use crate::scene::Card;

/// Notices that are remembered as shown: relays say one again only until they hear that it came.
const MAX_NOTICED: usize = 32;

/// Streams, and how they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Programme {
    /// Their names; empty: those that the relay has.
    pub(super) streams: Vec<StreamName>,
    /// How many are shown at once.
    pub(super) tiles: usize,
    /// How long, when others follow.
    pub(super) cycle: Option<Duration>,
}

impl Programme {
    fn of(direction: &Direction) -> Self {
        let cycle = direction.cycle();
        let streams: Vec<StreamName> = direction.stream_names().collect();
        Self {
            tiles: if cycle.is_some() { 1 } else { streams.len() },
            streams,
            cycle,
        }
    }
}

/// The newest direction and notice, and what follows of them.
#[derive(Debug)]
pub(super) struct Directions {
    own: Programme,
    /// Tiles that this screen can have.
    room: usize,
    direction: Option<Arc<Direction>>,
    /// Since when the direction holds here.
    since: Time,
    /// What a person at the screen has chosen since, by tile.
    chosen: BTreeMap<usize, StreamName>,
    programme: Programme,
    /// How often the programme has gone on, and when it does next.
    turns: usize,
    turn_due: Option<Time>,
    /// Of a programme without names: the relay's next stream is due.
    step_is_due: bool,
    notice: Option<(Notice, Time)>,
    /// The notices shown so far, the newest last.
    noticed: VecDeque<u64>,
}

impl Directions {
    /// A screen that has been told nothing yet but its `own` settings, with room for so many tiles.
    pub(super) fn new(now: Time, own: Programme, room: usize) -> Self {
        Self {
            turn_due: own.cycle.map(|cycle| now + cycle),
            programme: own.clone(),
            own,
            room,
            direction: None,
            since: now,
            chosen: BTreeMap::new(),
            turns: 0,
            step_is_due: false,
            notice: None,
            noticed: VecDeque::new(),
        }
    }

    /// Takes what a relay says. Returns whether it has a newer direction, and whether it has a new notice.
    pub(super) fn on_direct(&mut self, now: Time, direct: &Direct) -> (bool, bool) {
        let direction = direct.direction.as_ref();
        let newer = direction.filter(|direction| {
            self.direction
                .as_ref()
                .is_none_or(|former| former.stamp() < direction.stamp())
        });
        if let Some(newer) = newer {
            self.obey(now, newer.clone());
        }

        let notice = direct.notice.as_ref();
        let new = notice.filter(|notice| !self.noticed.contains(&notice.id));
        if let Some(new) = new {
            if self.noticed.len() == MAX_NOTICED {
                self.noticed.pop_front();
            }
            self.noticed.push_back(new.id);
            let lasts = Duration::from_millis(new.lasts_ms.into());
            self.notice = Some((new.clone(), now + lasts));
        }

        (newer.is_some(), new.is_some())
    }

    /// Goes by a direction, which is newer than the one before.
    pub(super) fn obey(&mut self, now: Time, direction: Direction) {
        let programme = if direction.streams.is_empty() {
            self.own.clone()
        } else {
            Programme::of(&direction)
        };

        if self.is_overridden() || programme != self.programme {
            self.turns = 0;
            self.turn_due = programme.cycle.map(|cycle| now + cycle);
        }
        self.programme = programme;
        self.chosen.clear();
        self.since = now;
        self.direction = Some(Arc::new(direction));
    }

    /// A person at the screen has chosen another stream for a tile: it stays until the next direction or, where none is in
    /// force, until the cycle goes on.
    pub(super) fn on_choice(&mut self, tile: usize, stream: StreamName) {
        if self.noticed_stream().is_some() {
            self.notice = None;
        }
        self.chosen.insert(tile, stream);
    }

    fn is_overridden(&self) -> bool {
        self.direction.is_some() && !self.chosen.is_empty()
    }

    /// The direction, unless a person has chosen something else.
    fn obeyed(&self) -> Option<&Direction> {
        self.direction.as_deref().filter(|_| !self.is_overridden())
    }

    /// Does what is due by time; returns when something is due next.
    pub(super) fn turn(&mut self, now: Time) -> Option<Time> {
        if self.notice.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.notice = None;
        }

        let is_frozen = self.obeyed().is_some_and(|direction| direction.frozen);
        let goes_on = !self.is_overridden() && !is_frozen && self.noticed_stream().is_none();
        if let Some(cycle) = self.programme.cycle
            && self.turn_due.is_some_and(|due| due <= now)
        {
            self.turn_due = Some(now + cycle);
            if goes_on {
                self.turns += 1;
                self.chosen.clear();
                self.step_is_due = self.programme.streams.is_empty();
            }
        }

        let notice_ends = self.notice.as_ref().map(|(_, until)| *until);
        [self.turn_due, notice_ends].into_iter().flatten().min()
    }

    /// Whether the relay's next stream is to be shown; true once for each turn.
    pub(super) fn take_step(&mut self) -> bool {
        std::mem::take(&mut self.step_is_due)
    }

    /// The stream of each tile; none: any.
    pub(super) fn streams(&self) -> Vec<Option<StreamName>> {
        if let Some(stream) = self.noticed_stream() {
            return vec![Some(stream)];
        }

        let Programme { streams, tiles, .. } = &self.programme;
        let tiles = *tiles.min(&self.room);
        let first = self.turns * tiles;
        let stream = |at: usize| {
            if let Some(chosen) = self.chosen.get(&at) {
                return Some(chosen.clone());
            }
            let at = (first + at).checked_rem(streams.len())?;
            streams.get(at).cloned()
        };
        (0..tiles).map(stream).collect()
    }

    /// Whether the tiles are those of the screen's own settings.
    pub(super) fn is_own(&self) -> bool {
        self.programme == self.own && self.noticed_stream().is_none()
    }

    /// The stream that a notice shows at present.
    fn noticed_stream(&self) -> Option<StreamName> {
        let (notice, _) = self.notice.as_ref()?;
        notice.stream.parse().ok()
    }

    /// What stands over the pictures or in place of them.
    pub(super) fn cover(&self) -> Cover {
        let direction = self.obeyed();
        let words = direction.map_or("", |direction| direction.card.as_str());
        let card = (!words.is_empty() && self.noticed_stream().is_none()).then(|| Card {
            title: words.to_owned(),
            since: self.since,
            ..Card::default()
        });

        let notice = self.notice.as_ref().map(|(notice, _)| notice);
        let announcement = notice.and_then(|notice| match notice {
            notice if notice.identify => Some(Announcement::Identity),
            notice if notice.text.is_empty() => None,
            notice => Some(Announcement::Text(notice.text.clone())),
        });

        Cover {
            card,
            announcement,
            frozen: direction.is_some_and(|direction| direction.frozen)
                && self.noticed_stream().is_none(),
            streams: self.streams(),
            since: self.since,
            overlay: direction.map_or(0, |direction| direction.overlay),
        }
    }

    /// What relays are told, but for the frame.
    pub(super) fn state(&self) -> ScreenState {
        let has_room = self.programme.tiles <= self.room;
        ScreenState {
            direction: self.direction.clone(),
            in_force: self.obeyed().is_some() && has_room,
            shown: None,
            notice: self.noticed.back().copied().unwrap_or_default(),
            tiles: u32::try_from(self.streams().len()).unwrap_or(u32::MAX),
            popup: self.noticed_stream(),
        }
    }

    /// The newest direction.
    pub(super) fn direction(&self) -> Option<&Arc<Direction>> {
        self.direction.as_ref()
    }
}
