//! Single pictures.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_live::ledger::{Charge, Resource};
use fanlight_live::{LiveFrame, Sent, Subscribe};
use fanlight_proto::clock::Time;
use fanlight_proto::message::{FrameId, StreamName};

use super::api_error::ApiError;
use super::authorize::{number, query};
use super::gateway::Peer;
use super::origin;
use super::{AppState, SNAPSHOT};

/// A picture older than this is not the present, unless `max_age` says otherwise or its stream is slower.
const USUAL_MAX_AGE: Duration = Duration::from_secs(5);

/// Longest wait for a picture.
const WAIT_LIMIT: Duration = Duration::from_secs(2);

/// Most that `max_age` may say, in seconds: a year.
const LONGEST_MAX_AGE_S: f64 = 365.0 * 86_400.0;

/// What is shown instead of a picture, on request.
const PLACEHOLDER: &[u8] = include_bytes!("placeholder.jpg");

const TIMESTAMP: HeaderName = HeaderName::from_static("x-timestamp");
const AGE: HeaderName = HeaderName::from_static("x-fanlight-age-ms");
const REASON: HeaderName = HeaderName::from_static("x-fanlight-reason");

/// `GET /snapshot/NAME.jpg`.
pub(super) async fn snapshot(
    state: State<Arc<AppState>>,
    Path(file): Path<String>,
    request: Request,
) -> Response {
    match file
        .strip_suffix(".jpg")
        .or_else(|| file.strip_suffix(".jpeg"))
    {
        Some(name) => of(state, Some(name.to_owned()), request).await,
        None => ApiError::not_found().into_response(),
    }
}

/// A picture of `stream`, or of the first that has a source.
pub(super) async fn of(
    State(app): State<Arc<AppState>>,
    stream: Option<String>,
    request: Request,
) -> Response {
    // Only these: a body cannot be shared, and none is wanted.
    let (parts, _) = request.into_parts();
    let wakes = !origin::is_cross_site(&app.settings, &parts.headers);
    let answer = match SnapshotRequest::parse(&parts.uri, wakes) {
        Ok(request) => match picture(&app, stream, &request).await {
            Ok(picture) => Ok(show(&app, &picture, &parts.headers, parts.extensions.get())),
            Err(error) if request.placeholder => Ok(placeholder(&error)),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };

    answer.into_response()
}

/// What the query asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct SnapshotRequest {
    max_age: Option<Duration>,
    wait: bool,
    placeholder: bool,
    /// A camera that sleeps may be woken for it.
    wakes: bool,
}

impl SnapshotRequest {
    fn parse(uri: &Uri, wakes: bool) -> Result<Self, ApiError> {
        let seconds = 0.0..=LONGEST_MAX_AGE_S;
        let max_age = number(uri, "max_age", seconds, "a number of seconds")?;
        let flag = |key| match query(uri, key) {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(_) => Err(ApiError::bad_request(format!("{key} is 0 or 1"))),
        };

        Ok(Self {
            max_age: max_age.map(Duration::from_secs_f64),
            wait: flag("wait")?,
            placeholder: flag("placeholder")?,
            wakes,
        })
    }
}

/// The newest picture, when it is new enough. When there is none, or a fresh one is asked for, the next is waited for.
async fn picture(
    app: &AppState,
    stream: Option<String>,
    request: &SnapshotRequest,
) -> Result<Arc<LiveFrame>, ApiError> {
    let name = name(app, stream)?;
    let begun = clock::now();
    if !app.table().has(&name) {
        return Err(ApiError::no_such_stream(name.as_str()));
    }

    if !request.wakes {
        let newest = app.table().newest(&name);
        return judge(app, &name, newest, request, begun);
    }

    app.table().ask(begun, &name);
    let known = app.table().newest(&name).filter(|_| !request.wait);
    let judged = judge(app, &name, known, request, begun);
    let Err(error) = judged else { return judged };

    // A source that has gone does not come back for being waited for.
    let entry = app.table().entry(&name);
    if entry.is_some_and(|entry| entry.source_gone) {
        return Err(error);
    }

    match tokio::time::timeout(WAIT_LIMIT, next(app, &name, begun)).await {
        Ok(Some(picture)) => Ok(picture),
        _ => Err(error),
    }
}

pub(super) fn name(app: &AppState, stream: Option<String>) -> Result<StreamName, ApiError> {
    match stream {
        Some(text) => text.parse().map_err(|_| ApiError::no_such_stream(&text)),
        None => app.table().first(clock::now()).ok_or_else(|| {
            ApiError::new(
                StatusCode::NOT_FOUND,
                "no_streams",
                "the relay has no stream yet: is a source running?",
            )
        }),
    }
}

/// Whether `picture` may pass for what the stream shows now.
fn judge(
    app: &AppState,
    name: &StreamName,
    picture: Option<Arc<LiveFrame>>,
    request: &SnapshotRequest,
    now: Time,
) -> Result<Arc<LiveFrame>, ApiError> {
    let entry = app.table().entry(name);
    let gone = entry.as_ref().is_some_and(|entry| entry.source_gone);
    let limit = request.max_age.unwrap_or_else(|| {
        app.table()
            .interval(name)
            .map_or(Duration::ZERO, |i| i * 2)
            .max(USUAL_MAX_AGE)
    });

    let age = |picture: &LiveFrame| {
        picture.age_us(now).map_or_else(
            || now.saturating_since(picture.received),
            Duration::from_micros,
        )
    };

    match picture {
        Some(picture) if age(&picture) <= limit && (!gone || request.max_age.is_some()) => {
            Ok(picture)
        }
        _ if gone => {
            let message = format!(
                "the source of {name} has gone; its last picture is shown with ?max_age=SECONDS"
            );
            Err(ApiError::new(StatusCode::NOT_FOUND, "source_gone", message).passing(1))
        }
        Some(picture) => {
            let (age, limit) = (age(&picture).as_secs_f64(), limit.as_secs_f64());
            let message = format!(
                "the newest picture of {name} is {age:.1} s old, and {limit:.1} s are allowed"
            );
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_old", message).passing(1))
        }
        None => {
            let state = entry.map(|entry| (entry.state.label(), entry.reason));
            let why = state
                .map(|(state, reason)| format!(": it is {state} {reason}"))
                .unwrap_or_default();
            let message = format!("{} has no picture yet{}", name, why.trim_end());
            Err(ApiError::new(StatusCode::NOT_FOUND, "no_frame_yet", message).passing(1))
        }
    }
}

