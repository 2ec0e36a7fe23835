//! What the world keeps of each node.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::super::link::{Carrier, Link};
use super::super::monitor::{AmplificationGuard, Monitor};
use super::super::relay_node::Relay;
use super::super::source::Published;
use super::super::viewer_node::Viewer;
use super::super::{RelayConfig, ViewerConfig};
use crate::mutator::Mutator;
use crate::seeded::Random;

#[derive(Debug)]
pub(super) struct RelayNode {
    pub(super) config: RelayConfig,
    pub(super) life: Option<Relay>,
    pub(super) frozen: bool,
    pub(super) leg_cut: bool,
    /// The relays that it publishes for.
    pub(super) below: Vec<usize>,
    /// Datagrams in its socket while it stands still.
    pub(super) backlog: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Messages that wait meanwhile, and of which source or relay above each is.
    pub(super) held: VecDeque<(usize, Published)>,
    pub(super) amplification: AmplificationGuard,
    pub(super) due: Option<Duration>,
}

impl RelayNode {
    pub(super) fn new(config: RelayConfig, random: &mut Random) -> Self {
        Self {
            life: Some(Relay::new(random, config.access)),
            config,
            frozen: false,
            leg_cut: false,
            below: Vec::new(),
            backlog: VecDeque::new(),
            held: VecDeque::new(),
            amplification: AmplificationGuard::default(),
            due: None,
        }
    }

    pub(super) fn end(&mut self) {
        self.life = None;
        self.frozen = false;
        self.due = None;
        self.backlog.clear();
        self.held.clear();
        self.amplification = AmplificationGuard::default();
    }

    pub(super) fn freeze(&mut self) {
        if self.life.is_some() {
            self.frozen = true;
            self.due = None;
        }
    }

    /// Finds out when it wants to be called again.
    pub(super) fn reckon(&mut self, now: Duration) {
        let due = self
            .life
            .as_ref()
            .filter(|_| !self.frozen)
            .and_then(Relay::due);
        self.due = due.map(|due| self.config.clock.moment(due).max(now));
    }
}

#[derive(Debug)]
pub(super) struct ViewerNode {
    pub(super) config: ViewerConfig,
    pub(super) life: Option<Viewer>,
    pub(super) frozen: bool,
    pub(super) paths: Vec<Path>,
    /// Datagrams in its socket while it stands still, by path.
    pub(super) backlog: VecDeque<(usize, Vec<u8>)>,
    pub(super) watch: Monitor,
    pub(super) due: Option<Duration>,
    /// Who also gets what comes to it.
    pub(super) tapped_by: Option<usize>,
    /// A relay knows it no more.
    pub(super) expelled: bool,
}

impl ViewerNode {
    pub(super) fn new(config: ViewerConfig) -> Self {
        Self {
            life: None,
            frozen: false,
            paths: config
                .paths
                .iter()
                .map(|(relay, link)| Path::new(*relay, *link))
                .collect(),
            backlog: VecDeque::new(),
            watch: Monitor::default(),
            due: None,
            tapped_by: None,
            expelled: false,
            config,
        }
    }

    /// Whether it runs and does not stand still.
    pub(super) const fn acts(&self) -> bool {
        self.life.is_some() && !self.frozen
    }

    pub(super) fn begin(&mut self, now: Duration, random: &mut Random, number: usize) {
        self.life = Some(Viewer::new(random, number, &self.config));
        self.watch.begin_life(now);
        self.due = Some(now);
    }

    pub(super) fn end(&mut self, now: Duration) {
        self.check(now);
        if let Some(life) = self.life.take() {
            self.watch.end_life(&life.tally());
        }
        self.frozen = false;
        self.due = None;
        self.backlog.clear();
    }

    pub(super) fn freeze(&mut self, now: Duration) {
        self.check(now);
        if self.life.is_some() {
            self.frozen = true;
            self.due = None;
        }
    }

    /// What it says of its screen is true at `now`, if it can say anything.
    pub(super) fn check(&self, now: Duration) {
        if self.acts() {
            self.watch.check_state(now);
        }
    }

    /// Finds out when it wants to be called again.
    pub(super) fn reckon(&mut self, now: Duration) {
        let due = self
            .life
            .as_ref()
            .filter(|_| !self.frozen)
            .and_then(Viewer::due);
        self.due = due.map(|due| self.config.clock.moment(due).max(now));
    }
}

/// The way between a viewer and one of its relays.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) relay: usize,
    pub(super) address: SocketAddr,
    pub(super) up: Carrier,
    pub(super) down: Carrier,
    pub(super) seconds: Vec<(u64, u64)>,
    /// What went over it since it has been recorded, and in which direction.
    pub(super) record: Option<Vec<Recorded>>,
    /// Who tampers with what arrives, towards the relay and from it.
    pub(super) mutators: Option<[Mutator; 2]>,
    delay: Duration,
}

/// A datagram on a path.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub(super) at: Duration,
    pub(super) to_viewer: bool,
    pub(super) datagram: Vec<u8>,
}

impl Path {
    pub(super) fn note(&mut self, at: Duration, to_viewer: bool, datagram: &[u8]) {
        if let Some(record) = &mut self.record {
            record.push(Recorded {
                at,
                to_viewer,
                datagram: datagram.to_vec(),
            });
        }
    }

    /// What arrives in place of `datagram`.
    pub(super) fn tamper(&mut self, to_viewer: bool, datagram: Vec<u8>) -> Vec<Vec<u8>> {
        match &mut self.mutators {
            Some(mutators) => mutators[usize::from(to_viewer)].pass(datagram),
            None => vec![datagram],
        }
    }

    fn new(relay: usize, link: Link) -> Self {
        Self {
            relay,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            up: Carrier::new(link),
            down: Carrier::new(link),
            seconds: Vec::new(),
            record: None,
            mutators: None,
            delay: link.delay,
        }
    }

    /// As it was at first, but without any fault.
    pub(super) fn heal(&mut self) {
        self.up.link = Link::clean(self.delay);
        self.down.link = Link::clean(self.delay);
        self.mutators = None;
    }

    pub(super) fn carry_down(
        &mut self,
        second: usize,
        now: Duration,
        random: &mut Random,
        datagram: Vec<u8>,
        arrives: impl FnMut(Duration, Vec<u8>),
    ) {
        let missing = |carrier: &Carrier| carrier.carried.lost + carrier.carried.dropped;
        let before = missing(&self.down);
        self.down.carry(now, random, datagram, arrives);

        if self.seconds.len() <= second {
            self.seconds.resize(second + 1, (0, 0));
        }

        self.seconds[second].0 += 1;
        self.seconds[second].1 += missing(&self.down) - before;
    }
}

/// An address that nobody had before: the first of a path, or the next port of its NAT.
pub(super) fn next_address(viewer: usize, path: usize, former: SocketAddr) -> SocketAddr {
    let port = if former.port() == 0 {
        40_000
    } else {
        former.port() + 1
    };

    SocketAddr::from((
        [10, 1 + path as u8, (viewer >> 8) as u8, viewer as u8],
        port,
    ))
}
