//! All screens as JSON: those that take directions as the engine knows them, and those that do not by the names of their
//! sessions.

use std::collections::BTreeMap;
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_live::{EngineStatus, ScreenEntry, ShownFrame, ViewerEntry};
use fanlight_proto::clock::Time;
use fanlight_proto::message::{Direction, NotShown, Notice};
use serde_json::{Value, json};

use super::Overlay;
use crate::AppState;
use crate::api::health_word;

/// What `GET /api/screens` tells.
pub(crate) fn all(app: &AppState) -> Value {
    let now = clock::now();
    let status = app.table().status();
    let aged = now.saturating_since(status.at);
    let directed = status.screens.iter();
    let mut rows: BTreeMap<_, _> = directed
        .map(|entry| (entry.name.clone(), row(&status, entry, aged)))
        .collect();

    let others = undirected(app, &status, now);
    rows.extend(
        others
            .into_iter()
            .filter_map(|(name, sessions)| {
                let row = (!rows.contains_key(&name)).then(|| undirected_row(&name, &sessions))?;
                Some((name, row))
            })
            .collect::<Vec<_>>(),
    );
    json!({ "screens": rows.into_values().collect::<Vec<_>>(), "now_us": now.as_micros() })
}

/// The names of all screens, and whether each takes directions.
pub(super) fn names(app: &AppState) -> BTreeMap<String, bool> {
    let status = app.table().status();
    let others = undirected(app, &status, clock::now());
    let directed = status
        .screens
        .iter()
        .map(|entry| (entry.name.clone(), true));
    others
        .into_keys()
        .map(|name| (name, false))
        .chain(directed)
        .collect()
}

/// One screen that takes directions, as it was `aged` before.
pub(super) fn row(status: &EngineStatus, entry: &ScreenEntry, aged: Duration) -> Value {
    let frames = entry.frames.iter();
    let frames: Vec<_> = frames.map(|frame| shown(status, frame, aged)).collect();
    json!({
        "name": entry.name,
        "takes_directions": true,
        "state": entry.state.word(),
        "direction": entry.direction.as_deref().map(direction),
        "missing": entry.missing,
        "showing": frames,
        "asked_ms_ago": entry.asked.map(|asked| millis(asked + aged)),
        "acknowledged_after_ms": entry.acknowledged_after.map(millis),
        "shown_after_ms": entry.shown_after.map(millis),
        "notice": entry.notice.as_ref().map(notice),
        "sessions": entry.sessions,
    })
}

/// The sessions of each name that does not take directions, as what each shows.
fn undirected(app: &AppState, status: &EngineStatus, now: Time) -> BTreeMap<String, Vec<Value>> {
    let aged = now.saturating_since(status.at);
    let viewers = status.viewers.iter().map(|viewer| {
        let shows = !viewer.paused && viewer.report.frames_shown > 0;
        let shows = shows && viewer.report.not_shown() == NotShown::Unspecified;
        let age = (viewer.report.age_us > 0).then(|| u64::from(viewer.report.age_us));
        let health = health_of(viewer, aged);
        let row = json!({
            "stream": viewer.stream.as_str(), "epoch": null, "number": null, "age_us": age, "health": health,
        });
        (viewer.name.clone(), shows.then_some(row))
    });

    let clients = app.table().clients().all(now);
    let telling = clients.iter().filter(|client| client.silent(now).is_some());
    let clients = telling.map(|client| {
        let verdict = status.verdicts.get(&client.number).copied();
        let shows = client.last_shown(now).is_some();
        let shows = shows && client.not_shown(now) == NotShown::Unspecified;
        let health = client.health(now, verdict).map_or("unknown", health_word);
        let row = json!({
            "stream": client.stream.as_str(), "epoch": null, "number": null, "age_us": client.totals.age_us,
            "health": health,
        });
        (client.name.clone(), shows.then_some(row))
    });

    let mut screens: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (name, row) in viewers.chain(clients).filter(|(name, _)| !name.is_empty()) {
        screens
            .entry(name)
            .or_default()
            .push(row.unwrap_or(Value::Null));
    }
    screens
}

fn undirected_row(name: &str, sessions: &[Value]) -> Value {
    let showing: Vec<_> = sessions.iter().filter(|row| !row.is_null()).collect();
    json!({
        "name": name,
        "takes_directions": false,
        "state": "undirected",
        "direction": null,
        "missing": null,
        "showing": showing,
        "asked_ms_ago": null,
        "acknowledged_after_ms": null,
        "shown_after_ms": null,
        "notice": null,
        "sessions": sessions.len(),
    })
}

fn shown(status: &EngineStatus, frame: &ShownFrame, aged: Duration) -> Value {
    let viewer = status.viewers.iter().find(|it| it.address == frame.viewer);
    let age = viewer.map_or(0, |viewer| viewer.report.age_us);
    json!({
        "stream": frame.stream.as_str(),
        "epoch": hex(frame.epoch),
        "number": frame.number,
        "age_us": (age > 0).then_some(age),
        "health": viewer.map_or("unknown", |viewer| health_of(viewer, aged)),
    })
}

fn health_of(viewer: &ViewerEntry, aged: Duration) -> &'static str {
    viewer.health(aged).map_or("unknown", health_word)
}

fn direction(direction: &Direction) -> Value {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    json!({
        "version": direction.version,
        "origin": hex(direction.origin),
        "by": direction.by,
        "given_ms": direction.given_ms,
        "streams": direction.streams,
        "cycle_s": direction.cycle().map(|cycle| cycle.as_secs_f64()),
        "frozen": direction.frozen,
        "card": text(&direction.card),
        "overlay": Overlay::of(direction),
    })
}

fn notice(notice: &Notice) -> Value {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    json!({
        "stream": text(&notice.stream),
        "text": text(&notice.text),
        "identify": notice.identify,
        "seconds": f64::from(notice.lasts_ms) / 1_000.0,
    })
}

/// Numbers of 64 bits, which JavaScript does not have.
pub(crate) fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
