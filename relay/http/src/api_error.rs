//! Errors as clients get them: a status, and JSON that says what and what to do.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use fanlight_live::access::Role;
use serde_json::{Value, json};

/// What is wrong with a request, or with us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after_s: Option<u32>,
}

impl ApiError {
    /// A error of that status; `code` is for programs and stays as it is, `message` for people.
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after_s: None,
        }
    }

    /// One that may pass within so many seconds.
    #[must_use]
    pub(super) fn passing(self, seconds: u32) -> Self {
        Self {
            retry_after_s: Some(seconds),
            ..self
        }
    }

    /// What is wrong, for programs.
    pub(super) const fn code(&self) -> &'static str {
        self.code
    }

    /// As clients get it.
    pub(super) fn body(&self) -> Value {
        json!({ "error": self.code, "message": self.message })
    }

    /// What the request asks for in a way that we do not understand.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// There is nothing at this address.
    pub(super) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is nothing at this address: HTTP.md lists all that are",
        )
    }

    /// The relay has no stream of that name.
    pub(super) fn no_such_stream(name: &str) -> Self {
        let message = format!("the relay has no stream {name:?}: /api/streams lists those it has");
        Self::new(StatusCode::NOT_FOUND, "no_such_stream", message)
    }
}

/// Refuses who is no administrator; `what` begins the sentence that says so.
pub(super) fn check_admin(role: Role, what: &str) -> Result<(), ApiError> {
    if role == Role::Admin {
        return Ok(());
    }

    let message = format!("{what} for administrators: show the token of http_admin_token");
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "admin_needed",
        message,
    ))
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Json(self.body());
        let mut response =
            (self.status, [(header::CACHE_CONTROL, "no-store")], body).into_response();
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }

        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = axum::http::HeaderValue::from_static("Bearer realm=\"fanlight\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }

        response
    }
}
