//! The fuzz targets of the viewer: what relays and trackers say to it.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::ToRelay;
use fanlight_proto::frame_message::{Content, FrameMessage};
use fanlight_proto::handshake::{RelayAccess, SharedKey, ViewerAccess};
use fanlight_proto::limits::{MAX_FRAME_BYTES, REKEY_INTERVAL};
use fanlight_proto::message::{
    Detection, Direct, Direction, FrameId, NotShown, Refusal, State, StreamName,
};

use crate::engine::{
    Carrier, Engine, EngineConfig, Output, Presentation, Redundancy, Request, ScreenState,
};
use crate::mini_relay::{MiniRelay, STREAM};
use crate::track::wire::{Answer, HEADER_BYTES, Header, MAX_ANSWER};

/// Messages that one input leads to, there and back.
const MAX_MESSAGES: usize = 500;

/// What a tracker may say: a line that is an answer is finite, and is said again in the same way. The bytes are also tried as
/// what a tracker reads.
///
/// # Panics
/// When something is wrong with the program.
pub fn tracker(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = &line[..line.len().min(MAX_ANSWER)];
        let Some((id, found, took_us)) = Answer::parse(line) else {
            continue;
        };

        if let Some(found) = found {
            assert!([found.x, found.y].iter().all(|place| place.abs() < 1e5));
            assert!(found.radius > 0.0 && (0.0..=1.0).contains(&found.confidence));
        }

        let answer = Answer::new(id, found, took_us.unwrap_or_default());
        let again = serde_json::to_vec(&answer).expect("an answer is JSON");
        let again = Answer::parse(&again).expect("an answer is read back");
        assert_eq!((again.0, again.1.is_some()), (id, found.is_some()));
    }

    if let Some(Ok(header)) = bytes.first_chunk::<HEADER_BYTES>().map(Header::decode) {
        assert_eq!(Header::decode(&header.encode()), Ok(header));
    }
}

/// A viewer and small relays, in whose conversation the bytes say what happens, what is altered on the way and what is forged:
/// nothing panics, no timer spins, what the viewer says can be read, and of sealed media nothing comes out but what the relay
/// sent.
///
/// # Panics
/// When something is wrong with the program.
pub fn engine(bytes: &[u8]) {
    let mut script = Script(bytes);
    let mut world = World::new(script.byte());
    while !script.0.is_empty() {
        world.step(&mut script);
    }

    world.engine.leave();
    world.drain();
}

/// Bytes that decide; zeros when they are used up.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn slice(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (slice, rest) = self.0.split_at(length);
        self.0 = rest;
        slice
    }
}

struct World {
    engine: Engine,
    now: Time,
    /// One for each path.
    relays: Vec<MiniRelay>,
    /// Of the paths that are connections, whether they are open.
    connections: Vec<Option<bool>>,
    sealed: bool,
    number: u64,
    presentation: Presentation,
    /// What becomes of the next message of a relay: how it is altered, where, and by what.
    alteration: Option<[u8; 3]>,
    /// What relays have said.
    said: VecDeque<(usize, Vec<u8>)>,
}

impl World {
    fn new(choice: u8) -> Self {
        let sealed = matches!(choice % 8, 1 | 6);
        let (viewer, relay) = if sealed {
            let key = SharedKey::new([7; 32]);
            (ViewerAccess::Psk(key.clone()), RelayAccess::Psk(key))
        } else {
            (ViewerAccess::Open, RelayAccess::Open)
        };

        let udp = || Carrier::Udp(viewer.clone());
        let tcp = |instead_of| Carrier::Tcp { instead_of };
        let paths = match choice % 8 {
            2 => vec![udp(), tcp(Some(0))],
            3 => vec![tcp(None)],
            4..=6 => vec![udp(), udp()],
            _ => vec![udp()],
        };

        let is_tcp = |carrier: &Carrier| matches!(carrier, Carrier::Tcp { .. });
        let connections = paths.iter().map(|carrier| is_tcp(carrier).then_some(false));
        let relays = (1..=paths.len() as u64).map(|start| {
            let mut made = MiniRelay::new(start);
            made.access = relay.clone();
            made
        });

        Self {
            connections: connections.collect(),
            relays: relays.collect(),
            engine: Engine::new(
                EngineConfig {
                    request: match choice % 8 {
                        7 => Request::List,
                        _ => Request::Stream(None),
                    },
                    name: "screen 1".to_owned(),
                    max_frame_bytes: MAX_FRAME_BYTES,
                    receive_capacity: 1000,
                    paths,
                    redundancy: match choice % 8 {
                        5 | 6 => Redundancy::Standby,
                        _ => Redundancy::Both,
                    },
                    rekey_interval: REKEY_INTERVAL,
                },
                [3; 32],
            ),
            now: Time::from_nanos(1_000_000_000),
            sealed,
            number: 0,
            presentation: Presentation::default(),
            alteration: None,
            said: VecDeque::new(),
        }
    }

