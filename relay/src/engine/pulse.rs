//! PULSE: what the relay tells a viewer about its stream and its delivery.

use fanlight_proto::clock::Time;
use fanlight_proto::message::Pulse;
use fanlight_proto::parity::level_count;
use fanlight_proto::token::TokenKey;

use super::key_rotation::KeyRotation;
use super::multicast::Multicast;
use super::sessions::Session;
use super::source_clocks::SourceClocks;
use super::stream::Stream;

/// What all viewers are told of.
pub(super) struct PulseContext<'a> {
    pub(super) now: Time,
    pub(super) token_key: &'a TokenKey,
    pub(super) clocks: &'a SourceClocks,
    pub(super) multicast: Option<&'a Multicast>,
}

impl PulseContext<'_> {
    /// What one viewer is told: the stream's status, what was left out for it, the keys that it does
    /// not have, and its group.
    pub(super) fn pulse(&self, stream: Option<&Stream>, session: &Session) -> Pulse {
        let auth = &session.auth;
        let delivery = &session.delivery;
        let keys = stream
            .and_then(|stream| stream.keys.as_ref())
            .filter(|keys| auth.is_sealed() && auth.key_generation() < keys.newest());
        let multicast = self
            .multicast
            .filter(|multicast| delivery.may_join(self.now, session.route, multicast));

        Pulse {
            relay_us: self.now.as_micros(),
            status: stream.map(|stream| stream.status().clone()),
            keys: keys.map(KeyRotation::messages).unwrap_or_default(),
            frames_skipped: delivery.skipped(),
            frames_aborted: delivery.aborted(),
            source_clock: stream
                .and_then(|stream| self.clocks.at(self.now, stream.origin, stream.clock_id)),
            parity_percent: parity_percent(stream, session),
            pause_us: pause_us(stream, session),
            echo_us: 0,
            consent: self.token_key.consent(self.now, session.id),
            verdict: session.feedback.verdict(self.now),
            group: multicast
                .zip(stream)
                .filter(|(_, stream)| Multicast::has_group(stream.slot))
                .map(|(multicast, stream)| multicast.group(stream.slot).into()),
        }
    }
}

/// The longest pause between two datagrams of a frame.
fn pause_us(stream: Option<&Stream>, session: &Session) -> u32 {
    let Some((stream, shards)) = stream.and_then(|stream| Some((stream, stream.shards()?))) else {
        return 0;
    };
    let pause = session.target(shards, stream.interval()).pause(shards);
    u32::try_from(pause.as_micros()).unwrap_or(u32::MAX)
}

fn parity_percent(stream: Option<&Stream>, session: &Session) -> u32 {
    let Some((stream, shards)) = stream.and_then(|stream| Some((stream, stream.shards()?))) else {
        return 0;
    };

    let parity = if session.delivery.is_by_multicast() {
        stream.group_parity()
    } else {
        level_count(shards, session.delivery.parity_level())
    };

    u32::from(parity) * 100 / u32::from(shards)
}
