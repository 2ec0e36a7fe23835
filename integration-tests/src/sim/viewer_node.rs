//! The real viewer's engine on a simulated network. All that the simulator knows of its interface stands here.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::handshake::ViewerAccess;
use fanlight_proto::limits::MAX_FRAME_BYTES;
use fanlight_proto::message::{FrameId, NotShown};
use fanlight_proto::reassembly::{Counts, Losses};
use fanlight_viewer::engine::{
    Carrier, Engine, EngineConfig, LinkState, Output, Presentation, Redundancy, Request,
};

use super::relay_node::{relay_key, viewer_key};
use super::{Access, Display, ViewerConfig};
use crate::seeded::Random;

/// A sealed session has a new handshake after so long at most: much more often than anywhere else, so that every case has
/// some.
pub(super) const REKEYED_EACH: Duration = Duration::from_secs(1);

/// As often as the receiver's thread, the engine is told what became of its frames.
const SUMMARY_INTERVAL: Duration = Duration::from_millis(100);

/// What a viewer wants done or gives out.
#[derive(Debug)]
pub(super) enum ViewerOutput {
    /// A datagram for the relay at the end of a path.
    Send { path: usize, datagram: Vec<u8> },
    /// A whole frame.
    Frame { id: FrameId, body: Vec<u8> },
    /// The signal is now this.
    Signal { word: &'static str },
}

/// What a viewer counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViewerCounts {
    /// Sessions opened.
    pub joins: u64,
    /// Handshakes that gave a session another channel.
    pub renewals: u64,
    /// Datagrams that are none of ours.
    pub foreign: u64,
    /// What became of the shards.
    pub counts: Counts,
    /// Frames lost, by reason.
    pub losses: Losses,
    /// The round trip to the relay.
    pub round_trip: Option<Duration>,
}

impl ViewerCounts {
    /// Frames lost, but those that the relay withheld to keep within what the way can take, or may yet say so of.
    #[must_use]
    pub fn lost_for_good(&self) -> u64 {
        self.losses.total() - self.losses.skipped - self.losses.link
    }
}

/// A viewer from its start to its end.
#[derive(Debug)]
pub(super) struct Viewer {
    engine: Engine,
    /// What its display does with frames.
    pub(super) display: Display,
    /// Frames that it says it showed, when the last, and why those since then were rejected.
    shown: u64,
    last_shown: Option<Time>,
    rejected: Option<NotShown>,
    summary_due: Time,
    now: Time,
}

impl Viewer {
    /// Viewer `number`, which shows whatever there is. The number is also whose key it has.
    pub(super) fn new(random: &mut Random, number: usize, viewer: &ViewerConfig) -> Self {
        let access = match viewer.access {
            Access::Open => ViewerAccess::Open,
            Access::Keys => ViewerAccess::Keys {
                own: viewer_key(number),
                relay: relay_key().public(),
            },
        };

        let mut seed = [0; 32];
        seed.copy_from_slice(&random.bytes(32));
        let config = EngineConfig {
            request: Request::Stream(None),
            name: "simulated".to_owned(),
            max_frame_bytes: MAX_FRAME_BYTES,
            receive_capacity: viewer.capacity,
            paths: vec![Carrier::Udp(access); viewer.paths.len()],
            redundancy: Redundancy::Both,
            rekey_interval: REKEYED_EACH,
        };

        Self {
            engine: Engine::new(config, seed),
            display: Display::Shows,
            shown: 0,
            last_shown: None,
            rejected: None,
            summary_due: Time::default(),
            now: Time::default(),
        }
    }

    pub(super) fn on_datagram(&mut self, now: Time, path: usize, datagram: &mut [u8]) {
        self.now = now;
        self.engine.on_datagram(now, path, datagram);
        self.tell_engine(now);
    }

    /// The host at the end of a path says that nobody listens there.
    pub(super) fn on_refused(&mut self, now: Time, path: usize) {
        self.engine.on_refused(now, path);
    }

    pub(super) fn on_tick(&mut self, now: Time) {
        self.now = now;
        self.engine.on_tick(now);
        self.tell_engine(now);
    }

    /// A frame comes to the display; returns whether it is on the screen then.
    pub(super) fn present(&mut self, decodes: bool) -> bool {
        match self.display {
            Display::Shows | Display::Pretends if !decodes => {
                self.rejected.get_or_insert(NotShown::Damaged);
                false
            }
            Display::Stopped => false,
            display => {
                self.shown += 1;
                self.last_shown = Some(self.now);
                self.rejected = None;
                display == Display::Shows
            }
        }
    }

    /// What the receiver's thread does in its turns.
    fn tell_engine(&mut self, now: Time) {
        if now < self.summary_due {
            return;
        }

        self.summary_due = now + SUMMARY_INTERVAL;
        self.engine.on_presentation(Presentation {
            shown: self.shown,
            lost: 0,
            age_us: 0,
        });
        self.engine.on_display(now, self.last_shown, self.rejected);
    }

    pub(super) fn due(&self) -> Option<Time> {
        self.engine.next_deadline()
    }

    pub(super) fn poll(&mut self) -> Option<ViewerOutput> {
        // No simulated network has multicast.
        let in_network =
            |output: &Output| !matches!(output, Output::JoinGroup(..) | Output::LeaveGroup(_));
        Some(
            match std::iter::from_fn(|| self.engine.poll_output()).find(in_network)? {
                Output::Send(path, datagram) => ViewerOutput::Send { path, datagram },
                Output::Frame(arrived) => ViewerOutput::Frame {
                    id: arrived.whole.id,
                    body: arrived.whole.body,
                },
                Output::LinkState(state) => ViewerOutput::Signal { word: state.word() },
                Output::List(..)
                | Output::JoinGroup(..)
                | Output::LeaveGroup(_)
                | Output::Credit(..)
                | Output::Direct(_)
                | Output::Transport(..) => {
                    unreachable!("no list was asked for, and there is no path over TCP")
                }
            },
        )
    }

    pub(super) fn recycle(&mut self, body: Vec<u8>) {
        self.engine.recycle(body);
    }

    pub(super) fn tally(&self) -> ViewerCounts {
        let summary = self.engine.summary(self.now);
        ViewerCounts {
            joins: summary.joins,
            renewals: summary.paths.iter().map(|path| path.renewals).sum(),
            foreign: summary.foreign,
            counts: summary.counts,
            losses: summary.losses,
            round_trip: summary.round_trip,
        }
    }

    /// The word of a signal that says that the picture is live.
    pub(super) fn live() -> &'static str {
        LinkState::Live.word()
    }
}
