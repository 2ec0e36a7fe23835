//! Which shards of one frame to ask for again, and when.
//!
//! A shard is asked for when parity cannot make good what is known to be lost: a little after a gap is seen, or after
//! silence. It is asked for again when the answer is overdue, and not when it could come only after the frame has lost
//! its use.

use std::time::Duration;

use crate::clock::Time;
use crate::limits::MAX_REPAIR_RANGES;

/// Shards come in order but for a little reordering: a gap older than this is a loss.
const GAP_PATIENCE: Duration = Duration::from_millis(2);

/// Nothing came for so long, and for twice the pause that the relay makes within a frame, and the end is missing: it is
/// lost.
const TAIL_PATIENCE: Duration = Duration::from_millis(8);

/// One shard is asked for so often. When one datagram in twenty is lost, four questions stay without an answer nine
/// times in 100 000, six once in a million; and after six there has been no way for a while.
const MAX_ASKS: u8 = 6;

/// Answers of one frame that are under way at a time: each shard that comes looks for itself among them, and a frame that lacks
/// more is asked for in turns.
const MAX_UNDER_WAY: u16 = 16 * MAX_REPAIR_RANGES as u16;

/// The round trip before any has been measured: a wired network's, and Wi-Fi's on a good day.
const ROUND_TRIP_GUESS: Duration = Duration::from_millis(6);

/// An answer may wait so long in the relay, behind a chunk of another frame, and on the way.
const ANSWER_MARGIN: Duration = Duration::from_millis(2);

/// What the frames of a stream have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    pub(super) round_trip: Option<Duration>,
    /// Time between frames.
    pub(super) interval: Option<Duration>,
    /// Parity that the last frames brought.
    pub(super) level: u8,
    /// The longest pause that the relay makes within a frame.
    pub(super) pause: Duration,
}

impl Timing {
    /// How long after a question its answer is overdue.
    fn answer_time(&self) -> Duration {
        let round_trip = self.round_trip.unwrap_or(ROUND_TRIP_GUESS);
        round_trip + self.round_trip.map_or(Duration::ZERO, |trip| trip / 4) + ANSWER_MARGIN
    }

    /// Whether an answer comes too late for a frame of this age: two intervals after its first shard the next frame
    /// is whole.
    pub(super) fn is_too_late(&self, age: Duration) -> bool {
        let Some((interval, round_trip)) = self.interval.zip(self.round_trip) else {
            return false;
        };
        age + round_trip > 2 * interval
    }
}

/// How long a silence must be to say that the rest is lost.
fn patience(pause: Duration) -> Duration {
    TAIL_PATIENCE.max(2 * pause)
}

#[derive(Debug, Default)]
pub(super) struct RepairScheduler {
    /// Since when more is known to be lost than parity and the answers under way make good.
    lack: Option<Time>,
    /// What has been asked for and did not come, in ascending order.
    asked: Vec<RepairRequest>,
    /// Of those, how many answers are under way.
    under_way: u16,
    silent: bool,
}

#[derive(Debug)]
struct RepairRequest {
    index: u16,
    times: u8,
    /// Until when the answer is on its way.
    until: Option<Time>,
}

impl RepairScheduler {
    /// A shard came; whether it had been asked for.
    pub(super) fn on_came(&mut self, index: u16) -> bool {
        let Ok(at) = self.asked.binary_search_by_key(&index, |asked| asked.index) else {
            return false;
        };
        let asked = self.asked.remove(at);
        self.under_way -= u16::from(asked.until.is_some());
        true
    }

    /// So many shards are lacking beyond parity.
    pub(super) fn on_lack(&mut self, now: Time, lacking: u16) {
        self.lack = (lacking > self.under_way).then(|| self.lack.unwrap_or(now));
    }

    /// When to ask for a frame whose last shard came at `last`, of a relay that makes such pauses within a frame.
    pub(super) fn due(&self, last: Time, pause: Duration) -> Option<Time> {
        let lack = self.lack.map(|since| since + GAP_PATIENCE);
        let overdue = self.asked.iter().filter_map(|asked| asked.until).min();
        let silence = (!self.silent).then(|| last + patience(pause));
        [lack, overdue, silence].into_iter().flatten().min()
    }

    /// There has been silence: what did not come by then is lost.
    pub(super) const fn is_silent(&self) -> bool {
        self.silent
    }

    /// Takes note of which answers are overdue, and of silence.
    pub(super) fn begin(&mut self, now: Time, last: Time, pause: Duration) {
        self.lack = None;
        for asked in &mut self.asked {
            if asked.until.is_some_and(|until| until <= now) {
                asked.until = None;
                self.under_way -= 1;
            }
        }

        self.silent |= now.saturating_since(last) >= patience(pause);
    }

    /// Chooses from the `missing` shards as many as are `lacking` and not under way, as ranges, and says how many.
    pub(super) fn choose(
        &mut self,
        now: Time,
        lacking: u16,
        missing: impl Iterator<Item = u16>,
        timing: &Timing,
    ) -> (Vec<u32>, u64) {
        let mut ranges: Vec<u32> = Vec::new();
        let mut left = lacking.min(MAX_UNDER_WAY).saturating_sub(self.under_way);
        let until = now + timing.answer_time();
        let before = left;

        for index in missing {
            let continues = ranges
                .last_chunk()
                .is_some_and(|[first, count]| first + count == u32::from(index));
            if left == 0 || !continues && ranges.len() == 2 * MAX_REPAIR_RANGES {
                break;
            }

            if !self.ask(index, until) {
                continue;
            }

            match ranges.last_mut().filter(|_| continues) {
                Some(count) => *count += 1,
                None => ranges.extend([u32::from(index), 1]),
            }

            left -= 1;
        }

        (ranges, u64::from(before - left))
    }

    /// Notes that `index` is asked for, unless an answer is under way or it has been asked for too often.
    fn ask(&mut self, index: u16, until: Time) -> bool {
        match self.asked.binary_search_by_key(&index, |asked| asked.index) {
            Ok(at) if self.asked[at].until.is_some() || self.asked[at].times == MAX_ASKS => {
                return false;
            }
            Ok(at) => {
                self.asked[at].times += 1;
                self.asked[at].until = Some(until);
            }
            Err(at) => self.asked.insert(
                at,
                RepairRequest {
                    index,
                    times: 1,
                    until: Some(until),
                },
            ),
        }

        self.under_way += 1;
        true
    }
}
