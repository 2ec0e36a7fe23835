//! The settings of `fanlight-relay`, read once at start.

mod check;
mod error;
mod together;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use fanlight_daemon::config;
use fanlight_daemon::endpoint::listen_address;
use fanlight_daemon::keys::{KeyFileError, KeyPath};
use fanlight_daemon::paths::{PathError, STREAMS_DIR, runtime_dir, state_dir};
use fanlight_proto::handshake::RelayAccess;
use fanlight_proto::limits::{DEFAULT_FRAME_BYTES, MAX_STREAMS, MAX_VIEWERS, SOURCE_STALE};
use fanlight_proto::message::StreamName;

use fanlight_http::Readiness;
use fanlight_http::client::RelayAddress;
use fanlight_http::site::Peers;
pub use fanlight_live::access::AccessMode as HttpAccess;
use fanlight_live::access::TokenFiles;
use fanlight_live::ledger::SESSIONS_PER_KEY;
use fanlight_live::tls::Files;
use fanlight_mqtt::{Broker, TopicPrefix};
use fanlight_proto::keys::FeedKey;
use fanlight_proto::zmtp::{AcceptedSecurity, PublisherKeys};

use crate::engine::{KEY_ROTATION, Multicast};
pub use crate::udp::Gso;
use crate::udp::MulticastOptions;
use crate::upstream::{Endpoint, FeedKeys};
pub use error::ConfigError;
pub(crate) use together::{SECTIONS, check_together};

/// Sources that one relay subscribes to: each has a thread, and there are no more streams than this.
pub const MAX_SOURCES: usize = MAX_STREAMS;

