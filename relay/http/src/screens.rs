//! `/api/screens`: what each screen shows and was told to show, and how administrators tell it. The engine gives the
//! directions; here they are asked for, and waited for. On the HTTP thread.

mod list;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use axum::{Extension, Json};
use fanlight_daemon::clock;
use fanlight_live::access::Role;
use fanlight_live::{OrderError, ScreenOrder, ScreenState};
use fanlight_proto::direction::{Stamp, check};
use fanlight_proto::limits::MAX_VIEWER_NAME;
use fanlight_proto::message::{Direction, Notice};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::api::answer;
use super::api_error::{ApiError, check_admin};
use super::authorize::number;
use super::gateway::Peer;
use super::{AppState, site};
pub(super) use list::{all, hex};

/// How long a request may wait for a screen, in milliseconds.
const WAIT_MS: RangeInclusive<f64> = 0.0..=30_000.0;

/// The engine answers within a turn of its event loop. If not, it is stuck.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a screen is to do: `{}` leaves it to its own settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Wanted {
    streams: Vec<String>,
    cycle_s: Option<f64>,
    frozen: bool,
    card: Option<String>,
    overlay: Option<Overlay>,
}

/// How much is drawn over pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Overlay {
    None = 1,
    Caption,
    Figures,
    Statistics,
}

impl Overlay {
    /// That of a direction.
    pub(super) fn of(direction: &Direction) -> Option<Self> {
        let all = [Self::None, Self::Caption, Self::Figures, Self::Statistics];
        all.into_iter().find(|it| *it as u32 == direction.overlay)
    }
}

/// What `POST /api/screens/NAME/identify` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identify {
    seconds: f64,
}

/// What `POST /api/screens/NAME/popup` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Popup {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    text: String,
    seconds: f64,
}

impl Wanted {
    /// The direction, as somebody gives it now; the engine numbers it.
    pub(super) fn direction(&self, by: String) -> Result<Direction, ApiError> {
        let cycle_ms = self
            .cycle_s
            .map_or(Ok(0), |seconds| millis("cycle_s", seconds))?;
        Ok(Direction {
            given_ms: clock::unix_millis(),
            by,
            streams: self.streams.clone(),
            cycle_ms,
            frozen: self.frozen,
            card: self.card.clone().unwrap_or_default(),
            overlay: self.overlay.map_or(0, |overlay| overlay as u32),
            ..Direction::default()
        })
    }

    /// Refuses what no screen can be told.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        let numbered = Direction {
            version: 1,
            origin: 1,
            ..self.direction(String::new())?
        };
        check(&numbered).map_err(|field| ApiError::bad_request(bounds(field)))
    }
}

/// `GET /api/screens`.
pub(super) async fn screens(State(app): State<Arc<AppState>>) -> Response {
    answer(StatusCode::OK, all(&app))
}

