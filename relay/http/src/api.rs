//! What the relay knows, as JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use fanlight_daemon::clock;
use fanlight_live::access::Role;
use fanlight_live::{Client, ClientTotals, ListedStream, OutputKind, SourceEntry, ViewerEntry};
use fanlight_proto::clock::Time;
use fanlight_proto::message::{Health, NotShown, StreamName, Verdict};
use serde_json::{Map, Value, json};

use super::{AppState, readiness};

/// `GET /api/streams`.
pub(super) async fn streams(State(app): State<Arc<AppState>>) -> Response {
    let now = clock::now();
    answer(
        StatusCode::OK,
        json!({ "streams": list(&app, now), "now_us": now.as_micros() }),
    )
}

/// `GET /api/viewers`.
pub(super) async fn viewers(
    State(app): State<Arc<AppState>>,
    Extension(role): Extension<Role>,
) -> Response {
    let now = clock::now();
    let status = app.table().status();
    let aged = now.saturating_since(status.at);
    let udp = status.viewers.iter().map(|entry| viewer(entry, aged));
    let clients = app.table().clients().all(now);
    let mut rows: Vec<_> = udp
        .chain(clients.iter().map(|listed| {
            let verdict = status.verdicts.get(&listed.number).copied();
            client(listed, now, verdict)
        }))
        .collect();
    if role < Role::Admin {
        rows.iter_mut()
            .for_each(|row| drop(row.insert("address".to_owned(), Value::Null)));
    }

    let totals: Vec<_> = app.table().clients().totals().iter().map(total).collect();
    answer(
        StatusCode::OK,
        json!({ "viewers": rows, "totals": totals, "now_us": now.as_micros() }),
    )
}

/// `GET /api/health`.
pub(super) async fn health(
    State(app): State<Arc<AppState>>,
    role: Option<Extension<Role>>,
) -> Response {
    let now = clock::now();
    let role = role.map(|Extension(role)| role);
    let (status, reasons) = (app.table().status(), readiness::faults(&app, now));
    let alive = status
        .streams
        .iter()
        .filter(|stream| !stream.source_gone)
        .count();

    let body = json!({
        "healthy": reasons.is_empty(),
        "reasons": reasons,
        "problems": readiness::problems(&app, now, role),
        "outputs": outputs(&app, role),
        "server": server(),
        "uptime_s": now.saturating_since(app.started).as_secs(),
        "streams": status.streams.len(),
        "streams_with_source": alive,
        "viewers": status.viewers.len(),
        "clients": app.table().clients().count(),
    });

    answer(status_code(&reasons), body)
}

/// `GET /livez`.
pub(super) async fn live(State(app): State<Arc<AppState>>) -> Response {
    let alive = readiness::is_alive(&app, clock::now());
    let status = if alive {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };

    answer(status, json!({ "alive": alive }))
}

/// `GET /readyz`.
pub(super) async fn ready(
    State(app): State<Arc<AppState>>,
    role: Option<Extension<Role>>,
) -> Response {
    let now = clock::now();
    let role = role.map(|Extension(role)| role);
    let reasons = readiness::reasons(&app, now, role);
    let body = json!({
        "ready": reasons.is_empty(),
        "reasons": reasons,
        "problems": readiness::problems(&app, now, role),
    });

    answer(status_code(&reasons), body)
}

/// `GET /api/sources`.
pub(super) async fn sources(
    State(app): State<Arc<AppState>>,
    Extension(role): Extension<Role>,
) -> Response {
    let now = clock::now();
    let rows = app.table().sources().all(now);
    let rows: Vec<_> = rows.iter().map(|entry| source(entry, role)).collect();
    answer(
        StatusCode::OK,
        json!({ "sources": rows, "now_us": now.as_micros() }),
    )
}

/// All streams.
pub(super) fn list(app: &AppState, now: Time) -> Vec<Value> {
    app.table().list(now).iter().map(stream).collect()
}

/// What answers, and its version.
pub(super) const fn server() -> &'static str {
    concat!("fanlight-relay ", env!("CARGO_PKG_VERSION"))
}

/// What keeps outputs from the peers that they need. Only an administrator learns where those are.
fn outputs(app: &AppState, role: Option<Role>) -> Map<String, Value> {
    let problems = app.table().output_problems().into_iter();
    let told = problems.map(|(name, problem)| {
        let problem = problem.map(|problem| match role {
            Some(Role::Admin) => problem,
            _ => "it is not connected".to_owned(),
        });
        (name.to_owned(), problem.into())
    });
    told.collect()
}

/// An answer that no cache keeps.
pub(super) fn answer(status: StatusCode, body: Value) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

