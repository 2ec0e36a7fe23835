//! Signing in, for what cannot set headers: pages and their pictures and sockets. A token is given once for a cookie, or for
//! the signature of one address.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;

use super::AppState;
use super::api_error::ApiError;
use super::authorize::{self, cookie_name};
use super::gateway::Peer;
use fanlight_live::access::AccessMode;
use fanlight_live::access::{LONGEST_SIGNATURE, Role, SESSION, unix_seconds};

/// Longest address to be signed, in bytes: a name has at most 64.
const MAX_PATH_BYTES: usize = 256;

/// How long a signed address is good for unless the request says otherwise.
const USUAL_SIGNATURE_S: u64 = 3600;

/// What `POST /api/session` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    token: String,
}

/// What `POST /api/sign` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sign {
    path: String,
    seconds: Option<u64>,
}

/// `GET /api/session`: who I am, and whether I need a token to be somebody.
pub(super) async fn tell(
    State(app): State<Arc<AppState>>,
    role: Option<Extension<Role>>,
) -> Response {
    let access = app.settings.access;
    let body =
        json!({ "access": access.to_string(), "role": role.map(|Extension(role)| role.word()) });
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// `POST /api/session`: a token for a cookie.
pub(super) async fn begin(
    State(app): State<Arc<AppState>>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<SignIn>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(SignIn { token }) = body.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let wrong = || {
        ApiError::new(
            StatusCode::UNAUTHORIZED,
            "wrong_token",
            "this is no token of this relay",
        )
    };

    let role = app.authorizer.owner(token.trim()).ok_or_else(wrong)?;
    let value = app
        .authorizer
        .cookie_value(role, unix_seconds() + SESSION.as_secs())
        .ok_or_else(wrong)?;

    let cookie = cookie(&app, peer.secure, &value, SESSION.as_secs());
    Ok((
        [(header::SET_COOKIE, cookie)],
        Json(json!({ "role": role.word() })),
    )
        .into_response())
}

/// `DELETE /api/session`: takes the cookie back, and ends its session for all who hold a copy.
pub(super) async fn end(
    State(app): State<Arc<AppState>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    if let Some(cookie) = authorize::cookie(&app, Some(&peer), &headers) {
        app.authorizer.sign_out(cookie, unix_seconds());
    }

    (
        StatusCode::NO_CONTENT,
        [(header::SET_COOKIE, cookie(&app, peer.secure, "", 0))],
    )
        .into_response()
}

/// `POST /api/sign`: an address that anybody may watch for a while.
pub(super) async fn sign(
    State(app): State<Arc<AppState>>,
    Extension(role): Extension<Role>,
    body: Result<Json<Sign>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(Sign { path, seconds }) =
        body.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let seconds = seconds.unwrap_or(USUAL_SIGNATURE_S);
    let whole = path.starts_with('/') && path.len() <= MAX_PATH_BYTES && !path.contains(['?', '#']);

    if !whole || !(1..=LONGEST_SIGNATURE.as_secs()).contains(&seconds) {
        return Err(ApiError::bad_request(format!(
            "path is what comes after the host, such as /snapshot/cam1.jpg, without a query; seconds is 1 to {}",
            LONGEST_SIGNATURE.as_secs()
        )));
    }

    if !["/snapshot/", "/stream/"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
        && path != "/ws"
    {
        return Err(ApiError::bad_request(
            "only /snapshot/…, /stream/… and /ws can be signed",
        ));
    }

    let until = unix_seconds() + seconds;
    let url = match app.authorizer.sign(role, &path, until) {
        Some(signature) => format!("{path}?expires={until}&signature={signature}"),
        None if app.settings.access == AccessMode::Token => {
            return Err(ApiError::bad_request("your role cannot sign"));
        }
        None => path,
    };

    Ok(Json(json!({ "url": url, "expires": until })).into_response())
}

fn cookie(app: &AppState, secure: bool, value: &str, seconds: u64) -> String {
    let name = cookie_name(app, secure);
    let secure = if secure { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}
