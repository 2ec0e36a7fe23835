//! Which relays are asked, by what, and what is shown to them. The main thread calls it when the program starts.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use fanlight_daemon::trust;

use super::{Config, DEFAULT_RECEIVE_BUFFER, Redundancy};
use crate::engine::MAX_PATHS;
use crate::found_relays::{AUTO, FoundRelays, LOCAL};
use crate::relay_keys::RelayKeys;
use crate::tcp::{self, RelayUrl};
use crate::udp::Route;

/// What relays may be reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// By UDP where that is named, and by TCP where only that is, or UDP fails.
    Auto,
    /// By UDP alone.
    Udp,
    /// By TCP alone.
    Tcp,
}

fanlight_daemon::display_choice!(Transport);

/// How to reach the relays.
///
/// # Errors
/// When a key, a token or a certificate cannot be read.
pub fn route(config: &Config) -> anyhow::Result<Route> {
    let relays = chosen(config);
    let found = looks(config).then(FoundRelays::start);
    let web = |relay: &String| relay.parse::<RelayUrl>().ok();
    let secure = relays.iter().filter_map(web).any(|url| url.is_secure());
    let token = config.relay_token_file.clone();
    // One that is not there is told at once.
    token.as_ref().map(|file| file.token()).transpose()?;
    let keys = keys(config);
    let trust = || trust::client_config(config.relay_ca_file.as_deref(), &config.relay_certificate);

    Ok(Route {
        accesses: keys.read(&relays)?,
        keys,
        tcp: tcp::Options {
            token,
            tls: secure
                .then(trust)
                .transpose()
                .context("relay_ca_file")?
                .map(Arc::new),
            receive_buffer: Some(config.receive_buffer)
                .filter(|bytes| *bytes < DEFAULT_RECEIVE_BUFFER),
        },
        replaces: replaces(config, &relays),
        relays,
        found: found.unwrap_or_default(),
        receive_buffer: config.receive_buffer,
        multicast: config.multicast == super::Multicast::Auto,
        capture: config.capture_dir.clone(),
        own: None,
    })
}

fn keys(config: &Config) -> RelayKeys {
    RelayKeys {
        file: config.key_file.clone(),
        relays: config.relay_key.clone(),
    }
}

/// Whether the relays are those that are found.
#[must_use]
pub fn is_auto(config: &Config) -> bool {
    config.relay == [AUTO]
}

/// Whether it looks for them on the network.
#[must_use]
pub fn looks(config: &Config) -> bool {
    is_auto(config) && config.discovery
}

/// The relays by name. Of those that are found a second one is asked too when they have keys: without, anybody could
/// pose as one and mix in pictures.
#[must_use]
pub fn relays(config: &Config) -> Vec<String> {
    match (is_auto(config), config.discovery, &config.key_file) {
        (true, false, _) => vec![LOCAL.to_string()],
        (true, true, Some(_)) => vec![AUTO.to_owned(); config.relay_key.len().clamp(2, MAX_PATHS)],
        _ => config.relay.clone(),
    }
}

/// The relays that `transport` leaves.
fn chosen(config: &Config) -> Vec<String> {
    let fits = |relay: &&String| match config.transport {
        Transport::Auto => true,
        Transport::Udp => !tcp::is_web_address(relay),
        Transport::Tcp => tcp::is_web_address(relay),
    };
    relays(config).iter().filter(fits).cloned().collect()
}

/// Each connection to a host that can be reached by UDP too, and the number of that. With standby all take turns instead.
fn replaces(config: &Config, relays: &[String]) -> Vec<(usize, usize)> {
    if config.redundancy == Redundancy::Standby {
        return Vec::new();
    }

    let udp_at = |url: &RelayUrl| {
        let of_host = |relay: &String| {
            !tcp::is_web_address(relay) && udp_host(relay).eq_ignore_ascii_case(url.host())
        };
        relays.iter().position(of_host)
    };

    let mut taken = BTreeSet::new();
    let pair = |(at, relay): (usize, &String)| {
        let udp = udp_at(&relay.parse().ok()?)?;
        taken.insert(udp).then_some((at, udp))
    };
    relays.iter().enumerate().filter_map(pair).collect()
}

/// The host of host:port.
fn udp_host(relay: &str) -> &str {
    let (host, _) = relay.rsplit_once(':').unwrap_or((relay, ""));
    host.trim_matches(['[', ']'])
}

/// What is wrong with settings that are each valid.
///
/// # Errors
/// In a sentence that names the key.
pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    for relay in config.relay.iter().filter(|_| !is_auto(config)) {
        check_address(relay)?;
    }

    let relays = config.relay.len();
    ensure!(
        (1..=MAX_PATHS).contains(&relays),
        "`relay` names {relays} relays; it must be 1 to {MAX_PATHS}"
    );

    let distinct: BTreeSet<_> = config.relay.iter().collect();
    ensure!(
        distinct.len() == relays,
        "`relay` names the same relay twice: {}",
        config.relay.join(", ")
    );

    ensure!(
        !chosen(config).is_empty(),
        "`transport` is {}, and `relay` has no address for it: {}",
        config.transport,
        config.relay.join(", ")
    );

    let keys = config.relay_key.len();
    let by_udp = |relay: &&String| !tcp::is_web_address(relay);
    let keyed = config.relay.iter().filter(by_udp).count();
    ensure!(
        keys <= 1 || keys == keyed || is_auto(config) && keys <= MAX_PATHS,
        "`relay_key` has {keys} keys for {keyed} relays; it must be one, or one each"
    );

    ensure!(
        keys == 0 || config.key_file.is_some(),
        "`relay_key` needs `key_file`, the viewer's own private key"
    );

    ensure!(
        config.relay_token_file.is_none() || keyed < relays,
        "`relay_token_file` is for relays at ws:// or wss:// addresses, and `relay` has none"
    );

    Ok(())
}

