//! The relays of a viewer whose settings name none (`relay = "auto"`): the one of this host, and those that announce themselves
//! on the network and ask for the access that this viewer has. Asked by the socket threads when a relay does not answer,
//! which keep to the one that does.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use fanlight_daemon::discovery::{Browser, Found, Kind};
use fanlight_proto::datagram::VERSION;
use fanlight_proto::handshake::ViewerAccess;

/// What stands for a relay in the settings.
pub const AUTO: &str = "auto";

/// Where a relay without settings listens.
pub const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5004);

/// Relays of one kind of access that are tried for one path.
const MAX_RELAYS: usize = 8;

/// What was found. The default one never finds any.
#[derive(Clone, Debug, Default)]
pub struct FoundRelays {
    browser: Option<Arc<Browser>>,
}

impl FoundRelays {
    /// Looks for relays from now on. When it cannot, that is logged.
    #[must_use]
    pub fn start() -> Self {
        let browser = Browser::start(Kind::Relay)
            .inspect_err(|error| tracing::warn!("cannot look for relays: {error:#}"));
        Self {
            browser: browser.ok().map(Arc::new),
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Found> {
        let found = self.browser.iter().flat_map(|browser| browser.found());
        found.map(|(_, found)| found).collect()
    }

    /// Where to ask for a session on `path` of so many `paths`: each relay that is found belongs to one of them, and this
    /// host's to the first.
    pub(crate) fn addresses(
        &self,
        path: usize,
        paths: usize,
        access: &ViewerAccess,
    ) -> Vec<SocketAddr> {
        let found = self.all().into_iter().filter(|found| fits(found, access));
        let own = (path == 0).then_some(LOCAL);
        let found = found.skip(path).step_by(paths.max(1)).take(MAX_RELAYS);
        own.into_iter()
            .chain(found.flat_map(|found| found.addresses))
            .collect()
    }
}

/// Whether a relay lets in whoever has `access`, and is the one that this is for.
#[must_use]
pub fn fits(found: &Found, access: &ViewerAccess) -> bool {
    let says = |key: &str| found.properties.get(key).map(String::as_str);
    let version = says("v").is_none_or(|version| version == VERSION.to_string());
    version
        && match access {
            ViewerAccess::Open => says("access") == Some("open"),
            ViewerAccess::Psk(_) => says("access") == Some("psk"),
            ViewerAccess::Keys { relay, .. } => says("key") == Some(&relay.to_string()),
        }
}

#[cfg(test)]
mod tests {
    use fanlight_proto::handshake::{PrivateKey, SharedKey};

    use super::*;

    fn relay(properties: &[(&str, &str)]) -> Found {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Found {
            name: "box-5004".to_owned(),
            addresses: vec!["10.0.0.1:5004".parse().unwrap()],
            properties: properties.iter().map(owned).collect(),
        }
    }

    #[test]
    fn only_a_relay_that_asks_for_what_the_viewer_has_is_asked() {
        let key = PrivateKey::new([1; 32]).public();
        let (other, own) = (PrivateKey::new([2; 32]).public(), PrivateKey::new([3; 32]));
        let open = relay(&[("v", "1"), ("access", "open")]);
        let psk = relay(&[("access", "psk")]);
        let keys = relay(&[("access", "keys"), ("key", &key.to_string())]);
        let with = |relay| ViewerAccess::Keys {
            own: own.clone(),
            relay,
        };

        let shared = ViewerAccess::Psk(SharedKey::new([4; 32]));
        for (access, wanted) in [
            (ViewerAccess::Open, [true, false, false]),
            (shared, [false, true, false]),
            (with(key), [false, false, true]),
            (with(other), [false, false, false]),
        ] {
            let fitting = [&open, &psk, &keys].map(|found| fits(found, &access));
            assert_eq!(fitting, wanted, "{access:?}");
        }

        let newer = relay(&[("v", "99"), ("access", "open")]);
        assert!(!fits(&newer, &ViewerAccess::Open));
    }

    #[test]
    fn without_a_network_there_is_this_host() {
        let none = FoundRelays::default();
        assert_eq!(none.addresses(0, 2, &ViewerAccess::Open), [LOCAL]);
        assert_eq!(none.addresses(1, 2, &ViewerAccess::Open), []);
    }
}
