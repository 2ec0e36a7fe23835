//! A link that loses datagrams between a relay and a viewer, in virtual time, with the real packetization, parity and
//! reassembly. It counts what parity and repair are worth: the tests and `./dev bench loss` use it.
//!
//! The relay sends a frame every 33 ms, paced, first its data and then its parity, and answers a repair at once. Both
//! ways take the same time and lose alike, repairs and their answers included. The viewer does what the reassembly says.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::datagram::{DATA_BYTES, DATA_HEADER, DataHeader};
use fanlight_proto::limits::{MAX_FRAME_BYTES, SHARD_BYTES};
use fanlight_proto::message::FrameId;
use fanlight_proto::parity::{Encoder, level_count, recovery_count};
use fanlight_proto::reassembly::{Counts, Losses, Reassembly};
use fanlight_proto::shard::packetize;

use crate::seeded::Random;

/// Time between two frames: 30 a second.
const INTERVAL: Duration = Duration::from_nanos(33_333_333);

/// Time between two datagrams: 32 a millisecond, the pace for a viewer with the smallest socket buffer.
const PACE: Duration = Duration::from_nanos(31_250);

/// Frames that the relay can still repair, as in its ring.
const RING_FRAMES: u64 = 4;

/// How a link loses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Channel {
    /// Share of all datagrams that are lost.
    pub share: f64,
    /// Lost datagrams come in rows of so many; 1: each for itself.
    pub burst: u32,
}

/// What is done against loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheme {
    /// Of the parity, see [`level_count`].
    pub level: u8,
    /// Whether the viewer asks for what is missing.
    pub repair: bool,
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Data shards a frame.
    pub shards: u16,
    /// Either way.
    pub channel: Channel,
    /// See there.
    pub scheme: Scheme,
    /// From the viewer to the relay and back.
    pub round_trip: Duration,
    /// How many are sent.
    pub frames: u64,
    /// Of what is lost.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Frames sent.
    pub frames: u64,
    /// Frames shown, whole and with every byte as it was sent.
    pub shown: u64,
    /// What the viewer's reassembly counted.
    pub counts: Counts,
    /// Why frames were not shown.
    pub losses: Losses,
}

impl Outcome {
    /// Frames shown of a hundred.
    #[must_use]
    pub fn percent(&self) -> f64 {
        100.0 * self.shown as f64 / self.frames as f64
    }
}

/// Runs one case to its end.
///
/// # Panics
/// When a frame is given out that was not sent so.
#[must_use]
pub fn run(case: &Case) -> Outcome {
    let mut link = Link::new(case);
    while let Some(Reverse((now, _, event))) = link.events.pop() {
        link.on_event(now, event);
    }

    let shown = link.reassembly.counts().whole;
    Outcome {
        frames: case.frames,
        shown,
        counts: *link.reassembly.counts(),
        losses: *link.reassembly.losses(),
    }
}

/// In the order that ties are broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The relay gets this frame.
    Frame(u64),
    /// This shard of a frame arrives at the viewer.
    Shard(u64, u16),
    /// The viewer's deadline.
    Deadline,
    /// A repair of a frame arrives at the relay.
    Repair(u64, Vec<u32>),
}

struct Link<'a> {
    case: &'a Case,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    order: u64,
    down: Loss,
    up: Loss,
    body: Vec<u8>,
    packets: Vec<u8>,
    /// When the relay's pacing lets the next datagram go.
    free: Time,
    newest: u64,
    reassembly: Reassembly,
    deadline: Option<Time>,
}

impl<'a> Link<'a> {
    fn new(case: &'a Case) -> Self {
        let mut random = Random::new(case.seed);
        let body = random.bytes(usize::from(case.shards) * SHARD_BYTES - 7);
        let first = DataHeader {
            sequence: 1,
            ..DataHeader::default()
        };

        let mut packets = Vec::new();
        packetize(first, &body, &mut packets);
        Encoder::new().append(&first, &mut packets);
        let mut reassembly = Reassembly::new(MAX_FRAME_BYTES);
        reassembly.set_round_trip(case.round_trip);
        let mut link = Self {
            case,
            events: BinaryHeap::new(),
            order: 0,
            down: Loss::new(case.channel, random.number()),
            up: Loss::new(case.channel, random.number()),
            body,
            packets,
            free: Time::default(),
            newest: 0,
            reassembly,
            deadline: None,
        };

        link.at(Time::from_nanos(1), Event::Frame(0));
        link
    }