fn check_address(relay: &str) -> anyhow::Result<()> {
    if tcp::is_web_address(relay) {
        if let Err(error) = relay.parse::<RelayUrl>() {
            bail!("`relay` is {relay:?}; {error}");
        }
        return Ok(());
    }

    let (host, port) = relay.rsplit_once(':').unwrap_or_default();
    ensure!(
        !host.is_empty() && port.parse::<u16>().is_ok(),
        "`relay` is {relay:?}; it must be host:port, such as 127.0.0.1:5004 or [fe80::1]:5004, or ws://host:port, or auto alone"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use fanlight_daemon::keys::KeyPath;
    use fanlight_proto::handshake::{PrivateKey, PublicKey, SharedKey, ViewerAccess};
    use fanlight_proto::message::Access;

    use super::*;

    fn config(relays: &[&str]) -> Config {
        Config {
            relay: relays.iter().map(|&relay| relay.to_owned()).collect(),
            ..Config::default()
        }
    }

    #[test]
    fn a_connection_replaces_udp_to_the_same_host_and_no_other() {
        let config = config(&["a:5004", "ws://b:8080", "[::1]:5004", "wss://[::1]:8443"]);
        assert_eq!(replaces(&config, &config.relay), [(3, 2)]);

        let twice = ["a:5004", "ws://a:1", "ws://A:2"].map(str::to_owned);
        assert_eq!(replaces(&config, &twice), [(1, 0)], "one for each");

        let standby = Config {
            redundancy: Redundancy::Standby,
            ..config
        };
        assert_eq!(replaces(&standby, &standby.relay), []);
    }

    #[test]
    fn the_transport_leaves_the_relays_that_have_an_address_for_it() {
        let mut config = config(&["a:5004", "ws://a:8080"]);
        for (transport, left) in [
            (Transport::Auto, &["a:5004", "ws://a:8080"][..]),
            (Transport::Udp, &["a:5004"]),
            (Transport::Tcp, &["ws://a:8080"]),
        ] {
            config.transport = transport;
            assert_eq!(chosen(&config), left);
            assert!(check(&config).is_ok());
        }

        config.relay.truncate(1);
        let error = check(&config).unwrap_err().to_string();
        assert!(error.starts_with("`transport` is tcp"), "{error}");
    }

    #[test]
    fn a_web_address_is_checked_and_a_token_needs_one() {
        assert!(check(&config(&["wss://relay.example"])).is_ok());
        let error = check(&config(&["http://relay"])).unwrap_err().to_string();
        assert!(
            error.starts_with("`relay` is") && error.contains("ws://"),
            "{error}"
        );

        let token = Config {
            relay_token_file: Some("/dev/null".parse().unwrap()),
            ..config(&["a:5004"])
        };
        let error = check(&token).unwrap_err().to_string();
        assert!(error.starts_with("`relay_token_file` is"), "{error}");
    }

    fn public() -> PublicKey {
        PrivateKey::new([1; 32]).public()
    }

    #[test]
    fn a_key_file_is_shared_or_with_the_relays_keys_the_viewers_own() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name, line: &str| {
            let path = folder.path().join(name);
            fanlight_daemon::keys::write(&path, line).unwrap();
            Some(path.to_str().unwrap().parse::<KeyPath>().unwrap())
        };

        let shared = write("shared", &SharedKey::new([2; 32]).to_text());
        let private = write("private", &PrivateKey::new([3; 32]).to_text());
        let relay = ["a:1", "ws://c", "b:2"].map(str::to_owned).to_vec();
        let kinds = |key_file: &Option<KeyPath>, relay_key| {
            let config = Config {
                relay: relay.clone(),
                key_file: key_file.clone(),
                relay_key,
                ..Config::default()
            };

            check(&config).unwrap();
            keys(&config)
                .read(&config.relay)
                .map(|accesses| accesses.iter().map(ViewerAccess::kind).collect::<Vec<_>>())
        };

        assert_eq!(kinds(&None, Vec::new()).unwrap(), [Access::Open; 3]);
        assert_eq!(kinds(&shared, Vec::new()).unwrap(), [Access::Psk; 3]);
        let keys = [Access::Keys, Access::Open, Access::Keys];
        assert_eq!(kinds(&private, vec![public()]).unwrap(), keys);
        assert_eq!(kinds(&private, vec![public(); 2]).unwrap(), keys);

        assert!(
            kinds(&private, Vec::new()).is_err(),
            "a private key is not to be shared"
        );

        assert!(kinds(&shared, vec![public()]).is_err());
    }
}
