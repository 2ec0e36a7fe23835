//! The screens that take directions: what each was told, and how it stands to that. Holds no sessions: the engine brings what
//! those of one screen say.
//!
//! Nothing here outlives the relay. A screen keeps its direction itself and tells it in every session, so a relay that starts
//! anew knows all of them with the first reports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanlight_live::{OrderError, ScreenEntry, ScreenState};
use fanlight_proto::clock::Time;
use fanlight_proto::direction::{Stamp, check, check_notice};
use fanlight_proto::limits::MAX_DIRECTION_VERSION;
use fanlight_proto::message::{Direct, Direction, Notice};

use super::client_screens::ScreenKey;
use super::standing::{Member, ScreenSession, Standing, stamp_of};

/// Screens that are remembered. Whoever may join chooses the names, so there must be an end.
pub(super) const MAX_SCREENS: usize = 1024;

/// Sessions of one screen whose reports are taken: 16 tiles, by two paths, on two viewers of one name.
pub(super) const MAX_SESSIONS: usize = 64;

/// A screen that has its direction and does not do it for so long does something else.
pub(super) const WRONG_AFTER: Duration = Duration::from_secs(2);

/// A screen that changes its stream has no session for a moment: only after so long it is away.
pub(super) const AWAY_AFTER: Duration = Duration::from_secs(1);

/// A screen without sessions is forgotten after so long, unless another one needs its place.
pub(super) const AWAY_KEPT: Duration = Duration::from_secs(600);

/// The same for one that this relay has given a direction, which it is to get when it comes back.
pub(super) const DIRECTED_KEPT: Duration = Duration::from_secs(24 * 3600);

/// All of them.
#[derive(Debug)]
pub(super) struct Screens {
    /// Names this run of the relay in the directions that it gives.
    origin: u64,
    all: BTreeMap<String, Screen>,
    /// How often a screen has come closer to its direction.
    progress: u64,
}

/// One screen.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The sessions that report.
    sessions: Vec<ScreenKey>,
    /// What sessions are told that have a lesser one.
    given: Option<Arc<Direction>>,
    /// The greatest version that was ever heard or given.
    highest: u64,
    /// The newest direction that is known.
    newest: Option<Arc<Direction>>,
    way: Way,
    state: ScreenState,
    missing: Option<String>,
    /// Until when it is shown.
    notice: Option<(Time, Notice)>,
    /// This relay has given it a direction.
    is_directed: bool,
    /// When it had a session last.
    seen: Time,
}

/// How far a screen has come on the way to one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    stamp: Stamp,
    asked: Option<Time>,
    acknowledged: Option<Time>,
    shown: Option<Time>,
    /// Since when it has not been as directed.
    off_since: Option<Time>,
}

impl Screens {
    pub(super) fn new(origin: u64) -> Self {
        Self {
            origin: origin.max(1),
            all: BTreeMap::new(),
            progress: 0,
        }
    }

