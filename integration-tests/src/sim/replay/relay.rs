//! A relay's capture: viewers do as recorded, and a source has the frames that were fanned out.

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::Bytes;
use fanlight_daemon::capture::{Direction, Record, Recording};
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DataHeader, ToRelay, ToViewer, VERSION};
use fanlight_proto::limits::{JOIN_BYTES, MAX_FRAME_PREFIX};
use fanlight_proto::message::{Format, FrameBuffer, FrameHeader, FrameId, Join, KeepAlive, State};

use super::super::Access;
use super::super::relay_node::Relay;
use super::{control, counted_from, growth, media};
use crate::seeded::Random;

/// The stream whose frames are played.
const STREAM: &str = "replayed";
const TOPIC: &[u8] = b"replayed/";

const JOIN: u8 = 1;

pub(super) fn replay(recording: &Recording) -> Vec<(&'static str, u64)> {
    let relay = Relay::new(&mut Random::new(0), Access::Open);
    let mut env = TestEnv {
        relay,
        now: Time::default(),
        newest: HashMap::new(),
        peers: HashMap::new(),
        sent: 0,
    };

    let from = counted_from(recording);
    let mut before = None;

    for (at, record) in recording.records.iter().enumerate() {
        env.tick_until(record.time);
        if at == 0 {
            env.begin(&recording.records);
        }

        if before.is_none() && record.time >= from {
            before = Some(env.counts());
        }

        match record.direction {
            Direction::In => env.take(record),
            Direction::Out => env.publish(record),
        }
    }

    env.tick_until(recording.written);
    growth(&before.unwrap_or_default(), env.counts())
}

struct TestEnv {
    relay: Relay,
    now: Time,
    /// The newest frame of each epoch.
    newest: HashMap<u64, u64>,
    peers: HashMap<SocketAddr, Peer>,
    sent: u64,
}

/// A viewer's conversation with the replaying relay.
#[derive(Clone, Debug, Default)]
struct Peer {
    token: Bytes,
    session: u64,
    alias: u32,
    /// What its next keep-alive returns.
    consent: u64,
}

impl TestEnv {
    fn tick_until(&mut self, until: Time) {
        if self.now == Time::default() {
            self.now = until;
        }

        while let Some(due) = self.relay.due().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.relay.on_tick(self.now);
            self.collect();
        }

