//! Checks of settings that are each valid but may not go together.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;

use fanlight_daemon::keys::KeyPath;
use fanlight_http::Readiness;
use fanlight_http::site::MAX_PEERS;
use fanlight_mqtt::{TopicPrefix, node_id};
use fanlight_proto::limits::{HEARTBEAT_INTERVAL, MAX_FRAME_BYTES, MAX_STREAMS, MULTICAST_GROUPS};
use fanlight_proto::multicast;

use super::{Access, Config, ConfigError, HttpAccess, MAX_SOURCES};

/// Less than this, and one stream of the largest frames has no room for repairs.
const MIN_MEMORY_BUDGET: usize = 32 << 20;

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
        self.check_rtsp_multicast()?;
        self.check_http()?;
        self.check_webrtc()?;
        self.check_mqtt()?;
        let keyed = matches!(self.access, Access::Psk | Access::Keys);
        self.check_key("key_file", self.key_file.as_ref(), keyed)?;
        self.check_key(
            "viewer_keys",
            self.viewer_keys.as_ref(),
            self.access == Access::Keys,
        )?;

        self.check_ranges()
    }

    fn check_ranges(&self) -> Result<(), ConfigError> {
        let stale = 2 * HEARTBEAT_INTERVAL.as_millis() as u64..=60_000;
        let counts = self.counts().into_iter();
        let mut numbers = counts
            .map(|(key, count, range)| (key, count as u64, range))
            .chain([
                ("http_history_s", self.http_history_s, 0..=86_400),
                ("key_rotation_s", self.key_rotation_s, 10..=30 * 86_400),
                ("mqtt_picture_s", self.mqtt_picture_s, 0..=86_400),
                ("multicast_ttl", self.multicast_ttl.into(), 1..=255),
                ("source_stale_ms", self.source_stale_ms, stale),
            ]);

        let wrong = numbers.find(|(_, value, range)| !range.contains(value));
        wrong.map_or(Ok(()), |(key, value, range)| {
            Err(ConfigError::Range {
                key,
                value,
                least: *range.start(),
                most: *range.end(),
            })
        })
    }

    /// How many or much there may be of each, and its range.
    fn counts(&self) -> [(&'static str, usize, RangeInclusive<u64>); 15] {
        let budget = self.memory_budget.unwrap_or(MIN_MEMORY_BUDGET);
        let budgets = MIN_MEMORY_BUDGET as u64..=1 << 40;
        let per_address = self.sessions_per_address.unwrap_or(1);
        let connections_each = self.http_connections_per_address;
        let frames = 1024..=MAX_FRAME_BYTES as u64;
        let streams = 0..=MAX_STREAMS as u64;

        [
            (
                "number of sources",
                self.sources.len(),
                0..=MAX_SOURCES as u64,
            ),
            ("number of streams", self.streams.len(), streams),
            ("number of publish", self.publish.len(), 0..=16),
            ("http_connections", self.http_connections, 1..=8192),
            ("http_connections_per_address", connections_each, 1..=8192),
            (
                "number of http_peers",
                self.http_peers.len(),
                0..=MAX_PEERS as u64,
            ),
            ("number of http_origins", self.http_origins.len(), 0..=64),
            ("number of http_names", self.http_names.len(), 0..=64),
            ("number of http_proxies", self.http_proxies.len(), 0..=64),
            (
                "number of words of event_command",
                self.event_command.len(),
                0..=64,
            ),
            ("max_viewers", self.max_viewers, 1..=100_000),
            ("sessions_per_key", self.sessions_per_key, 1..=100_000),
            ("sessions_per_address", per_address, 1..=100_000),
            ("max_frame_bytes", self.max_frame_bytes, frames),
            ("memory_budget", budget, budgets),
        ]
    }

    fn check_feed(&self) -> Result<(), ConfigError> {
        let half = |there, missing| Err(ConfigError::HalfOfIdentity { there, missing });
        match (&self.feed_identity, &self.source_keys) {
            (Some(_), None) if self.publish_keys.is_none() => {
                return half("feed_identity", "source_keys");
            }
            (None, Some(_)) => return half("source_keys", "feed_identity"),
            _ => {}
        }

        self.check_publish()?;
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

    fn check_publish(&self) -> Result<(), ConfigError> {
        if self.publish_keys.is_some() && self.feed_identity.is_none() {
            return Err(ConfigError::PublishKeysAlone);
        }

        let sealed = self.feed_key.is_some() || self.publish_keys.is_some();
        let remote = self.publish.iter().find(|endpoint| !endpoint.is_local());
        match remote {
            Some(endpoint) if !sealed && !self.publish_unsealed => {
                Err(ConfigError::PublishUnsealed(endpoint.clone()))
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
        self.check_http_is_there()?;
        if self.http.or(self.rtsp).is_none() {
            return Ok(());
        }

        if let (Some(http), true) = (self.http, self.http == self.rtsp)
            && http.port() != 0
        {
            return Err(ConfigError::SamePort(http));
        }

        self.check_http_access()?;
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

    /// Refuses settings of outputs that are not there.
    fn check_http_is_there(&self) -> Result<(), ConfigError> {
        let shared = [
            ("http_view_token", self.http_view_token.is_some()),
            ("http_admin_token", self.http_admin_token.is_some()),
            ("http_certificate", self.http_certificate.is_some()),
            ("http_key", self.http_key.is_some()),
        ];
        let own = [
            ("http_links", self.http_links.is_some()),
            ("http_scenes", self.http_scenes.is_some()),
            ("http_history_s", self.http_history_s > 0),
            ("http_peers", !self.http_peers.is_empty()),
            ("http_origins", !self.http_origins.is_empty()),
            ("http_names", !self.http_names.is_empty()),
            ("http_basic_plain", self.http_basic_plain),
            ("http_proxies", !self.http_proxies.is_empty()),
            ("http_ready", self.http_ready != Readiness::Any),
            ("webrtc", self.webrtc.is_some()),
        ];

        let shared = shared.iter().filter(|_| self.http.or(self.rtsp).is_none());
        let own = own.iter().filter(|_| self.http.is_none());
        let useless = shared.chain(own).find(|(_, set)| *set);
        useless.map_or(Ok(()), |(key, _)| Err(ConfigError::NoHttp(key)))
    }

    fn check_http_access(&self) -> Result<(), ConfigError> {
        let outputs = [
            ("http", self.http),
            ("rtsp", self.rtsp),
            ("webrtc_signalling", self.webrtc_signalling),
        ];
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
                Err(ConfigError::UselessToken(access))
            }
            (HttpAccess::Loopback, _, true) => Err(ConfigError::UselessAdminToken),
            (HttpAccess::Token, false, false) => Err(ConfigError::NoToken),
            _ => Ok(()),
        }
    }

    fn check_webrtc(&self) -> Result<(), ConfigError> {
        match self.webrtc {
            None if !self.webrtc_addresses.is_empty() => {
                Err(ConfigError::NoWebRtcPort("webrtc_addresses"))
            }
            None if self.webrtc_tcp.is_some() => Err(ConfigError::NoWebRtcPort("webrtc_tcp")),
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

    fn check_mqtt(&self) -> Result<(), ConfigError> {
        let tls = self.mqtt.as_ref().is_some_and(|broker| broker.tls);
        let set = [
            ("mqtt_user", self.mqtt_user.is_some()),
            ("mqtt_password", self.mqtt_password.is_some()),
            ("mqtt_ca_file", self.mqtt_ca_file.is_some()),
            ("mqtt_id", self.mqtt_id.is_some()),
            ("mqtt_page", self.mqtt_page.is_some()),
            ("mqtt_picture_s", self.mqtt_picture_s > 0),
            ("mqtt_directs", self.mqtt_directs),
        ];
        if let (None, Some((key, _))) = (&self.mqtt, set.iter().find(|(_, set)| *set)) {
            return Err(ConfigError::NoMqtt(key));
        }

        if self.mqtt_ca_file.is_some() && !tls {
            return Err(ConfigError::NoMqtts);
        }

        if self.mqtt_password.is_some() && self.mqtt_user.is_none() {
            return Err(ConfigError::NoMqttUser);
        }

        let id = self.mqtt_id.as_ref();
        if let Some(id) = id.filter(|id| id.is_empty() || node_id(id) != **id) {
            return Err(ConfigError::MqttId(id.clone()));
        }

        let page = self.mqtt_page.as_ref();
        if let Some(page) = page.filter(|page| !is_origin(page.trim_end_matches('/'))) {
            return Err(ConfigError::MqttPage(page.clone()));
        }

        match self.mqtt_discovery.as_str() {
            "" => Ok(()),
            prefix => prefix
                .parse::<TopicPrefix>()
                .map(drop)
                .map_err(ConfigError::MqttDiscovery),
        }
    }

    fn check_multicast(&self) -> Result<(), ConfigError> {
        let Some(first) = self.multicast else {
            return Ok(());
        };
        check_groups("multicast", first)?;

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

    fn check_rtsp_multicast(&self) -> Result<(), ConfigError> {
        let Some(first) = self.rtsp_multicast else {
            return Ok(());
        };
        check_groups("rtsp_multicast", first)?;

        if first.port() % 2 == 1 {
            return Err(ConfigError::OddPort(first));
        }
        if self.rtsp.is_none() {
            return Err(ConfigError::NoRtsp("rtsp_multicast"));
        }
        if self.http_access != HttpAccess::Open {
            return Err(ConfigError::GroupsAskNobody);
        }
        match self.interface() {
            None => Err(ConfigError::NoInterface(self.listen)),
            Some(_) => Ok(()),
        }
    }
}

/// Whether there are all groups, from `first` on.
fn check_groups(key: &'static str, first: SocketAddrV4) -> Result<(), ConfigError> {
    let last = u32::try_from(MULTICAST_GROUPS - 1)
        .ok()
        .and_then(|more| first.ip().to_bits().checked_add(more));
    let last = last.map(|last| SocketAddrV4::new(Ipv4Addr::from_bits(last), first.port()));
    if !multicast::is_usable(&first) || !last.is_some_and(|last| multicast::is_usable(&last)) {
        return Err(ConfigError::NotAGroup(key, first));
    }
    Ok(())
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