/// `PUT /api/screens/NAME`: directs a screen, and waits for the proof if asked to.
pub(super) async fn direct(
    State(app): State<Arc<AppState>>,
    Extension(role): Extension<Role>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Result<Response, ApiError> {
    check_admin(role, "directing screens is")?;
    let direction = parsed(body)?.direction(by(role, &peer, &headers))?;
    give(&app, &name, &uri, direction).await
}

/// `POST /api/screens/NAME/reload`: the screen starts anew, and goes on with what it was told.
pub(super) async fn reload(
    State(app): State<Arc<AppState>>,
    Extension(role): Extension<Role>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_admin(role, "directing screens is")?;
    let direction = Wanted::default().direction(by(role, &peer, &headers))?;
    let reload = Direction {
        reload: 1,
        ..direction
    };
    give(&app, &name, &uri, reload).await
}

async fn give(
    app: &AppState,
    name: &str,
    uri: &Uri,
    direction: Direction,
) -> Result<Response, ApiError> {
    let wait = wait(uri)?;
    let stamp = told(app, order(app, name, direction)).await?;
    let Some(wait) = wait else {
        return Ok(answer(StatusCode::ACCEPTED, place(stamp)));
    };

    let proof = tokio::time::timeout(wait, shown(app, name, stamp)).await;
    let (status, mut body) = match proof {
        Ok(Ok(())) => (StatusCode::OK, place(stamp)),
        Ok(Err(replaced)) => return Err(replaced),
        Err(_) => (StatusCode::GATEWAY_TIMEOUT, late(app, name, wait)),
    };
    body["screen"] = screen(app, name);
    Ok(answer(status, body))
}

/// `POST /api/screens/NAME/identify`: the screen shows its own name for a while.
pub(super) async fn identify(
    State(app): State<Arc<AppState>>,
    Extension(role): Extension<Role>,
    Path(name): Path<String>,
    body: Result<Json<Identify>, JsonRejection>,
) -> Result<Response, ApiError> {
    check_admin(role, "directing screens is")?;
    let notice = Notice {
        lasts_ms: millis("seconds", parsed(body)?.seconds)?,
        identify: true,
        ..Notice::default()
    };
    notify(&app, &name, notice).await
}

/// `POST /api/screens/NAME/popup`: the screen shows a stream or a text for a while.
pub(super) async fn popup(
    State(app): State<Arc<AppState>>,
    Extension(role): Extension<Role>,
    Path(name): Path<String>,
    body: Result<Json<Popup>, JsonRejection>,
) -> Result<Response, ApiError> {
    check_admin(role, "directing screens is")?;
    let popup = parsed(body)?;
    let notice = Notice {
        lasts_ms: millis("seconds", popup.seconds)?,
        stream: popup.stream,
        text: popup.text,
        ..Notice::default()
    };
    notify(&app, &name, notice).await
}

/// How long a request of this address may wait, beside what it takes to read it.
pub(super) fn longest_wait(uri: &Uri) -> Duration {
    let is_screen = uri.path().starts_with("/api/screens/");
    let waits = is_screen.then(|| wait(uri).ok().flatten()).flatten();
    waits.unwrap_or_default()
}

fn wait(uri: &Uri) -> Result<Option<Duration>, ApiError> {
    let millis = number(uri, "wait_ms", WAIT_MS, "milliseconds, 0 to 30000")?;
    Ok(millis.map(|millis| Duration::from_secs_f64(millis / 1e3)))
}

/// Who gives a direction, as far as the relay knows: an administrator's relay says for whom it asks.
pub(super) fn by(role: Role, peer: &Peer, headers: &HeaderMap) -> String {
    let told = headers.get(site::BY).filter(|_| role == Role::Admin);
    let told = told.and_then(|by| by.to_str().ok());
    let told = told.filter(|by| by.len() <= MAX_VIEWER_NAME);
    let own = || format!("{} at {}", role.word(), peer.address.ip().to_canonical());
    told.map_or_else(own, ToOwned::to_owned)
}

/// What becomes of an order for a screen.
pub(super) type Answered<T> = oneshot::Receiver<Result<T, OrderError>>;

/// Asks for a direction for a screen; [`told`] gives its place among all of that.
pub(super) fn order(app: &AppState, name: &str, direction: Direction) -> Answered<Stamp> {
    let (answer, answered) = oneshot::channel();
    app.table().put_order(ScreenOrder::Direct {
        screen: name.to_owned(),
        direction,
        answer,
    });
    answered
}

async fn notify(app: &AppState, name: &str, notice: Notice) -> Result<Response, ApiError> {
    let (answered, id) = oneshot::channel();
    app.table().put_order(ScreenOrder::Notify {
        screen: name.to_owned(),
        notice,
        answer: answered,
    });
    let id = told(app, id).await?;
    Ok(answer(StatusCode::ACCEPTED, json!({ "id": hex(id) })))
}

/// What the engine answers.
pub(super) async fn told<T>(app: &AppState, answered: Answered<T>) -> Result<T, ApiError> {
    let answered = tokio::time::timeout(ENGINE_TIMEOUT, answered).await;
    let answered = answered.ok().and_then(Result::ok);
    answered
        .unwrap_or(Err(OrderError::Busy))
        .map_err(|error| refuse(app, error))
}

/// Returns when the screen does as the direction says.
async fn shown(app: &AppState, name: &str, stamp: Stamp) -> Result<(), ApiError> {
    let mut changes = app.table().watch_status();
    loop {
        let status = Arc::clone(&changes.borrow_and_update());
        let entry = status.screen(name);
        let known = entry.and_then(|entry| Some((entry.state, entry.direction.as_ref()?.stamp())));
        match known {
            Some((ScreenState::Showing | ScreenState::Own, of)) if of == stamp => return Ok(()),
            Some((_, of)) if of > stamp => {
                let message =
                    "the screen was given a newer direction meanwhile: /api/screens says by whom";
                return Err(ApiError::new(StatusCode::CONFLICT, "replaced", message));
            }
            _ => {}
        }

        if changes.changed().await.is_err() {
            return Err(ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "the relay stops",
            ));
        }
    }
}

