//! `GET /api/screens/NAME/history`: what a screen showed and was told to show at some time, by what it reported then, with its
//! pictures as long as they are kept. Off unless `http_history_s` says for how long; it is in memory alone, and for
//! administrators. On the HTTP thread.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_live::access::Role;
use fanlight_proto::message::{FrameId, StreamName};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::AppState;
use super::api::answer;
use super::api_error::{ApiError, check_admin};
use super::authorize::{number, query};
use super::events::lasting;
use super::screens::{self, hex};

/// Bytes of all entries: a screen has one a second of about 700, and one for each change.
const MAX_ENTRY_BYTES: usize = 32 << 20;

/// Bytes of all pictures: one a second of each stream that a screen shows.
const MAX_PICTURE_BYTES: usize = 64 << 20;

/// Least time between two entries of a screen with nothing new but frames, and between two pictures of a stream.
const INTERVAL_MS: u64 = 1_000;

/// Least time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A picture of a stream stands for what was shown so long before or after it.
const NEAR_MS: u64 = 2_000;

/// Changes that an answer lists.
const MAX_CHANGES: usize = 32;

/// Largest time that may be asked for: the year 10000.
const MAX_AT_MS: f64 = 2.5e14;

/// All of it.
#[derive(Debug)]
pub(super) struct History {
    /// For how long; none: it is off.
    kept: Option<Duration>,
    state: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: Ring<Entry>,
    pictures: Ring<Picture>,
}

/// A screen at some time.
#[derive(Debug)]
struct Entry {
    at_ms: u64,
    screen: String,
    /// Its row in `/api/screens`.
    row: String,
    /// More than frames has changed.
    is_change: bool,
}

#[derive(Debug)]
struct Picture {
    at_ms: u64,
    stream: StreamName,
    id: FrameId,
    jpeg: Bytes,
}

trait Timed {
    fn at_ms(&self) -> u64;
    fn bytes(&self) -> usize;
}

impl Timed for Entry {
    fn at_ms(&self) -> u64 {
        self.at_ms
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.screen.len() + self.row.len()
    }
}

impl Timed for Picture {
    fn at_ms(&self) -> u64 {
        self.at_ms
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.jpeg.len()
    }
}

