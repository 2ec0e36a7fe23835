//! The keys of one stream's media, and the change from one to the next.
//!
//! The next key is announced to every session before it is used. It is used when all have said that they
//! have it, or after a timeout that outlasts lost messages. At most two keys are known at a time; the
//! lowest bit of the generation tells them apart.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::StreamKey;
use fanlight_proto::seal::{MEDIA_SECRET_BYTES, MediaKey};

/// Longest time between the announcement of a key and its use: eight keep-alives and their answers.
pub(super) const KEY_SWITCH_TIMEOUT: Duration = Duration::from_secs(2);

/// The same when the present key is revoked for a viewer: four keep-alives (promise P28: within 3 s).
pub(super) const REVOKE_SWITCH_TIMEOUT: Duration = Duration::from_secs(1);

/// The keys of one stream.
#[derive(Debug)]
pub(super) struct KeyRotation {
    current: MediaKey,
    since: Time,
    next: Option<(MediaKey, Time)>,
}

impl KeyRotation {
    /// Begins with generation 1.
    pub(super) fn new(now: Time, secret: [u8; MEDIA_SECRET_BYTES]) -> Self {
        Self {
            current: MediaKey::new(1, secret),
            since: now,
            next: None,
        }
    }

    /// What media is sealed with.
    pub(super) const fn current(&self) -> &MediaKey {
        &self.current
    }

    /// The newest generation that there is.
    pub(super) fn newest(&self) -> u32 {
        self.next
            .as_ref()
            .map_or(self.current.generation(), |(key, _)| key.generation())
    }

    /// What a viewer has to know: the current key and the next.
    pub(super) fn messages(&self) -> Vec<StreamKey> {
        let next = self.next.as_ref().map(|(key, _)| key);
        [Some(&self.current), next]
            .into_iter()
            .flatten()
            .map(MediaKey::to_message)
            .collect()
    }

    /// Whether a key of age `rotation` is due to be followed by another.
    pub(super) fn due(&self, now: Time, rotation: Duration) -> bool {
        self.next.is_none() && now.saturating_since(self.since) >= rotation
    }

    /// Makes the next key, used after `timeout` at the latest. A key that was announced before is used at
    /// once: viewers keep two keys and no more.
    pub(super) fn announce(
        &mut self,
        now: Time,
        secret: [u8; MEDIA_SECRET_BYTES],
        timeout: Duration,
    ) {
        self.follow(now, true);
        let generation = self.current.generation().wrapping_add(1);
        self.next = Some((MediaKey::new(generation, secret), now + timeout));
    }

    /// Changes to the next key when all viewers have it, or after the timeout; whether it did.
    pub(super) fn follow(&mut self, now: Time, all_have_it: bool) -> bool {
        let Some((key, _)) = self.next.take_if(|(_, until)| all_have_it || now >= *until) else {
            return false;
        };
        self.current = key;
        self.since = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_nanos(5);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_key_is_used_when_all_have_it_or_its_patience_is_over() {
        let mut keys = KeyRotation::new(START, [1; 16]);
        assert!(!keys.due(START + HOUR - KEY_SWITCH_TIMEOUT, HOUR));
        assert!(keys.due(START + HOUR, HOUR));
        keys.announce(START, [2; 16], KEY_SWITCH_TIMEOUT);
        assert_eq!(
            (
                keys.current().generation(),
                keys.newest(),
                keys.messages().len()
            ),
            (1, 2, 2)
        );

        assert!(!keys.follow(START, false));
        assert_eq!(keys.current().generation(), 1);
        assert!(keys.follow(START, true));
        assert_eq!(
            (
                keys.current().generation(),
                keys.newest(),
                keys.messages().len()
            ),
            (2, 2, 1)
        );

        keys.announce(START, [3; 16], KEY_SWITCH_TIMEOUT);
        assert!(keys.follow(START + KEY_SWITCH_TIMEOUT, false));
        assert_eq!(keys.current().generation(), 3);
    }

    #[test]
    fn there_are_never_more_than_two_keys_and_they_have_generations_in_a_row() {
        let mut keys = KeyRotation::new(START, [1; 16]);
        for generation in 2..20 {
            keys.announce(START, [generation; 16], REVOKE_SWITCH_TIMEOUT);
            let generations: Vec<_> = keys.messages().iter().map(|key| key.generation).collect();
            assert_eq!(
                generations,
                [u32::from(generation) - 1, u32::from(generation)]
            );
        }
    }
}
