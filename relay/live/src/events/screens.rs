//! The screens of a relay: sessions that say what they show, over UDP and by other outputs.

use std::collections::BTreeMap;

use fanlight_proto::clock::Time;
use fanlight_proto::message::{NotShown, StreamName};

use super::{Condition, Seen};
use crate::screens::{ScreenEntry, ScreenState};
use crate::table::StreamTable;

/// A screen, which is known by its name: all sessions of that name are one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// The streams that it shows, in the order of its sessions.
    pub streams: Vec<StreamName>,
    /// How old the pictures were that it showed last, in microseconds: the worst of its sessions.
    pub age_us: Option<u64>,
}

/// A session that says what becomes of its pictures.
#[derive(Clone, Debug)]
pub(super) struct Session {
    name: String,
    pub(super) stream: StreamName,
    pub(super) not_shown: NotShown,
    condition: Condition,
    age_us: Option<u64>,
}

/// All sessions of `table` that say so.
pub(super) fn sessions(table: &StreamTable, now: Time) -> Vec<Session> {
    let status = table.status();
    let aged = now.saturating_since(status.at);
    let viewers = status.viewers.iter().map(|viewer| Session {
        name: viewer.name.clone(),
        stream: viewer.stream.clone(),
        not_shown: viewer.report.not_shown(),
        condition: Condition::of_screen(viewer.paused, viewer.health(aged)),
        age_us: (viewer.report.age_us > 0).then(|| viewer.report.age_us.into()),
    });

    let clients = table.clients().all(now);
    let telling = clients.iter().filter(|client| client.silent(now).is_some());
    let clients = telling.map(|client| {
        let verdict = status.verdicts.get(&client.number).copied();
        Session {
            name: client.name.clone(),
            stream: client.stream.clone(),
            not_shown: client.not_shown(now),
            condition: Condition::of_screen(false, client.health(now, verdict)),
            age_us: client.totals.age_us,
        }
    });

    viewers.chain(clients).collect()
}

/// The screens that have a name. What a screen was told to show stands above what its sessions say.
pub(super) fn by_name(
    sessions: &[Session],
    directed: &[ScreenEntry],
) -> BTreeMap<String, Seen<Screen>> {
    let mut screens = BTreeMap::new();
    for session in sessions.iter().filter(|session| !session.name.is_empty()) {
        let seen = screens.entry(session.name.clone()).or_insert_with(|| Seen {
            condition: Condition::Standby,
            reason: String::new(),
            what: Screen::default(),
        });

        let screen = &mut seen.what;
        if session.condition != Condition::Standby && !screen.streams.contains(&session.stream) {
            screen.streams.push(session.stream.clone());
        }

        screen.age_us = screen.age_us.max(session.age_us);
        if session.condition.severity() > seen.condition.severity() {
            seen.condition = session.condition;
            session.not_shown.label().clone_into(&mut seen.reason);
        }
    }

    for entry in directed {
        if let Some(seen) = screens.get_mut(&entry.name)
            && entry.state == ScreenState::Wrong
        {
            seen.condition = Condition::Wrong;
            seen.reason = entry.missing.clone().unwrap_or_default();
        }
    }
    screens
}