fn status_code<T>(reasons: &[T]) -> StatusCode {
    if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn source(entry: &SourceEntry, role: Role) -> Value {
    let refused: Map<_, _> = entry
        .refused
        .iter()
        .map(|(stream, why)| (stream.to_string(), why.to_string().into()))
        .collect();

    json!({
        "source": entry.origin + 1,
        "address": (role == Role::Admin).then_some(&entry.endpoint),
        "heard": !entry.is_away(),
        "problem": entry.problem.as_ref().map(ToString::to_string),
        "refused": refused,
        "spare": entry.spare.iter().map(StreamName::as_str).collect::<Vec<_>>(),
    })
}

fn stream(listed: &ListedStream) -> Value {
    let entry = &listed.entry;
    json!({
        "name": entry.name.as_str(),
        "width": entry.size.0,
        "height": entry.size.1,
        "fps": tenths(listed.fps),
        "nominal_fps": (entry.rate_millihertz > 0).then(|| f64::from(entry.rate_millihertz) / 1_000.0),
        "state": entry.state.label(),
        "reason": entry.reason,
        "source_gone": entry.source_gone,
        "canary": (!listed.canary.is_empty()).then_some(&listed.canary),
        "viewers": entry.viewers,
        "clients": listed.clients,
        "age_ms": listed.age_us.map(millis),
    })
}

/// What the engine knew of a viewer, `aged` since.
fn viewer(viewer: &ViewerEntry, aged: Duration) -> Map<String, Value> {
    let report = &viewer.report;
    let millis_of = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let silent = viewer.silent + aged;
    let last_shown = Duration::from_millis(report.last_shown_ms.into()) + aged;
    let health = viewer.health(aged).map(health_word);

    object(json!({
        "kind": "udp",
        "name": viewer.name,
        "address": viewer.address.to_string(),
        "stream": viewer.stream.as_str(),
        "since_s": viewer.since.as_secs(),
        "frames": report.frames_shown,
        "lost": {
            "skipped": viewer.skipped,
            "aborted": viewer.aborted,
            "unrecovered": report.frames_unrecovered,
            "all": report.frames_lost,
        },
        "age_ms": (report.age_us > 0).then(|| millis(report.age_us.into())),
        "fps": null,
        "bytes": report.bytes,
        "silent_ms": millis_of(silent),
        "jitter_ms": millis(report.jitter_us.into()),
        "share": viewer.share,
        "parity_level": viewer.parity_level,
        "own_socket": viewer.own_socket,
        "in_group": viewer.in_group,
        "paused": viewer.paused,
        "not_shown": reason(report.not_shown()),
        "last_shown_ms": (report.frames_shown > 0).then(|| millis_of(last_shown)),
        "health": health,
        "error_px": viewer.verdict.map(|verdict| hundredths(verdict.mean)),
        "latency_ms": viewer.verdict.map(|verdict| millis(verdict.latency_us.into())),
    }))
}

fn client(client: &Client, now: Time, verdict: Option<Verdict>) -> Map<String, Value> {
    let totals = &client.totals;
    let not_shown = client.not_shown(now);
    let millis_of = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let mut row = object(json!({
        "kind": client.kind.0,
        "name": client.name,
        "address": client.address.to_string(),
        "stream": client.stream.as_str(),
        "since_s": now.saturating_since(client.since).as_secs(),
        "frames": totals.frames,
        "lost": { "skipped": totals.skipped },
        "age_ms": totals.age_us.map(millis),
        "fps": tenths(totals.fps(now)),
        "bytes": totals.bytes,
        "shown": client.frames_shown(),
        "not_shown": reason(not_shown),
        "last_shown_ms": client.last_shown(now).map(millis_of),
        "health": client.health(now, verdict).map(health_word),
        "error_px": verdict.map(|verdict| hundredths(verdict.mean)),
        "latency_ms": verdict.map(|verdict| millis(verdict.latency_us.into())),
    }));

    // A viewer says what one over UDP does, in the same fields.
    if let Some(report) = &client.report {
        row.extend(object(json!({
            "frames": report.frames_shown,
            "lost": {
                "skipped": totals.skipped,
                "unrecovered": report.frames_unrecovered,
                "all": report.frames_lost,
            },
            "age_ms": (report.age_us > 0).then(|| millis(report.age_us.into())),
            "silent_ms": client.silent(now).map(millis_of),
            "jitter_ms": millis(report.jitter_us.into()),
        })));
    }

    row
}

fn total((stream, kind, totals): &(StreamName, OutputKind, ClientTotals)) -> Value {
    json!({
        "stream": stream.as_str(),
        "kind": kind.0,
        "frames": totals.frames,
        "bytes": totals.bytes,
        "skipped": totals.skipped,
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Why frames that come are not shown, for people; none while they are.
fn reason(not_shown: NotShown) -> Option<&'static str> {
    (not_shown != NotShown::Unspecified).then(|| not_shown.label())
}

/// How right a screen is, in a word.
pub(super) const fn health_word(health: Health) -> &'static str {
    match health {
        Health::Unspecified => "unknown",
        Health::Right => "right",
        Health::Late => "late",
        Health::Wrong => "wrong",
        Health::Blind => "blind",
    }
}

fn hundredths(value: f32) -> f64 {
    (f64::from(value) * 100.0).round() / 100.0
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn millis(micros: u64) -> f64 {
    tenths(micros as f64 / 1_000.0)
}