/// Settings of the relay.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// The sources to subscribe to: ipc:///path/of/socket, tcp://HOST:PORT, or a port alone for one of this host.
    /// When empty, all that publish on this host, by their sockets in streams/ of the runtime directory.
    pub sources: Vec<Endpoint>,
    /// The file of the key that the sources share with this relay, or credential:NAME; `keygen feed FILE` makes one.
    /// With it only what is sealed with that key is taken, from every source; without it only what is not sealed.
    pub feed_key: Option<KeyPath>,
    /// The relay's own key for sources that know each relay by its key, or credential:NAME; `keygen pair FILE` makes one
    /// and prints the public key, which the sources list in their relay_keys.
    pub feed_identity: Option<KeyPath>,
    /// The public keys of the sources, one a line with the endpoint behind it as in `sources`, and behind that the names
    /// of the streams that may come from it; all when there are none. Only sources of the list are taken, and with
    /// feed_key also those that are sealed with that. A line that is taken out ends its connection within 3 s.
    pub source_keys: Option<KeyPath>,
    /// Without feed_key and source_keys, allow sources beyond this host: whoever is on the way sees their pictures and can put others
    /// in their place.
    pub allow_remote_sources: bool,
    /// The streams to take, each with its canary; all of them when empty.
    pub streams: Vec<StreamName>,
    /// Where to publish all streams for further relays, which name it among their sources: ipc:///path/of/socket,
    /// tcp://HOST:PORT (* for every address of this host), a port alone for 127.0.0.1, or several. With feed_key it is sealed.
    /// When empty, nowhere.
    pub publish: Vec<Endpoint>,
    /// With feed_identity, the public keys of the relays that may have them from there, one a line with a name behind it, or
    /// credential:NAME.
    pub publish_keys: Option<KeyPath>,
    /// Without feed_key and publish_keys, allow publish to be reached by other hosts: whoever can connect sees the pictures.
    pub publish_unsealed: bool,
    /// Where to listen for viewers (UDP): ADDRESS:PORT, *:PORT for every address of this host, or PORT for 127.0.0.1.
    /// Outside loopback `access` must say who may come.
    #[arg(value_parser = listen_address, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 5004)))]
    pub listen: SocketAddr,
    /// Who may come: loopback (programs on this host), open (everyone who can reach the port),
    /// psk (who has the key in key_file) or keys (each viewer its own key, listed in viewer_keys).
    /// With psk and keys everything is sealed.
    #[arg(default_value_t = Access::Loopback)]
    pub access: Access,
    /// The key that relay and viewers share (access psk), or the relay's own (access keys): a path, or credential:NAME. This
    /// file, and those of all keys and tokens, are read again when they change.
    pub key_file: Option<KeyPath>,
    /// The public keys of the viewers (access keys), one a line with a name behind it. A line that is taken out ends
    /// the session of its viewer within 3 s.
    pub viewer_keys: Option<KeyPath>,
    /// How many seconds one key seals a stream's media.
    #[arg(default_value_t = KEY_ROTATION.as_secs())]
    pub key_rotation_s: u64,
    /// Whether the kernel cuts trains of datagrams (UDP GSO): auto, on or off.
    #[arg(default_value_t = Gso::Auto)]
    pub gso: Gso,
    /// Send each stream also to an IPv4 multicast group, address and port, for all viewers that can receive it; the others
    /// get it by unicast as ever. The first stream gets this address, further ones the 63 after it. Unset: unicast only.
    pub multicast: Option<SocketAddrV4>,
    /// The interface to send to groups by: its own address. Unset: the address in listen.
    pub multicast_interface: Option<Ipv4Addr>,
    /// How far: 1 is this network, each router that passes multicast on takes one more.
    #[arg(default_value_t = 1)]
    pub multicast_ttl: u8,
    /// Whether viewers on the relay's own host get the group too.
    pub multicast_loop: bool,
    /// Viewers served at a time. When there are so many, whoever has less than an equal share takes a place from the key,
    /// address or network that has most; others are told that the relay is busy.
    #[arg(default_value_t = MAX_VIEWERS)]
    pub max_viewers: usize,
    /// Of those, for one key (access keys), also while there is room. A session of its own that has been silent for a second ends
    /// for a further one.
    #[arg(default_value_t = SESSIONS_PER_KEY)]
    pub sessions_per_key: usize,
    /// The same for one IPv4 address or IPv6 network of 64 bits, where viewers have no keys of their own. Unset: all, since
    /// a room of screens may be behind one address; when the relay is full, each gets an equal share.
    pub sessions_per_address: Option<usize>,
    /// Largest frame taken from a source, in bytes; at most 33554432, and a quarter of its stream's share of memory_budget.
    #[arg(default_value_t = DEFAULT_FRAME_BYTES)]
    pub max_frame_bytes: usize,
    /// Bytes of memory for frames. Three quarters are for streams: each gets an equal share, and forgets its oldest frames for
    /// repairs when it has more. A quarter is for clients of HTTP and RTSP: who cannot be charged for a frame skips it. With
    /// webrtc clients have half: an encoder is charged up to 100 MB, and makes smaller pictures where that is not there.
    /// Unset: three quarters of the memory limit of the service (MemoryMax), or 1610612736.
    pub memory_budget: Option<usize>,
    /// A source that is silent for so many milliseconds is gone. Live ones speak every 250 ms.
    #[arg(default_value_t = SOURCE_STALE.as_millis() as u64)]
    pub source_stale_ms: u64,
    /// Where to listen for browsers (HTTP and WebSocket). Unset: nowhere. Outside loopback `http_access` must say who may
    /// come.
    #[arg(value_parser = listen_address)]
    pub http: Option<SocketAddr>,
    /// Who may come over HTTP: loopback (programs on this host), open (everyone who can reach the port may watch) or
    /// token (who has one of the tokens below).
    #[arg(default_value_t = HttpAccess::Loopback)]
    pub http_access: HttpAccess,
    /// The file of the token that lets one watch: a path, or credential:NAME; `keygen token FILE` makes one.
    pub http_view_token: Option<KeyPath>,
    /// The file of the token that lets one also see who watches from where.
    pub http_admin_token: Option<KeyPath>,
    /// The file of the certificate for https, in PEM, with those that lead from it to one that browsers know. It is
    /// read again when it changes.
    pub http_certificate: Option<PathBuf>,
    /// The file of its private key, in PEM: a path, or credential:NAME.
    pub http_key: Option<KeyPath>,
    /// The file of lasting links to single streams, which administrators make and revoke (/api/links). Relays may share it: it
    /// is read again when it changes. Unset: links in the state directory of the service.
    pub http_links: Option<PathBuf>,
    /// The file of scenes, which are sets of directions for screens that administrators make and apply (/api/scenes). Relays
    /// may share it: it is read again when it changes. Unset: scenes.json in the state directory of the service.
    pub http_scenes: Option<PathBuf>,
    /// The other relays of the site, as http://HOST:PORT or https://HOST: /api/site, the page and `status` show what all of them
    /// know, and administrators of this relay direct the screens of all.
    pub http_peers: Vec<RelayAddress>,
    /// The file of the token that lets this relay in there, an administrator's for directing: a path, or credential:NAME.
    pub http_peer_token: Option<KeyPath>,
    /// For https:// peers, the file of the authorities that may have signed their certificates, in PEM. Unset: those of this
    /// host.
    pub http_peer_ca_file: Option<PathBuf>,
    /// For so many seconds it is kept, in memory, what each screen showed, with a picture a second, for administrators
    /// (/api/screens/NAME/history): who is in the pictures may have a right to know. 0: not at all.
    #[arg(default_value_t = 0)]
    pub http_history_s: u64,
    /// Origins beside our own whose pages may use this relay, as https://host or https://host:port.
    pub http_origins: Vec<String>,
    /// Names of this host for browsers, such as cams.lan, beside the host's own, that with .local, localhost and its addresses:
    /// requests by another name are refused with `http_access` loopback and open.
    pub http_names: Vec<String>,
    /// Take tokens by HTTP Basic without https and from other hosts too, where who listens reads them.
    pub http_basic_plain: bool,
    /// Addresses of reverse proxies before this relay: what they say in X-Forwarded-For and X-Forwarded-Proto is believed,
    /// and they may have all connections.
    pub http_proxies: Vec<IpAddr>,
    /// Connections over HTTP at a time; each browser has one or two.
    #[arg(default_value_t = 1024)]
    pub http_connections: usize,
    /// Of those, from one address.
    #[arg(default_value_t = 256)]
    pub http_connections_per_address: usize,
    /// When /readyz says that the relay is ready: any (one source is heard), all (every source, and every stream of
    /// `streams`), or names of streams with commas between them (each of these).
    #[arg(default_value_t = Readiness::Any)]
    pub http_ready: Readiness,
    /// Where to listen for players and recorders (RTSP, TCP). Unset: nowhere. Who may come is what `http_access` says,
    /// with the same tokens as passwords; with `http_certificate` the port takes rtsps:// too.
    #[arg(value_parser = listen_address)]
    pub rtsp: Option<SocketAddr>,
    /// Send RTP to IPv4 multicast groups too, for RTSP players that ask for it: the group of the first stream that is asked for,
    /// and an even port; further ones get the 63 addresses after it, which are not those in multicast. Interface, reach and loop
    /// are those of multicast. Whoever joins a group sees its stream, so `http_access` must be open. Unset: by unicast only.
    pub rtsp_multicast: Option<SocketAddrV4>,
    /// Where WebRTC's media comes and goes (UDP), for clients of WHEP at /whep/STREAM of http. Unset: nowhere.
    #[arg(value_parser = listen_address)]
    pub webrtc: Option<SocketAddr>,
    /// Addresses by which clients reach the ports in webrtc and webrtc_tcp, such as that of a NAT before this host. When empty,
    /// it is the one by which their request came.
    pub webrtc_addresses: Vec<IpAddr>,
    /// Where WebRTC's media comes and goes by TCP, for clients whose networks carry no UDP (ICE over TCP). Unset: nowhere.
    #[arg(value_parser = listen_address)]
    pub webrtc_tcp: Option<SocketAddr>,
    /// Where to listen for WebRTC clients that speak the TCP signalling of aiortc's examples instead of WHEP: they get an
    /// offer of the first stream as a line of JSON. Unset: nowhere. It cannot ask for a token.
    #[arg(value_parser = listen_address)]
    pub webrtc_signalling: Option<SocketAddr>,
    /// The MQTT broker that is told how streams and screens are: mqtt://HOST, or mqtts://HOST with TLS, perhaps with :PORT.
    /// Home Assistant finds them there by itself. Unset: none.
    pub mqtt: Option<Broker>,
    /// As whom the relay comes to the broker.
    pub mqtt_user: Option<String>,
    /// The file of the password, its first line: a path, or credential:NAME. It is read again at each connection.
    pub mqtt_password: Option<KeyPath>,
    /// For mqtts://, the file of the authorities that may have signed the broker's certificate, in PEM. Unset: those of
    /// this host.
    pub mqtt_ca_file: Option<PathBuf>,
    /// The first levels of the relay's topics.
    #[arg(default_value = "fanlight")]
    pub mqtt_prefix: TopicPrefix,
    /// What the relay is called in topics, which no other relay of the broker may be: letters, digits, _ and -. Unset: the
    /// name of this host and the port in listen.
    pub mqtt_id: Option<String>,
    /// The prefix of the topics by which Home Assistant discovers devices; empty: it is not told.
    #[arg(default_value = "homeassistant")]
    pub mqtt_discovery: String,
    /// Where people find this relay's page, as http://HOST:PORT: Home Assistant links to it.
    pub mqtt_page: Option<String>,
    /// Every so many seconds the newest picture of each stream is published, for Home Assistant's cameras: whoever may read
    /// the topic at the broker sees it. 0: never.
    #[arg(default_value_t = 0)]
    pub mqtt_picture_s: u64,
    /// Whether who may publish at the broker may say what screens show: Home Assistant then has a list of the streams for each
    /// screen that takes directions.
    pub mqtt_directs: bool,
    /// A command, with its arguments, that is run when a stream or screen gets a problem and when it loses it: the event is on its
    /// standard input as JSON. Four run at a time, for 10 s at most. When empty, none is run.
    pub event_command: Vec<String>,
    /// Whether the relay announces itself and its page on the network (mDNS) when others can reach it, and, when `sources`
    /// is empty and there is feed_key or allow_remote_sources, also takes the sources that announce themselves.
    #[arg(default_value_t = true)]
    pub discovery: bool,
    /// For diagnosis: the folder for captures of the last datagrams, headers only, written at SIGUSR1 and when a second
    /// was bad. Unset: none are kept.
    pub capture_dir: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        config::defaults()
    }
}

