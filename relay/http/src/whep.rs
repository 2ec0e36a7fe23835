//! WHEP (draft-ietf-wish-whep): hands offers to the WebRTC output, where there is one, and its answers to clients.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fanlight_live::access::Grant;
use fanlight_live::whep::{WhepAnswer, WhepClient, WhepCommand, WhepError, tag};
use serde::Deserialize;

use super::AppState;
use super::api_error::ApiError;
use super::gateway::Peer;

/// Largest offer, in bytes: those of browsers have 2 to 8 KB.
pub(super) const MAX_OFFER_BYTES: usize = 32 << 10;

/// Longest name, in bytes: as of UDP viewers.
const MAX_NAME_BYTES: usize = 64;

const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

const SDP: &str = "application/sdp";
const SDP_FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// What may follow the path of an offer.
#[derive(Debug, Deserialize)]
pub(super) struct OfferQuery {
    /// What the client's operator calls it.
    #[serde(default)]
    name: String,
}

/// `POST /whep/STREAM`.
pub(super) async fn offer(
    State(app): State<Arc<AppState>>,
    Path(name): Path<String>,
    Query(query): Query<OfferQuery>,
    Extension(peer): Extension<Peer>,
    Extension(grant): Extension<Grant>,
    headers: HeaderMap,
    sdp: String,
) -> Result<Response, ApiError> {
    let whep = whep(&app)?;
    check_type(&headers, SDP)?;
    if query.name.len() > MAX_NAME_BYTES {
        let message = format!("name is longer than {MAX_NAME_BYTES} bytes");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "long_name", message));
    }
    let stream = name.parse().map_err(|_| ApiError::no_such_stream(&name))?;

    let command = WhepCommand::Offer {
        stream,
        sdp,
        name: query.name,
        client: peer.address,
        grant,
        local: peer.local,
    };
    match whep.ask(command).await.map_err(ApiError::from)? {
        WhepAnswer::Created { session, sdp } => {
            let headers = [
                (header::CONTENT_TYPE, SDP.to_owned()),
                (header::LOCATION, format!("/whep/{name}/{session}")),
                (header::ETAG, format!("\"{}\"", tag(&sdp))),
                (ACCEPT_PATCH, SDP_FRAGMENT.to_owned()),
            ];
            Ok((StatusCode::CREATED, headers, sdp).into_response())
        }
        WhepAnswer::Restarted(_) | WhepAnswer::Done => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// `OPTIONS /whep/STREAM`.
pub(super) async fn options(State(app): State<Arc<AppState>>) -> Result<Response, ApiError> {
    whep(&app)?;
    Ok((StatusCode::NO_CONTENT, [(ACCEPT_POST, SDP)]).into_response())
}

/// `PATCH /whep/STREAM/SESSION`.
pub(super) async fn change(
    State(app): State<Arc<AppState>>,
    Path((_, session)): Path<(String, String)>,
    headers: HeaderMap,
    fragment: String,
) -> Result<Response, ApiError> {
    check_type(&headers, SDP_FRAGMENT)?;
    let command = WhepCommand::Patch {
        session,
        tag: condition(&headers),
        fragment,
    };

    match whep(&app)?.ask(command).await.map_err(ApiError::from)? {
        WhepAnswer::Restarted(fragment) => {
            let headers = [
                (header::CONTENT_TYPE, SDP_FRAGMENT.to_owned()),
                (header::ETAG, format!("\"{}\"", tag(&fragment))),
            ];
            Ok((headers, fragment).into_response())
        }
        WhepAnswer::Created { .. } | WhepAnswer::Done => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

/// The tag that a request is meant for (RFC 9110, 13.1.1); none: any.
fn condition(headers: &HeaderMap) -> Option<String> {
    let wanted = headers.get(header::IF_MATCH)?.to_str().ok()?.trim();
    (wanted != "*").then(|| wanted.trim_matches('"').to_owned())
}

/// `DELETE /whep/STREAM/SESSION`.
pub(super) async fn end(
    State(app): State<Arc<AppState>>,
    Path((_, session)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let ended = whep(&app)?.ask(WhepCommand::End(session)).await;
    ended.map_err(ApiError::from)?;
    Ok(StatusCode::NO_CONTENT)
}

fn whep(app: &AppState) -> Result<&WhepClient, ApiError> {
    let message = "this relay has no WebRTC: set webrtc = \"ADDRESS:PORT\" in its settings";
    let off = || ApiError::new(StatusCode::NOT_FOUND, "no_webrtc", message);
    app.settings.whep.as_ref().ok_or_else(off)
}

fn check_type(headers: &HeaderMap, wanted: &str) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();

    let wrong = || {
        let message = format!("the body must be {wanted}");
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_type", message)
    };
    kind.eq_ignore_ascii_case(wanted)
        .then_some(())
        .ok_or_else(wrong)
}

impl From<WhepError> for ApiError {
    fn from(error: WhepError) -> Self {
        let (status, code) = match error {
            WhepError::NoStream => (StatusCode::NOT_FOUND, "no_such_stream"),
            WhepError::NoSession => (StatusCode::NOT_FOUND, "no_such_session"),
            WhepError::OldTag => (StatusCode::PRECONDITION_FAILED, "old_tag"),
            WhepError::BadOffer => (StatusCode::BAD_REQUEST, "bad_offer"),
            WhepError::NoCodec => (StatusCode::NOT_ACCEPTABLE, "no_codec"),
            WhepError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
        };

        let answer = Self::new(status, code, error.to_string());
        if error == WhepError::Busy {
            answer.passing(5)
        } else {
            answer
        }
    }
}