fn screen(app: &AppState, name: &str) -> Value {
    let status = app.table().status();
    let aged = clock::now().saturating_since(status.at);
    let entry = status.screen(name);
    entry.map_or(Value::Null, |entry| list::row(&status, entry, aged))
}

/// Why a direction is not proved in time.
fn late(app: &AppState, name: &str, wait: Duration) -> Value {
    let status = app.table().status();
    let why = match status.screen(name) {
        Some(entry) if entry.state == ScreenState::Away => "it is away".to_owned(),
        Some(entry) => entry.missing.clone().unwrap_or_default(),
        None => "the relay knows it no longer".to_owned(),
    };
    let message = format!(
        "the screen {name:?} has been directed and has not shown it within {} ms: {why}",
        wait.as_millis()
    );
    json!({ "error": "not_shown", "message": message })
}

/// Names a direction.
pub(super) fn place(stamp: Stamp) -> Value {
    json!({ "version": stamp.version, "origin": hex(stamp.origin) })
}

pub(super) fn parsed<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, ApiError> {
    let Json(body) = body.map_err(|error| ApiError::bad_request(error.body_text()))?;
    Ok(body)
}

fn refuse(app: &AppState, error: OrderError) -> ApiError {
    let message = error.to_string();
    match error {
        OrderError::NoSuchScreen(name) => no_screen(app, &name),
        OrderError::NoSuchStream(_) => {
            let status = app.table().status();
            let mut names: Vec<_> = status.streams.iter().map(|it| it.name.as_str()).collect();
            names.sort_unstable();
            let message = format!("{message}: there are {}", listed(&names));
            ApiError::new(StatusCode::NOT_FOUND, "no_such_stream", message)
        }
        OrderError::Field(field) => ApiError::bad_request(bounds(field)),
        OrderError::Exhausted(_) => ApiError::new(StatusCode::CONFLICT, "exhausted", message),
        OrderError::Busy => {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).passing(1)
        }
    }
}

fn no_screen(app: &AppState, name: &str) -> ApiError {
    let names = list::names(app);
    if names.get(name) == Some(&false) {
        let message = format!(
            "the screen {name:?} takes no directions: its owner must allow that, at the viewer"
        );
        return ApiError::new(StatusCode::CONFLICT, "undirected", message);
    }

    let names: Vec<_> = names.keys().map(String::as_str).collect();
    let message = format!(
        "the relay knows no screen {name:?}: there are {}",
        listed(&names)
    );
    ApiError::new(StatusCode::NOT_FOUND, "no_such_screen", message)
}

/// As many names as one reads.
pub(super) fn listed(names: &[&str]) -> String {
    const MOST: usize = 32;
    match names.len() {
        0 => "none".to_owned(),
        count if count > MOST => format!("{} and {} more", names[..MOST].join(", "), count - MOST),
        _ => names.join(", "),
    }
}

/// What a field may be, for who gives something else.
fn bounds(field: &str) -> String {
    let bounds = match field {
        "streams" => {
            "streams are at most 16 names of streams, and with the rest of the direction at most 800 bytes"
        }
        "cycle_ms" => "cycle_s is a number of seconds, at least 1",
        "overlay" => "overlay is none, caption, figures or statistics",
        "card" => "card is a text of at most 240 bytes",
        "text" => "text is at most 240 bytes",
        "stream" => "a pop-up is either a stream or a text",
        "lasts_ms" => "seconds is a number of seconds, at most 3600",
        other => other,
    };
    bounds.to_owned()
}

fn millis(field: &str, seconds: f64) -> Result<u32, ApiError> {
    let millis = (seconds * 1e3).round();
    let fits = (1.0..=f64::from(u32::MAX)).contains(&millis);
    let wrong = || ApiError::bad_request(format!("{field} is a number of seconds above 0"));
    fits.then_some(millis as u32).ok_or_else(wrong)
}