    /// Changes when a screen has come closer to its direction.
    pub(super) const fn progress(&self) -> u64 {
        self.progress
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Screen)> {
        self.all.iter()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.all.keys().cloned().collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Screen> {
        self.all.get(name)
    }

    /// The sessions of the screen `name`.
    pub(super) fn sessions(&self, name: &str) -> Vec<ScreenKey> {
        let sessions = self.all.get(name).map(|screen| screen.sessions.clone());
        sessions.unwrap_or_default()
    }

    /// Notes that `session` is of the screen `name`; whether there is room for it.
    pub(super) fn enter(&mut self, now: Time, name: &str, session: ScreenKey) -> bool {
        if !self.all.contains_key(name) && !self.make_room() {
            return false;
        }

        let screen = self.all.entry(name.to_owned()).or_default();
        screen.seen = now;
        let is_known = screen.sessions.contains(&session);
        if !is_known && screen.sessions.len() < MAX_SESSIONS {
            screen.sessions.push(session);
            return true;
        }
        is_known
    }

    /// A session of the screen has ended.
    pub(super) fn leave(&mut self, now: Time, name: &str, session: ScreenKey) {
        if let Some(screen) = self.all.get_mut(name) {
            screen.seen = now;
            screen.sessions.retain(|known| *known != session);
        }
    }

    /// Takes what a session says it was told. Only who has proved its name (`is_proved`) is believed so far that other
    /// sessions of that name are told the same: else whoever may watch could direct screens by calling itself as they do.
    pub(super) fn hear(
        &mut self,
        now: Time,
        name: &str,
        said: Option<&Direction>,
        is_proved: bool,
    ) {
        let Some(screen) = self.all.get_mut(name) else {
            return;
        };

        screen.seen = now;
        let Some(said) = said else {
            return;
        };
        screen.highest = screen.highest.max(said.version);
        if is_proved && stamp_of(screen.given.as_deref()) < said.stamp() {
            screen.given = Some(Arc::new(said.clone()));
        }
    }

    /// Gives a screen a direction that is greater than all that are known.
    pub(super) fn direct(
        &mut self,
        now: Time,
        name: &str,
        mut direction: Direction,
    ) -> Result<Arc<Direction>, OrderError> {
        let unknown = || OrderError::NoSuchScreen(name.to_owned());
        let screen = self.all.get_mut(name).ok_or_else(unknown)?;
        if screen.highest >= MAX_DIRECTION_VERSION {
            return Err(OrderError::Exhausted(name.to_owned()));
        }

        // A hybrid logical clock (Kulkarni et al. 2014): who is told later wins also between relays that have not yet heard
        // of each other, as far as their clocks agree.
        let clock = direction.given_ms.min(MAX_DIRECTION_VERSION);
        direction.version = clock.max(screen.highest + 1);
        direction.origin = self.origin;
        check(&direction).map_err(OrderError::Field)?;

        let given = Arc::new(direction);
        screen.highest = given.version;
        screen.given = Some(Arc::clone(&given));
        screen.newest = Some(Arc::clone(&given));
        screen.is_directed = true;
        // What it showed before is no proof of this, also while it has no session.
        screen.state = ScreenState::Asked;
        screen.way = Way {
            stamp: given.stamp(),
            asked: Some(now),
            ..Way::default()
        };
        self.progress += 1;
        Ok(given)
    }

    /// The direction that has the screen start anew and is for the rest the newest one; who gives it, and when, says `given`.
    pub(super) fn reload(&self, name: &str, given: Direction, number: u64) -> Direction {
        let newest = self.all.get(name).and_then(|it| it.newest.as_deref());
        Direction {
            given_ms: given.given_ms,
            by: given.by,
            reload: number,
            ..newest.cloned().unwrap_or_default()
        }
    }

    /// Has a screen show something for a while.
    pub(super) fn notify(
        &mut self,
        now: Time,
        name: &str,
        notice: Notice,
    ) -> Result<u64, OrderError> {
        let unknown = || OrderError::NoSuchScreen(name.to_owned());
        let screen = self.all.get_mut(name).ok_or_else(unknown)?;
        check_notice(&notice).map_err(OrderError::Field)?;

        let (id, until) = (
            notice.id,
            now + Duration::from_millis(notice.lasts_ms.into()),
        );
        screen.notice = Some((until, notice));
        self.progress += 1;
        Ok(id)
    }

    /// Compares what the sessions of a screen say with what it was told.
    pub(super) fn settle(&mut self, now: Time, name: &str, members: &[Member<'_>]) {
        if let Some(screen) = self.all.get_mut(name) {
            self.progress += u64::from(screen.settle(now, members));
        }
    }

    /// Whether one without sessions is to be away soon.
    pub(super) fn is_settling(&self) -> bool {
        let is_leaving =
            |screen: &Screen| screen.sessions.is_empty() && screen.state != ScreenState::Away;
        self.all.values().any(is_leaving)
    }

    /// Forgets the screens that have been away for too long.
    pub(super) fn expire(&mut self, now: Time) {
        self.all.retain(|_, screen| {
            let kept = if screen.is_directed {
                DIRECTED_KEPT
            } else {
                AWAY_KEPT
            };
            !screen.sessions.is_empty() || now.saturating_since(screen.seen) < kept
        });
    }

    /// Whether there is room for one more. Of those that are away, one without a direction gives its place first, then who
    /// has been away longest.
    fn make_room(&mut self) -> bool {
        if self.all.len() < MAX_SCREENS {
            return true;
        }

        let away = self.all.iter().filter(|(_, it)| it.sessions.is_empty());
        let first = away.min_by_key(|(_, it)| (it.is_directed, it.seen));
        let Some(name) = first.map(|(name, _)| name.clone()) else {
            return false;
        };
        self.all.remove(&name);
        true
    }
}

impl Screen {
    pub(super) fn sessions(&self) -> &[ScreenKey] {
        &self.sessions
    }

    /// What the session does not have yet, if it is to be told now.
    pub(super) fn tell(&self, now: Time, session: &mut ScreenSession) -> Option<Direct> {
        if !session.may_be_told(now) {
            return None;
        }

        let direction = self
            .given
            .as_ref()
            .filter(|it| session.stamp() < it.stamp());
        let notice = self.notice(now);
        let direct = Direct {
            direction: direction.map(|given| (**given).clone()),
            notice: notice.filter(|notice| notice.id != session.said().notice),
        };

        let is_due = direct.direction.is_some() || direct.notice.is_some();
        is_due.then(|| {
            session.note_told(now);
            direct
        })
    }

    /// What it shows for a while, and for how long still.
    fn notice(&self, now: Time) -> Option<Notice> {
        let (until, notice) = self.notice.as_ref().filter(|(until, _)| now < *until)?;
        let left = until.saturating_since(now).as_millis().max(1);
        Some(Notice {
            lasts_ms: u32::try_from(left).unwrap_or(u32::MAX),
            ..notice.clone()
        })
    }

    /// Notes how the screen stands; whether it has come closer to its direction.
    fn settle(&mut self, now: Time, members: &[Member<'_>]) -> bool {
        let members: Vec<_> = members.iter().filter(|it| it.is_present(now)).collect();
        if members.is_empty() && now.saturating_since(self.seen) < AWAY_AFTER {
            return false;
        }

        self.follow(&members);
        let before = self.way;
        let standing = match self.newest.clone() {
            Some(newest) if !members.is_empty() => compare(&newest, &members),
            _ => Standing::default(),
        };

        if standing.is_acknowledged {
            self.way.acknowledged = self.way.acknowledged.or(Some(now));
        }
        if standing.is_shown {
            self.way.shown = self.way.shown.or(Some(now));
        }
        self.way.off_since = match self.way.off_since {
            _ if standing.is_right || !standing.is_acknowledged => None,
            since => since.or(Some(now)),
        };

        self.state = self.state(now, members.is_empty(), &standing);
        self.missing = standing.missing;
        let steps = |way: Way| (way.acknowledged.is_some(), way.shown.is_some());
        steps(before) != steps(self.way)
    }

    /// Takes the newest direction of those that were given or that sessions name.
    fn follow(&mut self, members: &[&Member<'_>]) {
        let named = members.iter().max_by_key(|member| member.stamp());
        let given = stamp_of(self.given.as_deref());
        let newest = match named {
            Some(member) if member.stamp() > given => member.said().direction.clone().map(Arc::new),
            _ if members.is_empty() => return,
            _ => self.given.clone(),
        };

        if stamp_of(newest.as_deref()) != self.way.stamp {
            self.way = Way {
                stamp: stamp_of(newest.as_deref()),
                ..Way::default()
            };
        }
        self.newest = newest;
    }

    fn state(&self, now: Time, is_away: bool, standing: &Standing) -> ScreenState {
        let is_off = |since| now.saturating_since(since) >= WRONG_AFTER;
        match &self.newest {
            _ if is_away => ScreenState::Away,
            None => ScreenState::Own,
            Some(_) if !standing.is_acknowledged => ScreenState::Asked,
            Some(newest) if newest.is_release() => ScreenState::Own,
            Some(_) if self.way.off_since.is_some_and(is_off) => ScreenState::Wrong,
            Some(_) if standing.is_shown => ScreenState::Showing,
            Some(_) => ScreenState::Acknowledged,
        }
    }

    /// The screen, for other outputs to show.
    pub(super) fn entry(&self, now: Time, name: &str, members: &[Member<'_>]) -> ScreenEntry {
        let present = || members.iter().filter(|member| member.is_present(now));
        let after = |at: Option<Time>| Some(at?.saturating_since(self.way.asked?));
        ScreenEntry {
            name: name.to_owned(),
            state: self.state,
            direction: self.newest.clone(),
            given: self.given.clone(),
            asked: self.way.asked.map(|asked| now.saturating_since(asked)),
            acknowledged_after: after(self.way.acknowledged),
            shown_after: after(self.way.shown),
            missing: self.missing.clone(),
            notice: self.notice(now),
            frames: present().filter_map(Member::shown).collect(),
            sessions: present().count(),
        }
    }
}

/// How all viewers of a screen stand to its newest direction: each must do it.
fn compare(newest: &Direction, members: &[&Member<'_>]) -> Standing {
    let mut viewers: BTreeMap<u64, Vec<&Member<'_>>> = BTreeMap::new();
    for member in members {
        viewers
            .entry(member.said().screen)
            .or_default()
            .push(member);
    }

    let standings = viewers.values().map(|own| Standing::of(newest, own));
    standings.reduce(Standing::and).unwrap_or_default()
}
