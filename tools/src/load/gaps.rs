//! Counts the gaps in the frames that one viewer gets.

use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::FrameId;

/// Frames that come after so long, though none is missing, are an interruption all the same: it would be seen.
const SILENCE: Duration = Duration::from_millis(500);

/// The same for a stream of few frames a second: so many intervals.
const SILENT_INTERVALS: u32 = 3;

/// The gaps between the frames of one viewer. A gap is where frames are missing, or where none came for too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps {
    /// How many.
    pub(super) count: u64,
    /// Frames missing in the longest, as far as their numbers tell.
    pub(super) longest_frames: u64,
    /// The longest time between two frames that are not neighbours.
    pub(super) longest: Duration,
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last {
    id: FrameId,
    at: Time,
    limit: Duration,
}

impl Gaps {
    /// A frame came at `at`, of a stream with so many thousandths of a frame a second; 0 when that is not known.
    pub(super) fn on_frame(&mut self, id: FrameId, at: Time, rate_millihertz: u32) {
        let interval = Duration::from_secs(1000)
            .checked_div(rate_millihertz)
            .unwrap_or_default();
        let last = self.last.replace(Last {
            id,
            at,
            limit: SILENCE.max(interval * SILENT_INTERVALS),
        });

        let Some(last) = last else { return };
        // The numbers of another run of the source tell nothing.
        let neighbours = if last.id.epoch == id.epoch {
            id.number.saturating_sub(last.id.number)
        } else {
            1
        };

        self.note(
            neighbours.saturating_sub(1),
            at.saturating_since(last.at),
            last.limit,
        );
    }

    /// Counts the gap that still lasts at the end, if one does.
    pub(super) fn end(&mut self, now: Time) {
        if let Some(last) = self.last.take() {
            self.note(0, now.saturating_since(last.at), last.limit);
        }
    }

    /// Forgets what was, and goes on from the latest frame.
    pub(super) fn restart(&mut self) {
        *self = Self {
            last: self.last,
            ..Self::default()
        };
    }

    /// These and another viewer's.
    pub(super) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.longest_frames = self.longest_frames.max(other.longest_frames);
        self.longest = self.longest.max(other.longest);
    }

    fn note(&mut self, missing: u64, length: Duration, limit: Duration) {
        if missing > 0 || length >= limit {
            self.count += 1;
            self.longest_frames = self.longest_frames.max(missing);
            self.longest = self.longest.max(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 30_000;

    fn ms(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    fn after(frames: &[(u64, u64, u64)]) -> Gaps {
        let mut gaps = Gaps::default();
        for (epoch, number, at) in frames {
            gaps.on_frame(
                FrameId {
                    epoch: *epoch,
                    number: *number,
                },
                ms(*at),
                RATE,
            );
        }

        gaps
    }

    #[track_caller]
    fn are(gaps: &Gaps, count: u64, frames: u64, millis: u64) {
        assert_eq!(
            (gaps.count, gaps.longest_frames, gaps.longest),
            (count, frames, Duration::from_millis(millis))
        );
    }

    #[test]
    fn neighbours_that_come_in_time_are_no_gap() {
        are(&after(&[(1, 5, 0), (1, 6, 33), (1, 7, 300)]), 0, 0, 0);
    }

    #[test]
    fn missing_numbers_are_a_gap_as_long_as_the_time_between_the_frames_beside_it() {
        are(
            &after(&[(1, 5, 0), (1, 7, 66), (1, 8, 99), (1, 12, 232)]),
            2,
            3,
            133,
        );
    }

    #[test]
    fn a_silence_is_a_gap_also_when_no_number_is_missing_or_the_source_began_anew() {
        are(&after(&[(1, 5, 0), (1, 6, 600)]), 1, 0, 600);
        are(&after(&[(1, 5, 0), (2, 0, 700)]), 1, 0, 700);
        are(&after(&[(1, 5, 0), (2, 900, 100)]), 0, 0, 0);
    }

    #[test]
    fn a_slow_stream_may_be_silent_for_longer() {
        let mut gaps = Gaps::default();
        for (number, at) in [(1, 0), (2, 1000), (3, 2900), (4, 5900)] {
            gaps.on_frame(FrameId { epoch: 1, number }, ms(at), 1000);
        }
        are(&gaps, 1, 0, 3000);
    }

    #[test]
    fn a_gap_that_lasts_at_the_end_counts() {
        let mut gaps = after(&[(1, 5, 0), (1, 6, 33)]);
        gaps.end(ms(100));
        are(&gaps, 0, 0, 0);
        let mut gaps = after(&[(1, 5, 0), (1, 7, 66)]);
        gaps.end(ms(2066));
        are(&gaps, 2, 1, 2000);
    }

    #[test]
    fn what_was_before_a_restart_is_forgotten_but_not_the_latest_frame() {
        let mut gaps = after(&[(1, 5, 0), (1, 9, 66)]);
        gaps.restart();
        are(&gaps, 0, 0, 0);
        gaps.on_frame(
            FrameId {
                epoch: 1,
                number: 11,
            },
            ms(133),
            RATE,
        );

        are(&gaps, 1, 1, 67);
        let mut all = after(&[(1, 5, 0), (1, 9, 66)]);
        all.add(&gaps);
        are(&all, 2, 3, 67);
    }
}