/// In the order of time, as many as there is room for.
#[derive(Debug)]
struct Ring<T> {
    all: VecDeque<T>,
    bytes: usize,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self {
            all: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<T: Timed> Ring<T> {
    fn push(&mut self, one: T, most: usize) {
        self.bytes += one.bytes();
        self.all.push_back(one);
        while self.bytes > most {
            self.pop();
        }
    }

    /// Forgets what is older.
    fn forget(&mut self, before_ms: u64) {
        while self.all.front().is_some_and(|it| it.at_ms() < before_ms) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(first) = self.all.pop_front() {
            self.bytes -= first.bytes();
        }
    }
}

impl History {
    pub(super) fn new(kept: Option<Duration>) -> Self {
        Self {
            kept,
            state: Mutex::default(),
        }
    }
}

/// Notes what screens show, for ever on a task.
pub(super) async fn follow(app: &AppState) {
    let Some(kept) = app.history.kept else {
        return std::future::pending().await;
    };

    let mut changes = app.table().watch_status();
    // By screen what it was when it was noted last.
    let mut last: BTreeMap<String, (u64, Value)> = BTreeMap::new();
    loop {
        // Also when nothing changes any more, what is old must go.
        let _ = tokio::time::timeout(Duration::from_millis(INTERVAL_MS), changes.changed()).await;
        look(app, kept, &mut last);
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Notes what is new, and forgets what is old.
fn look(app: &AppState, kept: Duration, last: &mut BTreeMap<String, (u64, Value)>) {
    let now = clock::unix_millis();
    let all = screens::all(app);
    let lasting = lasting(&all);
    let rows = all["screens"].as_array().into_iter().flatten();
    let rows = rows.zip(lasting.as_array().into_iter().flatten());
    last.retain(|name, _| rows.clone().any(|(row, _)| row["name"] == name.as_str()));

    let mut state = app.history.state.lock();
    for (row, lasting) in rows {
        note(&mut state, (now, row, lasting), last);
        let shown = row["showing"].as_array().into_iter().flatten();
        let names = shown.filter_map(|frame| frame["stream"].as_str()?.parse().ok());
        names.for_each(|stream| keep_picture(&mut state, app, now, stream));
    }

    let before = now.saturating_sub(u64::try_from(kept.as_millis()).unwrap_or(u64::MAX));
    state.entries.forget(before);
    state.pictures.forget(before);
}

fn note(
    state: &mut Kept,
    (now, row, lasting): (u64, &Value, &Value),
    last: &mut BTreeMap<String, (u64, Value)>,
) {
    let Some(name) = row["name"].as_str() else {
        return;
    };
    let known = last.get(name);
    let is_change = known.is_none_or(|(_, known)| known != lasting);
    if !is_change && known.is_some_and(|(at, _)| now.saturating_sub(*at) < INTERVAL_MS) {
        return;
    }

    last.insert(name.to_owned(), (now, lasting.clone()));
    let entry = Entry {
        at_ms: now,
        screen: name.to_owned(),
        row: row.to_string(),
        is_change,
    };
    state.entries.push(entry, MAX_ENTRY_BYTES);
}

fn keep_picture(state: &mut Kept, app: &AppState, now: u64, stream: StreamName) {
    let mut newest = state.pictures.all.iter().rev();
    let newest = newest.find(|it| it.stream == stream);
    if newest.is_some_and(|it| now.saturating_sub(it.at_ms) < INTERVAL_MS) {
        return;
    }

    let frame = app.table().newest(&stream).filter(|it| it.is_picture());
    if let Some(frame) = frame {
        let picture = Picture {
            at_ms: now,
            stream,
            id: frame.id,
            jpeg: frame.jpeg.clone(),
        };
        state.pictures.push(picture, MAX_PICTURE_BYTES);
    }
}

/// `GET /api/screens/NAME/history`.
pub(super) async fn history(
    State(app): State<Arc<AppState>>,
    Extension(role): Extension<Role>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    check_admin(role, "what screens showed is")?;
    if app.history.kept.is_none() {
        let message = "the relay keeps no history: set http_history_s";
        return Err(ApiError::new(StatusCode::CONFLICT, "no_history", message));
    }

    let what = "milliseconds since 1970";
    let at = number(&uri, "at", 0.0..=MAX_AT_MS, what)?;
    let at = at.map_or_else(clock::unix_millis, |at| at as u64);
    let state = app.history.state.lock();
    let nothing = || {
        let message = format!("nothing is known of the screen {name:?} at that time");
        ApiError::new(StatusCode::NOT_FOUND, "not_known", message)
    };
    let before = || {
        let entries = state.entries.all.iter().rev();
        entries.filter(|it| it.screen == name && it.at_ms <= at)
    };
    let entry = before().next().ok_or_else(nothing)?;
    if let Some(stream) = query(&uri, "picture") {
        let picture = state.picture(stream, at).ok_or_else(nothing)?;
        let headers = [
            (header::CONTENT_TYPE, "image/jpeg"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        return Ok((headers, picture.jpeg.clone()).into_response());
    }

    let row: Value = serde_json::from_str(&entry.row).unwrap_or_default();
    let changes = before().filter(|it| it.is_change).take(MAX_CHANGES);
    let changes: Vec<_> = changes.map(change).collect();
    let pictures = state.pictures(&row, at);
    Ok(answer(
        StatusCode::OK,
        json!({ "at_ms": entry.at_ms, "screen": row, "pictures": pictures, "changes": changes }),
    ))
}

/// What a screen was told, and how it stood to that, since some time.
fn change(entry: &Entry) -> Value {
    let mut row: Value = serde_json::from_str(&entry.row).unwrap_or_default();
    json!({
        "at_ms": entry.at_ms,
        "state": row["state"].take(),
        "direction": row["direction"].take(),
        "missing": row["missing"].take(),
    })
}

impl Kept {
    /// The picture of a stream that was nearest to some time.
    fn picture(&self, stream: &str, at: u64) -> Option<&Picture> {
        let all = self.pictures.all.iter();
        let own = all.filter(|it| it.stream.as_str() == stream && it.at_ms.abs_diff(at) <= NEAR_MS);
        own.min_by_key(|it| it.at_ms.abs_diff(at))
    }

    /// Those of the streams that a screen showed.
    fn pictures(&self, row: &Value, at: u64) -> Vec<Value> {
        let shown = row["showing"].as_array().into_iter().flatten();
        let names = shown.filter_map(|frame| frame["stream"].as_str());
        let pictures = names.filter_map(|name| {
            let picture = self.picture(name, at)?;
            Some(json!({
                "stream": name, "at_ms": picture.at_ms,
                "epoch": hex(picture.id.epoch), "number": picture.id.number,
            }))
        });
        pictures.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_in_bytes_and_in_time() {
        let picture = |at_ms, bytes| Picture {
            at_ms,
            stream: "cam".parse().unwrap(),
            id: FrameId {
                epoch: 1,
                number: at_ms,
            },
            jpeg: vec![0; bytes].into(),
        };
        let mut ring = Ring::default();
        let most = 3 * picture(0, 1000).bytes();
        (0..10).for_each(|at| ring.push(picture(at, 1000), most));
        let kept: Vec<_> = ring.all.iter().map(|it| it.at_ms).collect();
        assert_eq!((kept, ring.bytes), (vec![7, 8, 9], most));
        ring.forget(9);
        assert_eq!((ring.all.len(), ring.bytes), (1, most / 3));
        ring.push(picture(10, most), most);
        assert_eq!(
            (ring.all.len(), ring.bytes),
            (0, 0),
            "larger than all that may be kept"
        );
    }

    #[test]
    fn a_screen_is_noted_at_each_change_and_else_once_a_second() {
        let (mut state, mut last) = (Kept::default(), BTreeMap::new());
        for (at, state_word, number) in [
            (0, "asked", 1),
            (200, "asked", 2),
            (300, "showing", 3),
            (900, "showing", 4),
            (1300, "showing", 5),
        ] {
            let row = json!({ "name": "hall", "state": state_word, "number": number });
            let lasting = json!({ "name": "hall", "state": state_word });
            note(&mut state, (at, &row, &lasting), &mut last);
        }
        let noted: Vec<_> = state
            .entries
            .all
            .iter()
            .map(|it| (it.at_ms, it.is_change))
            .collect();
        assert_eq!(noted, [(0, true), (300, true), (1300, false)]);
    }
}
