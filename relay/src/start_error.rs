//! Why a relay cannot start, in words for the operator.

use std::io;
use std::net::Ipv4Addr;

use fanlight_daemon::keys::KeyFileError;
use fanlight_daemon::paths::PathError;
use fanlight_http::HttpError;
use fanlight_mqtt::MqttError;
use fanlight_rtsp::RtspError;

use crate::config::ConfigError;
use crate::udp::BindError;

/// Why a relay cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings do not go together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No sources are configured, and there is no place for the default one.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// There is to be HTTP, and cannot be.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// There is to be RTSP, and cannot be.
    #[error(transparent)]
    Rtsp(#[from] RtspError),
    /// Relays are to be published for, and cannot be.
    #[error(transparent)]
    Publish(#[from] fanlight_publish::Error),
    /// There is to be MQTT, and cannot be.
    #[error(transparent)]
    Mqtt(#[from] MqttError),
    /// There is to be WebRTC, and cannot be.
    #[cfg(feature = "webrtc")]
    #[error(transparent)]
    WebRtc(#[from] fanlight_live::listener::BindError),
    /// Nothing can be sent to groups.
    #[error(
        "cannot send multicast by the interface {interface}: {error}: choose another --multicast-interface"
    )]
    Multicast {
        /// The interface, by its address.
        interface: Ipv4Addr,
        /// Why not.
        error: io::Error,
    },
    /// The system did not say which port it gave.
    #[error("the socket is of no use: {0}")]
    Socket(#[from] io::Error),
}
