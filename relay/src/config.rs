//! The settings.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use fanlight_daemon::keys::{KeyFileError, KeyPath};
use fanlight_daemon::options::Text;
use fanlight_daemon::paths::{PathError, runtime_dir};
use fanlight_proto::handshake::RelayAccess;
use fanlight_proto::limits::{
    HEARTBEAT_INTERVAL, MAX_FRAME_BYTES, MAX_STREAMS, MAX_VIEWERS, SOURCE_STALE,
};
use fanlight_proto::message::StreamName;
use fanlight_proto::multicast;

pub use fanlight_live::access::AccessMode as HttpAccess;

use crate::engine::{KEY_ROTATION, Multicast};
use crate::udp::MulticastOptions;
use crate::upstream::Endpoint;

/// Sources that one relay subscribes to: each has a thread, and there are no more streams than this.
pub const MAX_SOURCES: usize = MAX_STREAMS;

fanlight_daemon::options! {
    /// Settings of the relay.
    pub struct Config / Options {
        /// The sources to subscribe to: ipc:///path or tcp://host:port.
        /// When empty, the one of this host: source.ipc in the runtime directory.
        sources: Vec<Endpoint> = Vec::new();
        /// The file of the key that the sources share with this relay, or credential:NAME; `keygen feed FILE` makes one.
        /// With it only what is sealed with that key is taken, from every source; without it only what is not sealed.
        feed_key: Option<KeyPath> = None;
        /// Without feed_key, allow sources beyond this host: whoever is on the way sees their pictures and can put others
        /// in their place.
        allow_remote_sources: bool = false;
        /// The streams to take, each with its canary; all of them when empty.
        streams: Vec<Text<StreamName>> = Vec::new();
        /// Where to listen for viewers (UDP). Outside loopback `access` must say who may come.
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 5004));
        /// Who may come: loopback (programs on this host), open (everyone who can reach the port),
        /// psk (who has the key in key_file) or keys (each viewer its own key, listed in viewer_keys).
        /// With psk and keys everything is sealed.
        access: Access = Access::Loopback;
        /// The key that relay and viewers share (access psk), or the relay's own (access keys): a path, or credential:NAME.
        key_file: Option<KeyPath> = None;
        /// The public keys of the viewers (access keys), one a line with a name behind it. A line that is taken out ends
        /// the session of its viewer within 3 s.
        viewer_keys: Option<KeyPath> = None;
        /// How many seconds one key seals a stream's media.
        key_rotation_s: u64 = KEY_ROTATION.as_secs();
        /// Whether the kernel cuts trains of datagrams (UDP GSO): auto, on or off.
        gso: Gso = Gso::Auto;
        /// Send each stream also to an IPv4 multicast group, address and port, for all viewers that can receive it; the others
        /// get it by unicast as ever. The first stream gets this address, further ones the 63 after it. Unset: unicast only.
        multicast: Option<SocketAddrV4> = None;
        /// The interface to send to groups by: its own address. Unset: the address in listen.
        multicast_interface: Option<Ipv4Addr> = None;
        /// How far: 1 is this network, each router that passes multicast on takes one more.
        multicast_ttl: u8 = 1;
        /// Whether viewers on the relay's own host get the group too.
        multicast_loop: bool = false;
        /// Viewers served at a time; further ones are told that the relay is busy.
        max_viewers: usize = MAX_VIEWERS;
        /// Largest frame taken from a source, in bytes; at most 4194304.
        max_frame_bytes: usize = MAX_FRAME_BYTES;
        /// A source that is silent for so many milliseconds is gone. Live ones speak every 250 ms.
        source_stale_ms: u64 = SOURCE_STALE.as_millis() as u64;
        /// Where to listen for browsers (HTTP and WebSocket). Unset: nowhere. Outside loopback `http_access` must say who may
        /// come.
        http: Option<SocketAddr> = None;
        /// Who may come over HTTP: loopback (programs on this host), open (everyone who can reach the port may watch) or
        /// token (who has one of the tokens below).
        http_access: HttpAccess = HttpAccess::Loopback;
        /// The file of the token that lets one watch: a path, or credential:NAME; `keygen token FILE` makes one.
        http_view_token: Option<KeyPath> = None;
        /// The file of the token that lets one also see who watches from where.
        http_admin_token: Option<KeyPath> = None;
        /// The file of the certificate for https, in PEM, with those that lead from it to one that browsers know. It is
        /// read again when it changes.
        http_certificate: Option<PathBuf> = None;
        /// The file of its private key, in PEM: a path, or credential:NAME.
        http_key: Option<KeyPath> = None;
        /// Origins beside our own whose pages may use this relay, as https://host or https://host:port.
        http_origins: Vec<String> = Vec::new();
        /// Addresses of reverse proxies before this relay: what they say in X-Forwarded-For and X-Forwarded-Proto is believed,
        /// and they may have all connections.
        http_proxies: Vec<IpAddr> = Vec::new();
        /// Connections over HTTP at a time; each browser has one or two.
        http_connections: usize = 1024;
        /// Of those, from one address.
        http_connections_per_address: usize = 256;
        /// For diagnosis: the folder for captures of the last datagrams, headers only, written at SIGUSR1 and when a second
        /// was bad. Unset: none are kept.
        capture_dir: Option<PathBuf> = None;
    }
}

