//! What the fuzz targets do with their bytes. `tests/corpus.rs` runs the same on the corpus.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use fanlight_live::{Arrival, LiveFrame};
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{ToRelay, ToViewer, VERSION};
use fanlight_proto::detections::encode;
use fanlight_proto::feed::{encode_feedback, parse_to_source};
use fanlight_proto::handshake::{Channel, Initiator, RelayAccess, SharedKey, ViewerAccess};
use fanlight_proto::limits::{JOIN_BYTES, MAX_FRAME_BYTES};
use fanlight_proto::message::{
    Accept, Ball, CanaryStatus, Detection, Detections, Format, FrameBuffer, FrameHeader, Join,
    KeepAlive, Repair, Report, State, Verdict, ViewerVerdict, parse_frame,
};
use fanlight_relay::engine::{
    Engine, EngineConfig, MAX_DEDICATED_SOCKETS, Multicast, Output, Route,
};
use prost::Message as _;

/// Addresses that take part.
const PEERS: u16 = 6;
/// Sessions that the relay takes: fewer, so that it is busy at times.
const MAX_VIEWERS: usize = 4;
const SHARED: [u8; 32] = [7; 32];
/// The group of the stream.
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 42, 0), 5005);

/// A sequence of datagrams of strangers and viewers, of frames, and of time, to an engine that asks for a key or not:
/// nothing panics, what comes out is bounded, an address that has not proved itself gets no more than it sent, and a
/// group nothing before somebody has joined it.
pub fn engine(bytes: &[u8]) {
    let mut script = Script(bytes);
    let psk = script.byte() & 1 == 1;
    let access = if psk {
        RelayAccess::Psk(SharedKey::new(SHARED))
    } else {
        RelayAccess::Open
    };

    let multicast = Multicast {
        first: GROUP,
        from: Ipv4Addr::LOCALHOST,
        looped: true,
    };

    let config = EngineConfig {
        max_viewers: MAX_VIEWERS,
        key_rotation: Duration::from_secs(5),
        multicast: Some(multicast),
        ..EngineConfig::default()
    };

    let mut world = World {
        engine: Engine::new(config, access, [3; 32]),
        now: Time::from_nanos(1_000_000_000),
        peers: std::array::from_fn(|_| Peer::default()),
        number: 0,
        psk,
        joined: false,
        said_words: 0,
    };

    while !script.0.is_empty() {
        world.step(&mut script);
    }
}

/// Bytes that decide; zeros when they are used up.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u64 {
        (0..self.byte() % 9).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    fn slice(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (slice, rest) = self.0.split_at(length);
        self.0 = rest;
        slice
    }
}

/// One address, and what it has learnt from the relay.
#[derive(Default)]
struct Peer {
    token: Vec<u8>,
    nonce: u64,
    session: u64,
    consent: u64,
    proven: bool,
    initiator: Option<Initiator>,
    channel: Option<Channel>,
}

struct World {
    engine: Engine,
    now: Time,
    peers: [Peer; PEERS as usize],
    number: u64,
    psk: bool,
    /// Somebody has said so of the group.
    joined: bool,
    said_words: u64,
}

fn address(peer: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, peer as u8], 4000))
}

impl World {
    fn step(&mut self, script: &mut Script<'_>) {
        let (what, peer) = (script.byte(), usize::from(script.byte() % PEERS as u8));
        // Behind the others, so that a corpus keeps its meaning.
        match if what < 243 {
            what % 9
        } else {
            9 + (what - 243) % 3
        } {
            0 => {
                let noise = script.slice().to_vec();
                self.give(peer, &noise);
            }
            1 => self.join(peer, script),
            2 => self.keep_alive(peer, script),
            3 => self.repair(peer, script),
            4 => {
                let session = self.peers[peer].session;
                self.say(
                    peer,
                    &ToRelay::Goodbye(session, fanlight_proto::message::Goodbye::default()),
                );
            }
            5 => self.frame(script),
            6 => {
                self.now = self.now + Duration::from_millis(u64::from(script.byte()) * 20);
                self.engine.on_tick(self.now);
                self.take(usize::MAX, usize::MAX);
            }
            7 => {
                let forged = script.slice().to_vec();
                let session = self.peers[peer].session;
                let mut datagram = Vec::new();
                ToRelay::Sealed(session, script.number(), &forged).encode(&mut datagram);
                self.give(peer, &datagram);
            }
            8 => self
                .engine
                .on_aborted(address(peer), script.byte() & 1 == 0),
            9 => self.detections(peer, script),
            10 => {
                let (stream, clients) = (script.byte() % 100, script.number() as u32);
                let stream = if stream == 0 {
                    "cam".to_owned()
                } else {
                    format!("s{stream}")
                };

                self.engine
                    .on_clients(self.now, &stream.parse().expect("a good name"), clients);
            }
            _ => {
                let verdict = Verdict {
                    error: f32::from_bits(script.number() as u32),
                    ..Verdict::default()
                };

                let verdicts = (0..script.byte()).map(|viewer| (viewer.into(), Some(verdict)));
                let verdicts = verdicts.map(|(viewer, verdict)| ViewerVerdict { viewer, verdict });
                self.engine.on_verdicts(
                    self.now,
                    usize::from(script.byte() & 1),
                    verdicts.collect(),
                );
            }
        }

        assert!(
            self.engine.viewers() <= MAX_VIEWERS
                && self.engine.dedicated_sockets() <= MAX_DEDICATED_SOCKETS.min(MAX_VIEWERS)
        );
    }

