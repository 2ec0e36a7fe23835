//! The settings.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use fanlight_daemon::options::Text;
use fanlight_daemon::paths::{PathError, runtime_dir};
use fanlight_proto::limits::{HEARTBEAT_INTERVAL, MAX_FRAME_BYTES, MAX_STREAMS, MAX_VIEWERS, SOURCE_STALE};
use fanlight_proto::message::StreamName;

use crate::upstream::Endpoint;

/// Sources that one relay subscribes to: each has a thread, and there are no more streams than this.
pub const MAX_SOURCES: usize = MAX_STREAMS;

fanlight_daemon::options! {
    /// Settings of the relay.
    pub struct Config / Options {
        /// The sources to subscribe to: ipc:///path or tcp://host:port.
        /// When empty, the one of this host: source.ipc in the runtime directory.
        sources: Vec<Endpoint> = Vec::new();
        /// The streams to take; all of them when empty.
        streams: Vec<Text<StreamName>> = Vec::new();
        /// Where to listen for viewers (UDP). Outside loopback `access` must say who may come.
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 5004));
        /// Who may come: loopback (programs on this host) or open (everyone who can reach the port).
        access: Access = Access::Loopback;
        /// Whether the kernel cuts trains of datagrams (UDP GSO): auto, on or off.
        gso: Gso = Gso::Auto;
        /// Viewers served at a time; further ones are told that the relay is busy.
        max_viewers: usize = MAX_VIEWERS;
        /// Largest frame taken from a source, in bytes; at most 4194304.
        max_frame_bytes: usize = MAX_FRAME_BYTES;
        /// A source that is silent for so many milliseconds is gone. Live ones speak every 250 ms.
        source_stale_ms: u64 = SOURCE_STALE.as_millis() as u64;
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
        "listen = \"{0}\" is not a loopback address: write access = \"open\" to let everyone who can reach it watch"
    )]
    NotOpen(SocketAddr),
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
        let range = |key, value, least, most| {
            let within = (least..=most).contains(&value);
            within.then_some(()).ok_or(ConfigError::Range { key, value, least, most })
        };
        range("number of sources", self.sources.len() as u64, 0, MAX_SOURCES as u64)?;
        range("number of streams", self.streams.len() as u64, 0, MAX_STREAMS as u64)?;
        range("max_viewers", self.max_viewers as u64, 1, 100_000)?;
        range("max_frame_bytes", self.max_frame_bytes as u64, 1024, MAX_FRAME_BYTES as u64)?;
        range("source_stale_ms", self.source_stale_ms, 2 * HEARTBEAT_INTERVAL.as_millis() as u64, 60_000)
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
mod tests {
    use super::*;
    use fanlight_daemon::testing::assert_ships_defaults;

    #[test]
    fn the_shipped_file_says_the_defaults() {
        assert_ships_defaults::<Options>(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/relay.toml"));
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
            let config = Config { listen, ..Config::default() };
            assert_eq!(config.check(), if loopback { Ok(()) } else { Err(ConfigError::NotOpen(listen)) });
            Config { access: Access::Open, ..config }.check().unwrap();
        }
    }

    #[test]
    fn a_number_out_of_range_is_named() {
        let config = Config { max_viewers: 0, ..Config::default() };
        assert!(config.check().unwrap_err().to_string().starts_with("max_viewers = 0 is out of range"));
        assert!(Config { max_frame_bytes: MAX_FRAME_BYTES + 1, ..Config::default() }.check().is_err());
        assert!(Config { source_stale_ms: 250, ..Config::default() }.check().is_err());
    }
}