fanlight_daemon::choice! {
    /// Who may join.
    pub enum Access {
        /// Programs on this host, because the relay listens on a loopback address only.
        Loopback = "loopback",
        /// Everyone who can reach the port.
        Open = "open",
        /// Who has the key that all share.
        Psk = "psk",
        /// Who has one of the keys that the relay knows.
        Keys = "keys",
    }
}

fanlight_daemon::choice! {
    /// Whether the kernel cuts trains of datagrams.
    pub enum Gso {
        /// When the kernel and the device can.
        Auto = "auto",
        /// Always; what cannot be sent so is lost.
        On = "on",
        /// Never.
        Off = "off",
    }
}

/// Settings that are each valid but do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The port could be reached from outside, and nobody said that this is meant.
    #[error(
        "listen = \"{0}\" is not a loopback address: write access = \"open\" to let everyone who can reach it watch, or \
         access = \"psk\" or \"keys\" to let in who has a key"
    )]
    NotOpen(SocketAddr),
    /// Frames would cross a network in the clear, and nobody said that this is meant.
    #[error(
        "the source {0} is on another host, and its frames would cross the network unsealed: set feed_key, here and \
         there, to a file that `fanlight-relay keygen feed FILE` makes, or write allow_remote_sources = true if that is meant"
    )]
    Unsealed(Endpoint),
    /// Access by key, without the file.
    #[error("access = \"{access}\" needs {key}")]
    NoKey {
        /// What access says.
        access: Access,
        /// The key that is missing.
        key: &'static str,
    },
    /// A key file that access does not use.
    #[error("{key} has no use with access = \"{access}\"")]
    UselessKey {
        /// What access says.
        access: Access,
        /// The key that is too much.
        key: &'static str,
    },
    /// Not 64 groups.
    #[error(
        "multicast = \"{0}\" names no groups: this address and the 63 after it must be multicast addresses beyond \
         224.0.0.255 (239.0.0.0 and on are for use within a site), with a port"
    )]
    NotAGroup(SocketAddrV4),
    /// Multicast from an address of the other kind.
    #[error("multicast needs an IPv4 address to listen on, which {0} is not")]
    NotIpv4(SocketAddr),
    /// Multicast from all addresses.
    #[error(
        "listen = \"{0}\" names no interface to send multicast by: set multicast_interface to the address of one"
    )]
    NoInterface(SocketAddr),
    /// What is for this host only would leave it.
    #[error(
        "multicast_interface = \"{0}\" leads beyond this host, and access = \"loopback\" is for this host only"
    )]
    Leaves(Ipv4Addr),
    /// The HTTP port could be reached from outside, and nobody said that this is meant.
    #[error(
        "http = \"{0}\" is not a loopback address: write http_access = \"token\" and set http_view_token to a file that \
         `fanlight-relay keygen token FILE` makes, or http_access = \"open\" to let everyone who can reach it watch"
    )]
    HttpNotOpen(SocketAddr),
    /// Access by token, without any.
    #[error(
        "http_access = \"token\" needs http_view_token or http_admin_token: `fanlight-relay keygen token FILE` makes one"
    )]
    NoToken,
    /// A token that nobody is asked for.
    #[error(
        "http_view_token has no use with http_access = \"{0}\", which asks nobody who watches for a token"
    )]
    UselessToken(HttpAccess),
    /// Programs on this host may do everything.
    #[error(
        "http_admin_token has no use with http_access = \"loopback\", which lets programs on this host see everything"
    )]
    UselessAdminToken,
    /// Half of what TLS takes.
    #[error("{there} needs {missing}: https takes a certificate and its key")]
    HalfOfTls {
        /// The key that is set.
        there: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// What is no origin.
    #[error(
        "http_origins: {0:?} is no origin: write https://host or https://host:port, without a path"
    )]
    NoOrigin(String),
    /// A setting of HTTP where there is none.
    #[error("{0} has no use without http = \"ADDRESS:PORT\"")]
    NoHttp(&'static str),
    /// A number is out of its range.
    #[error("{key} = {value} is out of range: {least} to {most}")]
    Range {
        /// The key.
        key: &'static str,
        /// What it says.
        value: u64,
        /// The least it may say.
        least: u64,
        /// The most.
        most: u64,
    },
}

