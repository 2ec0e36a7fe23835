use std::collections::BTreeMap;

use fanlight_proto::message::{
    Accept, Challenge, Detection, FrameId, Goodbye, Pulse, Refusal, Refuse, State, Status,
};

use fanlight_proto::limits::REKEY_INTERVAL;

use super::*;
use crate::mini_relay::{MiniRelay, STREAM};

mod clocks;
mod detections;
mod directed;
mod displays;
mod groups;
mod joins;
mod link_states;
mod losses;
mod paths;
mod sealed;
mod switching;
mod tcp;

fn ms(n: u64) -> Time {
    Time::from_nanos(1_000_000_000) + Duration::from_millis(n)
}

fn config() -> EngineConfig {
    EngineConfig {
        request: Request::Stream(None),
        name: "screen 1".into(),
        max_frame_bytes: MAX_FRAME_BYTES,
        receive_capacity: 1000,
        paths: vec![Carrier::Udp(ViewerAccess::Open)],
        redundancy: Redundancy::Both,
        rekey_interval: REKEY_INTERVAL,
    }
}

/// What the link does to each datagram, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    lost: u64,
    doubled: u64,
    /// Delayed by up to 4 ms more than the others.
    reordered: u64,
}

#[derive(Clone, Debug)]
enum Event {
    ToRelay(usize, Vec<u8>),
    ToViewer(usize, Vec<u8>),
    /// By multicast.
    ToGroup(usize, Vec<u8>),
    Refused(usize),
    /// The source captures a frame.
    Capture,
}

/// An engine, a relay and a link between them, on a virtual clock: the next event is always the next moment.
struct World {
    now: Time,
    engine: Engine,
    relays: Vec<Option<MiniRelay>>,
    link: Link,
    /// The paths on which nothing gets through.
    cut: Vec<bool>,
    /// What the way from each relay takes more than [`ONE_WAY`].
    far: Vec<Duration>,
    /// The paths that are connections; their relay is the one of the path that they replace.
    connections: BTreeMap<usize, tcp::Connection>,
    /// Media datagrams do not get through, while others do.
    media_cut: bool,
    /// Nothing is lost on connections.
    reliable: bool,
    /// What pictures came by, and since when.
    transports: Vec<(Time, Transport)>,
    /// The groups joined for the paths, and whether anything gets through to them.
    groups: Vec<Option<SocketAddrV4>>,
    groups_cut: bool,
    dice: SplitMix64,
    events: BTreeMap<(Time, u64), Event>,
    sequence: u64,
    epoch: u64,
    number: u64,
    interval: Duration,
    capturing: bool,
    frame_bytes: usize,
    frames: Vec<(Time, FrameId)>,
    /// When the relay had the last of them, as far as the viewer knows.
    relayed: Option<Time>,
    /// Frames that the screen has shown and when the last, in tests that have one.
    shown: (u64, Option<Time>),
    link_states: Vec<(Time, LinkState)>,
    directs: Vec<(Time, Direct)>,
    bodies_wrong: u64,
    /// Whether a tracker finds something in each frame.
    finds: bool,
    /// What came from relays, when it is wanted.
    record: Option<Vec<(usize, Vec<u8>)>>,
    /// Of each epoch, the first and the highest number of which a shard came within a session.
    seen: BTreeMap<u64, (u64, u64)>,
}

const ONE_WAY: Duration = Duration::from_millis(1);

impl World {
    fn new(seed: u64) -> Self {
        Self::with(seed, config())
    }

    fn with(seed: u64, config: EngineConfig) -> Self {
        let mut world = Self {
            now: ms(0),
            relays: (1..=config.paths.len() as u64)
                .map(|start| Some(MiniRelay::new(start)))
                .collect(),
            cut: vec![false; config.paths.len()],
            far: vec![Duration::ZERO; config.paths.len()],
            connections: tcp::connections(&config),
            media_cut: false,
            reliable: false,
            transports: Vec::new(),
            groups: vec![None; config.paths.len()],
            groups_cut: false,
            engine: Engine::new(config, secret(seed)),
            link: Link::default(),
            dice: SplitMix64::new(seed ^ 0x5eed),
            events: BTreeMap::new(),
            sequence: 0,
            epoch: 1,
            number: 0,
            interval: Duration::from_nanos(33_333_333),
            capturing: true,
            frame_bytes: 12_000,
            frames: Vec::new(),
            relayed: None,
            shown: (0, None),
            link_states: Vec::new(),
            directs: Vec::new(),
            bodies_wrong: 0,
            finds: false,
            record: None,
            seen: BTreeMap::new(),
        };

        world.at(ms(0), Event::Capture);
        world
    }

