//! The streams that the relay has, by name and by the short alias that media datagrams carry.

use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::logline::Limited;
use fanlight_proto::clock::Time;
use fanlight_proto::datagram::DataHeader;
use fanlight_proto::limits::MAX_STREAMS;
use fanlight_proto::message::{FrameId, State, Status, StreamInfo, StreamName};

use super::Arrival;
use super::fanout::{Fan, Ring, Target};
use super::viewers::Allowance;

/// A stream that is gone and that nobody watches is forgotten after so long, to make room for others.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// The time between frames of an input that does not say its rate.
const USUAL_INTERVAL: Duration = Duration::from_millis(33);

/// Slower inputs are treated as if they had this time between frames: nobody's frame is spread over more.
const LONGEST_INTERVAL: Duration = Duration::from_millis(100);

/// How often in a second the viewers of a stream are told its status unasked: a source that changes its mind all the
/// time does not make the relay send that to everyone.
const TELLINGS_PER_SECOND: u32 = 10;

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: StreamName,
    pub(super) alias: u16,
    /// Which upstream it comes from.
    pub(super) origin: usize,
    heard: Time,
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
    targets: Arc<Vec<Target>>,
    ring: Ring,
    /// How often the viewers may still be told the status.
    pub(super) tellings: Allowance,
    /// For the log lines about its status.
    pub(super) line: Limited,
}

/// Why an arrival is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unused {
    /// A stream more than [`MAX_STREAMS`].
    TooMany,
    /// Another source, still alive, has a stream of this name.
    Taken,
    /// Not newer than what is known.
    Old,
}

impl Stream {
    fn new(now: Time, alias: u16, arrival: &Arrival) -> Self {
        Self {
            name: arrival.frame.stream.clone(),
            alias,
            origin: arrival.origin,
            heard: now,
            told: arrival.received,
            status: Status { epoch: arrival.frame.id.epoch, ..Status::default() },
            picture: (0, 0),
            rate_millihertz: 0,
            sent: None,
            sequence: 0,
            first: 0,
            targets: Arc::default(),
            ring: Ring::default(),
            tellings: Allowance::new(now, TELLINGS_PER_SECOND),
            line: Limited::new(),
        }
    }

    pub(super) fn status(&self) -> &Status {
        &self.status
    }

    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    pub(super) fn ring(&self) -> &Ring {
        &self.ring
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
        let status = in_words(&self.status);
        tracing::info!(stream = %self.name, changes = count, viewers = self.targets.len(), "{status}");
    }

    pub(super) fn add(&mut self, target: Target) {
        self.remove(&target);
        Arc::make_mut(&mut self.targets).push(target);
    }

    pub(super) fn remove(&mut self, target: &Target) {
        if let Some(at) = self.targets.iter().position(|known| known.route.remote == target.route.remote) {
            Arc::make_mut(&mut self.targets).swap_remove(at);
        }
    }

    /// Takes the frame for the fan-out; none when nobody watches or it is not newer than the last.
    pub(super) fn fan(&mut self, arrival: &Arrival) -> Option<Fan> {
        let number = arrival.frame.id.number;
        let gap = match self.sent {
            Some(sent) => number.checked_sub(sent)?.checked_sub(1)?,
            None => 0,
        };
        self.sent = Some(number);
        if self.targets.is_empty() {
            return None;
        }
        let in_relay = arrival.superseded.min(gap);
        self.sequence += 1;
        let header = DataHeader {
            alias: self.alias,
            index: 0,
            shards: 0,
            length: 0,
            id: arrival.frame.id,
            received_us: low_half(arrival.received.as_micros()),
            lost_upstream: saturated(gap - in_relay),
            lost_in_relay: saturated(in_relay),
            sequence: self.sequence,
            ..DataHeader::default()
        };
        self.first = (self.first + 1) % self.targets.len();
        Some(Fan {
            alias: self.alias,
            packets: self.ring.cut(header, &arrival.body),
            targets: Arc::clone(&self.targets),
            first: self.first,
            interval: self.interval(),
        })
    }

    /// Takes what the header says about the stream; whether that is news for its viewers.
    fn hear(&mut self, now: Time, arrival: &Arrival) -> Result<bool, Unused> {
        let FrameId { epoch, number } = arrival.frame.id;
        let same_epoch = self.status.epoch == epoch;
        if arrival.received < self.told && !same_epoch {
            return Err(Unused::Old);
        }
        self.heard = now;
        let before = (self.status.source_gone, self.status.epoch, self.status.state);
        self.status.source_gone = false;
        if same_epoch {
            self.status.newest = self.status.newest.max(number);
        } else {
            self.status.epoch = epoch;
            self.status.newest = number;
            self.sent = None;
            self.ring.clear();
        }
        let header = &arrival.frame.header;
        if !arrival.frame.jpeg.is_empty() {
            self.picture = (header.width, header.height);
        }
        self.rate_millihertz = header.rate_millihertz;
        let mut news = false;
        if arrival.received >= self.told {
            self.told = arrival.received;
            self.status.state = header.state;
            if self.status.reason != header.reason {
                self.status.reason.clone_from(&header.reason);
                news = true;
            }
        }
        Ok(news || before != (self.status.source_gone, self.status.epoch, self.status.state))
    }

