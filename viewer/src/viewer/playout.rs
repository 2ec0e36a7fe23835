//! The playout buffer of one stream: holds frames until so long after their capture that what the network delayed is on time again.
//! Sans-IO; the socket thread puts frames in and takes them when they are due.

use std::collections::VecDeque;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::message::FrameHeader;
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::engine::ReceivedFrame;

/// Most frames that wait, and most of their bytes; the oldest is due when there are more: two seconds of 60 a second.
const MAX_FRAMES: usize = 120;
const MAX_BYTES: usize = 64 << 20;

/// By how much the clock of a source may run slower than ours: the shortest way is taken to be longer by this part of the time
/// that has passed.
const DRIFT: i128 = 5000;

/// Frames that wait.
#[derive(Debug)]
pub(super) struct PlayoutBuffer {
    delay: Duration,
    clock: Option<SourceClock>,
    frames: VecDeque<(Time, ReceivedFrame)>,
    bytes: usize,
}

/// What is known of the clock of a source by the frames that came fastest.
#[derive(Clone, Copy, Debug)]
struct SourceClock {
    epoch: u64,
    /// Nanoseconds from a capture, by the clock of the source, to the arrival, by ours: the least so far.
    least: i128,
    at: Time,
}

impl PlayoutBuffer {
    pub(super) const fn new(delay: Duration) -> Self {
        Self {
            delay,
            clock: None,
            frames: VecDeque::new(),
            bytes: 0,
        }
    }

    /// A frame that has just arrived.
    pub(super) fn put(&mut self, now: Time, frame: ReceivedFrame) {
        let due = self.due_time(now, &frame);
        // Frames come in their order, and leave in it.
        let due = self.frames.back().map_or(due, |(last, _)| due.max(*last));
        self.bytes += frame.whole.body.len();
        self.frames.push_back((due, frame));
    }

    /// The next frame, once it is due.
    pub(super) fn take(&mut self, now: Time) -> Option<ReceivedFrame> {
        let is_full = self.frames.len() > MAX_FRAMES || self.bytes > MAX_BYTES;
        let (due, _) = self.frames.front()?;
        if *due > now && !is_full {
            return None;
        }

        let (_, frame) = self.frames.pop_front()?;
        self.bytes -= frame.whole.body.len();
        Some(frame)
    }

    /// When the next frame is due.
    pub(super) fn due(&self) -> Option<Time> {
        self.frames.front().map(|(due, _)| *due)
    }

    /// Forgets what waits: it is not shown after a card or another stream. Gives the memory back.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = Vec<u8>> {
        self.bytes = 0;
        self.frames.drain(..).map(|(_, frame)| frame.whole.body)
    }

    /// When a frame is to be shown: at its capture, by the fastest way and the delay later.
    fn due_time(&mut self, now: Time, frame: &ReceivedFrame) -> Time {
        let Some(captured_ns) = captured_ns(&frame.whole.body) else {
            // The decoder says what is wrong with it.
            return now;
        };

        let captured_ns = i128::from(captured_ns);
        let way = i128::from(now.as_nanos()) - captured_ns;
        let epoch = frame.whole.id.epoch;
        let known = self.clock.filter(|clock| clock.epoch == epoch);
        let least = known.map_or(way, |clock| {
            let passed = now.saturating_since(clock.at).as_nanos() as i128;
            way.min(clock.least + passed / DRIFT)
        });
        self.clock = Some(SourceClock {
            epoch,
            least,
            at: now,
        });

        let late = Duration::from_nanos(u64::try_from(way - least).unwrap_or(u64::MAX));
        now + self.delay.saturating_sub(late)
    }
}

