//! Putting frames together from shards that come doubled, out of order, late or not at all; and saying, of every
//! frame that is not shown, why.

mod losses;
mod open;

use std::time::Duration;

use crate::clock::Time;
use crate::datagram::DataHeader;
use crate::limits::{MAX_FRAME_BYTES, MAX_OPEN_FRAMES};
use crate::message::{FrameId, Repair};

pub use losses::Losses;
use open::Open;

/// Shards come in order but for a little reordering: a gap older than this is a loss.
const GAP_PATIENCE: Duration = Duration::from_millis(2);

/// Nothing came for so long, and the end of the frame is missing: it is lost. Longer than the pause between the
/// chunks of a paced frame.
const TAIL_PATIENCE: Duration = Duration::from_millis(8);

/// Epochs that have ended and must not come back by a late datagram.
const RETIRED_EPOCHS: usize = 4;

/// A shard so many frames behind has not been overtaken on its way: the frame that is ahead of it was forged or damaged.
const FAR_BEHIND: u64 = 1 << 10;

/// So many shards far behind, and none in time, show which of the two is true.
const FAR_BEHIND_PROOF: u32 = 256;

/// No source captures so many frames while a viewer looks away: a frame number further ahead is forged or damaged.
const MAX_JUMP: u64 = 1 << 32;

/// The frames of one stream that are on their way into one viewer.
#[derive(Debug)]
pub struct Reassembly {
    limit: usize,
    epoch: Option<u64>,
    retired: [u64; RETIRED_EPOCHS],
    /// Every frame number below this one is decided: given out, or counted as lost.
    settled: u64,
    open: Vec<Open>,
    spare: Vec<Vec<u8>>,
    away: bool,
    far_behind: u32,
    losses: Losses,
    counts: Counts,
}

/// What came in. Counts never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames given out whole.
    pub whole: u64,
    /// Shards that were there already.
    pub duplicates: u64,
    /// Shards of frames that were decided already, or of an epoch that has ended.
    pub late: u64,
    /// Shards that contradict their frame or break a bound.
    pub refused: u64,
    /// Shards asked for again.
    pub repairs_asked: u64,
    /// Of those, the ones that came.
    pub repairs_received: u64,
}

