//! What is wrong with the settings of a relay, and what to do about it.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use fanlight_daemon::endpoint::NotConnectable;

use super::{Access, HttpAccess};
use crate::upstream::Endpoint;

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
    /// Frames would be published to whoever can connect, and nobody said that this is meant.
    #[error(
        "publish: other hosts can reach {0}, and the pictures would cross the network unencrypted: set feed_key, here and \
         at those relays, to a file that `fanlight-relay keygen feed FILE` makes, or give each side a key of its own \
         (feed_identity, publish_keys), or write publish_unsealed = true if that is meant"
    )]
    PublishUnsealed(Endpoint),
    /// Keys of relays take a key of this one.
    #[error("publish_keys needs feed_identity, which `fanlight-relay keygen pair FILE` makes")]
    PublishKeysAlone,
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
        "{0} = \"{1}\" names no groups: this address and the 63 after it must be multicast addresses beyond \
         224.0.0.255 (239.0.0.0 and on are for use within a site), with a port"
    )]
    NotAGroup(&'static str, SocketAddrV4),
    /// RTP has even ports, and RTCP the odd ones behind them (RFC 3550, 11).
    #[error("rtsp_multicast = \"{0}\" has an odd port: give it an even one, RTCP gets the next")]
    OddPort(SocketAddrV4),
    /// Pictures for everybody where not everybody may have them.
    #[error(
        "rtsp_multicast sends pictures to whoever joins a group, which is only for http_access = \"open\": unset it and let \
         players come one by one"
    )]
    GroupsAskNobody,
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
    /// A setting of RTSP where there is none.
    #[error("{0} has no use without rtsp = \"ADDRESS:PORT\"")]
    NoRtsp(&'static str),
    /// A setting of WebRTC where there is none.
    #[error("{0} has no use without webrtc = \"ADDRESS:PORT\"")]
    NoWebRtcPort(&'static str),
    /// Who comes by it could not be asked for a token.
    #[error(
        "webrtc_signalling cannot ask for a token, and http_access = \"token\" wants one of everybody: unset webrtc_signalling \
         and let clients come by WHEP"
    )]
    SignallingAsksNobody,
    /// A setting of MQTT where there is none.
    #[error("{0} has no use without mqtt = \"mqtt://HOST\"")]
    NoMqtt(&'static str),
    /// An authority where no certificate is judged.
    #[error("mqtt_ca_file has no use without TLS: write mqtt = \"mqtts://HOST\"")]
    NoMqtts,
    /// MQTT has no password alone.
    #[error("mqtt_password needs mqtt_user, whose password it is")]
    NoMqttUser,
    /// What cannot stand in topics.
    #[error("mqtt_id = \"{0}\" must be 1 to 64 letters, digits, _ and -")]
    MqttId(String),
    /// No address of a page.
    #[error(
        "mqtt_page = \"{0}\" must be http://HOST:PORT or https://HOST:PORT, as a browser reaches it"
    )]
    MqttPage(String),
    /// No prefix of topics.
    #[error("mqtt_discovery: {0}")]
    MqttDiscovery(fanlight_mqtt::NameError),
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