    fn at(&mut self, when: Time, event: Event) {
        self.sequence += 1;
        self.events.insert((when, self.sequence), event);
    }

    fn run_until(&mut self, end: Time) {
        loop {
            let event = self.events.keys().next().map(|(when, _)| *when);
            let deadline = self
                .engine
                .next_deadline()
                .map(|deadline| deadline.max(self.now));

            let Some(next) = event
                .into_iter()
                .chain(deadline)
                .min()
                .filter(|next| *next <= end)
            else {
                self.now = end;
                return;
            };

            self.now = next;
            while let Some(entry) = self
                .events
                .first_entry()
                .filter(|entry| entry.key().0 <= next)
            {
                let event = entry.remove();
                self.handle(event);
            }

            self.connect();
            self.engine.on_tick(self.now);
            assert!(
                self.engine
                    .next_deadline()
                    .is_none_or(|deadline| deadline > self.now),
                "the engine spins"
            );

            self.drain();
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::ToRelay(at, datagram) => match &mut self.relays[at] {
                Some(relay) => {
                    let answers = relay.on_datagram(self.now, &datagram);
                    self.carry_all(at, answers);
                }
                None => self.at(self.now + ONE_WAY, Event::Refused(at)),
            },
            Event::ToViewer(at, mut datagram) => {
                self.note_seen(at, &datagram);
                self.record
                    .iter_mut()
                    .for_each(|record| record.push((at, datagram.clone())));
                if self.connections.contains_key(&at) {
                    self.engine.on_message_of(self.now, at, &datagram);
                } else {
                    self.engine.on_datagram(self.now, at, &mut datagram);
                }
            }
            Event::ToGroup(at, mut datagram) => {
                if self.groups[at].is_some() && !self.groups_cut {
                    self.note_seen(at, &datagram);
                    self.engine.on_group_datagram(self.now, at, &mut datagram);
                }
            }
            Event::Refused(at) => self.engine.on_refused(self.now, at),
            Event::Capture => self.capture(),
        }

        self.drain();
    }

    fn note_seen(&mut self, at: usize, datagram: &[u8]) {
        let Ok(ToViewer::Data(header, _)) = ToViewer::parse(datagram) else {
            return;
        };

        let FrameId { epoch, number } = header.id;
        let in_session = self.engine.paths[at]
            .session
            .as_ref()
            .is_some_and(|session| session.alias == header.alias);

        let of_newest_epoch = self
            .seen
            .keys()
            .next_back()
            .is_none_or(|newest| epoch >= *newest);

        if in_session && of_newest_epoch {
            let (_, highest) = self.seen.entry(epoch).or_insert((number, number));
            *highest = number.max(*highest);
        }
    }

    /// Frames from the first one seen of each epoch to the last one decided. Of an epoch that has ended that is the
    /// last one seen, of the present one the last one whole.
    fn span(&self) -> u64 {
        let newest = self.frames.last().expect("frames have come").1;
        let last = |epoch, highest| {
            if epoch == newest.epoch {
                newest.number
            } else {
                highest
            }
        };

        self.seen
            .iter()
            .map(|(epoch, (first, highest))| last(*epoch, *highest) - first + 1)
            .sum()
    }

