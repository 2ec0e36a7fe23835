//! One stream: its status, its viewers, its newest frame, and the frames kept for repairs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::rate_limit::{LogLimiter, TokenBucket};
use fanlight_live::Arrival;
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::DataHeader;
use fanlight_proto::limits::SHARD_BYTES;
use fanlight_proto::message::{FrameId, State, Status, StreamInfo, StreamName};
use fanlight_proto::parity::Encoder;

use super::key_rotation::KeyRotation;
use super::multicast::merge_group_target;
use super::output::{FrameTransmit, Route};
use super::packetize::{PacketizeOptions, PacketizedFrame, RetransmitBuffer};
use super::sessions::Sessions;
use super::target_lists::TargetLists;

/// The time between frames of an input that does not say its rate.
const DEFAULT_INTERVAL: Duration = Duration::from_millis(33);

/// Slower inputs are treated as if they had this time between frames: nobody's frame is spread over more.
const MAX_INTERVAL: Duration = Duration::from_millis(100);

/// A frame so old is still the present of a slow stream, or of one that does not say its rate.
const CATCH_UP_AGE: Duration = Duration::from_secs(2);

/// Frames of a stream that lie elsewhere than in its retransmit buffer: the one that comes in, the newest in the stream
/// table, and the newest in the engine.
const FRAMES_ELSEWHERE: usize = 3;

/// How often in a second the viewers of a stream are sent a changed status: a source whose status changes
/// all the time does not make the relay send all of it to everyone.
const STATUS_MESSAGES_PER_SECOND: u32 = 10;

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: StreamName,
    pub(super) alias: u16,
    /// Its place among the streams, which no other has: its group goes by it.
    pub(super) slot: usize,
    /// Which upstream it comes from.
    pub(super) origin: usize,
    /// The clock by which its frames are stamped.
    pub(super) clock_id: u64,
    pub(super) heard: Time,
    /// When the news in `status` came in: older news does not overwrite it.
    told: Time,
    status: Status,
    picture: (u32, u32),
    rate_millihertz: u32,
    /// The newest frame given to the fan-out, in the current epoch.
    sent: Option<u64>,
    /// Frames cut so far: names each cut for as long as the relay runs.
    sequence: u64,
    first: usize,
    /// Parity datagrams that go to the group with each frame.
    group_parity: u16,
    /// The addresses of its viewers.
    members: Vec<SocketAddr>,
    /// The newest frame, also when nobody watches: who comes gets it at once.
    newest: Option<LatestFrame>,
    retransmit_buffer: RetransmitBuffer,
    /// Bytes that the stream may take in all.
    pub(super) memory_share: usize,
    lists: TargetLists,
    /// What its media is sealed with.
    pub(super) keys: Option<KeyRotation>,
    /// How often the viewers may still be told the status.
    pub(super) status_messages: TokenBucket,
    /// For the log lines about its status.
    pub(super) line: LogLimiter,
}

/// A frame that has not been cut, or not only.
#[derive(Debug)]
struct LatestFrame {
    id: FrameId,
    body: Bytes,
    received: Time,
    lost_upstream: u16,
    lost_in_relay: u16,
}

/// Why an arrival is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// The relay has `MAX_STREAMS` streams already.
    TooMany,
    /// Not newer than what is known.
    Old,
}

impl Stream {
    pub(super) fn new(alias: u16, slot: usize, arrival: &Arrival) -> Self {
        Self {
            name: arrival.frame.stream.clone(),
            alias,
            slot,
            origin: arrival.frame.origin,
            clock_id: arrival.frame.header.clock_id,
            heard: arrival.frame.received,
            told: arrival.frame.received,
            status: Status {
                epoch: arrival.frame.id.epoch,
                ..Status::default()
            },
            picture: (0, 0),
            rate_millihertz: 0,
            sent: None,
            sequence: 0,
            first: 0,
            group_parity: 0,
            members: Vec::new(),
            newest: None,
            retransmit_buffer: RetransmitBuffer::default(),
            memory_share: usize::MAX,
            lists: TargetLists::default(),
            keys: None,
            status_messages: TokenBucket::new(
                STATUS_MESSAGES_PER_SECOND,
                STATUS_MESSAGES_PER_SECOND,
            ),
            line: LogLimiter::new(),
        }
    }

    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    /// Whether its source is silent.
    pub(super) const fn is_source_gone(&self) -> bool {
        self.status.source_gone
    }