    fn join(&mut self, at: usize, script: &mut Script<'_>) {
        let flags = script.byte();
        let peer = &mut self.peers[at];
        if flags & 1 == 0 {
            peer.nonce += 1;
        }

        let mut join = Join {
            version: VERSION,
            nonce: peer.nonce,
            token: peer.token.clone().into(),
            list: flags & 2 != 0,
            paused: flags & 4 != 0,
            receive_capacity: script.number() as u32,
            ..Join::default()
        };

        let key = SharedKey::new(if flags & 8 == 0 { SHARED } else { [1; 32] });
        let access = ViewerAccess::Psk(key);
        if let Some((initiator, message)) = Initiator::begin(
            &access,
            peer.nonce,
            &peer.token,
            &join.request(),
            [script.byte(); 32],
        )
        .filter(|_| self.psk)
        {
            peer.initiator = Some(initiator);
            join = join.envelope(&access, message.into());
        }

        self.say(at, &ToRelay::Join(join));
    }

    fn keep_alive(&mut self, at: usize, script: &mut Script<'_>) {
        let report = Report {
            frames_whole: script.number(),
            frames_unrecovered: script.number(),
            shards_expected: script.number(),
            shards_missed: script.number(),
            ..Report::default()
        };

        let flags = script.byte();
        let body = KeepAlive {
            sent_us: 1,
            report: (flags & 1 == 0).then_some(report),
            paused: flags & 2 != 0,
            key_generation: script.number() as u32,
            // Mostly one that its stream may have had.
            newest_sequence: script.number() % 300,
            consent: self.peers[at].consent ^ u64::from(flags >> 7),
            group_joined: flags & 4 != 0,
            group_heard: flags & 8 != 0,
        };

        self.joined |= body.group_joined;
        let session = self.peers[at].session;
        self.say(at, &ToRelay::KeepAlive(session, body));
    }

    fn repair(&mut self, at: usize, script: &mut Script<'_>) {
        let ranges = (0..2 * (script.byte() % 65))
            .map(|_| script.number() as u32)
            .collect();
        let alias = self
            .engine
            .alias(&"cam".parse().expect("a good name"))
            .map_or(0, u32::from);

        let number = self.number.saturating_sub(u64::from(script.byte() % 6));
        let session = self.peers[at].session;
        self.say(
            at,
            &ToRelay::Repair(
                session,
                Repair {
                    alias,
                    epoch: 1,
                    number,
                    ranges,
                },
            ),
        );
    }

    fn detections(&mut self, at: usize, script: &mut Script<'_>) {
        let flags = script.byte();
        let ball = (flags & 1 == 0).then(|| Ball {
            x: script.number() as f32,
            y: 1.0,
            radius: 2.0,
        });

        let detection = Detection {
            epoch: 1,
            number: script.number(),
            ball,
            ..Detection::default()
        };

        let canary_status = (flags & 2 == 0).then(|| CanaryStatus {
            stream: "cam".to_owned(),
            ..CanaryStatus::default()
        });

        let detections = vec![encode(&detection); usize::from(script.byte() % 20)];
        let body = Detections {
            screen: 1,
            detections,
            sent: script.number(),
            untracked: script.number(),
            canary_status,
        };

        let session = self.peers[at].session;
        self.say(at, &ToRelay::Detections(session, body));
    }

    fn frame(&mut self, script: &mut Script<'_>) {
        self.number = self.number.wrapping_add(u64::from(script.byte() % 4));
        let header = FrameHeader {
            stream: "cam".into(),
            epoch: 1 + u64::from(script.byte() == 255),
            number: self.number,
            width: 64,
            height: 48,
            format: Format::Jpeg as i32,
            state: State::Live as i32,
            rate_millihertz: script.number() as u32,
            ..FrameHeader::default()
        };

        let mut jpeg = vec![0x11; 2 + usize::from(script.byte()) * 40];
        jpeg[..2].copy_from_slice(&[0xff, 0xd8]);
        jpeg.extend([0xff, 0xd9]);
        let body = FrameBuffer::copy_of(&jpeg).finish(header);

        let Ok(frame) = parse_frame(b"cam/", body.clone(), MAX_FRAME_BYTES) else {
            return;
        };

        let arrival = Arrival {
            superseded: script.byte().into(),
            ..Arrival::first(LiveFrame::new(0, frame, body, self.now))
        };

        self.engine.on_arrival(self.now, &arrival);
        self.take(usize::MAX, usize::MAX);
    }