        self.now = self.now.max(until);
    }

    /// The relay has heard of the stream before its first frame went out.
    fn begin(&mut self, records: &[Record]) {
        let Some((first, _)) = records.iter().find_map(media) else {
            return;
        };

        let before = FrameId {
            number: first.id.number.saturating_sub(1),
            ..first.id
        };

        let heartbeat = message(before, &[]);
        self.relay.on_message(self.now, 0, TOPIC, &heartbeat);
        self.collect();
    }

    /// A frame that the relay fanned out came from the source just before.
    fn publish(&mut self, record: &Record) {
        let Some((header, _)) = media(record) else {
            return;
        };

        let FrameId { epoch, number } = header.id;
        if self
            .newest
            .get(&epoch)
            .is_some_and(|newest| *newest >= number)
        {
            return;
        }

        self.newest.insert(epoch, number);
        if let Some(body) = frame(&header) {
            self.relay.on_message(self.now, 0, TOPIC, &body);
            self.collect();
        }
    }

    fn take(&mut self, record: &Record) {
        let Some((kind, _, whole)) = control(record) else {
            return;
        };

        let mut padded = record.head().to_vec();
        if kind == JOIN {
            padded.resize(JOIN_BYTES, 0);
            let join = match ToRelay::parse(&padded) {
                Ok(ToRelay::Join(join)) => join,
                _ => Join {
                    version: VERSION,
                    nonce: record.time.as_nanos(),
                    ..Join::default()
                },
            };

            return self.join(record.peer, join);
        }

        if self
            .peers
            .get(&record.peer)
            .is_none_or(|peer| peer.session == 0)
        {
            self.join(
                record.peer,
                Join {
                    version: VERSION,
                    nonce: record.time.as_nanos(),
                    ..Join::default()
                },
            );
        }

        let Peer {
            session,
            alias,
            consent,
            ..
        } = self.peers.get(&record.peer).cloned().unwrap_or_default();
        let message = match ToRelay::parse(record.head()) {
            Ok(ToRelay::Repair(_, mut repair)) => {
                repair.alias = alias;
                ToRelay::Repair(session, repair)
            }
            Ok(ToRelay::KeepAlive(_, body)) => {
                ToRelay::KeepAlive(session, KeepAlive { consent, ..body })
            }
            Ok(ToRelay::Goodbye(_, body)) => ToRelay::Goodbye(session, body),
            // Sealed, or longer than what is kept of it: at least a sign of life.
            Ok(ToRelay::Sealed(..)) | Err(_) if !whole || record.length > 12 => ToRelay::KeepAlive(
                session,
                KeepAlive {
                    consent,
                    ..KeepAlive::default()
                },
            ),
            _ => return,
        };

        if session != 0 {
            self.send(record.peer, &message);
        }
    }

    /// Joins with a token of the replaying relay, which a recorded one is not.
    fn join(&mut self, peer: SocketAddr, join: Join) {
        let join = Join {
            stream: String::new(),
            handshake: Bytes::new(),
            ..join
        };

        if !join.token.is_empty()
            || self
                .peers
                .get(&peer)
                .is_none_or(|peer| peer.token.is_empty())
        {
            self.send(
                peer,
                &ToRelay::Join(Join {
                    token: Bytes::new(),
                    ..join.clone()
                }),
            );
        }

        let token = self
            .peers
            .get(&peer)
            .map(|peer| peer.token.clone())
            .unwrap_or_default();

        self.send(peer, &ToRelay::Join(Join { token, ..join }));
    }

    fn send(&mut self, from: SocketAddr, message: &ToRelay<'_>) {
        let mut datagram = Vec::new();
        message.encode(&mut datagram);
        self.relay.on_datagram(self.now, from, &mut datagram);
        self.collect();
    }

    fn collect(&mut self) {
        for (to, datagram) in self.relay.sent() {
            self.sent += 1;
            match ToViewer::parse(&datagram) {
                Ok(ToViewer::Challenge(challenge)) => {
                    self.peers.entry(to).or_default().token = challenge.token;
                }
                Ok(ToViewer::Accept(accept)) => {
                    let peer = self.peers.entry(to).or_default();
                    peer.session = accept.session;
                    peer.alias = accept.stream.map_or(0, |stream| stream.alias);
                }
                Ok(ToViewer::Pulse(_, pulse)) => {
                    self.peers.entry(to).or_default().consent = pulse.consent;
                }
                Ok(ToViewer::Reset(_) | ToViewer::Goodbye(..)) => _ = self.peers.remove(&to),
                _ => {}
            }
        }
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        self.relay
            .counts()
            .into_iter()
            .chain([("datagrams", self.sent)])
            .collect()
    }
}

/// A frame as long as the one that was cut; none for one too short to be a picture.
fn frame(header: &DataHeader) -> Option<Bytes> {
    let wanted = header.length as usize;
    let build = |length: usize| {
        let mut jpeg = vec![0; length];
        jpeg[..2].copy_from_slice(&[0xff, 0xd8]);
        jpeg[length - 2..].copy_from_slice(&[0xff, 0xd9]);
        message(header.id, &jpeg)
    };

    let first = wanted.checked_sub(MAX_FRAME_PREFIX / 4)?.max(4);
    let body = build(first);
    let exact = (first + wanted)
        .checked_sub(body.len())
        .filter(|length| *length >= 4)?;
    Some(build(exact))
}

fn message(id: FrameId, jpeg: &[u8]) -> Bytes {
    FrameBuffer::copy_of(jpeg).finish(FrameHeader {
        stream: STREAM.to_owned(),
        epoch: id.epoch,
        number: id.number,
        format: Format::Jpeg as i32,
        state: State::Live as i32,
        rate_millihertz: 30_000,
        width: 64,
        height: 48,
        ..FrameHeader::default()
    })
}
