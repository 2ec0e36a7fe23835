//! What becomes of streams and screens, for people and programs that are told of it: conditions that hold, and an event when
//! a problem begins and when it ends.
//!
//! An output that tells owns a [`Monitor`] and lets it look at the stream table every [`LOOK_INTERVAL`], on its own thread.
//! Nothing here is on the way of a frame. A condition counts once it has held for a while, so a problem that comes and goes
//! is one event and one end.

mod condition;
mod screens;

use std::collections::BTreeMap;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_STREAMS;
use serde_json::{Value, json};

use crate::status::ListedStream;
use crate::table::StreamTable;

pub use condition::{Condition, SCREEN_CONDITIONS, STREAM_CONDITIONS};
pub use screens::Screen;

/// How often a [`Monitor`] is to look.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A problem, and its end, count after so long.
const HOLD: Duration = Duration::from_secs(2);

/// An input that opens is on its way to another condition: only after so long it is told.
const OPENING_HOLD: Duration = Duration::from_secs(10);

/// What has left is remembered for so long, unless something new needs its place.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Streams that are remembered: those that are there, and as many that were.
pub const MAX_STREAMS_KEPT: usize = 2 * MAX_STREAMS;

/// Screens that are remembered. Whoever may join chooses the names of screens, so there must be an end.
pub const MAX_SCREENS: usize = 256;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A stream of the relay.
    Stream,
    /// A screen, by the name that its operator gave it.
    Screen,
}

/// A problem begins or ends, or becomes another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What [`name`](Self::name) is the name of.
    pub subject: Subject,
    /// Of the stream or screen.
    pub name: String,
    /// How it was.
    pub was: Condition,
    /// For how long.
    pub was_for: Duration,
    /// How it is.
    pub is: Condition,
    /// What a person should read about that; may be empty.
    pub reason: String,
}

impl Event {
    /// As programs get it.
    #[must_use]
    pub fn json(&self) -> Value {
        let kind = match self.subject {
            Subject::Stream => "stream",
            Subject::Screen => "screen",
        };
        json!({
            "kind": kind,
            "name": self.name,
            "state": self.is.label(),
            "problem": self.is.is_problem(),
            "reason": self.reason,
            "was": self.was.label(),
            "was_for_s": self.was_for.as_secs(),
        })
    }
}

/// A stream or screen that is or was there.
#[derive(Clone, Debug)]
pub struct Watched<T> {
    /// How it is.
    pub condition: Condition,
    /// What a person should read about that; may be empty.
    pub reason: String,
    /// What was known of it when it was seen last.
    pub last: T,
    since: Time,
    seen: Time,
    /// It is otherwise.
    other: Option<Other>,
}

/// How something is that has been otherwise until now.
#[derive(Clone, Copy, Debug)]
struct Other {
    condition: Condition,
    /// Since when it is so.
    since: Time,
    /// Since when it is not as it was.
    left: Time,
}

/// What is seen at one look.
#[derive(Clone, Debug)]
struct Seen<T> {
    condition: Condition,
    reason: String,
    what: T,
}

/// Watches over the streams and screens of a relay.
#[derive(Debug, Default)]
pub struct Monitor {
    streams: BTreeMap<String, Watched<ListedStream>>,
    screens: BTreeMap<String, Watched<Screen>>,
}

impl Monitor {
    /// Looks at the table; returns what has happened.
    pub fn look(&mut self, table: &StreamTable, now: Time) -> Vec<Event> {
        let sessions = screens::sessions(table, now);
        let streams = table.list(now).into_iter().map(|listed| {
            let (condition, reason) = condition::of_stream(&listed, &sessions);
            let name = listed.entry.name.to_string();
            let seen = Seen {
                condition,
                reason,
                what: listed,
            };
            (name, seen)
        });

        let mut events = Vec::new();
        let room = Room {
            subject: Subject::Stream,
            most: MAX_STREAMS_KEPT,
            first: Condition::Opening,
        };
        room.look(&mut self.streams, streams.collect(), now, &mut events);

        let room = Room {
            subject: Subject::Screen,
            most: MAX_SCREENS,
            first: Condition::Unverified,
        };
        let named = screens::by_name(&sessions, &table.status().screens);
        room.look(&mut self.screens, named, now, &mut events);
        events
    }

