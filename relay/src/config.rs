//! The settings of `fanlight-relay`, read once at start.

mod check;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use fanlight_daemon::keys::{KeyFileError, KeyPath};
use fanlight_daemon::options::Text;
use fanlight_daemon::paths::{PathError, runtime_dir};
use fanlight_proto::handshake::RelayAccess;
use fanlight_proto::limits::{MAX_FRAME_BYTES, MAX_STREAMS, MAX_VIEWERS, SOURCE_STALE};
use fanlight_proto::message::StreamName;

pub use fanlight_live::access::AccessMode as HttpAccess;

use crate::engine::{KEY_ROTATION, Multicast};
use crate::udp::MulticastOptions;
use crate::upstream::Endpoint;
pub use check::ConfigError;

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

#[cfg(test)]
mod tests;
