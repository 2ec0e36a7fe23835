//! The world: nodes, the links between them, and the one clock and the one random generator that decide everything.

mod faults;
mod nodes;
mod timetable;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use fanlight_proto::datagram::ToViewer;
use fanlight_proto::message::FrameId;

use super::link::Carried;
use super::monitor::Monitor;
use super::relay_node::Relay;
use super::source::{Published, SourceConfig, SourceNode};
use super::viewer_node::{Viewer, ViewerCounts, ViewerOutput};
use super::{Node, RelayConfig, ViewerConfig};
use crate::seeded::Random;
use nodes::{Path, RelayNode, ViewerNode};
use timetable::Timetable;

/// Datagrams that the relay's socket holds while the relay stands still: 4 MiB at 2304 bytes each.
const RELAY_CAPACITY: usize = 1820;

/// See [`World::check_oracle`].
const SCREEN_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// See [`World::check_oracle`].
const RELAY_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Messages of a source that wait for a relay that stands still: the source's queue.
const LEG_CAPACITY: usize = 2;

/// See the module.
#[derive(Debug)]
pub struct World {
    now: Duration,
    random: Random,
    events: BinaryHeap<Reverse<Scheduled>>,
    sequence: u64,
    timetable: Timetable,
    sources: Vec<SourceNode>,
    relays: Vec<RelayNode>,
    viewers: Vec<ViewerNode>,
    /// Who is where at present.
    addresses: HashMap<SocketAddr, (usize, usize)>,
    trace: Option<Vec<Trace>>,
    handled: u64,
    /// When the oracle looks at all screens next, and compares what relays say.
    screens_due: Duration,
    relays_due: Duration,
}

/// One thing that a node did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// When.
    pub at: Duration,
    /// Who.
    pub node: Node,
    /// What.
    pub what: What,
}

/// See [`Trace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A datagram of so many bytes left.
    Sent(usize),
    /// A frame was given out.
    Frame(FrameId),
    /// The signal changed.
    Signal(&'static str),
}

#[derive(Debug)]
struct Scheduled {
    at: Duration,
    sequence: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

#[derive(Debug)]
enum Event {
    ToRelay {
        relay: usize,
        from: SocketAddr,
        datagram: Vec<u8>,
    },
    ToViewer {
        to: SocketAddr,
        datagram: Vec<u8>,
    },
    Refused {
        to: SocketAddr,
    },
    Message {
        relay: usize,
        /// The source, or a number beyond those of sources: a relay above.
        origin: usize,
        published: Published,
    },
}

impl World {
    /// A world with these nodes, all of them running. What happens in it follows from `seed`.
    #[must_use]
    pub fn new(
        seed: u64,
        sources: &[SourceConfig],
        relays: &[RelayConfig],
        viewers: &[ViewerConfig],
    ) -> Self {
        let mut random = Random::new(seed);
        let sources = sources
            .iter()
            .map(|config| SourceNode::new(config.clone(), random.number()))
            .collect();

        let relays = relays
            .iter()
            .map(|config| RelayNode::new(config.clone(), &mut random))
            .collect();

        let viewers: Vec<_> = viewers
            .iter()
            .map(|config| ViewerNode::new(config.clone()))
            .collect();

        let mut world = Self {
            now: Duration::ZERO,
            random,
            events: BinaryHeap::new(),
            sequence: 0,
            timetable: Timetable::default(),
            sources,
            relays,
            viewers,
            addresses: HashMap::new(),
            trace: None,
            handled: 0,
            screens_due: Duration::ZERO,
            relays_due: Duration::ZERO,
        };

        for source in 0..world.sources.len() {
            world.plan(Node::Source(source));
        }

        for relay in 0..world.relays.len() {
            for above in world.relays[relay].config.above.clone() {
                world.relays[above].below.push(relay);
            }
        }

        for relay in 0..world.relays.len() {
            world.publish_below(relay);
        }

        for viewer in 0..world.viewers.len() {
            for path in 0..world.viewers[viewer].paths.len() {
                world.rebind(viewer, path);
            }

            world.start(Node::Viewer(viewer));
        }

        world
    }

    /// Remembers all that nodes do from now on.
    pub fn keep_trace(&mut self) {
        self.trace = Some(Vec::new());
    }

    /// What the nodes did since [`World::keep_trace`].
    #[must_use]
    pub fn trace(&self) -> &[Trace] {
        self.trace.as_deref().unwrap_or_default()
    }

    /// The present.
    #[must_use]
    pub const fn now(&self) -> Duration {
        self.now
    }