    /// Says something as a viewer that has joined would: sealed when the session is.
    fn say(&mut self, at: usize, message: &ToRelay<'_>) {
        let mut datagram = Vec::new();
        let peer = &mut self.peers[at];

        match &mut peer.channel {
            Some(channel) if !matches!(message, ToRelay::Join(_)) => {
                message.encode_inner(&mut datagram);
                let (counter, ciphertext) = channel.seal(&datagram);
                ToRelay::Sealed(peer.session, counter, &ciphertext).encode(&mut datagram);
            }
            _ => message.encode(&mut datagram),
        }

        self.give(at, &datagram);
    }

    fn give(&mut self, at: usize, datagram: &[u8]) {
        self.engine.on_datagram(
            self.now,
            Route {
                remote: address(at),
                local: None,
            },
            datagram,
        );

        self.take(at, datagram.len());
    }

    /// Takes what comes out; `length` is what the peer `from` sent for it.
    fn take(&mut self, from: usize, length: usize) {
        let (mut outputs, mut bytes) = (0, 0);
        while let Some(output) = self.engine.poll_output() {
            outputs += 1;
            match output {
                Output::Send { to, datagram } => {
                    let at = (0..PEERS.into())
                        .find(|at| address(*at) == to.remote)
                        .expect("an address that takes part");
                    if at == from {
                        bytes += datagram.len();
                    }

                    assert!(datagram.len() <= JOIN_BYTES);
                    self.hear(at, &datagram);
                }
                Output::Transmit(fan) => {
                    assert!(!fan.targets.is_empty() && fan.targets.len() <= MAX_VIEWERS + 1);
                    assert!(fan.targets.iter().all(|target| target.parity == 0
                        || fan.catch_up
                        || target.parity <= fan.packets.parity()));
                    let proven = |remote| {
                        (0..PEERS.into()).any(|at| address(at) == remote && self.peers[at].proven)
                    };
                    let to_group = |remote| self.joined && remote == SocketAddr::V4(GROUP);
                    let right = |remote| proven(remote) || to_group(remote);
                    assert!(fan.targets.iter().all(|target| right(target.route.remote)));
                }
                Output::Retransmit(resend) => {
                    assert!(
                        resend
                            .ranges
                            .iter()
                            .all(|range| range.end <= resend.packets.shards())
                    );
                }
                Output::Isolate(_) | Output::Rejoin(_) | Output::Progress(_) => {}
                Output::Feedback { origin, feedback } => {
                    let bytes = encode_feedback(feedback.clone());
                    assert!(
                        parse_to_source(&bytes).is_ok(),
                        "a source takes what the relay says: {feedback:?}"
                    );

                    self.said_words += 1;
                    if self.said_words.is_multiple_of(3) {
                        self.engine
                            .on_feedback_undelivered(self.now, origin, feedback);
                    }
                }
            }
        }

        assert!(outputs <= 8 * MAX_VIEWERS + 8, "{outputs} outputs");
        if from != usize::MAX && !self.peers[from].proven {
            assert!(bytes <= length, "{bytes} bytes for {length}");
        }
    }

    fn hear(&mut self, at: usize, datagram: &[u8]) {
        let peer = &mut self.peers[at];
        match ToViewer::parse(datagram).expect("what the relay sends parses") {
            ToViewer::Challenge(challenge) => {
                peer.token = challenge.token.to_vec();
            }
            ToViewer::Accept(mut accept) => {
                peer.proven = true;
                if self.psk {
                    let Some(Ok((payload, channel))) =
                        peer.initiator.as_mut().map(|i| i.finish(&accept.handshake))
                    else {
                        return;
                    };

                    accept = Accept::decode(payload.as_slice())
                        .expect("the relay's payload is an Accept");
                    if accept.session != 0 {
                        peer.channel = Some(channel);
                    }
                }

                if accept.session != 0 {
                    peer.session = accept.session;
                }
            }
            ToViewer::Sealed(_, counter, ciphertext) => {
                let opened = peer
                    .channel
                    .as_mut()
                    .and_then(|c| c.open(counter, ciphertext));
                if let Some(Ok(ToViewer::Pulse(_, pulse))) = opened
                    .as_ref()
                    .map(|plaintext| ToViewer::parse_inner(1, plaintext))
                {
                    peer.consent = pulse.consent;
                }
            }
            ToViewer::Pulse(_, pulse) => peer.consent = pulse.consent,
            ToViewer::Refuse(_)
            | ToViewer::Reset(_)
            | ToViewer::Direct(..)
            | ToViewer::Goodbye(..) => {}
            ToViewer::Data(..) => panic!("media is no control datagram"),
        }
    }
}
