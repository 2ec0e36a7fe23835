//! Checks of settings that are each valid but may not go together.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use fanlight_daemon::endpoint::NotConnectable;
use fanlight_daemon::keys::KeyPath;
use fanlight_http::Readiness;
use fanlight_proto::limits::{HEARTBEAT_INTERVAL, MAX_FRAME_BYTES, MAX_STREAMS};
use fanlight_proto::multicast;

use super::{Access, Config, HttpAccess, MAX_SOURCES};
use crate::upstream::Endpoint;

/// Less than this, and one stream of the largest frames has no room for repairs.
const MIN_MEMORY_BUDGET: usize = 32 << 20;

/// Settings that are each valid but do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The port could be reached from outside, and nobody said that this is meant.
    #[error(
        "listen = \"{0}\" is not a loopback address: write access = \"open\" to let everyone who can reach it watch, or \
         access = \"psk\" or \"keys\" to let in who has a key"
    )]
    NotOpen(SocketAddr),
    /// A source that nobody can connect to.
    #[error("sources: {0}")]
    NotConnectable(#[from] NotConnectable),
    /// Frames would cross a network in the clear, and nobody said that this is meant.
    #[error(
        "the source {0} is on another host, and its frames would cross the network unsealed: set feed_key, here and \
         there, to a file that `fanlight-relay keygen feed FILE` makes, or give each side a key of its own (feed_identity, \
         source_keys), or write allow_remote_sources = true if that is meant"
    )]
    Unsealed(Endpoint),
    /// Keys of sources take a key of the relay, and the other way round.
    #[error(
        "{there} needs {missing}: sources with keys of their own take the relay's key (feed_identity, which \
         `fanlight-relay keygen pair FILE` makes) and a list of theirs (source_keys)"
    )]
    HalfOfIdentity {
        /// The key that is set.
        there: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
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
    /// The port of HTTP or RTSP could be reached from outside, and nobody said that this is meant.
    #[error(
        "{0} = \"{1}\" is not a loopback address: write http_access = \"token\" and set http_view_token to a file that \
         `fanlight-relay keygen token FILE` makes, or http_access = \"open\" to let everyone who can reach it watch"
    )]
    HttpNotOpen(&'static str, SocketAddr),
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
    /// What is no name of a host.
    #[error(
        "http_names: {0:?} is no name of a host: write it as cams.lan, without scheme and port"
    )]
    NoName(String),
    /// Two outputs with one port.
    #[error("http and rtsp are both \"{0}\": give rtsp a port of its own, such as 8554")]
    SamePort(SocketAddr),
    /// A setting of HTTP where there is none.
    #[error("{0} has no use without http = \"ADDRESS:PORT\" (or rtsp, where it is of use there)")]
    NoHttp(&'static str),
    /// WebRTC without what it takes.
    #[error(
        "webrtc = \"{0}\" takes a relay that was built with WebRTC: this one was built with --no-default-features"
    )]
    NoWebRtc(SocketAddr),
    /// A setting of WebRTC where there is none.
    #[error("{0} has no use without webrtc = \"ADDRESS:PORT\"")]
    NoWebRtcPort(&'static str),
    /// Who comes by it could not be asked for a token.
    #[error(
        "webrtc_signalling cannot ask for a token, and http_access = \"token\" wants one of everybody: unset webrtc_signalling \
         and let clients come by WHEP"
    )]
    SignallingAsksNobody,
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
    /// Checks what no key can say alone.
    ///
    /// # Errors
    /// Says which keys do not go together, or which is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.access == Access::Loopback && !self.listen.ip().to_canonical().is_loopback() {
            return Err(ConfigError::NotOpen(self.listen));
        }

        self.check_feed()?;
        self.check_multicast()?;
        self.check_http()?;
        self.check_webrtc()?;
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

        range("number of http_names", self.http_names.len() as u64, 0, 64)?;

        range(
            "number of http_proxies",
            self.http_proxies.len() as u64,
            0,
            64,
        )?;

        range("max_viewers", self.max_viewers as u64, 1, 100_000)?;
        range("sessions_per_key", self.sessions_per_key as u64, 1, 100_000)?;
        let per_address = self.sessions_per_address.unwrap_or(1) as u64;
        range("sessions_per_address", per_address, 1, 100_000)?;
        range(
            "max_frame_bytes",
            self.max_frame_bytes as u64,
            1024,
            MAX_FRAME_BYTES as u64,
        )?;

        let budget = self.memory_budget.unwrap_or(MIN_MEMORY_BUDGET);
        range(
            "memory_budget",
            budget as u64,
            MIN_MEMORY_BUDGET as u64,
            1 << 40,
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

    fn check_feed(&self) -> Result<(), ConfigError> {
        let half = |there, missing| Err(ConfigError::HalfOfIdentity { there, missing });
        match (&self.feed_identity, &self.source_keys) {
            (Some(_), None) => return half("feed_identity", "source_keys"),
            (None, Some(_)) => return half("source_keys", "feed_identity"),
            _ => {}
        }

        for source in &self.sources {
            source.check_connectable()?;
        }

        let sealed = self.feed_key.is_some() || self.source_keys.is_some();
        let remote = self.sources.iter().find(|source| !source.is_local());
        match remote {
            Some(source) if !sealed && !self.allow_remote_sources => {
                Err(ConfigError::Unsealed(source.clone()))
            }
            _ => Ok(()),
        }
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
        let shared = [
            ("http_view_token", self.http_view_token.is_some()),
            ("http_admin_token", self.http_admin_token.is_some()),
            ("http_certificate", self.http_certificate.is_some()),
            ("http_key", self.http_key.is_some()),
        ];
        let own = [
            ("http_origins", !self.http_origins.is_empty()),
            ("http_names", !self.http_names.is_empty()),
            ("http_basic_plain", self.http_basic_plain),
            ("http_proxies", !self.http_proxies.is_empty()),
            ("http_ready", self.http_ready != Readiness::Any),
            ("webrtc", self.webrtc.is_some()),
        ];

        let outputs = [
            ("http", self.http),
            ("rtsp", self.rtsp),
            ("webrtc_signalling", self.webrtc_signalling),
        ];
        let shared = shared.iter().filter(|_| self.http.or(self.rtsp).is_none());
        let own = own.iter().filter(|_| self.http.is_none());
        if let Some((key, _)) = shared.chain(own).find(|(_, set)| *set) {
            return Err(ConfigError::NoHttp(key));
        }
        if self.http.or(self.rtsp).is_none() {
            return Ok(());
        }
        if let (Some(http), true) = (self.http, self.http == self.rtsp)
            && http.port() != 0
        {
            return Err(ConfigError::SamePort(http));
        }

        let beyond = outputs
            .iter()
            .filter_map(|(key, listen)| Some((*key, (*listen)?)))
            .find(|(_, listen)| !listen.ip().to_canonical().is_loopback());

        let access = self.http_access;
        if let (HttpAccess::Loopback, Some((key, listen))) = (access, beyond) {
            return Err(ConfigError::HttpNotOpen(key, listen));
        }
        match (
            access,
            self.http_view_token.is_some(),
            self.http_admin_token.is_some(),
        ) {
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

        if let Some(name) = self.http_names.iter().find(|name| !is_host_name(name)) {
            return Err(ConfigError::NoName(name.clone()));
        }

        let wrong = self.http_origins.iter().find(|origin| !is_origin(origin));
        wrong.map_or(Ok(()), |origin| Err(ConfigError::NoOrigin(origin.clone())))
    }

    fn check_webrtc(&self) -> Result<(), ConfigError> {
        match self.webrtc {
            None if !self.webrtc_addresses.is_empty() => {
                Err(ConfigError::NoWebRtcPort("webrtc_addresses"))
            }
            None if self.webrtc_signalling.is_some() => {
                Err(ConfigError::NoWebRtcPort("webrtc_signalling"))
            }
            Some(_)
                if self.webrtc_signalling.is_some() && self.http_access == HttpAccess::Token =>
            {
                Err(ConfigError::SignallingAsksNobody)
            }
            Some(listen) if !cfg!(feature = "webrtc") => Err(ConfigError::NoWebRtc(listen)),
            _ => Ok(()),
        }
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
}

/// Whether a text is a scheme, a host and perhaps a port, as browsers write them.
fn is_origin(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']))
}

fn is_host_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=253).contains(&text.len()) && text.bytes().all(is_letter) && !text.ends_with('.')
}
