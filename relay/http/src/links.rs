//! `/api/links`: lasting links to the pictures of one stream, which administrators make and revoke.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use fanlight_live::access::{LinkError, Role};
use fanlight_proto::message::StreamName;
use serde::Deserialize;
use serde_json::json;

use super::AppState;
use super::api_error::{ApiError, check_admin};

/// What `POST /api/links` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    name: String,
    stream: String,
}

/// `GET /api/links`.
pub(super) async fn list(
    State(app): State<Arc<AppState>>,
    Extension(role): Extension<Role>,
) -> Result<Response, ApiError> {
    check_admin(role, "links are")?;
    let links = app.authorizer.links().all();
    let links: Vec<_> = links
        .iter()
        .map(|link| json!({ "name": link.name.as_str(), "stream": link.stream.as_str() }))
        .collect();
    Ok(answer(StatusCode::OK, json!({ "links": links })))
}

/// `POST /api/links`: its addresses, which are told this once.
pub(super) async fn add(
    State(app): State<Arc<AppState>>,
    Extension(role): Extension<Role>,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Result<Response, ApiError> {
    check_admin(role, "links are")?;
    let Json(Wanted { name, stream }) =
        body.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let (name, stream) = (parse(&name)?, parse(&stream)?);
    let secret = app.authorizer.links().add(name.clone(), stream.clone());
    let secret = secret.map_err(|error| refuse(&error))?;
    tracing::info!(%name, %stream, "a link is made");

    let body = json!({
        "name": name.as_str(),
        "stream": stream.as_str(),
        "snapshot": format!("/snapshot/{stream}.jpg?link={secret}"),
        "mjpeg": format!("/stream/{stream}.mjpeg?link={secret}"),
    });
    Ok(answer(StatusCode::CREATED, body))
}

/// `DELETE /api/links/NAME`.
pub(super) async fn revoke(
    State(app): State<Arc<AppState>>,
    Extension(role): Extension<Role>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    check_admin(role, "links are")?;
    let name = parse(&name)?;
    app.authorizer
        .links()
        .revoke(&name)
        .map_err(|error| refuse(&error))?;
    tracing::info!(%name, "a link is revoked");
    Ok(StatusCode::NO_CONTENT)
}

fn parse(text: &str) -> Result<StreamName, ApiError> {
    let parsed = text.parse::<StreamName>();
    parsed.map_err(|error| ApiError::bad_request(error.to_string()))
}

fn refuse(error: &LinkError) -> ApiError {
    let (status, code) = match error {
        LinkError::Unknown(_) => (StatusCode::NOT_FOUND, "no_such_link"),
        LinkError::Unwritable(_) => (StatusCode::INTERNAL_SERVER_ERROR, "unwritable"),
        LinkError::NoFile | LinkError::Exists(_) | LinkError::TooMany => {
            (StatusCode::CONFLICT, "no_link")
        }
    };
    ApiError::new(status, code, error.to_string())
}

fn answer(status: StatusCode, body: serde_json::Value) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