/// A frame with all its shards.
#[derive(Debug, PartialEq, Eq)]
pub struct Whole {
    /// Its identity.
    pub id: FrameId,
    /// The encoded `Frame`.
    pub body: Vec<u8>,
    /// When its first shard came.
    pub first: Time,
    /// When the relay had it, on the relay's clock: the lower half of microseconds.
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
            settled: 0,
            open: Vec::with_capacity(MAX_OPEN_FRAMES),
            spare: Vec::with_capacity(MAX_OPEN_FRAMES),
            away: false,
            far_behind: 0,
            losses: Losses::default(),
            counts: Counts::default(),
        }
    }

    /// Takes one shard; gives the frame when this was the last one missing.
    pub fn on_shard(&mut self, now: Time, header: &DataHeader, shard: &[u8]) -> Option<Whole> {
        if header.length as usize > self.limit {
            self.counts.refused += 1;
            return None;
        }
        if !self.enter_epoch(header.id) {
            self.counts.late += 1;
            return None;
        }
        let number = header.id.number;
        if number < self.settled && !self.falls_back(number) {
            self.counts.late += 1;
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
        if self.spare.len() < MAX_OPEN_FRAMES && body.capacity() > 0 {
            self.spare.push(body);
        }
    }

    /// The session is gone: frames missed until the next shard are nobody's loss but its own.
    pub fn on_away(&mut self) {
        if let Some(newest) = self.open.iter().map(|open| open.id.number).max() {
            self.settle_below(newest + 1, 0, 0);
        }
        self.away = true;
    }

    /// When [`Reassembly::poll_repair`] may have something to ask; never while every frame is on its way.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.open.iter().filter_map(|open| open.repair_due(GAP_PATIENCE, TAIL_PATIENCE)).min()
    }

    /// The shards of one frame to ask for again, `alias` filled in by the caller. A frame is asked for twice at most.
    pub fn poll_repair(&mut self, now: Time) -> Option<Repair> {
        let due = |open: &&mut Open| open.repair_due(GAP_PATIENCE, TAIL_PATIENCE).is_some_and(|due| due <= now);
        let (repair, shards) = self.open.iter_mut().find(due)?.ask(now, TAIL_PATIENCE);
        self.counts.repairs_asked += shards;
        Some(repair)
    }

    /// The frames lost so far, by reason.
    #[must_use]
    pub const fn losses(&self) -> &Losses {
        &self.losses
    }

    /// What came in so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether `id`'s epoch is the current one; begins a new one if it has never been seen.
    fn enter_epoch(&mut self, id: FrameId) -> bool {
        if self.epoch == Some(id.epoch) {
            return true;
        }
        if self.retired.contains(&id.epoch) {
            return false;
        }
        self.on_away();
        self.away = false;
        if let Some(former) = self.epoch.replace(id.epoch) {
            self.retired.rotate_right(1);
            self.retired[0] = former;
        }
        self.settled = id.number;
        true
    }

    /// Whether to believe `number` rather than a frame far ahead of it, which would silence the stream for ever.
    fn falls_back(&mut self, number: u64) -> bool {
        if self.settled - number < FAR_BEHIND {
            return false;
        }
        self.far_behind += 1;
        if self.far_behind < FAR_BEHIND_PROOF {
            return false;
        }
        self.on_away();
        self.away = false;
        self.settled = number;
        true
    }

    /// Where the frame of `header` is, opened if it is new; none if it is refused.
    fn position(&mut self, now: Time, header: &DataHeader) -> Option<usize> {
        if let Some(at) = self.open.iter().position(|open| open.id == header.id) {
            if self.open[at].agrees(header) {
                return Some(at);
            }
            self.counts.refused += 1;
            return None;
        }
        if self.open.len() == MAX_OPEN_FRAMES && !self.make_room(header.id.number) {
            self.counts.late += 1;
            return None;
        }
        let mut body = self.spare.pop().unwrap_or_default();
        body.clear();
        self.note_away(header);
        self.open.push(Open::new(now, header, body));
        Some(self.open.len() - 1)
    }

    /// Gives up the oldest frame for one with `number`, if that is newer.
    fn make_room(&mut self, number: u64) -> bool {
        let oldest = self.open.iter().map(|open| open.id.number).min().unwrap_or(u64::MAX);
        if number < oldest {
            return false;
        }
        self.settle_below(oldest + 1, 0, 0);
        true
    }

    /// The first frame after an absence: what lies between was missed while there was no session.
    fn note_away(&mut self, header: &DataHeader) {
        if std::mem::take(&mut self.away) {
            let missed = header.id.number - self.settled;
            let explained = u64::from(header.lost_upstream) + u64::from(header.lost_in_relay);
            let away = missed.saturating_sub(explained);
            self.losses.away += away;
            self.settled += away;
        }
    }

    fn place(&mut self, now: Time, at: usize, header: &DataHeader, shard: &[u8]) -> Option<Whole> {
        let open = &mut self.open[at];
        let Some(asked) = open.place(now, header.index, shard) else {
            self.counts.duplicates += 1;
            return None;
        };
        self.counts.repairs_received += u64::from(asked);
        if !open.is_whole() {
            return None;
        }
        let whole = self.open.swap_remove(at);
        self.settle_below(whole.id.number, whole.lost_upstream, whole.lost_in_relay);
        self.settled = whole.id.number + 1;
        self.counts.whole += 1;
        Some(whole.into_whole())
    }

    /// Decides every frame below `number`: what is still open there is lost, what never came is lost for the reason
    /// that the relay gave, or else on the link.
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
            self.losses.incomplete += 1;
            self.recycle(lost.into_body());
        }
        upstream = upstream.min(unexplained);
        relay = relay.min(unexplained - upstream);
        self.losses.upstream += upstream;
        self.losses.relay += relay;
        self.losses.link += unexplained - upstream - relay;
        self.settled = self.settled.max(number);
    }
}

#[cfg(test)]
mod tests;