    fn capture(&mut self) {
        self.at(self.now + self.interval, Event::Capture);
        if !self.capturing {
            return;
        }

        let id = FrameId {
            epoch: self.epoch,
            number: self.number,
        };

        self.number += 1;
        let body = body(id, self.frame_bytes);

        for at in 0..self.relays.len() {
            let Some(relay) = &mut self.relays[at] else {
                continue;
            };

            relay.received = self.now;
            let mut datagrams = relay.on_frame(id, &body, 0);
            if let Some(connection) = self.connections.get_mut(&at) {
                datagrams = connection.frame(relay, id, &body, !datagrams.is_empty());
            }

            let joined = relay.joined;
            let heard = relay.group_heard;

            if joined {
                datagrams
                    .iter()
                    .for_each(|datagram| self.carry(at, &Event::ToGroup(at, datagram.clone())));
            }

            if !heard {
                self.carry_all(at, datagrams);
            }
        }
    }

    fn carry_all(&mut self, at: usize, datagrams: Vec<Vec<u8>>) {
        for datagram in datagrams {
            self.carry(at, &Event::ToViewer(at, datagram));
        }
    }

    fn carry(&mut self, at: usize, event: &Event) {
        let far = if matches!(event, Event::ToRelay(..)) {
            Duration::ZERO
        } else {
            self.far[at]
        };

        let mut odds = |thousandths| self.dice.next() % 1000 < thousandths;
        let (lost, doubled, reordered) = (
            self.cut[at] || odds(self.link.lost),
            odds(self.link.doubled),
            odds(self.link.reordered),
        );

        let by_tcp = self.connections.contains_key(&at) && self.reliable;
        let is_media = matches!(event, Event::ToViewer(at, datagram)
            if !self.connections.contains_key(at) && DataHeader::of_media(datagram).is_some());
        if (lost && !by_tcp) || (is_media && self.media_cut) {
            return;
        }

        let late = Duration::from_micros(if reordered {
            self.dice.next() % 4000
        } else {
            0
        });

        for _ in 0..=u8::from(doubled) {
            self.at(self.now + ONE_WAY + far + late, event.clone());
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Send(at, datagram) => self.carry(at, &Event::ToRelay(at, datagram)),
                Output::Frame(arrived) => {
                    let id = arrived.whole.id;
                    self.bodies_wrong +=
                        u64::from(arrived.whole.body != body(id, arrived.whole.body.len()));
                    self.frames.push((self.now, id));
                    self.relayed = arrived.relayed;
                    if self.finds {
                        self.engine
                            .on_detection(&STREAM.parse().unwrap(), detection(id));
                    }

                    self.engine.recycle(arrived.whole.body);
                }
                Output::LinkState(link_state) => self.link_states.push((self.now, link_state)),
                Output::List(..) => panic!("no list was asked for"),
                Output::JoinGroup(at, group) => {
                    self.groups[at] = Some(group);
                    self.engine.on_group_joined(self.now, at, group);
                }
                Output::LeaveGroup(at) => self.groups[at] = None,
                Output::Credit(at, _, count) => {
                    let connection = self.connections.get_mut(&at).expect("it is one");
                    connection.credit += count;
                }
                Output::Transport(transport, _) => self.transports.push((self.now, transport)),
                Output::Direct(direct) => self.directs.push((self.now, *direct)),
            }
        }
    }

    fn restart_relay(&mut self, start: u64) {
        self.relays[0] = Some(MiniRelay::new(start));
    }

    fn relay(&mut self) -> &mut MiniRelay {
        self.relays[0]
            .as_mut()
            .expect("the test has not killed the relay")
    }

    /// When the first frame came whole after `moment`.
    fn first_frame_after(&self, moment: Time) -> Time {
        self.frames
            .iter()
            .map(|(when, _)| *when)
            .find(|when| *when > moment)
            .expect("frames come again")
    }

    /// The link state in force at `moment`.
    fn link_state_at(&self, moment: Time) -> LinkState {
        self.link_states
            .iter()
            .rev()
            .find(|(when, _)| *when <= moment)
            .map(|(_, s)| s.clone())
            .unwrap_or_default()
    }
}

fn detection(id: FrameId) -> Detection {
    Detection {
        epoch: id.epoch,
        number: id.number,
        confidence: 0.5,
        ..Detection::default()
    }
}

fn secret(seed: u64) -> [u8; 32] {
    std::array::from_fn(|i| (seed >> (i % 8)) as u8)
}

fn body(id: FrameId, length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| (i as u64 * 31 + id.number * 7 + id.epoch) as u8)
        .collect()
}
