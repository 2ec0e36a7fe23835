//! The real relay on a simulated network: its engine, its fan-out in time and its inbox, as relay.rs joins them. All
//! that the simulator knows of their interfaces stands here.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fanlight_live::{Downstream, EngineFeed, LiveFrame, StreamTable, ViewerEntry};
use fanlight_proto::clock::Time;
use fanlight_proto::handshake::{PrivateKey, RelayAccess};
use fanlight_proto::limits::{MAX_FRAME_BYTES, SOURCE_STALE};
use fanlight_proto::message::{ViewerVerdict, parse_frame};
use fanlight_relay::config::Gso;
use fanlight_relay::engine::{Engine, EngineConfig, Output, Route};
use fanlight_relay::udp::{GsoBatch, NextRun, Refused, Sender, Wire};

use super::Access;
use super::source::Published;
use crate::seeded::Random;

/// Datagrams that the kernel takes as a train.
const SEGMENTS: usize = 64;

/// The loop comes to rest within so many turns, or it spins.
const MAX_TURNS: usize = 100_000;

/// Viewers whose keys a relay knows: no case has more.
const LISTED: usize = 16;

/// The private key of every relay, and of viewer `number`.
pub(super) fn relay_key() -> PrivateKey {
    PrivateKey::new([200; 32])
}

/// See [`relay_key`].
pub(super) fn viewer_key(number: usize) -> PrivateKey {
    PrivateKey::new([u8::try_from(number + 1).expect("no case has so many viewers"); 32])
}

fn lets_in(access: Access, listed: &[usize]) -> RelayAccess {
    let viewer = |number: &usize| (viewer_key(*number).public(), format!("viewer {number}"));
    match access {
        Access::Open => RelayAccess::Open,
        Access::Keys => RelayAccess::Keys {
            own: relay_key(),
            viewers: listed.iter().map(viewer).collect(),
        },
    }
}

/// A relay from its start to its end.
#[derive(Debug)]
pub(super) struct Relay {
    engine: Engine,
    sender: Sender,
    table: Arc<StreamTable>,
    feed: EngineFeed,
    wire: Egress,
    turn: NextRun,
    /// The viewers whose keys it knows.
    listed: Vec<usize>,
    /// What goes on to relays below.
    passed_on: Arc<PassedOn>,
}

/// What a relay publishes.
#[derive(Debug)]
struct PassedOn {
    relay: u64,
    published: Mutex<Vec<Published>>,
}

impl Downstream for PassedOn {
    fn on_frame(&self, frame: &LiveFrame) {
        let published = Published {
            topic: frame.route.through(self.relay).topic(frame.stream.topic()),
            body: frame.body.clone(),
        };
        let mut all = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.push(published);
    }

    fn on_verdicts(&self, _: &[ViewerVerdict]) {}
}

/// Datagrams that leave.
#[derive(Debug, Default)]
struct Egress(RefCell<Vec<(SocketAddr, Vec<u8>)>>);

impl Wire for Egress {
    fn send(&self, train: GsoBatch<'_>) -> Result<(), Refused> {
        let datagrams = train
            .bytes
            .chunks(train.segment.unwrap_or(train.bytes.len()).max(1));
        self.0
            .borrow_mut()
            .extend(datagrams.map(|datagram| (train.to.remote, datagram.to_vec())));
        Ok(())
    }

    fn has_dedicated_socket(&self, _to: SocketAddr) -> bool {
        false
    }
}

impl Relay {
    pub(super) fn new(random: &mut Random, access: Access) -> Self {
        let mut seed = [0; 32];
        seed.copy_from_slice(&random.bytes(32));
        let listed: Vec<usize> = (0..LISTED).collect();
        let table = StreamTable::new(SOURCE_STALE);
        let passed_on = Arc::new(PassedOn {
            relay: table.relay(),
            published: Mutex::default(),
        });
        Self {
            engine: Engine::new(EngineConfig::default(), lets_in(access, &listed), seed),
            sender: Sender::new(Gso::On, SEGMENTS),
            feed: EngineFeed::new(Arc::clone(&table)),
            table,
            wire: Egress::default(),
            turn: NextRun::Idle,
            listed,
            passed_on,
        }
    }

    /// Publishes for relays below from now on.
    pub(super) fn publish(&self) {
        let passed_on = Arc::clone(&self.passed_on);
        self.table.set_downstream(passed_on);
    }

