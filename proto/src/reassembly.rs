//! Reassembly of frames from shards that come duplicated, out of order, late or not at all, and the reason of every frame
//! that is lost. Used by the viewer's engine. No clock, no I/O.

mod estimators;
mod losses;
mod partial_frame;
mod repair_scheduler;
mod whole_frames;

use std::time::Duration;

use crate::clock::Time;
use crate::datagram::DataHeader;
use crate::limits::{MAX_FRAME_BYTES, MAX_OPEN_FRAMES, SHARD_BYTES};
use crate::message::{FrameId, Repair};
use crate::parity::Decoder;

use estimators::{Interval, Level};
pub use losses::Losses;
use partial_frame::{FrameMemory, PartialFrame};
use repair_scheduler::Timing;

/// A relay spreads a frame over 200 ms at most, in fours: of a frame of 12 datagrams three pauses are made.
const LONGEST_PAUSE: Duration = Duration::from_millis(70);

/// Ended epochs that are remembered, so that a relay that is behind does not bring them back.
const RETIRED_EPOCHS: usize = 4;

/// When no frame of the current epoch has become whole for so long, a relay that is in another one is followed.
const EPOCH_SILENCE: Duration = Duration::from_secs(1);

/// A shard this many frames behind is not just late: the frame ahead of it was forged or damaged.
const FAR_BEHIND: u64 = 1 << 10;

/// Number of shards far behind, with none in time between them, that prove it.
const FAR_BEHIND_PROOF: u32 = 256;

/// Largest jump of the frame number. No source captures more frames while a viewer is away: a number further ahead is
/// forged or damaged.
const MAX_JUMP: u64 = 1 << 32;

/// Largest frame number. No source runs for so long, and sums of such numbers do not overflow.
const MAX_NUMBER: u64 = u64::MAX / 2;

/// The frames of one stream that are on their way into one viewer.
#[derive(Debug)]
pub struct Reassembly {
    limit: usize,
    epoch: Option<u64>,
    /// Epochs that a relay was seen to go on from.
    retired: [u64; RETIRED_EPOCHS],
    /// When the current epoch was entered, or a frame of it last became whole.
    heard: Time,
    /// Every frame number below this one is settled: delivered, or counted as lost.
    settled: u64,
    open: Vec<PartialFrame>,
    /// Buffers of finished frames. Bodies come back separately, by [`Reassembly::recycle`].
    spare: Vec<FrameMemory>,
    bodies: Vec<Vec<u8>>,
    decoder: Decoder,
    away: bool,
    authentic: bool,
    far_behind: u32,
    round_trip: Option<Duration>,
    interval: Interval,
    pause: Duration,
    level: Level,
    /// Whether a frame over the limit came since one was whole.
    oversized: bool,
    losses: Losses,
    counts: Counts,
}

/// Counters of what was received. They never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames delivered complete.
    pub whole: u64,
    /// Shards that had been received before.
    pub duplicates: u64,
    /// Data shards of frames that were settled already, or of an epoch that has ended.
    pub late: u64,
    /// Shards that contradict their frame or break a bound.
    pub refused: u64,
    /// Shards asked for again.
    pub repairs_asked: u64,
    /// Of those, the ones that were received.
    pub repairs_received: u64,
    /// Parity shards that came, needed or not.
    pub parity_shards: u64,
    /// Of the complete frames, those that needed parity.
    pub recovered: u64,
    /// Data shards of the frames that are whole or of which a part came. A frame of which nothing came does not count:
    /// the relay may have left it out.
    pub shards_expected: u64,
    /// Of those, the ones that did not come by themselves, that is, unasked.
    pub shards_missed: u64,
}

/// A frame with all its shards.
#[derive(Debug, PartialEq, Eq)]
pub struct CompleteFrame {
    /// Its identity.
    pub id: FrameId,
    /// The encoded `Frame`.
    pub body: Vec<u8>,
    /// When its first shard came.
    pub first: Time,
    /// When the relay that sent the last shard received the frame, on that relay's clock: the lower 32 bits of microseconds.
    pub received_us: u32,
}