    fn step(&mut self, script: &mut Script<'_>) {
        let (what, at) = (
            script.byte(),
            usize::from(script.byte()) % self.relays.len(),
        );
        match what % 12 {
            0 => self.give(at, script.slice()),
            1 => {
                let mut forged = script.slice().to_vec();
                self.engine.on_group_datagram(self.now, at, &mut forged);
            }
            2 | 3 => self.pass(Duration::from_millis(u64::from(script.byte()) * 10)),
            4 => self.send_frame(at, script),
            5 => self.alteration = Some([script.byte(), script.byte(), script.byte()]),
            6 => self.change_relay(at, script),
            7 => {
                let said = self.relays[at].stop();
                self.said.extend(said.into_iter().map(|said| (at, said)));
            }
            8 => self.show(script),
            9 => {
                let refusal = Refusal::try_from(i32::from(script.byte() % 8)).ok();
                let retry_after_ms = u32::from(script.byte()) * 20;
                self.relays[at].refusal = refusal.map(|refusal| (refusal, retry_after_ms));
            }
            10 => self.engine.on_refused(self.now, at),
            _ => self
                .engine
                .on_unreachable(self.now, at, "no route".to_owned()),
        }

        self.drain();
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.connect();
        self.engine.on_tick(self.now);
        let due = self.engine.next_deadline();
        assert!(due.is_none_or(|due| due > self.now), "the engine spins");
        let _ = self.engine.summary(self.now);
    }

    /// Opens and closes connections as the engine wants them.
    fn connect(&mut self) {
        for at in 0..self.connections.len() {
            let wanted = self.engine.wants_connection(at);
            match self.connections[at].as_mut() {
                Some(open) if *open != wanted => *open = wanted,
                _ => continue,
            }

            if wanted {
                self.engine.on_connected(self.now, at);
            } else {
                self.engine.on_disconnected(self.now, at);
            }
        }
    }

    /// A relay has a frame; of its datagrams come those that the script lets through.
    fn send_frame(&mut self, at: usize, script: &mut Script<'_>) {
        let forward = script.byte();
        self.number += u64::from(forward % 4);
        let id = FrameId {
            epoch: 1 + u64::from(forward >> 7),
            number: self.number,
        };

        let (body, lost) = (body_of(id), u16::from(script.byte() % 3));
        let datagrams = self.relays[at].on_frame(id, &body, lost);
        if self.connections[at].is_none() {
            let missing = script.byte();
            let kept = datagrams.into_iter().enumerate();
            let kept = kept.filter(|(place, _)| missing >> (place % 8) & 1 == 0);
            self.said.extend(kept.map(|(_, datagram)| (at, datagram)));
            return;
        }

        let head = FrameMessage {
            content: Content::Frame,
            subscription: self.relays[at].session.unwrap_or_default() as u32,
            id,
            captured_us: None,
            captured_utc_us: 0,
            age_us: None,
            skipped: script.byte().into(),
            superseded: script.byte().into(),
            size: (1, 1),
        };
        let message = [&head.to_bytes()[..], &body].concat();
        self.said.push_back((at, message));
    }

    fn change_relay(&mut self, at: usize, script: &mut Script<'_>) {
        let relay = &mut self.relays[at];
        match script.byte() % 6 {
            0 => relay.status.state = i32::from(script.byte()),
            1 => relay.rate_millihertz = u32::from(script.byte()) << (script.byte() % 25),
            2 => {
                let group = Ipv4Addr::new(script.byte(), 255, 42, script.byte());
                relay.group = Some(SocketAddrV4::new(group, 5005));
            }
            3 => relay.group = None,
            4 if self.sealed => {
                relay.announce_key();
                if script.byte() & 1 == 1 {
                    relay.switch_key();
                }
            }
            _ => {
                relay.status.state = State::Live as i32;
                let said = relay.direct(direct_of(self.number));
                self.said.extend(said.into_iter().map(|said| (at, said)));
            }
        }

        let said = self.relays[at].tell_status(self.now);
        self.said.extend(said.into_iter().map(|said| (at, said)));
    }