    /// What it has published since it was asked last.
    pub(super) fn published(&self) -> Vec<Published> {
        let published = self.passed_on.published.lock();
        std::mem::take(&mut *published.unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn on_datagram(&mut self, now: Time, from: SocketAddr, datagram: &mut [u8]) {
        self.engine.on_datagram(
            now,
            Route {
                remote: from,
                local: None,
            },
            datagram,
        );

        self.run(now);
    }

    /// A message of source `origin`, or of a relay above.
    pub(super) fn on_message(&mut self, now: Time, origin: usize, topic: &[u8], body: &Bytes) {
        let frame = parse_frame(topic, body.clone(), MAX_FRAME_BYTES)
            .expect("a source sends what a relay takes");
        // Another source that has the stream is refused, and that is counted nowhere.
        let _ = self.table.publish(origin, frame, body.clone(), now);
        self.run(now);
    }

    pub(super) fn on_tick(&mut self, now: Time) {
        self.engine.on_tick(now);
        self.run(now);
    }

    pub(super) fn due(&self) -> Option<Time> {
        self.engine
            .next_deadline()
            .into_iter()
            .chain(self.turn.time())
            .min()
    }

    /// The next datagram that leaves, and where to.
    pub(super) fn sent(&mut self) -> impl Iterator<Item = (SocketAddr, Vec<u8>)> + use<> {
        self.wire.0.take().into_iter()
    }

    /// What happened, by the names that its captures use.
    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        let counts = self.engine.counts();
        let sent = self.sender.counts();
        vec![
            ("aborted", sent.aborted + sent.failed),
            ("frames", counts.frames),
            ("frames_sent", counts.frames_sent),
            ("joins", counts.joins),
            ("repairs_asked", counts.repairs_asked),
            ("repairs_sent", counts.repairs_sent),
        ]
    }

    /// How many viewers it serves.
    pub(super) fn viewers(&self) -> usize {
        self.engine.viewers()
    }

    /// What `/api/viewers` and the metrics say of the screens.
    pub(super) fn screens(&self, now: Time) -> Vec<ViewerEntry> {
        self.engine.status(now).viewers
    }

    /// Draws a new key for the media.
    pub(super) fn rotate_key(&mut self, now: Time) {
        self.engine.rotate_keys(now);
        self.run(now);
    }

    /// Forgets the key of a viewer, as when its line is taken out of the list of viewers.
    pub(super) fn expel(&mut self, now: Time, viewer: usize) {
        self.listed.retain(|listed| *listed != viewer);
        self.engine
            .set_access(now, lets_in(Access::Keys, &self.listed));
        self.run(now);
    }

    /// Stops as on SIGTERM: what leaves are farewells.
    pub(super) fn shut_down(&mut self) {
        self.engine.shut_down();
        self.take_outputs(Time::default());
    }

    /// Everything that can be done now.
    fn run(&mut self, now: Time) {
        self.take_outputs(now);
        for _ in 0..MAX_TURNS {
            self.feed
                .set_watched(|stream| self.engine.has_viewers(stream));
            loop {
                let Self {
                    engine,
                    sender,
                    feed,
                    ..
                } = self;

                let busy =
                    |stream: &_| engine.alias(stream).is_some_and(|alias| sender.busy(alias));
                let Some(arrival) = feed.next_arrival(busy) else {
                    break;
                };

                self.engine.on_arrival(now, &arrival);
                self.take_outputs(now);
            }

            let before = self.sender.in_flight();
            self.turn = self.sender.run(now, &self.wire);
            while let Some(aborted) = self.sender.take_aborted() {
                self.engine.on_aborted(aborted.to, aborted.begun);
            }

            if self.turn != NextRun::Again && self.sender.in_flight() == before {
                return;
            }
        }

        panic!("the relay spins");
    }

    fn take_outputs(&mut self, now: Time) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Send { to, datagram } => self.sender.send(&self.wire, to, &datagram),
                Output::Transmit(fan) => self.sender.start(now, fan),
                Output::Retransmit(resend) => self.sender.retransmit(&self.wire, &resend),
                Output::Progress(progress) => self.sender.on_progress(&progress),
                // The simulated wire never fills.
                Output::Isolate(_) | Output::Rejoin(_) | Output::Feedback { .. } => {}
            }
        }
    }
}