impl Reassembly {
    /// For frames of at most `limit` bytes, and never more than [`MAX_FRAME_BYTES`].
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.min(MAX_FRAME_BYTES),
            epoch: None,
            retired: [0; RETIRED_EPOCHS],
            heard: Time::default(),
            settled: 0,
            open: Vec::with_capacity(MAX_OPEN_FRAMES),
            spare: Vec::with_capacity(MAX_OPEN_FRAMES),
            bodies: Vec::with_capacity(MAX_OPEN_FRAMES),
            decoder: Decoder::new(),
            away: false,
            authentic: false,
            far_behind: 0,
            round_trip: None,
            interval: Interval::default(),
            pause: Duration::ZERO,
            level: Level::default(),
            oversized: false,
            losses: Losses::default(),
            counts: Counts::default(),
        }
    }

    /// The smoothed round trip to the relay that repairs, for when an answer is overdue or would come too late.
    pub const fn set_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = Some(round_trip);
    }

    /// The longest pause that a relay makes between two datagrams of a frame, as it says; what is longer than 70 ms
    /// is not believed.
    pub fn set_pause(&mut self, pause: Duration) {
        self.pause = pause.min(LONGEST_PAUSE);
    }

    /// Frames of another stream come from now on: what was known of the frames so far says nothing of them.
    pub fn on_other_stream(&mut self) {
        self.on_away();
        self.epoch = None;
        self.retired = [0; RETIRED_EPOCHS];
    }

    /// Whether every datagram is known to come from a relay. Then none is forged, and nothing falls back because of
    /// shards that seem to be.
    pub const fn set_authentic(&mut self, authentic: bool) {
        self.authentic = authentic;
    }

    /// To be called before [`Reassembly::on_shard`] or [`Reassembly::on_frame`] for each `id` that is the newest of its
    /// relay, by sequence or because a connection keeps the order; `former` is the epoch of the one before, if there was
    /// one in the session. Only this changes the epoch: what is late or replayed says nothing of where the source is.
    pub fn on_newest(&mut self, now: Time, id: FrameId, former: Option<u64>) {
        if self.epoch == Some(id.epoch) || id.number > MAX_NUMBER {
            return;
        }

        if let Some(former) = former.filter(|_| former == self.epoch) {
            self.begin_epoch(now, id);
            self.retired.rotate_right(1);
            self.retired[0] = former;
        } else if (self.away || self.is_silent(now)) && !self.retired.contains(&id.epoch) {
            self.begin_epoch(now, id);
        }
    }

    /// Takes one shard, unsealed, with the header that [`ToViewer::parse`](crate::datagram::ToViewer::parse) gave; gives
    /// the frame when it is whole now. Shards of one frame may come from several relays.
    ///
    /// Without a key anybody can make shards: a forged one damages its frame, data and parity alike. Whether a picture
    /// is whole shows only when it is decoded.
    pub fn on_shard(
        &mut self,
        now: Time,
        header: &DataHeader,
        shard: &[u8],
    ) -> Option<CompleteFrame> {
        let is_oversized = header.length as usize > self.limit;
        self.oversized |= is_oversized;
        if is_oversized || shard.len() != SHARD_BYTES || header.id.number > MAX_NUMBER {
            self.counts.refused += 1;
            return None;
        }

        if !self.is_current(now, header.id) {
            self.note_late(header);
            return None;
        }

        let number = header.id.number;
        if number < self.settled && !self.falls_back(number) {
            self.note_late(header);
            return None;
        }

        self.far_behind = 0;
        if number - self.settled > MAX_JUMP {
            self.counts.refused += 1;
            return None;
        }

        let at = self.position(now, header)?;
        self.place(now, at, header, shard)
    }

    /// Takes back the memory of a frame that is no longer needed.
    pub fn recycle(&mut self, body: Vec<u8>) {
        if self.bodies.len() < MAX_OPEN_FRAMES && body.capacity() > 0 {
            self.bodies.push(body);
        }
    }

    /// The session is gone. Frames that are missed until the next shard count as lost because of that.
    pub fn on_away(&mut self) {
        self.away = true;
        if let Some(newest) = self.open.iter().map(|open| open.id.number).max() {
            self.settle_below(newest + 1, 0, 0);
        }
    }

    /// When [`Reassembly::poll_repair`] may have something to ask; never while every frame is on its way.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.open
            .iter()
            .filter_map(|open| open.repair_due(self.pause))
            .min()
    }

    /// The shards of one frame to ask for again, `alias` filled in by the caller: no more than are needed beside the
    /// parity that is there or to be expected. Call it until there is none.
    pub fn poll_repair(&mut self, now: Time) -> Option<Repair> {
        let (round_trip, interval, pause) = (self.round_trip, self.interval.mean(), self.pause);
        let ask = |open: &mut PartialFrame| {
            let timing = Timing {
                round_trip,
                interval,
                level: self.level.at(open.id.number),
                pause,
            };

            open.repair_due(pause)
                .filter(|due| *due <= now)
                .and_then(|_| open.ask(now, &timing))
        };

        let (repair, shards) = self.open.iter_mut().find_map(ask)?;
        self.counts.repairs_asked += shards;
        Some(repair)
    }

    /// The frames lost so far, by reason.
    #[must_use]
    pub const fn losses(&self) -> &Losses {
        &self.losses
    }

    /// Whether frames that come are over the limit: one was, and none has been whole since.
    #[must_use]
    pub const fn is_oversized(&self) -> bool {
        self.oversized
    }

    /// What came in so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether `id`'s epoch is the current one. The first that comes is, and where datagrams can be forged, what comes
    /// after a silence: the one that seemed to be the newest may have been forged.
    fn is_current(&mut self, now: Time, id: FrameId) -> bool {
        let anything = self.epoch.is_none() || (!self.authentic && self.is_silent(now));
        if anything && self.epoch != Some(id.epoch) {
            self.begin_epoch(now, id);
        }

        self.epoch == Some(id.epoch)
    }

    fn is_silent(&self, now: Time) -> bool {
        now.saturating_since(self.heard) >= EPOCH_SILENCE
    }

    fn begin_epoch(&mut self, now: Time, id: FrameId) {
        self.on_away();
        self.away = false;
        self.epoch = Some(id.epoch);
        self.heard = now;
        self.settled = id.number;
        self.interval.restart();
        self.level = Level::default();

        if let Some(retired) = self.retired.iter_mut().find(|epoch| **epoch == id.epoch) {
            *retired = 0;
        }
    }

    /// Whether to believe `number` rather than a frame far ahead of it, which would silence the stream for ever.
    fn falls_back(&mut self, number: u64) -> bool {
        if self.authentic || self.settled - number < FAR_BEHIND {
            return false;
        }

        self.far_behind += 1;
        if self.far_behind < FAR_BEHIND_PROOF {
            return false;
        }

        self.on_away();
        self.away = false;
        self.settled = number;
        self.interval.restart();
        true
    }

    /// A shard of a frame that is decided. Parity that was not needed always comes then.
    fn note_late(&mut self, header: &DataHeader) {
        if header.index < header.shards {
            self.counts.late += 1;
        } else {
            self.note_parity(header);
        }
    }

    fn note_parity(&mut self, header: &DataHeader) {
        self.counts.parity_shards += 1;
        if self.epoch == Some(header.id.epoch) {
            self.level.on_parity(header);
        }
    }

    /// Where the frame of `header` is, opened if it is new; none if it is refused.
    fn position(&mut self, now: Time, header: &DataHeader) -> Option<usize> {
        if let Some(at) = self.open.iter().position(|open| open.id == header.id) {
            if self.open[at].agrees(header) {
                self.open[at].learn(header);
                return Some(at);
            }
            self.counts.refused += 1;
            return None;
        }

        if self.open.len() == MAX_OPEN_FRAMES && !self.make_room(header.id.number) {
            self.note_late(header);
            return None;
        }

        let explained = u64::from(header.lost_upstream) + u64::from(header.lost_in_relay);
        self.note_away(header.id.number, explained);
        self.interval.on_first(now, header.id.number);
        let memory = self.unused_memory();
        self.open.push(PartialFrame::new(now, header, memory));
        Some(self.open.len() - 1)
    }

    fn unused_memory(&mut self) -> FrameMemory {
        let mut memory = self.spare.pop().unwrap_or_default();
        if memory.body.capacity() == 0 {
            memory.body = self.bodies.pop().unwrap_or_default();
        }
        memory
    }

    fn keep(&mut self, memory: FrameMemory) {
        if self.spare.len() < MAX_OPEN_FRAMES {
            self.spare.push(memory);
        }
    }

    /// Gives up the oldest partial frame for one with `number`, if that is newer.
    fn make_room(&mut self, number: u64) -> bool {
        let oldest = self
            .open
            .iter()
            .map(|open| open.id.number)
            .min()
            .unwrap_or(u64::MAX);

        if number < oldest {
            return false;
        }

        self.settle_below(oldest + 1, 0, 0);
        true
    }

    /// Handles the first frame after an absence: but for those that its relay explains, the frames in between were missed
    /// while there was no session.
    fn note_away(&mut self, number: u64, explained: u64) {
        if std::mem::take(&mut self.away) {
            let missed = number - self.settled;
            let away = missed.saturating_sub(explained);
            self.losses.away += away;
            self.settled += away;
        }
    }

    fn place(
        &mut self,
        now: Time,
        at: usize,
        header: &DataHeader,
        shard: &[u8],
    ) -> Option<CompleteFrame> {
        let open = &mut self.open[at];
        let Some(asked) = open.place(now, header.index, shard, self.level.at(header.id.number))
        else {
            self.counts.duplicates += 1;
            return None;
        };

        let whole = open.is_whole();
        self.counts.repairs_received += u64::from(asked);
        if header.index >= header.shards {
            self.note_parity(header);
        }

        whole.then(|| self.finish(now, at, header))
    }

    fn finish(&mut self, now: Time, at: usize, header: &DataHeader) -> CompleteFrame {
        self.heard = now;
        self.oversized = false;
        let open = self.open.swap_remove(at);
        self.settle_below(open.id.number, open.lost_upstream, open.lost_in_relay);
        self.settled = open.id.number + 1;
        self.note_shards(open.shards, open.unasked());
        let (whole, recovered, memory) = open.into_whole(&mut self.decoder, header.received_us);
        self.keep(memory);
        self.counts.whole += 1;
        self.counts.recovered += u64::from(recovered);
        whole
    }

    fn note_shards(&mut self, expected: u16, came: u16) {
        self.counts.shards_expected = self.counts.shards_expected.saturating_add(expected.into());
        self.counts.shards_missed = self
            .counts
            .shards_missed
            .saturating_add((expected - came).into());
    }

    /// Settles every frame below `number`. A partial frame is lost as incomplete. A frame of which nothing came is lost for
    /// the reason that the relay gave, or else on the link. Every number is counted once, whatever the relays say.
    fn settle_below(&mut self, number: u64, mut upstream: u64, mut relay: u64) {
        let mut unexplained = number.saturating_sub(self.settled);
        let mut at = 0;

        while at < self.open.len() {
            if self.open[at].id.number >= number {
                at += 1;
                continue;
            }

            let lost = self.open.swap_remove(at);
            upstream += lost.lost_upstream;
            relay += lost.lost_in_relay;
            unexplained -= 1;
            self.lose(lost);
        }

        upstream = upstream.min(unexplained);
        relay = relay.min(unexplained - upstream);
        let link = unexplained - upstream - relay;
        self.losses.upstream += upstream;
        self.losses.relay += relay;
        self.losses.link += link;
        self.settled = self.settled.max(number);
    }

    /// Gives up a frame of which some shards came.
    fn lose(&mut self, open: PartialFrame) {
        self.losses.incomplete += 1;
        if !self.away {
            self.note_shards(open.shards, open.unasked());
        }
        self.keep(open.into_memory());
    }
}

#[cfg(test)]
mod tests;
