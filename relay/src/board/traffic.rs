//! What came from sources, counted by stream.

use std::collections::BTreeMap;
use std::time::Duration;

use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_STREAMS;
use fanlight_proto::message::StreamName;

use crate::engine::Arrival;
use crate::http::AGE_EDGES_MS;

/// Streams that are counted by their names; a name that was counted once stays counted.
const MAX_NAMES: usize = 4 * MAX_STREAMS;

/// How many frames took how long. Never falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ages {
    /// Up to each of [`AGE_EDGES_MS`], and beyond the last.
    pub(crate) classes: [u64; AGE_EDGES_MS.len() + 1],
    /// The sum of all.
    pub(crate) sum_us: u64,
}

impl Ages {
    pub(crate) fn note(&mut self, age: Duration) {
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
pub(crate) struct Traffic {
    /// Frames with a picture.
    pub(crate) frames: u64,
    /// Bytes of the pictures.
    pub(crate) bytes: u64,
    /// From capture to the publisher, as the source says.
    pub(crate) prepared: Ages,
    /// From there to the relay, where the source's clock is known.
    pub(crate) transit: Ages,
}

impl Traffic {
    fn note(&mut self, arrival: &Arrival, captured_us: Option<i64>) {
        let prepared = Duration::from_micros(arrival.frame.header.prepared_us.into());
        self.frames += 1;
        self.bytes += arrival.frame.jpeg.len() as u64;
        self.prepared.note(prepared);
        if let Some(age) = captured_us.and_then(|captured| age(captured, arrival.received)) {
            self.transit.note(age.saturating_sub(prepared));
        }
    }
}

/// All streams; those whose names are too many together.
#[derive(Debug, Default)]
pub(crate) struct Books {
    named: BTreeMap<StreamName, Traffic>,
    other: Option<Traffic>,
}

impl Books {
    /// A frame came; `captured_us` as in [`Picture`](super::Picture).
    pub(crate) fn note(&mut self, arrival: &Arrival, captured_us: Option<i64>) {
        let stream = &arrival.frame.stream;
        if let Some(traffic) = self.named.get_mut(stream) {
            return traffic.note(arrival, captured_us);
        }
        let traffic = match self.named.len() < MAX_NAMES {
            true => self.named.entry(stream.clone()).or_default(),
            false => self.other.get_or_insert_default(),
        };
        traffic.note(arrival, captured_us);
    }

    /// By the name of the stream; `other` names those whose names are too many.
    pub(crate) fn all(&self, other: &str) -> Vec<(String, Traffic)> {
        let named = self
            .named
            .iter()
            .map(|(name, traffic)| (name.to_string(), *traffic));
        named
            .chain(self.other.map(|traffic| (other.to_owned(), traffic)))
            .collect()
    }
}

/// What lies between; none when clocks contradict each other by more than they ever are off.
fn age(captured_us: i64, at: Time) -> Option<Duration> {
    let at = i64::try_from(at.as_micros()).ok()?;
    Some(Duration::from_micros(
        u64::try_from(at.saturating_sub(captured_us)).unwrap_or(0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(
            age(2_000, Time::from_nanos(1_000_000)),
            Some(Duration::ZERO)
        );
        assert_eq!(
            age(1_000, Time::from_nanos(3_000_000)),
            Some(Duration::from_millis(2))
        );
    }
}