    /// The screen shows frames or cannot, and something is found in them.
    fn show(&mut self, script: &mut Script<'_>) {
        let flags = script.byte();
        let shown = (flags & 1 == 0).then_some(self.now);
        let rejected = (flags & 2 != 0).then_some(NotShown::Undecodable);
        self.engine.on_display(self.now, shown, rejected);
        self.presentation = Presentation {
            shown: self.presentation.shown + u64::from(flags),
            lost: self.presentation.lost + u64::from(script.byte()),
            age_us: script.byte().into(),
        };
        self.engine.on_presentation(self.presentation);

        self.engine.set_screen(1 + u64::from(flags >> 4));
        let detection = Detection {
            epoch: 1,
            number: self.number,
            ..Detection::default()
        };
        let stream: StreamName = STREAM.parse().expect("a good name");
        self.engine.on_detection(&stream, detection);
        if flags & 4 != 0 {
            let number = self.number;
            self.engine.on_screen(ScreenState {
                shown: shown.map(|_| (stream, FrameId { epoch: 1, number })),
                tiles: u32::from(flags % 17),
                ..ScreenState::default()
            });
        }
    }

    /// Lets all that was said come to who it is for, and what that leads to.
    fn drain(&mut self) {
        for _ in 0..MAX_MESSAGES {
            while let Some(output) = self.engine.poll_output() {
                self.take(output);
            }

            let Some((at, message)) = self.said.pop_front() else {
                return;
            };
            self.deliver(at, message);
        }

        panic!("one input leads to more than {MAX_MESSAGES} messages");
    }

    fn take(&mut self, output: Output) {
        match output {
            Output::Send(at, datagram) => self.answer(at, &datagram),
            Output::Frame(frame) => {
                let right = frame.whole.body == body_of(frame.whole.id);
                assert!(right || !self.sealed, "a forged picture came out");
                self.engine.recycle(frame.whole.body);
            }
            Output::JoinGroup(at, group) => self.engine.on_group_joined(self.now, at, group),
            Output::Credit(..)
            | Output::Direct(_)
            | Output::LeaveGroup(_)
            | Output::LinkState(_)
            | Output::List(..)
            | Output::Transport(..) => {}
        }
    }

    fn answer(&mut self, at: usize, datagram: &[u8]) {
        let parsed = ToRelay::parse(datagram).expect("a viewer sends what a relay takes");
        // Who was given a forged alias asks for it.
        if !self.sealed && matches!(parsed, ToRelay::Repair(..)) {
            return;
        }

        let said = self.relays[at].on_datagram(self.now, datagram);
        self.said.extend(said.into_iter().map(|said| (at, said)));
    }

    fn deliver(&mut self, at: usize, mut message: Vec<u8>) {
        if let Some([how, place, by]) = self.alteration.take() {
            let place = usize::from(place) * message.len() / 256;
            match how % 4 {
                0 => return,
                1 => self.give(at, &message),
                2 => message.truncate(place),
                _ => message
                    .iter_mut()
                    .skip(place)
                    .take(1)
                    .for_each(|byte| *byte ^= by),
            }
        }

        self.give(at, &message);
    }

    fn give(&mut self, at: usize, message: &[u8]) {
        if self.connections[at].is_some() {
            self.engine.on_message_of(self.now, at, message);
        } else {
            self.engine.on_datagram(self.now, at, &mut message.to_vec());
        }
    }
}

/// What a relay may say to a screen.
fn direct_of(version: u64) -> Direct {
    Direct {
        direction: Some(Direction {
            version: version + 1,
            origin: 1,
            ..Direction::default()
        }),
        notice: None,
    }
}

/// The frame of that identity, which may be a forged one: one to seven shards.
fn body_of(id: FrameId) -> Vec<u8> {
    let length = 1 + (id.number.wrapping_mul(977) % 7000) as usize;
    let first = id.number.wrapping_mul(7).wrapping_add(id.epoch);
    let content = |at: usize| (at as u64 * 31).wrapping_add(first) as u8;
    (0..length).map(content).collect()
}

#[cfg(test)]
mod tests {
    use fanlight_daemon::testing::replay_corpus;

    #[test]
    fn every_conversation_of_relays_of_the_corpus_is_survived() {
        replay_corpus("viewer_engine", super::engine);
    }

    #[test]
    fn every_line_of_trackers_of_the_corpus_is_survived() {
        replay_corpus("tracker", super::tracker);
    }
}