    fn at(&mut self, time: Time, event: Event) {
        self.order += 1;
        self.events.push(Reverse((time, self.order, event)));
    }

    fn on_event(&mut self, now: Time, event: Event) {
        match event {
            Event::Frame(number) => self.on_frame(now, number),
            Event::Repair(number, ranges) => self.on_repair(now, number, &ranges),
            Event::Shard(number, index) => {
                self.on_shard(now, number, index);
                self.ask(now);
            }
            Event::Deadline => {
                self.deadline = None;
                self.ask(now);
            }
        }
    }

    fn on_frame(&mut self, now: Time, number: u64) {
        self.newest = number;
        for index in 0..self.case.shards + level_count(self.case.shards, self.case.scheme.level) {
            self.send(now, number, index);
        }

        if number + 1 < self.case.frames {
            self.at(now + INTERVAL, Event::Frame(number + 1));
        }
    }

    fn on_repair(&mut self, now: Time, number: u64, ranges: &[u32]) {
        if number + RING_FRAMES <= self.newest {
            return;
        }

        for index in ranges
            .chunks(2)
            .flat_map(|range| range[0]..range[0] + range[1])
        {
            self.send(
                now,
                number,
                u16::try_from(index).expect("only shards of the frame are asked for"),
            );
        }
    }

    fn send(&mut self, now: Time, number: u64, index: u16) {
        self.free = self.free.max(now) + PACE;
        if !self.down.takes() {
            self.at(
                self.free + self.case.round_trip / 2,
                Event::Shard(number, index),
            );
        }
    }

    fn on_shard(&mut self, now: Time, number: u64, index: u16) {
        let shards = self.case.shards;
        let header = DataHeader {
            index,
            shards,
            parity: recovery_count(shards),
            length: u32::try_from(self.body.len()).expect("a frame has at most MAX_FRAME_BYTES"),
            id: FrameId { epoch: 1, number },
            sequence: number + 1,
            ..DataHeader::default()
        };

        let shard = &self.packets[usize::from(index) * DATA_BYTES..][DATA_HEADER..DATA_BYTES];
        if let Some(whole) = self.reassembly.on_shard(now, &header, shard) {
            assert!(
                whole.body == self.body,
                "frame {number} is not as it was sent: {:?}",
                self.case
            );
            self.reassembly.recycle(whole.body);
        }
    }

    fn ask(&mut self, now: Time) {
        if !self.case.scheme.repair {
            return;
        }

        while let Some(repair) = self.reassembly.poll_repair(now) {
            if !self.up.takes() {
                self.at(
                    now + self.case.round_trip / 2,
                    Event::Repair(repair.number, repair.ranges),
                );
            }
        }

        let deadline = self.reassembly.deadline();
        if let Some(due) = deadline.filter(|due| self.deadline.is_none_or(|planned| *due < planned))
        {
            self.deadline = Some(due);
            self.at(due, Event::Deadline);
        }
    }
}

/// Decides of each datagram on one way.
#[derive(Debug)]
struct Loss {
    /// That a datagram begins a row, when none is under way.
    begins: f64,
    burst: u32,
    left: u32,
    random: Random,
}

impl Loss {
    fn new(Channel { share, burst }: Channel, seed: u64) -> Self {
        // Between rows of `burst` lost ones, burst * (1 - share) / share arrive in the mean.
        let begins = if share > 0.0 {
            1.0 / (1.0 + f64::from(burst) * (1.0 - share) / share)
        } else {
            0.0
        };

        Self {
            begins,
            burst,
            left: 0,
            random: Random::new(seed),
        }
    }

    fn takes(&mut self) -> bool {
        if self.left == 0 {
            if !self.random.chance(self.begins) {
                return false;
            }

            self.left = self.burst;
        }

        self.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_loses_the_share_it_says_in_rows_as_long_as_it_says() {
        for (share, burst) in [(0.01, 1), (0.05, 1), (0.05, 3), (0.05, 10)] {
            let mut loss = Loss::new(Channel { share, burst }, 1);
            let taken = (0..1_000_000).filter(|_| loss.takes()).count() as f64 / 1e6;
            assert!((taken / share - 1.0).abs() < 0.1, "{taken} for {share}");
        }
    }
}
