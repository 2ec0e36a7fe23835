//! What may be done to a world.

use super::super::link::Link;
use super::super::relay_node::Relay;
use super::super::{Display, Node};
use super::nodes::{self, Path, Recorded};
use super::{Event, World};
use crate::mutator::Mutator;

impl World {
    /// Changes what the links of a path do, toward the relay and from it.
    pub fn set_links(&mut self, viewer: usize, path: usize, up: Link, down: Link) {
        let path = &mut self.viewers[viewer].paths[path];
        path.up.link = up;
        path.down.link = down;
    }

    /// Cuts a path in both directions, or joins it again.
    pub fn cut(&mut self, viewer: usize, path: usize, cut: bool) {
        let path = &mut self.viewers[viewer].paths[path];
        path.up.link.cut = cut;
        path.down.link.cut = cut;
    }

    /// Cuts a relay from the sources, or joins it again.
    pub fn cut_leg(&mut self, relay: usize, cut: bool) {
        self.relays[relay].leg_cut = cut;
    }

    /// The viewer's datagrams on this path come from another address from now on, and nobody is at the former one.
    pub fn rebind(&mut self, viewer: usize, path: usize) {
        let node = &mut self.viewers[viewer].paths[path];
        self.addresses.remove(&node.address);
        node.address = nodes::next_address(viewer, path, node.address);
        self.addresses.insert(node.address, (viewer, path));
    }

    /// A source's camera stops delivering, or delivers again.
    pub fn capture(&mut self, source: usize, capturing: bool) {
        self.sources[source].capturing = capturing;
    }

    /// A source's pictures cannot be decoded, or can again.
    pub fn damage(&mut self, source: usize, damaged: bool) {
        self.sources[source].damaged = damaged;
    }

    /// Changes what a viewer's display does in this life.
    pub fn set_display(&mut self, viewer: usize, display: Display) {
        if let Some(life) = &mut self.viewers[viewer].life {
            life.display = display;
        }
    }

    /// Moves the wall clock of a node; what it measures time by is another clock.
    pub fn step_wall(&mut self, node: Node, nanos: i64) {
        let clock = match node {
            Node::Source(at) => &mut self.sources[at].config.clock,
            Node::Relay(at) => &mut self.relays[at].config.clock,
            Node::Viewer(at) => &mut self.viewers[at].config.clock,
        };

        clock.wall_offset_ns = clock.wall_offset_ns.saturating_add(nanos);
    }

    /// Ends a node without a word (SIGKILL).
    pub fn kill(&mut self, node: Node) {
        match node {
            Node::Source(at) => self.sources[at].alive = false,
            Node::Relay(at) => self.relays[at].end(),
            Node::Viewer(at) => self.viewers[at].end(self.now),
        }
        self.plan(node);
    }

    /// Lets a relay end with farewells (SIGTERM).
    pub fn stop_relay(&mut self, relay: usize) {
        let node = &mut self.relays[relay];
        if let Some(life) = node.life.as_mut().filter(|_| !node.frozen) {
            life.shut_down();
            self.take_from_relay(relay);
        }

        self.kill(Node::Relay(relay));
    }

    /// Starts a node that has ended, with a memory of nothing.
    pub fn start(&mut self, node: Node) {
        self.kill(node);
        match node {
            Node::Source(at) => self.sources[at].start(self.now),
            Node::Relay(at) => {
                let access = self.relays[at].config.access;
                self.relays[at].life = Some(Relay::new(&mut self.random, access));
                self.relays[at].reckon(self.now);
                self.publish_below(at);
            }
            Node::Viewer(at) => {
                let Self {
                    now,
                    random,
                    viewers,
                    ..
                } = self;
                viewers[at].begin(*now, random, at);
            }
        }
        self.plan(node);
    }

    /// Lets a node stand still (SIGSTOP): what comes waits, as far as there is room.
    pub fn freeze(&mut self, node: Node) {
        match node {
            Node::Source(at) => self.sources[at].frozen = true,
            Node::Relay(at) => self.relays[at].freeze(),
            Node::Viewer(at) => self.viewers[at].freeze(self.now),
        }
        self.plan(node);
    }

    /// Lets a node go on (SIGCONT).
    pub fn thaw(&mut self, node: Node) {
        match node {
            Node::Source(at) => self.sources[at].frozen = false,
            Node::Relay(at) => self.thaw_relay(at),
            Node::Viewer(at) => self.thaw_viewer(at),
        }
    }

    /// A relay draws a new key for its media.
    pub fn rotate_key(&mut self, relay: usize) {
        let node = &mut self.relays[relay];
        if let Some(life) = &mut node.life {
            life.rotate_key(node.config.clock.read(self.now));
            self.take_from_relay(relay);
        }
    }