/// The first picture that comes after `begun`; none when the relay no longer has the stream.
async fn next(app: &AppState, name: &StreamName, begun: Time) -> Option<Arc<LiveFrame>> {
    let mut subscription = app.output.subscribe(name, Subscribe::default())?;
    loop {
        let frame = subscription.next().await?.frame;
        if frame.received >= begun {
            return Some(frame);
        }
    }
}

fn show(
    app: &AppState,
    picture: &Arc<LiveFrame>,
    headers: &HeaderMap,
    peer: Option<&Peer>,
) -> Response {
    let now = clock::now();
    let tag = tag(picture.id);
    let about = [
        (header::ETAG, text(&tag)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (TIMESTAMP, text(&timestamp(picture))),
        (
            AGE,
            text(
                &picture
                    .age_us(now)
                    .map_or_else(|| "unknown".to_owned(), |age| (age / 1_000).to_string()),
            ),
        ),
    ];

    if is_known(headers, &tag) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }

    let memory = app.table().client_memory();
    let charge = peer.map(|peer| memory.open(peer.address.ip(), 1));
    if charge
        .as_ref()
        .is_some_and(|charge| !charge.covers(picture.body.len()))
    {
        app.table().refusals().note(Resource::Memory, 1);
        let message = "clients hold all the memory that they may: ask again";
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no_memory", message);
        return error.passing(1).into_response();
    }

    if let Some(peer) = peer {
        let sent = Sent {
            bytes: picture.jpeg.len(),
            skipped: 0,
            age_us: picture.age_us(now),
        };

        app.table()
            .clients()
            .note_poll(now, SNAPSHOT, peer.address, &picture.stream, sent);
    }

    (
        about,
        [(header::CONTENT_TYPE, "image/jpeg")],
        Bytes::from_owner(ChargedPicture {
            jpeg: picture.jpeg.clone(),
            _charge: charge,
        }),
    )
        .into_response()
}

/// A picture that a client is charged for until it has left.
struct ChargedPicture {
    jpeg: Bytes,
    _charge: Option<Charge>,
}

impl AsRef<[u8]> for ChargedPicture {
    fn as_ref(&self) -> &[u8] {
        &self.jpeg
    }
}

fn placeholder(error: &ApiError) -> Response {
    let about = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (REASON, HeaderValue::from_static(error.code())),
    ];
    (about, PLACEHOLDER).into_response()
}

/// The name of a picture among all that its address ever shows.
fn tag(id: FrameId) -> String {
    format!("\"{:016x}-{}\"", id.epoch, id.number)
}

/// Whether the client has what is tagged so (RFC 9110 section 13.1.2).
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let all = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut tags = all.flat_map(|tags| tags.split(',')).map(str::trim);
    tags.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// When the picture was captured, in seconds since 1970 in UTC, as mjpg-streamer tells it.
pub(super) fn timestamp(picture: &LiveFrame) -> String {
    let captured_us = picture.captured_utc_us();
    let seconds = captured_us.div_euclid(1_000_000);
    let micros = captured_us.rem_euclid(1_000_000);
    format!("{seconds}.{micros:06}")
}

fn text(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits, dots and quotes may stand in a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(query: &str) -> Result<SnapshotRequest, ApiError> {
        SnapshotRequest::parse(&format!("/snapshot/cam.jpg?{query}").parse().unwrap(), true)
    }

    #[test]
    fn a_query_is_understood_or_refused() {
        let plain = SnapshotRequest {
            wakes: true,
            max_age: None,
            wait: false,
            placeholder: false,
        };

        assert_eq!(wish("").unwrap(), plain);
        assert_eq!(
            wish("max_age=0.5&wait=1").unwrap(),
            SnapshotRequest {
                max_age: Some(Duration::from_millis(500)),
                wait: true,
                ..plain
            }
        );

        assert_eq!(
            wish("placeholder=1&t=123456").unwrap(),
            SnapshotRequest {
                placeholder: true,
                ..plain
            }
        );

        for bad in [
            "max_age=",
            "max_age=-1",
            "max_age=NaN",
            "max_age=inf",
            "max_age=1e99",
            "wait=yes",
            "placeholder=2",
        ] {
            wish(bad).unwrap_err();
        }
    }

    #[test]
    fn a_picture_that_the_client_has_is_known_by_its_tag() {
        let tag = tag(FrameId {
            epoch: 0xab,
            number: 12,
        });

        assert_eq!(tag, "\"00000000000000ab-12\"");
        let known = |value: &'static str| {
            let headers =
                HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(value))]);
            is_known(&headers, &tag)
        };

        for value in [
            "\"00000000000000ab-12\"",
            "\"x\", W/\"00000000000000ab-12\"",
            "*",
        ] {
            assert!(known(value), "{value}");
        }

        assert!(!known("\"00000000000000ab-13\"") && !is_known(&HeaderMap::new(), &tag));
    }
}
