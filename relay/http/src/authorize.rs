//! What every request passes: whether it came by a name of ours, who it is from, and the headers of each answer.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use fanlight_daemon::clock;

use super::AppState;
use super::api_error::ApiError;
use super::gateway::Peer;
use super::page;
use super::proxy;
use fanlight_live::access::AccessMode;
use fanlight_live::access::{Credentials, Role};

/// What the page may do: run its own files, and speak to the relay that it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                      connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), microphone=(), geolocation=()",
    ),
    // nginx would collect the frames of a stream before it passes them on.
    (HeaderName::from_static("x-accel-buffering"), "no"),
];

/// A request's body must be there within this.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The middleware.
pub(super) async fn authorize(
    State(app): State<Arc<AppState>>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    proxy::apply_forwarded_headers(&app.settings.proxies, &mut parts);
    let mut response = match admit(&app, &parts) {
        Err(error) => error.into_response(),
        Ok(role) => {
            if let Some(role) = role {
                parts.extensions.insert(role);
            }

            let method = parts.method.clone();
            let answer = next.run(Request::from_parts(parts, body));

            if method == Method::GET {
                answer.await
            } else {
                with_deadline(answer).await
            }
        }
    };

    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }

    // Who may watch without a token may do so in a page of somebody else's too.
    let embeds = if app.settings.access == AccessMode::Open {
        "cross-origin"
    } else {
        "same-origin"
    };

    headers.insert(RESOURCE_POLICY, HeaderValue::from_static(embeds));
    response
}

/// The answer to a request that may have a body, which must come soon.
async fn with_deadline(answer: impl Future<Output = Response>) -> Response {
    let late = || {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "too_slow",
            "the body of the request did not come in time",
        )
    };

    tokio::time::timeout(BODY_TIMEOUT, answer)
        .await
        .unwrap_or_else(|_| late().into_response())
}

/// The role of who asks; none, for what everybody may have.
fn admit(app: &AppState, parts: &Parts) -> Result<Option<Role>, ApiError> {
    if app.settings.access == AccessMode::Loopback {
        check_host(app, &parts.headers)?;
    }

    let from_elsewhere = parts.method != Method::GET && parts.method != Method::HEAD;
    if from_elsewhere || parts.headers.contains_key(header::UPGRADE) {
        check_origin(app, &parts.headers)?;
    }

    match role(app, parts) {
        None if !is_public(parts) => {
            let message = "show a token: Authorization: Bearer TOKEN, or sign in on the page, or use a signed address";
            Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "token_needed",
                message,
            ))
        }
        role => Ok(role),
    }
}

/// The page itself holds nothing secret, and one must be able to sign in, and to see whether the relay is healthy.
fn is_public(parts: &Parts) -> bool {
    let path = parts.uri.path();
    let file = page::file(path).is_some() && query(&parts.uri, "action").is_none();
    file || matches!(path, "/api/session" | "/api/health" | "/readyz")
}

fn role(app: &AppState, parts: &Parts) -> Option<Role> {
    let text = |name| {
        parts
            .headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };

    let bearer = text(header::AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });

    let secure = parts
        .extensions
        .get::<Peer>()
        .is_some_and(|peer| peer.secure);

    let name = cookie_name(app, secure);
    let cookies = parts
        .headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());

    let mut pairs = cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let cookie = pairs.find(|(key, _)| *key == name).map(|(_, value)| value);
    let expires = query(&parts.uri, "expires").and_then(|text| text.parse().ok());
    let signed = expires
        .zip(query(&parts.uri, "signature"))
        .filter(|_| parts.method != Method::POST);
    app.authorizer.role(
        &Credentials {
            bearer,
            cookie,
            signed,
            path: parts.uri.path(),
        },
        unix_seconds(),
    )
}

/// The name of our cookie. Browsers send cookies to all ports of a host, and another relay may be there.
pub(super) fn cookie_name(app: &AppState, secure: bool) -> String {
    format!(
        "{}fanlight-{}",
        if secure { "__Host-" } else { "" },
        app.address.port()
    )
}

