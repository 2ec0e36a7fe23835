//! Counts what came from sources, by stream.

use std::collections::BTreeMap;
use std::time::Duration;

use fanlight_proto::limits::MAX_STREAMS;
use fanlight_proto::message::StreamName;

use crate::frame::LiveFrame;

/// Upper edges of the classes into which ages fall, in milliseconds: around what a good network has, and what people
/// see.
pub const AGE_EDGES_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];

/// What stands for the streams whose names are too many to be counted each. No stream can have that name.
pub const OTHER: &str = "(other)";

/// Streams that are counted by their names; a name that was counted once stays counted.
const MAX_NAMES: usize = 4 * MAX_STREAMS;

/// A histogram of ages. Its counts never fall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// Frames up to each of [`AGE_EDGES_MS`], and beyond the last.
    pub classes: [u64; AGE_EDGES_MS.len() + 1],
    /// The sum of all ages, in microseconds.
    pub sum_us: u64,
}

impl Ages {
    /// Counts a frame of that age.
    pub fn note(&mut self, age: Duration) {
        let age_us = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        let class = AGE_EDGES_MS
            .iter()
            .position(|edge| age_us <= edge * 1_000)
            .unwrap_or(AGE_EDGES_MS.len());
        self.classes[class] += 1;
        self.sum_us = self.sum_us.saturating_add(age_us);
    }
}

/// What came of one stream since the relay began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames with a picture.
    pub frames: u64,
    /// Bytes of the pictures.
    pub bytes: u64,
    /// From capture to the publisher, as the source says.
    pub prepared: Ages,
    /// From there to the relay, where the source's clock is known.
    pub transit: Ages,
}

/// What one picture adds to the counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    bytes: usize,
    prepared: Duration,
    transit: Option<Duration>,
}

impl Sample {
    pub(crate) fn of(frame: &LiveFrame) -> Self {
        let prepared = Duration::from_micros(frame.header.prepared_us.into());
        let age = frame.age_us(frame.received).map(Duration::from_micros);
        Self {
            bytes: frame.jpeg.len(),
            prepared,
            transit: age.map(|age| age.saturating_sub(prepared)),
        }
    }
}

impl Traffic {
    fn note(&mut self, sample: Sample) {
        self.frames += 1;
        self.bytes += sample.bytes as u64;
        self.prepared.note(sample.prepared);
        if let Some(transit) = sample.transit {
            self.transit.note(transit);
        }
    }
}

/// The counts of all streams; those whose names are too many are counted together.
#[derive(Debug, Default)]
pub(crate) struct TrafficTotals {
    named: BTreeMap<StreamName, Traffic>,
    other: Option<Traffic>,
}

impl TrafficTotals {
    /// Counts a picture.
    pub(crate) fn note(&mut self, stream: &StreamName, sample: Sample) {
        if let Some(traffic) = self.named.get_mut(stream) {
            return traffic.note(sample);
        }

        let traffic = if self.named.len() < MAX_NAMES {
            self.named.entry(stream.clone()).or_default()
        } else {
            self.other.get_or_insert_default()
        };

        traffic.note(sample);
    }

    /// All counts by the stream's name, or [`OTHER`].
    pub(crate) fn all(&self) -> Vec<(String, Traffic)> {
        let named = self
            .named
            .iter()
            .map(|(name, traffic)| (name.to_string(), *traffic));
        let other = self.other.map(|traffic| (OTHER.to_owned(), traffic));
        named.chain(other).collect()
    }
}

#[cfg(test)]
mod tests {
    use fanlight_proto::clock::Time;

    use super::*;
    use crate::table::tests::live;

    #[test]
    fn ages_fall_into_the_class_of_their_edge() {
        let mut ages = Ages::default();
        for millis in [0, 1, 2, 3, 5_000, 5_001, 600_000] {
            ages.note(Duration::from_millis(millis));
        }
        assert_eq!(ages.classes, [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(ages.sum_us, 610_007_000);
    }

    #[test]
    fn a_frame_from_the_future_took_no_time() {
        let mut traffic = Traffic::default();
        for (captured_us, received_us) in [(2_000, 1_000), (1_000, 3_000)] {
            traffic.note(Sample::of(&LiveFrame {
                captured_us: Some(captured_us),
                ..live("cam", 1, 1, Time::from_nanos(received_us * 1_000))
            }));
        }

        assert_eq!(traffic.transit.sum_us, 2_000);
        assert_eq!(traffic.frames, 2);
    }

    #[test]
    fn streams_whose_names_are_too_many_are_counted_together() {
        let mut totals = TrafficTotals::default();
        for n in 0..MAX_NAMES + 10 {
            let frame = live(&format!("s{n}"), 1, 0, Time::default());
            totals.note(&frame.stream, Sample::of(&frame));
        }

        let all = totals.all();
        assert_eq!(all.len(), MAX_NAMES + 1);
        assert_eq!(all[MAX_NAMES].0, OTHER);
        assert_eq!(all[MAX_NAMES].1.frames, 10);
    }
}
