//! What the engine wants sent, and to whom.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use fanlight_proto::message::FeedbackReport;

use super::packetize::PacketizedFrame;

/// Datagrams that leave together for a viewer whose frames are spread out: a queue that others keep
/// full has no room for more at once.
pub const SPREAD_BATCH: u16 = 4;

/// Datagrams that the socket of a viewer holds that does not say: the kernel's default.
pub(super) const DEFAULT_CAPACITY: u32 = 92;

/// The route to a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The viewer's address.
    pub remote: SocketAddr,
    /// Which of the relay's own addresses the viewer talks to, when it has several.
    pub local: Option<IpAddr>,
}

/// What is to be sent.
#[derive(Clone, Debug)]
pub enum Output {
    /// One datagram.
    Send {
        /// To whom.
        to: Route,
        /// What.
        datagram: Vec<u8>,
    },
    /// A frame to all viewers of its stream.
    Transmit(FrameTransmit),
    /// Some shards of a frame to one viewer.
    Retransmit(Retransmit),
    /// A viewer has read a part of a frame that is being sent to it: more may follow.
    Progress(ReadProgress),
    /// From now on, send to this viewer by a dedicated socket.
    Isolate(Route),
    /// From now on, send to this viewer by the shared socket.
    Rejoin(Route),
    /// Feedback for a source. If it cannot be delivered, pass it to
    /// [`Engine::on_feedback_undelivered`](super::Engine::on_feedback_undelivered).
    Feedback {
        /// Which upstream.
        origin: usize,
        /// What; the upstream sets its sequence.
        feedback: FeedbackReport,
    },
}

/// One frame for all viewers of its stream.
#[derive(Clone, Debug)]
pub struct FrameTransmit {
    /// The stream.
    pub alias: u16,
    /// What to send.
    pub packets: Arc<PacketizedFrame>,
    /// To whom.
    pub targets: Arc<Vec<Target>>,
    /// Index of the target that comes first this time.
    pub first: usize,
    /// How long until the next frame is expected.
    pub interval: Duration,
    /// Goes to one viewer that lacks the newest frame, besides the stream's frames: none of these
    /// waits for it.
    pub catch_up: bool,
}

/// A viewer as the sender sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub route: Route,
    /// How many datagrams its socket holds.
    pub capacity: u32,
    /// Parity datagrams it gets after the frame's shards; at most as many as
    /// [`PacketizedFrame::parity`] says.
    pub parity: u16,
    /// It has a dedicated socket; see [`Output::Isolate`].
    pub own_socket: bool,
    /// The path to it is narrow: the frame is spread over this time, and the stream's next frame does
    /// not wait for it. Zero: as fast as its socket takes it.
    pub spread: Duration,
}

impl Target {
    /// How long to wait after each [`SPREAD_BATCH`] of a frame of `shards`; zero when it is not
    /// spread out.
    #[must_use]
    pub fn pause(&self, shards: u16) -> Duration {
        let batches = u32::from(shards + self.parity).div_ceil(u32::from(SPREAD_BATCH));
        self.spread / batches.max(1)
    }
}

/// Shards of one frame that one viewer asked for again.
#[derive(Clone, Debug)]
pub struct Retransmit {
    /// To whom.
    pub to: Route,
    /// How the frame goes to it for the first time: to itself, or to its group.
    pub first_sent_to: Route,
    /// Of which frame.
    pub packets: Arc<PacketizedFrame>,
    /// Which shards; ascending, disjoint, and within the frame.
    pub ranges: Vec<Range<u16>>,
}

/// How far a viewer has read a frame.
#[derive(Clone, Copy, Debug)]
pub struct ReadProgress {
    /// The viewer.
    pub from: SocketAddr,
    /// The stream.
    pub alias: u16,
    /// The frame; see [`PacketizedFrame::sequence`].
    pub sequence: u64,
    /// One past the highest datagram that it has read, as it says.
    pub reach: u16,
}

/// How many datagrams may be on their way to a viewer whose socket holds `capacity`, beyond those that it is known to have
/// read: half, so that two frames in a row fit, and what the kernel charges for them is a guess.
#[must_use]
pub const fn window(capacity: u32) -> u32 {
    capacity / 2
}

#[cfg(test)]
impl FrameTransmit {
    /// A frame of `length` bytes for viewers that hold as many datagrams as `capacities` say, on ports 1, 2 and so on.
    pub(crate) fn example(length: usize, capacities: &[u32], interval: Duration) -> Self {
        let targets = capacities.iter().zip(1..).map(|(&capacity, port)| {
            let remote = SocketAddr::from(([10, 0, 0, 1], port));
            Target {
                route: Route {
                    remote,
                    local: None,
                },
                capacity,
                parity: 0,
                own_socket: false,
                spread: Duration::ZERO,
            }
        });

        let mut encoder = fanlight_proto::parity::Encoder::new();
        let options = super::packetize::PacketizeOptions {
            parity: Some(&mut encoder),
            key: None,
        };

        let packets = super::packetize::RetransmitBuffer::default().cut(
            super::packetize::tests::header(7),
            &vec![9; length].into(),
            options,
            usize::MAX,
        );

        Self {
            alias: 1,
            packets,
            targets: Arc::new(targets.collect()),
            first: 0,
            interval,
            catch_up: false,
        }
    }

    /// The same with its target `at` changed.
    pub(crate) fn with(mut self, at: usize, change: impl FnOnce(&mut Target)) -> Self {
        change(&mut Arc::make_mut(&mut self.targets)[at]);
        self
    }
}
