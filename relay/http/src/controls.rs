//! `/api/streams/NAME/controls`: the controls of a stream's camera, for administrators. The upstream of its source asks; here
//! they are waited for, on the HTTP thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use fanlight_live::ControlOrder;
use fanlight_live::access::Role;
use fanlight_proto::feed::{MAX_CONTROL_NAME, MAX_CONTROLS_SET};
use fanlight_proto::message::{Control, ControlRequest, ControlValue, StreamName};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::AppState;
use super::api::answer;
use super::api_error::{ApiError, check_admin};
use super::gateway::Peer;
use super::screens::by;

/// Cameras take milliseconds for most controls, and seconds to turn.
const CAMERA_TIMEOUT: Duration = Duration::from_secs(4);

/// What `PUT /api/streams/NAME/controls` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    set: BTreeMap<String, i64>,
    #[serde(default)]
    save: bool,
}

/// `GET /api/streams/NAME/controls`.
pub(super) async fn list(
    State(app): State<Arc<AppState>>,
    Extension(role): Extension<Role>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let by = by(role, &peer, &headers);
    ask(&app, role, by, &name, ControlRequest::default()).await
}

/// `PUT /api/streams/NAME/controls`: the list as it is afterwards.
pub(super) async fn set(
    State(app): State<Arc<AppState>>,
    Extension(role): Extension<Role>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Json<Wanted>, JsonRejection>,
) -> Result<Response, ApiError> {
    check_admin(role, "camera controls are")?;
    let Json(Wanted { set, save }) =
        body.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let fits =
        set.len() <= MAX_CONTROLS_SET && set.keys().all(|name| name.len() <= MAX_CONTROL_NAME);
    if !fits {
        let message = format!(
            "set has at most {MAX_CONTROLS_SET} controls, with names of at most {MAX_CONTROL_NAME} bytes"
        );
        return Err(ApiError::bad_request(message));
    }

    let set = set
        .into_iter()
        .map(|(name, value)| ControlValue { name, value });
    let request = ControlRequest {
        set: set.collect(),
        save,
        ..ControlRequest::default()
    };
    ask(&app, role, by(role, &peer, &headers), &name, request).await
}

async fn ask(
    app: &AppState,
    role: Role,
    by: String,
    name: &str,
    request: ControlRequest,
) -> Result<Response, ApiError> {
    check_admin(role, "camera controls are")?;
    let stream = name.parse::<StreamName>().ok();
    let entry = stream.as_ref().and_then(|stream| app.table().entry(stream));
    let origin = stream.and_then(|stream| app.table().origin(&stream));
    let (Some(entry), Some(origin)) = (entry, origin) else {
        return Err(ApiError::no_such_stream(name));
    };
    if entry.source_gone {
        let message = format!("the source of {name} is silent: nobody can ask its camera");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "source_gone", message));
    }

    let (answer_to, answered) = oneshot::channel();
    let request = ControlRequest { by, ..request };
    let order = ControlOrder {
        request,
        answer: answer_to,
    };
    app.table().sources().put_order(origin, order);
    let told = match tokio::time::timeout(CAMERA_TIMEOUT, answered).await {
        Ok(Ok(told)) => told,
        Ok(Err(_)) => {
            return Err(unanswered("the source has gone, or too many ask: try again").passing(1));
        }
        Err(_) => {
            return Err(unanswered(
                "the camera does not answer, or its source is an older one",
            ));
        }
    };

    if told.refusal.is_empty() {
        let controls: Vec<_> = told.controls.iter().map(control).collect();
        Ok(answer(StatusCode::OK, json!({ "controls": controls })))
    } else {
        Err(ApiError::new(StatusCode::CONFLICT, "refused", told.refusal))
    }
}

fn unanswered(message: &str) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no_answer", message)
}

fn control(control: &Control) -> Value {
    let choices = control.choices.iter();
    let choices = choices.map(|choice| json!({ "value": choice.value, "name": choice.name }));
    json!({
        "name": control.name,
        "value": control.value,
        "minimum": control.minimum,
        "maximum": control.maximum,
        "step": control.step,
        "usual": control.usual,
        "inactive": control.inactive,
        "choices": choices.collect::<Vec<_>>(),
    })
}