    pub(super) const fn set_source_gone(&mut self) {
        self.status.source_gone = true;
    }

    pub(super) fn members(&self) -> &[SocketAddr] {
        &self.members
    }

    pub(super) fn retransmit_buffer(&self) -> &RetransmitBuffer {
        &self.retransmit_buffer
    }

    pub(super) const fn group_parity(&self) -> u16 {
        self.group_parity
    }

    pub(super) fn info(&self) -> StreamInfo {
        StreamInfo {
            name: self.name.to_string(),
            alias: u32::from(self.alias),
            epoch: self.status.epoch,
            width: self.picture.0,
            height: self.picture.1,
            rate_millihertz: self.rate_millihertz,
            status: Some(self.status.clone()),
        }
    }

    /// One line about the status, which stands for `count` changes.
    pub(super) fn log(&self, count: u64) {
        let status = status_text(&self.status);
        tracing::info!(stream = %self.name, changes = count, viewers = self.members.len(), "{status}");
    }

    pub(super) fn add(&mut self, viewer: SocketAddr) {
        self.remove(viewer);
        self.members.push(viewer);
    }

    pub(super) fn remove(&mut self, viewer: SocketAddr) {
        if let Some(at) = self.members.iter().position(|known| *known == viewer) {
            self.members.swap_remove(at);
        }
    }

    /// Takes a frame; whether it is newer than the last.
    pub(super) fn note(&mut self, arrival: &Arrival) -> bool {
        let number = arrival.frame.id.number;
        let gap = match self.sent {
            Some(sent) => number
                .checked_sub(sent)
                .and_then(|step| step.checked_sub(1)),
            None => Some(0),
        };

        let Some(gap) = gap.map(|gap| gap.saturating_sub(arrival.unwatched)) else {
            return false;
        };

        let in_relay = arrival.superseded.min(gap);
        self.sent = Some(number);
        self.newest = Some(LatestFrame {
            id: arrival.frame.id,
            body: arrival.frame.body.clone(),
            received: arrival.frame.received,
            lost_upstream: saturated(gap - in_relay),
            lost_in_relay: saturated(in_relay),
        });

        true
    }

    /// The newest frame for all viewers whose turn it is, and for their group if one of them has joined it, which is at
    /// `group`; none when there is no such viewer. It is cut once, with parity if one of them wants some.
    pub(super) fn transmit(
        &mut self,
        now: Time,
        sessions: &mut Sessions,
        encoder: &mut Encoder,
        group: Option<Route>,
    ) -> Option<FrameTransmit> {
        let shards = self.shards()?;
        let interval = self.interval();
        let frame_time = self.frame_time();
        let sequence = self.sequence + 1;

        let mut group_target = None;
        let targets = self.lists.list(|list| {
            for address in &self.members {
                let Some(session) = sessions.get_mut(*address) else {
                    continue;
                };

                let admission =
                    session
                        .delivery
                        .admit_frame(now, sequence, frame_time, group.is_some());

                let target = || session.target(shards, interval);
                if let Some(group) = group.filter(|_| admission.group) {
                    group_target = Some(merge_group_target(group_target, group, &target()));
                }

                if admission.unicast {
                    list.push(target());
                }
            }

            list.extend(group_target);
        });

        self.group_parity = group_target.map_or(0, |target| target.parity);
        if targets.is_empty() {
            return None;
        }

        let parity = targets.iter().any(|target| target.parity > 0);
        let packets = self.cut(parity.then_some(encoder))?;
        self.first = (self.first + 1) % targets.len();
        Some(FrameTransmit {
            alias: self.alias,
            packets,
            targets,
            first: self.first,
            interval,
            catch_up: false,
        })
    }