impl Config {
    /// The settings of the HTTP output; none when there is to be none.
    #[must_use]
    pub fn http_settings(&self) -> Option<fanlight_http::Settings> {
        let files = self.http_certificate.clone().zip(self.http_key.clone());
        Some(fanlight_http::Settings {
            listen: self.http?,
            access: self.http_access,
            view_token: self.http_view_token.clone(),
            admin_token: self.http_admin_token.clone(),
            tls: files.map(|(certificate, key)| fanlight_http::Files { certificate, key }),
            origins: self.http_origins.clone(),
            proxies: self.http_proxies.iter().map(IpAddr::to_canonical).collect(),
            connections: self.http_connections,
            connections_per_address: self.http_connections_per_address,
        })
    }

    /// Checks what no key can say alone.
    ///
    /// # Errors
    /// Says which keys do not go together, or which is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.access == Access::Loopback && !self.listen.ip().to_canonical().is_loopback() {
            return Err(ConfigError::NotOpen(self.listen));
        }
        let remote = self.sources.iter().find(|source| !source.is_local());
        if let (Some(source), None, false) = (remote, &self.feed_key, self.allow_remote_sources) {
            return Err(ConfigError::Unsealed(source.clone()));
        }
        self.check_multicast()?;
        self.check_http()?;
        let keyed = matches!(self.access, Access::Psk | Access::Keys);
        self.check_key("key_file", self.key_file.as_ref(), keyed)?;
        self.check_key(
            "viewer_keys",
            self.viewer_keys.as_ref(),
            self.access == Access::Keys,
        )?;
        let range = |key, value, least, most| {
            let within = (least..=most).contains(&value);
            within.then_some(()).ok_or(ConfigError::Range {
                key,
                value,
                least,
                most,
            })
        };
        range(
            "number of sources",
            self.sources.len() as u64,
            0,
            MAX_SOURCES as u64,
        )?;
        range(
            "number of streams",
            self.streams.len() as u64,
            0,
            MAX_STREAMS as u64,
        )?;
        range("http_connections", self.http_connections as u64, 1, 8192)?;
        range(
            "http_connections_per_address",
            self.http_connections_per_address as u64,
            1,
            8192,
        )?;
        range(
            "number of http_origins",
            self.http_origins.len() as u64,
            0,
            64,
        )?;
        range(
            "number of http_proxies",
            self.http_proxies.len() as u64,
            0,
            64,
        )?;
        range("max_viewers", self.max_viewers as u64, 1, 100_000)?;
        range(
            "max_frame_bytes",
            self.max_frame_bytes as u64,
            1024,
            MAX_FRAME_BYTES as u64,
        )?;
        range("key_rotation_s", self.key_rotation_s, 10, 30 * 86_400)?;
        range("multicast_ttl", self.multicast_ttl.into(), 1, 255)?;
        range(
            "source_stale_ms",
            self.source_stale_ms,
            2 * HEARTBEAT_INTERVAL.as_millis() as u64,
            60_000,
        )
    }

    fn check_key(
        &self,
        key: &'static str,
        path: Option<&KeyPath>,
        needed: bool,
    ) -> Result<(), ConfigError> {
        let access = self.access;
        match (path, needed) {
            (None, true) => Err(ConfigError::NoKey { access, key }),
            (Some(_), false) => Err(ConfigError::UselessKey { access, key }),
            _ => Ok(()),
        }
    }

    fn check_http(&self) -> Result<(), ConfigError> {
        let set = [
            ("http_view_token", self.http_view_token.is_some()),
            ("http_admin_token", self.http_admin_token.is_some()),
            ("http_certificate", self.http_certificate.is_some()),
            ("http_key", self.http_key.is_some()),
            ("http_origins", !self.http_origins.is_empty()),
            ("http_proxies", !self.http_proxies.is_empty()),
        ];
        let Some(listen) = self.http else {
            let useless = set.iter().find(|(_, set)| *set);
            return useless.map_or(Ok(()), |(key, _)| Err(ConfigError::NoHttp(key)));
        };
        let access = self.http_access;
        match (
            access,
            self.http_view_token.is_some(),
            self.http_admin_token.is_some(),
        ) {
            (HttpAccess::Loopback, ..) if !listen.ip().to_canonical().is_loopback() => {
                return Err(ConfigError::HttpNotOpen(listen));
            }
            (HttpAccess::Loopback | HttpAccess::Open, true, _) => {
                return Err(ConfigError::UselessToken(access));
            }
            (HttpAccess::Loopback, _, true) => return Err(ConfigError::UselessAdminToken),
            (HttpAccess::Token, false, false) => return Err(ConfigError::NoToken),
            _ => {}
        }
        let half = |there, missing| Err(ConfigError::HalfOfTls { there, missing });
        match (&self.http_certificate, &self.http_key) {
            (Some(_), None) => return half("http_certificate", "http_key"),
            (None, Some(_)) => return half("http_key", "http_certificate"),
            _ => {}
        }
        let wrong = self.http_origins.iter().find(|origin| !is_origin(origin));
        wrong.map_or(Ok(()), |origin| Err(ConfigError::NoOrigin(origin.clone())))
    }

    fn check_multicast(&self) -> Result<(), ConfigError> {
        let Some(first) = self.multicast else {
            return Ok(());
        };
        let last = u32::try_from(MAX_STREAMS - 1)
            .ok()
            .and_then(|more| first.ip().to_bits().checked_add(more));
        let last = last.map(|last| SocketAddrV4::new(Ipv4Addr::from_bits(last), first.port()));
        if !multicast::is_usable(&first) || !last.is_some_and(|last| multicast::is_usable(&last)) {
            return Err(ConfigError::NotAGroup(first));
        }
        if !self.listen.is_ipv4() {
            return Err(ConfigError::NotIpv4(self.listen));
        }
        match self.interface() {
            None => Err(ConfigError::NoInterface(self.listen)),
            Some(interface) if self.access == Access::Loopback && !interface.is_loopback() => {
                Err(ConfigError::Leaves(interface))
            }
            Some(_) => Ok(()),
        }
    }

    /// The interface to send to groups by.
    fn interface(&self) -> Option<Ipv4Addr> {
        self.multicast_interface.or(self.listening_address())
    }

    /// The one address to listen on, if it is one.
    fn listening_address(&self) -> Option<Ipv4Addr> {
        match self.listen.ip() {
            IpAddr::V4(ip) if !ip.is_unspecified() => Some(ip),
            _ => None,
        }
    }

    /// Where media goes by multicast, and how far, when it does.
    #[must_use]
    pub fn multicast(&self) -> Option<(Multicast, MulticastOptions)> {
        let (first, interface, looped) = (self.multicast?, self.interface()?, self.multicast_loop);
        let from = self.listening_address().unwrap_or(interface);
        Some((
            Multicast {
                first,
                from,
                looped,
            },
            MulticastOptions {
                interface,
                ttl: self.multicast_ttl,
                looped,
            },
        ))
    }

    /// Whom the relay lets in, with the keys read from their files.
    ///
    /// # Errors
    /// When a key file is missing, open to others or damaged.
    pub fn relay_access(&self) -> Result<RelayAccess, KeyFileError> {
        match (self.access, &self.key_file, &self.viewer_keys) {
            (Access::Psk, Some(key), _) => Ok(RelayAccess::Psk(key.shared()?)),
            (Access::Keys, Some(own), Some(viewers)) => Ok(RelayAccess::Keys {
                own: own.private()?,
                viewers: viewers.viewers()?,
            }),
            _ => Ok(RelayAccess::Open),
        }
    }

    /// The sources, with the default filled in.
    ///
    /// # Errors
    /// When the default is needed and there is no runtime directory.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, PathError> {
        if self.sources.is_empty() {
            return Ok(vec![Endpoint::Ipc(runtime_dir()?.join("source.ipc"))]);
        }
        Ok(self.sources.clone())
    }
}

