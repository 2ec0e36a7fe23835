//! Where a request comes from, as browsers say it: by which name of ours, and from whose page. Pure functions over the
//! headers, called by the authorize middleware and by handlers that wake cameras.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, StatusCode, header};

use super::api_error::ApiError;
use super::settings::Settings;
use fanlight_live::access::AccessMode;

/// Fetch metadata (W3C): browsers alone set them, and no script can.
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// A page of somebody else's may have a name of its own resolved to our address, to read with its visitor's browser what
/// is there (DNS rebinding): such a request names that name. An address in its place was resolved by nobody.
pub(super) fn check_host(settings: &Settings, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(host) = headers.get(header::HOST) else {
        return Ok(());
    };

    let host = host.to_str().unwrap_or_default();
    let name = host_name(host);
    let listed = settings
        .origins
        .iter()
        .any(|origin| authority(origin) == host)
        || settings.names.iter().any(|known| is_same_name(known, name));
    let address = name.parse().is_ok_and(|ip: IpAddr| {
        settings.access == AccessMode::Open || ip.to_canonical().is_loopback()
    });

    if listed || address || is_localhost(name) {
        return Ok(());
    }

    let message = match settings.access {
        AccessMode::Loopback => {
            "this relay is for programs on its own host, and this request came by another name: use localhost, or list the \
             name in http_names"
        }
        _ => {
            "this relay does not know the name by which this request came: use its address, or list the name in http_names"
        }
    };
    Err(ApiError::new(StatusCode::FORBIDDEN, "wrong_host", message))
}

/// Whether a page of another site asks, which may do no more than show what is there: it may not wake a camera for
/// whoever looks at it. Following a link is what the visitor wants.
pub(super) fn is_cross_site(settings: &Settings, headers: &HeaderMap) -> bool {
    let is = |name, value: &str| {
        headers
            .get(name)
            .is_some_and(|text| text.as_bytes() == value.as_bytes())
    };
    let embedder = headers
        .get(header::REFERER)
        .and_then(|page| page.to_str().ok());
    let listed = embedder.is_some_and(|page| {
        let origins = settings.origins.iter();
        let mut rests = origins.filter_map(|origin| page.strip_prefix(origin.as_str()));
        rests.any(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    is(SITE, "cross-site") && !is(MODE, "navigate") && !listed
}

/// A page of somebody else's may open a WebSocket to anywhere, with its visitor's cookies.
pub(super) fn check_origin(settings: &Settings, headers: &HeaderMap) -> Result<(), ApiError> {
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
    if own || settings.origins.iter().any(|known| known == origin) {
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

/// The name or address in a `Host` header; empty when it is neither.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest
            .split_once(']')
            .filter(|(_, port)| port.is_empty() || port.starts_with(':'))
            .map_or("", |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

fn is_same_name(known: &str, name: &str) -> bool {
    known.eq_ignore_ascii_case(name.strip_suffix('.').unwrap_or(name))
}

fn is_localhost(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::testing;

    fn settings(access: AccessMode) -> Settings {
        Settings {
            access,
            names: vec!["attic.lan".to_owned()],
            origins: vec!["https://cams.example".to_owned()],
            ..testing::settings()
        }
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn comes_by(access: AccessMode, host: &str) -> bool {
        check_host(&settings(access), &headers(&[(header::HOST, host)])).is_ok()
    }

    #[test]
    fn a_relay_is_known_by_its_listed_names_and_as_localhost() {
        for access in [AccessMode::Loopback, AccessMode::Open] {
            for host in [
                "localhost",
                "LocalHost:8080",
                "127.0.0.1",
                "127.9.9.9:1",
                "[::1]:80",
                "cam.localhost:1",
                "attic.lan",
                "Attic.Lan.:8080",
                "cams.example",
            ] {
                assert!(comes_by(access, host), "{host}");
            }

            for host in [
                "",
                "evil.example",
                "127.0.0.1.evil.example:80",
                "localhost.evil",
                "attic.lan.evil.example",
                "[::1].evil.example",
                "[::1].evil.example:80",
                "[::1",
            ] {
                assert!(!comes_by(access, host), "{host}");
            }
        }

        check_host(&settings(AccessMode::Open), &HeaderMap::new()).unwrap();
    }

    #[test]
    fn an_open_relay_is_known_by_each_of_its_addresses_and_one_on_loopback_by_that() {
        for host in ["10.0.0.1:80", "192.168.1.7", "[2001:db8::1]"] {
            assert!(comes_by(AccessMode::Open, host), "{host}");
            assert!(!comes_by(AccessMode::Loopback, host), "{host}");
        }
    }

    #[test]
    fn what_a_page_of_another_site_embeds_is_told_from_what_a_visitor_follows() {
        let settings = settings(AccessMode::Open);
        let cross = |pairs: &[(HeaderName, &str)]| is_cross_site(&settings, &headers(pairs));
        assert!(cross(&[(SITE, "cross-site"), (MODE, "no-cors")]));
        assert!(cross(&[
            (SITE, "cross-site"),
            (header::REFERER, "https://cams.example.evil/")
        ]));

        assert!(!cross(&[(SITE, "cross-site"), (MODE, "navigate")]));
        assert!(!cross(&[
            (SITE, "cross-site"),
            (header::REFERER, "https://cams.example/")
        ]));
        for site in ["same-origin", "same-site", "none"] {
            assert!(!cross(&[(SITE, site)]), "{site}");
        }
        assert!(!cross(&[]), "no browser of today");
    }
}