    /// A relay forgets the key of a viewer.
    pub fn expel(&mut self, relay: usize, viewer: usize) {
        self.viewers[viewer].expelled = true;
        let node = &mut self.relays[relay];
        if let Some(life) = &mut node.life {
            life.expel(node.config.clock.read(self.now), viewer);
            self.take_from_relay(relay);
        }
    }

    /// Whether a relay has forgotten the key of a viewer.
    #[must_use]
    pub fn is_expelled(&self, viewer: usize) -> bool {
        self.viewers[viewer].expelled
    }

    /// What comes to a viewer also comes to another one, as if it listened on the wire.
    pub fn tap(&mut self, viewer: usize, by: usize) {
        self.viewers[viewer].tapped_by = Some(by);
    }

    /// Somebody without a key sits on a path, in both directions, and alters, replays, drops and swaps fields.
    pub fn mutate(&mut self, viewer: usize, path: usize) {
        let seeds = [self.random.number(), self.random.number()];
        self.viewers[viewer].paths[path].mutators = Some(seeds.map(Mutator::new));
    }

    /// What arrives in place of a datagram that went over a path.
    pub(super) fn tampered(
        &mut self,
        path: Option<(usize, usize)>,
        to_viewer: bool,
        datagram: Vec<u8>,
    ) -> Vec<Vec<u8>> {
        match path {
            Some((viewer, path)) => self.viewers[viewer].paths[path].tamper(to_viewer, datagram),
            None => vec![datagram],
        }
    }

    /// Remembers what arrives over a path from now on.
    pub fn record(&mut self, viewer: usize, path: usize) {
        self.viewers[viewer].paths[path].record = Some(Vec::new());
    }

    /// Lets all that was recorded of a path arrive once more, from now on and at the same intervals.
    pub fn replay(&mut self, viewer: usize, path: usize) {
        let node = &mut self.viewers[viewer].paths[path];
        let relay = node.relay;
        let address = node.address;
        let record = node.record.take().unwrap_or_default();

        let Some(begin) = record.first().map(|first| first.at) else {
            return;
        };

        for Recorded {
            at,
            to_viewer,
            datagram,
        } in record
        {
            let event = match to_viewer {
                true => Event::ToViewer {
                    to: address,
                    datagram,
                },
                false => Event::ToRelay {
                    relay,
                    from: address,
                    datagram,
                },
            };

            self.schedule(self.now + (at - begin), event);
        }
    }

    /// Ends every fault: links lose nothing, and every node runs.
    pub fn heal(&mut self) {
        for source in 0..self.sources.len() {
            if !self.sources[source].alive {
                self.start(Node::Source(source));
            }

            self.thaw(Node::Source(source));
            self.capture(source, true);
            self.damage(source, false);
        }

        for relay in 0..self.relays.len() {
            if self.relays[relay].life.is_none() {
                self.start(Node::Relay(relay));
            }

            self.thaw(Node::Relay(relay));
            self.cut_leg(relay, false);
        }

        for viewer in 0..self.viewers.len() {
            self.viewers[viewer].paths.iter_mut().for_each(Path::heal);
            if self.viewers[viewer].life.is_none() {
                self.start(Node::Viewer(viewer));
            }

            self.thaw(Node::Viewer(viewer));
            self.set_display(viewer, Display::Shows);
        }
    }

    /// Of each viewer that runs, every frame is whole or lost for one reason. To be asked when the last frame is whole.
    ///
    /// # Panics
    /// When that does not hold.
    pub fn check_sums(&self) {
        for viewer in &self.viewers {
            if let Some(life) = &viewer.life {
                viewer.watch.check_sum(&life.tally());
            }
        }
    }

    /// What the link to a viewer did in each second: datagrams offered, and of those not delivered.
    #[must_use]
    pub fn seconds(&self, viewer: usize, path: usize) -> &[(u64, u64)] {
        &self.viewers[viewer].paths[path].seconds
    }

    fn thaw_relay(&mut self, relay: usize) {
        let node = &mut self.relays[relay];
        if !std::mem::take(&mut node.frozen) {
            return;
        }

        let held = std::mem::take(&mut node.held);
        let backlog = std::mem::take(&mut node.backlog);
        for (origin, published) in held {
            self.message_at_relay(relay, origin, published);
        }

        for (from, datagram) in backlog {
            self.at_relay(relay, from, datagram);
        }

        self.tick_relay(relay);
    }

    fn thaw_viewer(&mut self, viewer: usize) {
        let node = &mut self.viewers[viewer];
        if !std::mem::take(&mut node.frozen) {
            return;
        }

        node.watch.thaw(self.now);
        for (path, datagram) in std::mem::take(&mut node.backlog) {
            self.viewer_takes(viewer, path, datagram);
        }

        self.tick_viewer(viewer);
    }
}