/// The capture time in the header of a frame, which is its first field.
fn captured_ns(mut body: &[u8]) -> Option<u64> {
    let (1, WireType::LengthDelimited) = decode_key(&mut body).ok()? else {
        return None;
    };

    let length = usize::try_from(decode_varint(&mut body).ok()?).ok()?;
    let header = FrameHeader::decode(body.get(..length)?).ok()?;
    Some(header.captured_ns)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fanlight_proto::message::FrameId;
    use fanlight_proto::reassembly::CompleteFrame;

    use super::*;

    const DELAY: Duration = Duration::from_millis(100);

    fn ms(at: u64) -> Time {
        Time::default() + Duration::from_millis(1000 + at)
    }

    /// A frame that was captured then, by a clock of its source's own.
    fn frame(epoch: u64, number: u64, captured_ms: u64) -> ReceivedFrame {
        let header = FrameHeader {
            captured_ns: 5_000_000_000 + captured_ms * 1_000_000,
            ..FrameHeader::default()
        };
        let mut body = vec![0x0a];
        header.encode_length_delimited(&mut body).unwrap();
        let whole = CompleteFrame {
            id: FrameId { epoch, number },
            body,
            first: Time::default(),
            received_us: 0,
        };
        ReceivedFrame {
            topic: Bytes::new(),
            whole,
            relayed: None,
            arrived: Time::default(),
        }
    }

    /// When each frame leaves that was captured every 40 ms and came after such a way, in milliseconds from its capture.
    fn shown_after(ways: &[u64]) -> Vec<u64> {
        let mut buffer = PlayoutBuffer::new(DELAY);
        let mut shown = Vec::new();
        let mut coming: VecDeque<_> = (0..).zip(ways).map(|(n, way)| (n, 40 * n + way)).collect();
        for now in 0..2000 {
            while coming.front().is_some_and(|(_, at)| *at <= now) {
                let (number, _) = coming.pop_front().unwrap();
                buffer.put(ms(now), frame(1, number, 40 * number));
            }
            // Before the next millisecond.
            while let Some(frame) = buffer.take(ms(now) + Duration::from_micros(900)) {
                shown.push(now - 40 * frame.whole.id.number);
            }
        }
        shown
    }

    #[test]
    fn frames_that_came_unevenly_are_shown_evenly() {
        let shown = shown_after(&[10, 70, 35, 10, 90, 55, 20]);
        assert_eq!(shown, [110; 7]);
    }

    #[test]
    fn a_frame_that_came_too_late_is_shown_at_once_and_holds_no_other_up() {
        assert_eq!(
            shown_after(&[10, 10, 150, 115, 10]),
            [110, 110, 150, 115, 110]
        );
        // The first was slow: what is faster says so.
        assert_eq!(shown_after(&[60, 10, 10, 10]), [160, 120, 110, 110]);
    }

    #[test]
    fn a_source_that_starts_anew_has_a_clock_of_its_own() {
        let mut buffer = PlayoutBuffer::new(DELAY);
        buffer.put(ms(0), frame(1, 7, 900));
        assert_eq!(buffer.due(), Some(ms(100)));
        assert!(buffer.take(ms(99)).is_none() && buffer.take(ms(100)).is_some());
        buffer.put(ms(200), frame(2, 0, 3));
        assert_eq!(buffer.due(), Some(ms(300)));
    }

    #[test]
    fn what_waits_is_bounded_and_forgotten_when_it_is_not_to_be_shown() {
        let mut buffer = PlayoutBuffer::new(20 * DELAY);
        for number in 0..=MAX_FRAMES as u64 {
            buffer.put(ms(number), frame(1, number, number));
        }
        assert_eq!(buffer.take(ms(200)).unwrap().whole.id.number, 0);
        assert!(buffer.take(ms(200)).is_none());
        assert_eq!(buffer.clear().count(), MAX_FRAMES);
        assert_eq!((buffer.due(), buffer.bytes), (None, 0));
    }

    #[test]
    fn what_has_no_header_is_not_held() {
        for body in [vec![], vec![0x0a, 200], vec![0x7a, 1, 0], vec![0xff; 12]] {
            let mut frame = frame(1, 1, 0);
            frame.whole.body = body;
            let mut buffer = PlayoutBuffer::new(DELAY);
            buffer.put(ms(5), frame);
            assert!(buffer.take(ms(5)).is_some());
        }
    }
}