    /// Events that have happened: the work that it was.
    #[must_use]
    pub const fn handled(&self) -> u64 {
        self.handled
    }

    /// What is known of a viewer.
    #[must_use]
    pub fn watch(&self, viewer: usize) -> &Monitor {
        &self.viewers[viewer].watch
    }

    /// What a viewer counted in its present life.
    #[must_use]
    pub fn tally(&self, viewer: usize) -> ViewerCounts {
        self.viewers[viewer]
            .life
            .as_ref()
            .map(Viewer::tally)
            .unwrap_or_default()
    }

    /// How many viewers there are.
    #[must_use]
    pub const fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// What the link from the relay to a viewer did so far.
    #[must_use]
    pub fn carried(&self, viewer: usize, path: usize) -> Carried {
        self.viewers[viewer].paths[path].down.carried
    }

    /// How many viewers a relay serves.
    #[must_use]
    pub fn served(&self, relay: usize) -> usize {
        self.relays[relay].life.as_ref().map_or(0, Relay::viewers)
    }

    /// All frames that a source has published, and when.
    #[must_use]
    pub fn frames_of(&self, source: usize) -> &[(Duration, FrameId)] {
        self.sources[source].frames()
    }

    /// Frames that a source published in a span of time.
    pub fn published(
        &self,
        source: usize,
        from: Duration,
        to: Duration,
    ) -> impl Iterator<Item = FrameId> {
        self.sources[source].published_between(from, to)
    }

    /// Lets time pass until `end`.
    pub fn run_until(&mut self, end: Duration) {
        while let Some((at, next)) = self.next().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.handled += 1;

            match next {
                Next::Event => {
                    if let Some(Reverse(scheduled)) = self.events.pop() {
                        self.handle(scheduled.event);
                    }
                }
                Next::Node(Node::Source(source)) => self.publish(source),
                Next::Node(Node::Relay(relay)) => self.tick_relay(relay),
                Next::Node(Node::Viewer(viewer)) => self.tick_viewer(viewer),
            }

            self.check_oracle();
        }

        self.now = self.now.max(end);
        self.check_screens();
        self.check_oracle();
    }

    /// What viewers and relays say of the screens agrees with what is on them, but for [`LONGEST_LIE`]. A viewer is checked
    /// before each change of what is on its screen or said of it, and between changes as often as this.
    /// Relays are asked ten times a second, because their answer is long.
    ///
    /// [`LONGEST_LIE`]: super::LONGEST_LIE
    fn check_oracle(&mut self) {
        if self.now >= self.screens_due {
            self.screens_due = self.now + SCREEN_CHECK_INTERVAL;
            self.check_screens();
        }

        if self.now < self.relays_due {
            return;
        }

        self.relays_due = self.now + RELAY_CHECK_INTERVAL;
        for relay in self.relays.iter().filter(|relay| !relay.frozen) {
            let Some(life) = &relay.life else { continue };
            for screen in life.screens(relay.config.clock.read(self.now)) {
                if let Some((viewer, _)) = self.addresses.get(&screen.address) {
                    self.viewers[*viewer].watch.check_relay(self.now, &screen);
                }
            }
        }
    }

    fn check_screens(&self) {
        let viewers = self.viewers.iter();
        viewers.for_each(|viewer| viewer.check(self.now));
    }

    /// What happens next, and when. What is on its way comes before nodes that want to be called at the same moment.
    fn next(&self) -> Option<(Duration, Next)> {
        let event = self
            .events
            .peek()
            .map(|Reverse(scheduled)| (scheduled.at, Next::Event));
        let node = self.timetable.first();
        let node = node.map(|(at, node)| (at, Next::Node(node)));
        event.into_iter().chain(node).min_by_key(|(at, _)| *at)
    }

    /// Notes when a node wants to be called. To be called after everything that may change that.
    fn plan(&mut self, node: Node) {
        let due = match node {
            Node::Source(at) => Some(self.sources[at].next),
            Node::Relay(at) => self.relays[at].due,
            Node::Viewer(at) => self.viewers[at].due,
        };
        self.timetable.set(node, due);
    }