/// Where the sources are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// At these endpoints.
    Listed(Vec<Endpoint>),
    /// Wherever a socket lies in this directory, now or later.
    Directory(PathBuf),
}

/// Who may join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Access {
    /// Programs on this host, because the relay listens on a loopback address only.
    Loopback,
    /// Everyone who can reach the port.
    Open,
    /// Who has the key that all share.
    Psk,
    /// Who has one of the keys that the relay knows.
    Keys,
}

fanlight_daemon::display_choice!(Access);

/// The name of this host; may be empty.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// The names that a host on a network is known by without anybody naming it: its own, and by mDNS.
fn own_names() -> Vec<String> {
    match host_name() {
        name if name.is_empty() => Vec::new(),
        name => vec![name.clone(), format!("{name}.local")],
    }
}

impl Config {
    /// What this relay is called, for people: its host, and where it listens.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", host_name(), self.listen).trim().to_owned()
    }

    /// The settings of the HTTP output; none when there is to be none.
    #[must_use]
    pub fn http_settings(&self) -> Option<fanlight_http::Settings> {
        Some(fanlight_http::Settings {
            listen: self.http?,
            access: self.http_access,
            tokens: self.token_files(),
            tls: self.tls_files(),
            origins: self.http_origins.clone(),
            names: self.http_names.iter().cloned().chain(own_names()).collect(),
            basic_plain: self.http_basic_plain,
            proxies: self.http_proxies.iter().map(IpAddr::to_canonical).collect(),
            connections: self.http_connections,
            connections_per_address: self.http_connections_per_address,
            ready: self.http_ready.clone(),
            streams: self.streams.clone(),
            whep: None,
            links: self
                .http_links
                .clone()
                .or_else(|| Some(state_dir()?.join("links"))),
            scenes: self
                .http_scenes
                .clone()
                .or_else(|| Some(state_dir()?.join("scenes.json"))),
            name: self.name(),
            peers: Peers {
                addresses: self.http_peers.clone(),
                token: self.http_peer_token.clone(),
                ca_file: self.http_peer_ca_file.clone(),
            },
            history: (self.http_history_s > 0).then(|| Duration::from_secs(self.http_history_s)),
            state_dir: state_dir(),
        })
    }

    /// The settings of the RTSP output; none when there is to be none.
    #[must_use]
    pub fn rtsp_settings(&self) -> Option<fanlight_rtsp::Settings> {
        Some(fanlight_rtsp::Settings {
            listen: self.rtsp?,
            access: self.http_access,
            tokens: self.token_files(),
            multicast: self.rtsp_multicast(),
            tls: self.tls_files(),
        })
    }

    fn rtsp_multicast(&self) -> Option<fanlight_rtsp::Multicast> {
        Some(fanlight_rtsp::Multicast {
            first: self.rtsp_multicast?,
            interface: self.interface()?,
            ttl: self.multicast_ttl,
            looped: self.multicast_loop,
        })
    }

    /// The settings of the MQTT output; none when there is to be none.
    #[must_use]
    pub fn mqtt_settings(&self) -> Option<fanlight_mqtt::Settings> {
        let own_id = || format!("{}-{}", host_name(), self.listen.port());
        let seconds = self.mqtt_picture_s;
        Some(fanlight_mqtt::Settings {
            broker: self.mqtt.clone()?,
            user: self.mqtt_user.clone(),
            password: self.mqtt_password.clone(),
            ca_file: self.mqtt_ca_file.clone(),
            prefix: self.mqtt_prefix.clone(),
            id: fanlight_mqtt::node_id(&self.mqtt_id.clone().unwrap_or_else(own_id)),
            discovery: self.mqtt_discovery.parse().ok(),
            page: self.mqtt_page.clone(),
            pictures: (seconds > 0).then(|| Duration::from_secs(seconds)),
            directs: self.mqtt_directs,
        })
    }

    /// The settings of the output for further relays; none when there is to be none.
    #[must_use]
    pub fn publish_settings(&self) -> Option<fanlight_publish::Settings> {
        let files = [&self.feed_key, &self.feed_identity, &self.publish_keys];
        let config = self.clone();
        (!self.publish.is_empty()).then(|| fanlight_publish::Settings {
            endpoints: self.publish.clone(),
            key_files: files.into_iter().flatten().cloned().collect(),
            keys: Box::new(move || config.publish_security()),
        })
    }

    /// How relays that have streams from this one secure their connections, with the keys read from their files.
    fn publish_security(&self) -> Result<AcceptedSecurity, KeyFileError> {
        let shared_key = self.feed_key.as_ref().map(KeyPath::feed).transpose()?;
        let shared_key = shared_key.map(FeedKey::new);
        let keys = match (&self.feed_identity, &self.publish_keys) {
            (Some(own), Some(list)) => Some(PublisherKeys {
                own: own.private()?,
                relays: list.names()?,
            }),
            _ => None,
        };

        Ok(AcceptedSecurity {
            null: shared_key.is_none() && keys.is_none(),
            shared_key,
            keys,
        })
    }

    fn token_files(&self) -> TokenFiles {
        TokenFiles {
            view: self.http_view_token.clone(),
            admin: self.http_admin_token.clone(),
        }
    }

    fn tls_files(&self) -> Option<Files> {
        let files = self.http_certificate.clone().zip(self.http_key.clone());
        files.map(|(certificate, key)| Files { certificate, key })
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
        let interface = self.interface()?;
        let groups = Multicast {
            first: self.multicast?,
            from: self.listening_address().unwrap_or(interface),
            looped: self.multicast_loop,
        };

        let options = MulticastOptions {
            interface,
            ttl: self.multicast_ttl,
            looped: self.multicast_loop,
        };

        Some((groups, options))
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
                viewers: viewers.names()?,
            }),
            _ => Ok(RelayAccess::Open),
        }
    }

    /// By which keys the sources are known, read from their files.
    ///
    /// # Errors
    /// When a key file is missing, open to others or damaged.
    pub fn feed_keys(&self) -> Result<FeedKeys, KeyFileError> {
        let listed = self.feed_identity.as_ref().zip(self.source_keys.as_ref());
        FeedKeys::read(self.feed_key.as_ref(), listed)
    }

    /// The files of [`Config::feed_keys`].
    pub(crate) fn feed_key_files(&self) -> Vec<KeyPath> {
        let files = [&self.feed_key, &self.feed_identity, &self.source_keys];
        files.into_iter().flatten().cloned().collect()
    }

    /// Whether sources of other hosts are taken that nobody named: those that have the key, or any if that was allowed.
    #[must_use]
    pub const fn takes_announced_sources(&self) -> bool {
        let trusts = self.feed_key.is_some() || self.allow_remote_sources;
        self.discovery && self.sources.is_empty() && trusts
    }

    /// Where the sources are.
    ///
    /// # Errors
    /// When they are those of this host and there is no runtime directory.
    pub fn sources(&self) -> Result<Sources, PathError> {
        if self.sources.is_empty() {
            return Ok(Sources::Directory(runtime_dir()?.join(STREAMS_DIR)));
        }
        Ok(Sources::Listed(self.sources.clone()))
    }
}

#[cfg(test)]
mod tests;
