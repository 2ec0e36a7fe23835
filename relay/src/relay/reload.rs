//! What a relay changes while it runs, when its config file is read again. Called by the event loop between two turns, so
//! that no frame is on its way: sessions, keys and frames stay.

use std::time::Duration;

use fanlight_daemon::Context;
use fanlight_daemon::file_watch::FileWatch;
use fanlight_live::ledger::{ClientMemory, SessionLimits};
use fanlight_proto::clock::Time;

use super::{EventLoop, Relay};
use crate::config::{Access, Config};
use crate::engine::EngineConfig;
use crate::memory;

/// The keys that change so. Streams, sizes and ports belong to threads and sockets that would have to start again.
pub(super) const LIVE: &[&str] = &[
    "sources",
    "allow_remote_sources",
    "viewer_keys",
    "key_rotation_s",
    "max_viewers",
    "sessions_per_key",
    "sessions_per_address",
    "memory_budget",
];

/// The bounds of the engine.
pub(super) fn bounds(config: &Config) -> EngineConfig {
    EngineConfig {
        max_viewers: config.max_viewers,
        sessions: SessionLimits {
            per_key: config.sessions_per_key,
            per_address: config.sessions_per_address.unwrap_or(usize::MAX),
        },
        memory_budget: stream_memory(config),
        source_stale: Duration::from_millis(config.source_stale_ms),
        key_rotation: Duration::from_secs(config.key_rotation_s),
        multicast: config.multicast().map(|(multicast, _)| multicast),
    }
}

/// What streams and clients may hold together, in bytes.
fn memory_budget(config: &Config) -> usize {
    config.memory_budget.unwrap_or_else(memory::default_budget)
}

/// What of it clients may hold.
pub(super) fn client_memory(config: &Config) -> usize {
    ClientMemory::part_of(memory_budget(config), config.webrtc.is_some())
}

/// Looks for changes of the files that say who may join.
pub(super) fn access_watch(config: &Config) -> FileWatch {
    let key = config.key_file.clone();
    let (name, list) = match config.access {
        Access::Keys => ("key_file or viewer_keys", config.viewer_keys.clone()),
        Access::Psk => ("key_file", None),
        Access::Loopback | Access::Open => return FileWatch::new("no key", None),
    };
    FileWatch::new(name, key.into_iter().chain(list))
}

/// What of it streams may hold.
pub(super) fn stream_memory(config: &Config) -> usize {
    memory_budget(config) - client_memory(config)
}

impl EventLoop {
    /// Reads the config file again when that was asked for.
    pub(super) fn reload(&mut self, now: Time, context: &Context) {
        let Some(config) = context.reloaded::<Relay>() else {
            return;
        };

        self.engine.set_bounds(bounds(&config));
        self.feed.set_client_memory(client_memory(&config));
        self.feed.set_stream_memory(stream_memory(&config));
        match config.sources() {
            Ok(sources) => self.upstreams.follow(sources),
            Err(error) => tracing::error!("reload: the sources stay as they are: {error}"),
        }

        if config.access != Access::Keys {
            return;
        }

        match config.relay_access() {
            Ok(access) => {
                self.watch = access_watch(&config);
                self.config = config;
                self.engine.set_access(now, access);
                self.handle_outputs(now);
            }
            Err(error) => tracing::error!("reload: the viewers' keys stay as they are: {error}"),
        }
    }
}