    fn schedule(&mut self, at: Duration, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse(Scheduled {
            at,
            sequence: self.sequence,
            event,
        }));
    }

    fn note(&mut self, node: Node, what: What) {
        if let Some(trace) = &mut self.trace {
            trace.push(Trace {
                at: self.now,
                node,
                what,
            });
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::ToRelay {
                relay,
                from,
                datagram,
            } => {
                let path = self.addresses.get(&from).copied();
                for datagram in self.tampered(path, false, datagram) {
                    self.at_relay(relay, from, datagram);
                }
            }
            Event::ToViewer { to, datagram } => {
                let path = self.addresses.get(&to).copied();
                for datagram in self.tampered(path, true, datagram) {
                    self.at_viewer(to, datagram);
                }
            }
            Event::Refused { to } => {
                let Some(&(viewer, path)) = self.addresses.get(&to) else {
                    return;
                };

                let node = &mut self.viewers[viewer];
                if let Some(life) = node.life.as_mut().filter(|_| !node.frozen) {
                    life.on_refused(node.config.clock.read(self.now), path);
                    self.take_from_viewer(viewer);
                }
            }
            Event::Message {
                relay,
                origin,
                published,
            } => self.message_at_relay(relay, origin, published),
        }
    }

    fn publish(&mut self, source: usize) {
        let published = self.sources[source].turn(self.now);
        self.plan(Node::Source(source));
        let Some(published) = published else { return };

        for relay in 0..self.relays.len() {
            let node = &self.relays[relay];
            if !node.leg_cut && node.config.above.is_empty() {
                self.schedule(
                    self.now + node.config.leg,
                    Event::Message {
                        relay,
                        origin: source,
                        published: published.clone(),
                    },
                );
            }
        }
    }

    fn message_at_relay(&mut self, relay: usize, origin: usize, published: Published) {
        let node = &mut self.relays[relay];
        let now = node.config.clock.read(self.now);
        let Some(life) = &mut node.life else { return };

        if node.frozen {
            if node.held.len() == LEG_CAPACITY {
                node.held.pop_front();
            }

            node.held.push_back((origin, published));
            return;
        }

        life.on_message(now, origin, &published.topic, &published.body);
        self.take_from_relay(relay);
    }

    fn at_relay(&mut self, relay: usize, from: SocketAddr, mut datagram: Vec<u8>) {
        if let Some(&(viewer, path)) = self.addresses.get(&from) {
            self.viewers[viewer].paths[path].note(self.now, false, &datagram);
        }

        let node = &mut self.relays[relay];
        let now = node.config.clock.read(self.now);

        let Some(life) = &mut node.life else {
            // The relay's host says so (ICMP port unreachable), over the same link.
            let back = self
                .addresses
                .get(&from)
                .map(|(viewer, path)| &self.viewers[*viewer].paths[*path].down.link);

            if let Some(link) = back.filter(|link| !link.cut) {
                self.schedule(self.now + link.delay, Event::Refused { to: from });
            }

            return;
        };

        if node.frozen {
            if node.backlog.len() < RELAY_CAPACITY {
                node.backlog.push_back((from, datagram));
            }

            return;
        }

        node.amplification.on_received(from, &datagram);
        life.on_datagram(now, from, &mut datagram);
        self.take_from_relay(relay);
    }

    fn tick_relay(&mut self, relay: usize) {
        let node = &mut self.relays[relay];
        if let Some(life) = &mut node.life {
            life.on_tick(node.config.clock.read(self.now));
        }

        self.take_from_relay(relay);
    }

    fn take_from_relay(&mut self, relay: usize) {
        let Some(life) = &mut self.relays[relay].life else {
            return;
        };

        for (to, datagram) in life.sent() {
            self.relays[relay].amplification.on_sent(to, &datagram);
            self.note(Node::Relay(relay), What::Sent(datagram.len()));
            let Some(&(viewer, path)) = self.addresses.get(&to) else {
                continue;
            };

            let Self {
                now,
                random,
                events,
                sequence,
                viewers,
                ..
            } = self;

            let second = now.as_secs() as usize;
            viewers[viewer].paths[path].carry_down(
                second,
                *now,
                random,
                datagram,
                |at, datagram| {
                    *sequence += 1;
                    events.push(Reverse(Scheduled {
                        at,
                        sequence: *sequence,
                        event: Event::ToViewer { to, datagram },
                    }));
                },
            );
        }

        self.relays[relay].reckon(self.now);
        self.plan(Node::Relay(relay));
        self.pass_on(relay);
    }

    /// Sends what a relay has published to the relays below it.
    fn pass_on(&mut self, relay: usize) {
        let life = self.relays[relay].life.as_ref();
        // Below, each relay above is a source of its own.
        let origin = self.sources.len() + relay;
        for published in life.map(Relay::published).unwrap_or_default() {
            for at in 0..self.relays[relay].below.len() {
                let below = self.relays[relay].below[at];
                let node = &self.relays[below];
                if !node.leg_cut {
                    let published = published.clone();
                    let message = Event::Message {
                        relay: below,
                        origin,
                        published,
                    };
                    self.schedule(self.now + node.config.leg, message);
                }
            }
        }
    }

    /// Has a relay publish, if there are relays below it.
    fn publish_below(&self, relay: usize) {
        let node = &self.relays[relay];
        if let Some(life) = node.life.as_ref().filter(|_| !node.below.is_empty()) {
            life.publish();
        }
    }

    fn at_viewer(&mut self, to: SocketAddr, datagram: Vec<u8>) {
        // Nobody is at an address that has been left.
        let Some(&(viewer, path)) = self.addresses.get(&to) else {
            return;
        };

        self.viewers[viewer].paths[path].note(self.now, true, &datagram);
        if let Some(by) = self.viewers[viewer].tapped_by {
            self.deliver(by, path, datagram.clone());
        }

        self.deliver(viewer, path, datagram);
    }

    fn deliver(&mut self, viewer: usize, path: usize, datagram: Vec<u8>) {
        let node = &mut self.viewers[viewer];
        if node.life.is_none() {
            return;
        }

        if node.frozen {
            if node.backlog.len() < node.config.capacity as usize {
                node.backlog.push_back((path, datagram));
            }

            return;
        }

        self.viewer_takes(viewer, path, datagram);
    }

    fn viewer_takes(&mut self, viewer: usize, path: usize, mut datagram: Vec<u8>) {
        let node = &mut self.viewers[viewer];
        let now = node.config.clock.read(self.now);
        let Some(life) = &mut node.life else { return };
        let media = match ToViewer::parse(&datagram) {
            Ok(ToViewer::Data(header, _)) => Some((header, life.tally())),
            _ => None,
        };

        life.on_datagram(now, path, &mut datagram);
        if let Some((header, before)) = media {
            let (id, after) = (header.id, life.tally());
            let is_parity = header.index >= header.shards;
            let run = self
                .sources
                .iter()
                .find_map(|source| source.run_of(id.epoch));

            if after.counts.late > before.counts.late {
                node.watch.on_late(id);
            } else if after.foreign == before.foreign {
                let run = run.expect("no shard is forged");
                node.watch.on_shard(id, run, is_parity);
            }
        }

        self.take_from_viewer(viewer);
    }

    fn tick_viewer(&mut self, viewer: usize) {
        let node = &mut self.viewers[viewer];
        if let Some(life) = &mut node.life {
            life.on_tick(node.config.clock.read(self.now));
        }

        self.take_from_viewer(viewer);
    }

    fn take_from_viewer(&mut self, viewer: usize) {
        while let Some(given) = self.viewers[viewer].life.as_mut().and_then(Viewer::poll) {
            match given {
                ViewerOutput::Send { path, datagram } => self.send_up(viewer, path, datagram),
                ViewerOutput::Frame { id, body } => {
                    let mut sources = self.sources.iter();
                    let Some(decodes) = sources.find_map(|source| source.decodes(id, &body)) else {
                        panic!("viewer {viewer} gave out {id} with other bytes than published");
                    };

                    self.note(Node::Viewer(viewer), What::Frame(id));
                    let node = &mut self.viewers[viewer];
                    node.watch.on_frame(self.now, id);

                    if let Some(life) = &mut node.life {
                        if life.present(decodes) {
                            node.watch.on_shown(self.now);
                        }
                        life.recycle(body);
                    }
                }
                ViewerOutput::Signal { word } => {
                    self.note(Node::Viewer(viewer), What::Signal(word));
                    self.viewers[viewer].watch.on_signal(self.now, word);
                }
            }
        }

        self.viewers[viewer].reckon(self.now);
        self.plan(Node::Viewer(viewer));
    }

    fn send_up(&mut self, viewer: usize, path: usize, datagram: Vec<u8>) {
        self.note(Node::Viewer(viewer), What::Sent(datagram.len()));
        let Self {
            now,
            random,
            events,
            sequence,
            viewers,
            ..
        } = self;

        let Path {
            relay, address, up, ..
        } = &mut viewers[viewer].paths[path];
        let relay = *relay;
        let from = *address;
        up.carry(*now, random, datagram, |at, datagram| {
            *sequence += 1;
            let event = Event::ToRelay {
                relay,
                from,
                datagram,
            };

            events.push(Reverse(Scheduled {
                at,
                sequence: *sequence,
                event,
            }));
        });
    }
}

#[derive(Clone, Copy, Debug)]
enum Next {
    Event,
    Node(Node),
}