    /// The streams that are or were there, by name.
    pub fn streams(&self) -> impl Iterator<Item = (&String, &Watched<ListedStream>)> {
        self.streams.iter()
    }

    /// The screens that are or were there, by name.
    pub fn screens(&self) -> impl Iterator<Item = (&String, &Watched<Screen>)> {
        self.screens.iter()
    }
}

/// How all streams, or all screens, are watched.
#[derive(Clone, Copy)]
struct Room {
    subject: Subject,
    most: usize,
    /// How something new is taken to have been before, if it has a problem.
    first: Condition,
}

impl Room {
    fn look<T: Clone>(
        self,
        watched: &mut BTreeMap<String, Watched<T>>,
        seen: BTreeMap<String, Seen<T>>,
        now: Time,
        events: &mut Vec<Event>,
    ) {
        let mut note = |name: &String, change: Option<Change>, watched: &Watched<T>| {
            let told = change.filter(|change| change.concerns_problem(watched.condition));
            events.extend(told.map(|change| Event {
                subject: self.subject,
                name: name.clone(),
                was: change.was,
                was_for: change.was_for,
                is: watched.condition,
                reason: watched.reason.clone(),
            }));
        };

        watched.retain(|_, known| now.saturating_since(known.seen) < KEPT);
        for (name, known) in watched.iter_mut() {
            if seen.contains_key(name) {
                known.seen = now;
            } else {
                let change = known.note(now, Condition::Gone, String::new());
                note(name, change, known);
            }
        }

        for (name, seen) in seen {
            if !watched.contains_key(&name) && !self.make_room(watched, now) {
                continue;
            }

            let known = watched
                .entry(name.clone())
                .or_insert_with(|| Watched::new(now, self.first, &seen));
            let change = known.note(now, seen.condition, seen.reason);
            known.last = seen.what;
            note(&name, change, known);
        }
    }

    /// Whether there is room for one more; what has been away longest gives its place.
    fn make_room<T>(self, watched: &mut BTreeMap<String, Watched<T>>, now: Time) -> bool {
        if watched.len() < self.most {
            return true;
        }

        let away = watched.iter().filter(|(_, known)| known.seen < now);
        let longest = away.min_by_key(|(_, known)| known.seen);
        let Some(name) = longest.map(|(name, _)| name.clone()) else {
            return false;
        };
        watched.remove(&name);
        true
    }
}

/// What something was until now.
#[derive(Clone, Copy, Debug)]
struct Change {
    was: Condition,
    was_for: Duration,
}

impl Change {
    fn concerns_problem(self, is: Condition) -> bool {
        self.was.is_problem() || is.is_problem()
    }
}

impl<T> Watched<T> {
    fn new(now: Time, first: Condition, seen: &Seen<T>) -> Self
    where
        T: Clone,
    {
        let condition = if seen.condition.is_problem() {
            first
        } else {
            seen.condition
        };

        Self {
            condition,
            reason: String::new(),
            last: seen.what.clone(),
            since: now,
            seen: now,
            other: None,
        }
    }

    /// Takes how it is at `now`; returns how it was, if it is otherwise from now on.
    fn note(&mut self, now: Time, condition: Condition, reason: String) -> Option<Change> {
        if condition == self.condition {
            self.other = None;
            self.reason = reason;
            return None;
        }

        let left = self.other.map_or(now, |other| other.left);
        let since = match self.other {
            Some(other) if other.condition == condition => other.since,
            _ => now,
        };
        self.other = Some(Other {
            condition,
            since,
            left,
        });

        // Which of two problems it is may change from look to look: that there is one is sure. But what is well must last.
        let held = if condition.is_problem() { left } else { since };
        if now.saturating_since(held) < condition.hold() {
            return None;
        }

        let change = Change {
            was: self.condition,
            was_for: left.saturating_since(self.since),
        };
        self.condition = condition;
        self.reason = reason;
        self.since = left;
        self.other = None;
        Some(change)
    }
}

#[cfg(test)]
mod tests;