    fn interval(&self) -> Duration {
        match self.rate_millihertz {
            0 => USUAL_INTERVAL,
            rate => Duration::from_secs_f64(1_000.0 / f64::from(rate)).min(LONGEST_INTERVAL),
        }
    }
}

/// All streams, in the order in which they came.
#[derive(Debug)]
pub(super) struct Streams {
    stale: Duration,
    all: Vec<Stream>,
}

impl Streams {
    pub(super) const fn new(stale: Duration) -> Self {
        Self { stale, all: Vec::new() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.all.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn named(&self, name: &StreamName) -> Option<&Stream> {
        self.all.iter().find(|stream| stream.name == *name)
    }

    /// What a viewer gets that does not choose: the first that has a source, or else the first.
    pub(super) fn first(&self) -> Option<&Stream> {
        self.all.iter().find(|stream| !stream.status.source_gone).or_else(|| self.all.first())
    }

    pub(super) fn by_alias(&self, alias: u16) -> Option<&Stream> {
        self.all.iter().find(|stream| stream.alias == alias)
    }

    pub(super) fn by_alias_mut(&mut self, alias: u16) -> Option<&mut Stream> {
        self.all.iter_mut().find(|stream| stream.alias == alias)
    }

    /// Notes what a source says of its stream, which may be new. Gives the stream, and whether there is news for its
    /// viewers.
    pub(super) fn hear(&mut self, now: Time, arrival: &Arrival) -> Result<(&mut Stream, bool), Unused> {
        let known = self.all.iter().position(|stream| stream.name == arrival.frame.stream);
        let at = match known {
            Some(at) => at,
            None => self.begin(now, arrival)?,
        };
        let stream = &mut self.all[at];
        if stream.origin != arrival.origin {
            if !stream.status.source_gone {
                return Err(Unused::Taken);
            }
            stream.origin = arrival.origin;
        }
        let news = stream.hear(now, arrival)?;
        Ok((stream, news))
    }

    /// When [`Streams::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.all.iter().filter_map(|stream| self.stream_deadline(stream)).min()
    }

    /// Notes that a source is silent, and gives its stream; call it until there is none.
    pub(super) fn expire(&mut self, now: Time) -> Option<&Stream> {
        self.all.retain(|stream| {
            !stream.status.source_gone
                || !stream.targets.is_empty()
                || now.saturating_since(stream.heard) < FORGET_AFTER
        });
        let stale = self.stale;
        let silent = |s: &&mut Stream| !s.status.source_gone && now.saturating_since(s.heard) >= stale;
        let stream = self.all.iter_mut().find(silent)?;
        stream.status.source_gone = true;
        Some(stream)
    }

    fn stream_deadline(&self, stream: &Stream) -> Option<Time> {
        match (stream.status.source_gone, stream.targets.is_empty()) {
            (false, _) => Some(stream.heard + self.stale),
            (true, true) => Some(stream.heard + FORGET_AFTER),
            (true, false) => None,
        }
    }

    fn begin(&mut self, now: Time, arrival: &Arrival) -> Result<usize, Unused> {
        if self.all.len() == MAX_STREAMS {
            let idle = self.all.iter().position(|s| s.status.source_gone && s.targets.is_empty());
            self.all.remove(idle.ok_or(Unused::TooMany)?);
        }
        let alias = self.free_alias(&arrival.frame.stream);
        self.all.push(Stream::new(now, alias, arrival));
        Ok(self.all.len() - 1)
    }

    /// The same on every relay that does not have two names with one hash.
    fn free_alias(&self, name: &StreamName) -> u16 {
        let mut alias = name_hash(name).max(1);
        while self.by_alias(alias).is_some() {
            alias = alias.wrapping_add(1).max(1);
        }
        alias
    }
}

/// The state in words.
fn in_words(status: &Status) -> String {
    let state = match State::try_from(status.state) {
        _ if status.source_gone => "source gone",
        state => state.unwrap_or(State::Unspecified).word(),
    };
    if status.reason.is_empty() { state.to_owned() } else { format!("{state} ({:?})", status.reason) }
}

/// FNV-1a (<https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>) of 32 bits, folded to 16.
fn name_hash(name: &StreamName) -> u16 {
    let hash =
        name.as_str().bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    ((hash >> 16) ^ (hash & 0xffff)) as u16
}

fn low_half(micros: u64) -> u32 {
    (micros & u64::from(u32::MAX)) as u32
}

fn saturated(count: u64) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
