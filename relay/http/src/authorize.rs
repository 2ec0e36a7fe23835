//! What every request passes: whether it came by a name of ours, who it is from, and the headers of each answer.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::AppState;
use super::api_error::ApiError;
use super::gateway::Peer;
use super::proxy;
use super::{origin, page, screens};
use fanlight_live::access::AccessMode;
use fanlight_live::access::{Credentials, Grant, unix_seconds};

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
    let asks_for_basic = asks_for_basic(&app, &parts);
    let mut response = match admit(&app, &parts) {
        Err(error) => error.into_response(),
        Ok(grant) => {
            if let Some(grant) = grant {
                parts.extensions.insert(grant.role());
                parts.extensions.insert(grant);
            }

            let method = parts.method.clone();
            let waits = screens::longest_wait(&parts.uri);
            let answer = next.run(Request::from_parts(parts, body));

            if method == Method::GET {
                answer.await
            } else {
                with_deadline(answer, BODY_TIMEOUT + waits).await
            }
        }
    };

    let offers_basic = response.status() == StatusCode::UNAUTHORIZED && asks_for_basic;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }

    if offers_basic {
        let basic = HeaderValue::from_static("Basic realm=\"fanlight\", charset=\"UTF-8\"");
        headers.append(header::WWW_AUTHENTICATE, basic);
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
async fn with_deadline(answer: impl Future<Output = Response>, limit: Duration) -> Response {
    let late = || {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "too_slow",
            "the body of the request did not come in time",
        )
    };

    tokio::time::timeout(limit, answer)
        .await
        .unwrap_or_else(|_| late().into_response())
}

/// What lets in who asks; none, for what everybody may have.
fn admit(app: &AppState, parts: &Parts) -> Result<Option<Grant>, ApiError> {
    // Whoever shows a token has it from us: a page of somebody else's has none to show.
    if app.settings.access != AccessMode::Token {
        origin::check_host(&app.settings, &parts.headers)?;
    }

    let from_elsewhere = parts.method != Method::GET && parts.method != Method::HEAD;
    if from_elsewhere || parts.headers.contains_key(header::UPGRADE) {
        origin::check_origin(&app.settings, &parts.headers)?;
    }

    match grant(app, parts)? {
        None if !is_public(parts) => {
            let message = "show a token: Authorization: Bearer TOKEN, or HTTP Basic with the token as the password, or sign in \
                           on the page, or use a signed address or a link";
            Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "token_needed",
                message,
            ))
        }
        grant => Ok(grant),
    }
}

/// The page itself holds nothing secret, and one must be able to sign in, and to see whether the relay is healthy.
fn is_public(parts: &Parts) -> bool {
    let path = parts.uri.path();
    let file = page::file(path).is_some() && query(&parts.uri, "action").is_none();
    file || matches!(path, "/api/session" | "/api/health" | "/livez" | "/readyz")
}

fn grant(app: &AppState, parts: &Parts) -> Result<Option<Grant>, ApiError> {
    let shown = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value: &HeaderValue| value.to_str().ok());
    let (scheme, text) = shown
        .and_then(|value| value.split_once(' '))
        .unwrap_or_default();

    let is_basic = scheme.eq_ignore_ascii_case("basic");
    let password = is_basic.then(|| password(text)).flatten();
    let bearer = if is_basic {
        password.as_deref().map(String::as_str)
    } else {
        scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
    };

    let expires = query(&parts.uri, "expires").and_then(|text| text.parse().ok());
    let signed = expires
        .zip(query(&parts.uri, "signature"))
        .filter(|_| parts.method != Method::POST);
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    let credentials = Credentials {
        bearer,
        link: query(&parts.uri, "link").filter(|_| is_read),
        cookie: cookie(app, parts.extensions.get(), &parts.headers),
        signed,
        path: parts.uri.path(),
    };

    if is_basic && app.settings.access == AccessMode::Token && !takes_basic(app, parts) {
        let message = "HTTP Basic shows the token to whoever listens: it is taken over https and on this host only, unless \
                       http_basic_plain is set";
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "basic_needs_https",
            message,
        ));
    }

    Ok(app.authorizer.grant(&credentials, unix_seconds()))
}

/// The password of HTTP Basic (RFC 7617), which is a token; the name of the user is free.
fn password(text: &str) -> Option<Zeroizing<String>> {
    let decoded = Zeroizing::new(STANDARD.decode(text.trim()).ok()?);
    let (_, token) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(Zeroizing::new(token.to_owned()))
}

/// Whether nobody can listen to a token that comes by HTTP Basic, or its owner does not mind. Who speaks https to a proxy of
/// ours does so to us.
fn takes_basic(app: &AppState, parts: &Parts) -> bool {
    let peer = parts.extensions.get::<Peer>();
    let private = |peer: &Peer| peer.secure || peer.address.ip().to_canonical().is_loopback();
    app.settings.basic_plain || peer.is_some_and(private)
}

/// Whether to offer HTTP Basic to who shows nothing: to players, which wait to be asked, but not to browsers, which would
/// open a dialog of their own over the page's.
fn asks_for_basic(app: &AppState, parts: &Parts) -> bool {
    let agent = parts.headers.get(header::USER_AGENT);
    let is_browser = parts.headers.contains_key("sec-fetch-mode")
        || agent.is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"));
    !is_browser && takes_basic(app, parts)
}

/// The cookie of ours in the headers of a request.
pub(super) fn cookie<'a>(
    app: &AppState,
    peer: Option<&Peer>,
    headers: &'a HeaderMap,
) -> Option<&'a str> {
    let name = cookie_name(app, peer.is_some_and(|peer| peer.secure));
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());

    let mut pairs = cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// The name of our cookie. Browsers send cookies to all ports of a host, and another relay may be there.
pub(super) fn cookie_name(app: &AppState, secure: bool) -> String {
    format!(
        "{}fanlight-{}",
        if secure { "__Host-" } else { "" },
        app.address.port()
    )
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

#[cfg(test)]
mod tests {
    use super::*;

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