    /// The newest frame for one viewer that has just come, unless it is too old to pass for the present.
    pub(super) fn catch_up(&mut self, now: Time) -> Option<(Arc<PacketizedFrame>, Duration)> {
        let newest = self.newest.as_ref()?;
        let age = now.saturating_since(newest.received);
        if self.status.source_gone || age > CATCH_UP_AGE.max(self.frame_time() * 2) {
            return None;
        }

        let generation = self
            .keys
            .as_ref()
            .map_or(0, |keys| keys.current().generation());

        let known = self
            .retransmit_buffer
            .find(newest.id)
            .filter(|packets| packets.generation() == generation);

        let packets = match known {
            Some(packets) => Arc::clone(packets),
            None => self.cut(None)?,
        };

        Some((packets, self.interval()))
    }

    /// The highest sequence that any of its media datagrams had.
    pub(super) const fn newest_sequence(&self) -> u64 {
        self.sequence
    }

    /// Shards of the newest frame.
    pub(super) fn shards(&self) -> Option<u16> {
        let newest = self.newest.as_ref()?;
        Some(
            u16::try_from(newest.body.len().div_ceil(SHARD_BYTES))
                .expect("a checked frame has at most MAX_SHARDS"),
        )
    }

    /// Cuts the newest frame, under a number that no other cut of the stream has.
    fn cut(&mut self, parity: Option<&mut Encoder>) -> Option<Arc<PacketizedFrame>> {
        let newest = self.newest.as_ref()?;
        self.sequence += 1;
        let header = DataHeader {
            alias: self.alias,
            id: newest.id,
            received_us: low_half(newest.received.as_micros()),
            lost_upstream: newest.lost_upstream,
            lost_in_relay: newest.lost_in_relay,
            sequence: self.sequence,
            ..DataHeader::default()
        };

        let key = self.keys.as_ref().map(KeyRotation::current);
        let options = PacketizeOptions { parity, key };
        let elsewhere = FRAMES_ELSEWHERE * newest.body.len();
        let room = self.memory_share.saturating_sub(elsewhere);
        Some(
            self.retransmit_buffer
                .cut(header, &newest.body, options, room),
        )
    }

    /// Takes what the header says about the stream; whether that is news for its viewers.
    pub(super) fn hear(&mut self, arrival: &Arrival) -> Result<bool, Rejected> {
        let FrameId { epoch, number } = arrival.frame.id;
        let same_epoch = self.status.epoch == epoch;
        if arrival.frame.received < self.told && !same_epoch {
            return Err(Rejected::Old);
        }

        // An arrival may have waited: the event loop is not woken for streams without viewers.
        self.heard = self.heard.max(arrival.frame.received);
        let before = (
            self.status.source_gone,
            self.status.epoch,
            self.status.state,
        );

        self.status.source_gone = false;
        if same_epoch {
            self.status.newest = self.status.newest.max(number);
        } else {
            self.status.epoch = epoch;
            self.status.newest = number;
            self.sent = None;
            self.newest = None;
            self.retransmit_buffer.clear();
        }

        let header = &arrival.frame.header;
        self.clock_id = header.clock_id;
        if !arrival.frame.jpeg.is_empty() {
            self.picture = (header.width, header.height);
        }

        self.rate_millihertz = header.rate_millihertz;
        let mut news = false;

        if arrival.frame.received >= self.told {
            self.told = arrival.frame.received;
            self.status.state = header.state;
            if self.status.reason != header.reason {
                self.status.reason.clone_from(&header.reason);
                news = true;
            }
        }

        Ok(news
            || before
                != (
                    self.status.source_gone,
                    self.status.epoch,
                    self.status.state,
                ))
    }

    /// The time over which sending a frame may be spread.
    pub(super) fn interval(&self) -> Duration {
        self.frame_time().min(MAX_INTERVAL)
    }

    /// The time between two frames.
    fn frame_time(&self) -> Duration {
        match self.rate_millihertz {
            0 => DEFAULT_INTERVAL,
            rate => Duration::from_secs_f64(1_000.0 / f64::from(rate)),
        }
    }
}

/// The status as a log line says it.
fn status_text(status: &Status) -> String {
    let state = match State::try_from(status.state) {
        _ if status.source_gone => "source gone",
        state => state.unwrap_or(State::Unspecified).label(),
    };

    if status.reason.is_empty() {
        state.to_owned()
    } else {
        format!("{state} ({:?})", status.reason)
    }
}

fn low_half(micros: u64) -> u32 {
    (micros & u64::from(u32::MAX)) as u32
}

fn saturated(count: u64) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
