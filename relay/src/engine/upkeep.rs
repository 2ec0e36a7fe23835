//! What the engine does as time passes: expired sessions and streams, isolation, keys, log lines.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::handshake::{JoinMac, PublicKey, RelayAccess};
use fanlight_proto::limits::SESSION_IDLE;

use super::isolation::IsolationChange;
use super::key_rotation::{KEY_SWITCH_TIMEOUT, KeyRotation, REVOKE_SWITCH_TIMEOUT};
use super::log_limits::LogLine;
use super::output::{Output, Route};
use super::stream::Stream;
use super::{Engine, EngineConfig, goodbye};

/// How often idle sessions are looked for.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

impl Engine {
    /// Keeps within these bounds from now on, but for those of silent sources and of groups. Viewers beyond `max_viewers`
    /// stay.
    pub fn set_bounds(&mut self, bounds: EngineConfig) {
        self.config = EngineConfig {
            source_stale: self.config.source_stale,
            multicast: self.config.multicast,
            ..bounds
        };
        self.streams.set_memory_budget(bounds.memory_budget);
    }

    /// Sets who may join from now on. Sessions of viewers whose key it does not know end, as do all when the key that they share is
    /// another one, and the keys of their streams with them. What is asked of a viewer (nothing, a shared key, a key of its own) stays as it was.
    pub fn set_access(&mut self, now: Time, access: RelayAccess) {
        let mut streams = Vec::new();
        let same_key = match (&self.access, &access) {
            (RelayAccess::Psk(before), RelayAccess::Psk(key)) => before == key,
            _ => true,
        };
        let may_stay = |identity: Option<&PublicKey>| match (&access, identity) {
            (RelayAccess::Keys { viewers, .. }, Some(key)) => {
                viewers.iter().any(|(known, _)| known == key)
            }
            _ => same_key,
        };

        while let Some(route) = self.sessions.find_unauthorized(may_stay) {
            let Some(session) = self.sessions.get_mut(route.remote) else {
                break;
            };

            streams.push(session.alias);
            self.outputs
                .push_back(goodbye(session, "its key is known no more"));
            self.counts.revoked += 1;
            drop(self.remove_session(now, route));
        }

        self.join_mac = JoinMac::of_relay(&access);
        self.access = access;
        streams.sort_unstable();
        streams.dedup();

        for alias in streams {
            self.announce_key(now, alias, REVOKE_SWITCH_TIMEOUT);
        }
    }

    /// Changes the keys of all streams before their time.
    pub fn rotate_keys(&mut self, now: Time) {
        let aliases: Vec<u16> = self.streams.iter().map(|stream| stream.alias).collect();
        for alias in aliases {
            self.announce_key(now, alias, KEY_SWITCH_TIMEOUT);
        }
    }

    /// Does what is due. Call it at [`Engine::next_deadline`]; earlier or more often does no harm.
    pub fn on_tick(&mut self, now: Time) {
        while let Some(alias) = self.streams.expire(now).map(|stream| stream.alias) {
            self.announce_status(now, alias);
        }

        if now >= self.next_sweep {
            self.next_sweep = now + SWEEP_INTERVAL;
            while let Some(remote) = self.sessions.find_idle(now, SESSION_IDLE) {
                self.counts.expired += 1;
                self.leave(
                    now,
                    Route {
                        remote,
                        local: None,
                    },
                    "fell silent",
                );
            }

            self.expire_clients(now);
            self.update_isolation(now);
            self.update_keys(now);
            self.update_screens(now);
            self.flush_log_lines(now);
        }

        self.send_feedback(now);
    }

    /// When [`Engine::on_tick`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let sweeps =
            self.sessions.len() > 0 || !self.clients.is_empty() || self.screens.is_settling();
        sweeps
            .then_some(self.next_sweep)
            .into_iter()
            .chain(self.streams.deadline())
            .chain(self.feedback.deadline())
            .min()
    }

    /// Moves viewers that have fallen behind to a dedicated socket, and back.
    pub(super) fn update_isolation(&mut self, now: Time) {
        for session in self.sessions.iter_mut() {
            match session
                .delivery
                .update_isolation(now, self.dedicated_sockets)
            {
                None => {}
                Some(IsolationChange::Rejoin) => {
                    self.dedicated_sockets -= 1;
                    self.outputs.push_back(Output::Rejoin(session.route));
                }

                Some(IsolationChange::Isolate) => {
                    self.dedicated_sockets += 1;
                    self.counts.isolated += 1;
                    self.outputs.push_back(Output::Isolate(session.route));

                    if let Some(count) = self.log_limits.note(LogLine::Isolated, now) {
                        session.span.in_scope(
                            || tracing::info!(count, name = %session.label, "viewers fell behind"),
                        );
                    }
                }
            }
        }
    }

    /// Announces keys that are due, and changes to those that all viewers have.
    pub(super) fn update_keys(&mut self, now: Time) {
        let rotation = self.config.key_rotation;
        let due = |stream: &&Stream| {
            stream
                .keys
                .as_ref()
                .is_some_and(|keys| keys.due(now, rotation))
        };

        while let Some(alias) = { self.streams.iter().find(due).map(|stream| stream.alias) } {
            self.announce_key(now, alias, KEY_SWITCH_TIMEOUT);
        }

        let Self {
            streams,
            sessions,
            counts,
            ..
        } = self;

        for stream in streams.iter_mut() {
            let newest = stream.keys.as_ref().map_or(0, KeyRotation::newest);
            let has_it = |address| {
                sessions
                    .get(address)
                    .is_none_or(|session| session.auth.key_generation() >= newest)
            };

            let all = stream.members().iter().all(|address| has_it(*address));
            if let Some(keys) = &mut stream.keys {
                counts.keys_rotated += u64::from(keys.follow(now, all));
            }
        }
    }

    /// Makes the next key of a stream and announces it to its viewers.
    pub(super) fn announce_key(&mut self, now: Time, alias: u16, timeout: Duration) {
        let secret = self.secrets.bytes();
        let Some(keys) = self
            .streams
            .by_alias_mut(alias)
            .and_then(|stream| stream.keys.as_mut())
        else {
            return;
        };

        keys.announce(now, secret, timeout);
        self.pulse_all(now, alias);
    }

    fn flush_log_lines(&mut self, now: Time) {
        self.log_limits.flush(now);
        for stream in self.streams.iter_mut() {
            if let Some(count) = stream.line.flush(now) {
                stream.log(count);
            }
        }
    }
}
