//! The client behind a reverse proxy that this relay knows, by `X-Forwarded-For` and `X-Forwarded-Proto`. From anybody
//! else these headers are not read. Pure functions, called by the authorize middleware for each request.

use std::net::{IpAddr, SocketAddr};

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};

use super::gateway::Peer;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Replaces a known proxy by the client and the scheme that it forwards.
pub(super) fn apply_forwarded_headers(proxies: &[IpAddr], parts: &mut Parts) {
    let Some(peer) = parts.extensions.get_mut::<Peer>() else {
        return;
    };

    if !proxies.contains(&peer.address.ip().to_canonical()) {
        return;
    }

    if let Some(client) = client(proxies, &parts.headers) {
        // Clients of one address remain apart by the connections between the proxy and us.
        peer.address = SocketAddr::new(client, peer.address.port());
    }

    peer.secure |= list_items(&parts.headers, PROTO)
        .next_back()
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
}

/// The last address that no proxy of ours has: what stands before it anybody may have written.
fn client(proxies: &[IpAddr], headers: &HeaderMap) -> Option<IpAddr> {
    let addresses = list_items(headers, FOR).rev().map(address);
    // What is no address was written by nobody who can be believed in what stands before.
    addresses
        .map_while(|address| address)
        .find(|address| !proxies.contains(address))
}

/// What stands between commas in all headers of that name, in their order.
fn list_items(headers: &HeaderMap, name: HeaderName) -> impl DoubleEndedIterator<Item = &str> {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap_or_default())
        .collect();

    values
        .into_iter()
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// An address, as some proxies write it with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);

    let address = bracketed
        .parse()
        .ok()
        .or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));

    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::Request;
    use fanlight_live::ledger::{ConnectionLimits, SharedRefusals};
    use fanlight_proto::clock::Time;

    use super::*;
    use crate::settings::Settings;
    use crate::testing::settings;

    /// What is made of a request from `address`: who asks, and whether by https.
    fn seen(address: &str) -> (String, bool) {
        let settings = Settings {
            proxies: vec!["10.0.0.9".parse().unwrap()],
            ..settings()
        };

        let address: SocketAddr = address.parse().unwrap();
        let limits = ConnectionLimits::new(1, 1, &[], SharedRefusals::default());
        let permit = Arc::new(limits.admit(Time::default(), address).unwrap());
        let request = Request::builder()
            .header(FOR, "192.168.1.7")
            .header(PROTO, "https");
        let (mut parts, ()) = request
            .extension(Peer {
                address,
                local: std::net::Ipv4Addr::LOCALHOST.into(),
                secure: false,
                _permit: permit,
            })
            .body(())
            .unwrap()
            .into_parts();

        apply_forwarded_headers(&settings.proxies, &mut parts);
        let peer = parts.extensions.get::<Peer>().unwrap();
        (peer.address.to_string(), peer.secure)
    }

    #[test]
    fn a_proxy_of_ours_is_believed_and_nobody_else() {
        assert_eq!(seen("10.0.0.9:5000"), ("192.168.1.7:5000".to_owned(), true));
        assert_eq!(
            seen("[::ffff:10.0.0.9]:5000"),
            ("192.168.1.7:5000".to_owned(), true)
        );
        assert_eq!(seen("10.0.0.8:5000"), ("10.0.0.8:5000".to_owned(), false));
    }

    fn client_of(values: &[&str]) -> Option<String> {
        let proxies = ["127.0.0.1", "10.0.0.9"].map(|address| address.parse().unwrap());
        let headers = values
            .iter()
            .map(|value| (FOR, value.parse().unwrap()))
            .collect();
        client(&proxies, &headers).map(|address| address.to_string())
    }

    #[test]
    fn the_client_is_the_last_address_that_no_proxy_of_ours_has() {
        for (values, expected) in [
            (&["192.168.1.7"][..], Some("192.168.1.7")),
            (&["6.6.6.6, 192.168.1.7, 10.0.0.9"], Some("192.168.1.7")),
            (&["6.6.6.6", "192.168.1.7,10.0.0.9"], Some("192.168.1.7")),
            (&["192.168.1.7:1234"], Some("192.168.1.7")),
            (&["[2001:db8::1]:1234"], Some("2001:db8::1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["::ffff:192.168.1.7"], Some("192.168.1.7")),
            (&["192.168.1.7, unknown, 10.0.0.9"], None),
            (&["10.0.0.9, 127.0.0.1"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(client_of(values).as_deref(), expected, "{values:?}");
        }
    }
}