/// Whether a text is a scheme, a host and perhaps a port, as browsers write them.
fn is_origin(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanlight_daemon::testing::assert_ships_defaults;

    #[test]
    fn the_shipped_file_says_the_defaults() {
        assert_ships_defaults::<Options>(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../config/relay.toml"
        ));
        Config::default().check().unwrap();
    }

    #[test]
    fn a_port_that_others_can_reach_is_opened_only_on_purpose() {
        for (listen, loopback) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
        ] {
            let listen = listen.parse().unwrap();
            let config = Config {
                listen,
                ..Config::default()
            };
            assert_eq!(
                config.check(),
                if loopback {
                    Ok(())
                } else {
                    Err(ConfigError::NotOpen(listen))
                }
            );
            Config {
                access: Access::Open,
                ..config.clone()
            }
            .check()
            .unwrap();
            let key_file = Some("/k".parse().unwrap());
            Config {
                access: Access::Psk,
                key_file,
                ..config
            }
            .check()
            .unwrap();
        }
    }

    #[test]
    fn access_by_key_needs_its_files_and_nothing_else_takes_them() {
        let key: Option<KeyPath> = Some("/k".parse().unwrap());
        let check = |access, key_file: &Option<KeyPath>, viewer_keys: &Option<KeyPath>| {
            let (key_file, viewer_keys) = (key_file.clone(), viewer_keys.clone());
            Config {
                access,
                key_file,
                viewer_keys,
                ..Config::default()
            }
            .check()
            .is_ok()
        };
        for (access, with_key, with_viewers) in [
            (Access::Loopback, false, false),
            (Access::Open, false, false),
            (Access::Psk, true, false),
            (Access::Keys, true, true),
        ] {
            for (key_file, viewer_keys) in
                [(&None, &None), (&key, &None), (&None, &key), (&key, &key)]
            {
                let wanted =
                    (key_file.is_some(), viewer_keys.is_some()) == (with_key, with_viewers);
                assert_eq!(
                    check(access, key_file, viewer_keys),
                    wanted,
                    "{access} {key_file:?} {viewer_keys:?}"
                );
            }
        }
    }

    #[test]
    fn a_source_on_another_host_needs_a_key_or_the_word_that_it_needs_none() {
        let far: Endpoint = "tcp://192.168.1.10:5010".parse().unwrap();
        let sources = vec![
            "ipc:///run/fanlight/source.ipc".parse().unwrap(),
            far.clone(),
        ];
        let config = Config {
            sources,
            ..Config::default()
        };
        assert_eq!(config.check(), Err(ConfigError::Unsealed(far)));
        Config {
            allow_remote_sources: true,
            ..config.clone()
        }
        .check()
        .unwrap();
        Config {
            feed_key: Some("/a/key".parse().unwrap()),
            ..config
        }
        .check()
        .unwrap();
    }

    #[test]
    fn groups_are_sixty_four_and_their_interface_is_known_and_fits_who_may_come() {
        let config = |multicast: &str, listen: &str| Config {
            multicast: Some(multicast.parse().unwrap()),
            listen: listen.parse().unwrap(),
            access: Access::Open,
            ..Config::default()
        };
        for bad in [
            "10.0.0.1:5005",
            "224.0.0.1:5005",
            "223.255.255.250:5005",
            "239.255.255.193:5005",
            "239.1.0.0:0",
        ] {
            let bad = config(bad, "10.0.0.1:5004");
            assert_eq!(
                bad.check(),
                Err(ConfigError::NotAGroup(bad.multicast.unwrap()))
            );
        }
        let good = config("239.255.255.192:5005", "10.0.0.1:5004");
        good.check().unwrap();
        let (multicast, reach) = good.multicast().unwrap();
        assert_eq!(
            (multicast.from, reach.interface, reach.ttl, reach.looped),
            (LISTEN, LISTEN, 1, false)
        );
        assert_eq!(multicast.group(63).to_string(), "239.255.255.255:5005");
        let anywhere = config("239.1.0.0:5005", "0.0.0.0:5004");
        assert_eq!(
            anywhere.check(),
            Err(ConfigError::NoInterface(anywhere.listen))
        );
        let told = Config {
            multicast_interface: Some(LISTEN),
            ..anywhere
        };
        told.check().unwrap();
        assert_eq!(told.multicast().unwrap().0.from, LISTEN);
        assert!(matches!(
            config("239.1.0.0:5005", "[::]:5004").check(),
            Err(ConfigError::NotIpv4(_))
        ));
        let local = Config {
            access: Access::Loopback,
            ..config("239.1.0.0:5005", "127.0.0.1:5004")
        };
        local.check().unwrap();
        let leaving = Config {
            multicast_interface: Some(LISTEN),
            ..local
        };
        assert_eq!(leaving.check(), Err(ConfigError::Leaves(LISTEN)));
        assert_eq!(Config::default().multicast(), None);
        assert!(
            Config {
                multicast_ttl: 0,
                ..Config::default()
            }
            .check()
            .is_err()
        );
    }

    const LISTEN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    #[test]
    fn a_number_out_of_range_is_named() {
        let config = Config {
            max_viewers: 0,
            ..Config::default()
        };
        assert!(
            config
                .check()
                .unwrap_err()
                .to_string()
                .starts_with("max_viewers = 0 is out of range")
        );
        assert!(
            Config {
                max_frame_bytes: MAX_FRAME_BYTES + 1,
                ..Config::default()
            }
            .check()
            .is_err()
        );
        assert!(
            Config {
                key_rotation_s: 1,
                ..Config::default()
            }
            .check()
            .is_err()
        );
        assert!(
            Config {
                source_stale_ms: 250,
                ..Config::default()
            }
            .check()
            .is_err()
        );
    }
}