/// A page of somebody else's may have its own name resolved to a loopback address, to read with its visitor's browser what
/// is there: such a request names that name.
fn check_host(app: &AppState, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(host) = headers.get(header::HOST) else {
        return Ok(());
    };

    let host = host.to_str().unwrap_or_default();
    let known = app
        .settings
        .origins
        .iter()
        .any(|origin| authority(origin) == host);

    if known || is_loopback(host) {
        return Ok(());
    }

    let message = "this relay is for programs on its own host, and this request came by another name: use localhost, or list \
                   the origin in http_origins";
    Err(ApiError::new(StatusCode::FORBIDDEN, "wrong_host", message))
}

/// A page of somebody else's may open a WebSocket to anywhere, with its visitor's cookies.
fn check_origin(app: &AppState, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };

    let (origin, host) = (
        origin.to_str().unwrap_or_default(),
        headers.get(header::HOST),
    );

    let own = host.is_some_and(|host| {
        !authority(origin).is_empty() && host.as_bytes() == authority(origin).as_bytes()
    });
    if own || app.settings.origins.iter().any(|known| known == origin) {
        return Ok(());
    }

    let message = "a page of another origin may not do this unless http_origins lists it";
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "wrong_origin",
        message,
    ))
}

/// Host and port of an origin.
fn authority(origin: &str) -> &str {
    origin
        .split_once("://")
        .map_or("", |(_, authority)| authority)
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest
            .split_once(']')
            .filter(|(_, port)| port.is_empty() || port.starts_with(':'))
            .map_or("", |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };

    let address = name
        .parse::<IpAddr>()
        .is_ok_and(|ip| ip.to_canonical().is_loopback());
    address
        || name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
}

/// The number that the query has for `key`, if any; `what` is said of one that is out of `range` or none.
pub(super) fn number(
    uri: &Uri,
    key: &str,
    range: RangeInclusive<f64>,
    what: &str,
) -> Result<Option<f64>, ApiError> {
    let Some(text) = query(uri, key) else {
        return Ok(None);
    };

    match text.parse() {
        Ok(value) if range.contains(&value) => Ok(Some(value)),
        _ => Err(ApiError::bad_request(format!("{key} is {what}"))),
    }
}

/// The value of `key` in the query, as it stands there.
pub(super) fn query<'a>(uri: &'a Uri, key: &str) -> Option<&'a str> {
    let pairs = uri
        .query()?
        .split('&')
        .filter_map(|pair| pair.split_once('='));

    pairs
        .into_iter()
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

/// Seconds since 1970: what expires does so by the wall clock, which clients know.
pub(super) fn unix_seconds() -> u64 {
    let nanos = i64::try_from(clock::now().as_nanos())
        .unwrap_or(i64::MAX)
        .saturating_add(clock::wall_offset_ns());
    u64::try_from(nanos / 1_000_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_host_are_loopback() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]:80",
            "cam.localhost:1",
        ] {
            assert!(is_loopback(host), "{host}");
        }

        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example:80",
            "10.0.0.1:80",
            "localhost.evil",
            "[2001:db8::1]",
            "[::1].evil.example",
            "[::1].evil.example:80",
            "[::1",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_value_of_the_query_is_found_by_its_whole_name() {
        let uri: Uri = "/?action=stream&n=1&stream=cam".parse().unwrap();
        assert_eq!(
            (query(&uri, "stream"), query(&uri, "n"), query(&uri, "x")),
            (Some("cam"), Some("1"), None)
        );
        assert_eq!(query(&"/".parse().unwrap(), "n"), None);
    }

    #[test]
    fn a_number_of_the_query_is_within_its_range_or_refused() {
        let number = |uri: &str| {
            let number = number(&uri.parse().unwrap(), "fps", 0.01..=1000.0, "a rate");
            number.map_err(|error| error.into_response().status())
        };

        assert_eq!(number("/?fps=0.5"), Ok(Some(0.5)));
        assert_eq!(number("/?x=1"), Ok(None));
        for bad in ["0", "-1", "1001", "NaN", "inf", "ten", ""] {
            let status = StatusCode::BAD_REQUEST;
            assert_eq!(number(&format!("/?fps={bad}")), Err(status), "{bad}");
        }
    }
}
