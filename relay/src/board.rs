//! Where the event loop leaves what its HTTP side shows: of each stream the newest picture, and the newest status. The
//! other way go only the numbers of those who watch over HTTP. Neither side ever waits for the other: what is locked is
//! locked for a few moves of pointers.

pub(crate) mod traffic;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_STREAMS;
use fanlight_proto::message::{FrameId, StreamName};
use tokio::sync::Notify;

use crate::engine::{Arrival, EngineStatus};

/// A frame as browsers are shown it. Its bytes are those that came from the source.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Whose it is.
    pub stream: StreamName,
    /// Which one.
    pub id: FrameId,
    /// The JPEG as it came.
    pub jpeg: Bytes,
    /// Pixels of the coded picture.
    pub size: (u32, u32),
    /// When it came to the relay.
    pub received: Time,
    /// When it was captured by the relay's clock, in microseconds; none when the source's clock is not known here.
    pub captured_us: Option<i64>,
    /// When it was captured, in microseconds since 1970 in UTC by the source's wall clock.
    pub captured_utc_us: i64,
    /// The stream that goes the same way beside this one, for screens to prove themselves by; empty: none.
    pub canary: String,
}

impl Picture {
    /// What `arrival` shows; `captured_us` is as in the field.
    #[must_use]
    pub fn new(arrival: &Arrival, captured_us: Option<i64>) -> Self {
        let header = &arrival.frame.header;
        let captured_utc_ns = i64::try_from(header.captured_ns)
            .unwrap_or(i64::MAX)
            .saturating_add(header.wall_offset_ns);
        Self {
            stream: arrival.frame.stream.clone(),
            id: arrival.frame.id,
            jpeg: arrival.frame.jpeg.clone(),
            size: (header.width, header.height),
            received: arrival.received,
            captured_us,
            captured_utc_us: captured_utc_ns / 1_000,
            canary: header.canary.clone(),
        }
    }

    /// How old it is at `now`: since its capture, or when that is not known none.
    #[must_use]
    pub fn age_us(&self, now: Time) -> Option<u64> {
        let now = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        self.captured_us
            .map(|captured| u64::try_from(now.saturating_sub(captured)).unwrap_or(0))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Board {
    posted: Mutex<Posted>,
    filled: Notify,
    /// What is new about who watches over HTTP: at most one number for each stream.
    demand: Mutex<BTreeMap<StreamName, u32>>,
    demanded: Notify,
    traffic: Mutex<traffic::Books>,
}

/// What waits for the HTTP side: at most [`MAX_STREAMS`] pictures.
#[derive(Debug, Default)]
pub struct Posted {
    /// The newest picture of each stream that has one since the last look.
    pub pictures: Vec<Arc<Picture>>,
    /// The newest status, if there is a new one.
    pub status: Option<Arc<EngineStatus>>,
}

impl Board {
    /// Leaves a picture. The one of its stream that waits already gives way.
    pub fn post(&self, picture: Picture) {
        let picture = Arc::new(picture);
        let mut posted = lock(&self.posted);
        let known = posted
            .pictures
            .iter()
            .position(|old| old.stream == picture.stream);
        let old = match known {
            Some(at) => Some(std::mem::replace(&mut posted.pictures[at], picture)),
            None if posted.pictures.len() < MAX_STREAMS => {
                posted.pictures.push(picture);
                None
            }
            None => Some(picture),
        };
        drop(posted);
        self.filled.notify_one();
        // Its memory is given back after the lock.
        drop(old);
    }

    /// Counts a frame that came; `captured_us` as in [`Picture`].
    pub fn count(&self, arrival: &Arrival, captured_us: Option<i64>) {
        lock(&self.traffic).note(arrival, captured_us);
    }

    /// What came so far, by the name of the stream; `other` names those whose names are too many.
    pub(crate) fn traffic(&self, other: &str) -> Vec<(String, traffic::Traffic)> {
        lock(&self.traffic).all(other)
    }

    /// Leaves a status.
    pub fn post_status(&self, status: EngineStatus) {
        let old = lock(&self.posted).status.replace(Arc::new(status));
        self.filled.notify_one();
        drop(old);
    }

    /// Takes all that waits.
    #[must_use]
    pub fn take(&self) -> Posted {
        std::mem::take(&mut *lock(&self.posted))
    }

    /// Waits until something has been left since the last wait.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Leaves how many watch `stream` over HTTP.
    pub fn demand(&self, stream: &StreamName, clients: u32) {
        lock(&self.demand).insert(stream.clone(), clients);
        self.demanded.notify_one();
    }

    /// Takes a stream of which it is new how many watch it over HTTP, and how many.
    #[must_use]
    pub fn take_demand(&self) -> Option<(StreamName, u32)> {
        lock(&self.demand).pop_first()
    }

    /// Waits until there is such news since the last wait.
    pub async fn demanded(&self) {
        self.demanded.notified().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(stream: &str, number: u64) -> Picture {
        Picture {
            stream: stream.parse().unwrap(),
            id: FrameId { epoch: 1, number },
            jpeg: Bytes::from_static(&[0xff, 0xd8, 0xff, 0xd9]),
            size: (2, 1),
            received: Time::default(),
            captured_us: None,
            captured_utc_us: 0,
            canary: String::new(),
        }
    }

    #[test]
    fn the_newest_picture_of_each_stream_waits() {
        let board = Board::default();
        for number in 5..8 {
            board.post(picture("a", number));
            board.post(picture("b", 10 + number));
        }
        let numbers: Vec<_> = board
            .take()
            .pictures
            .iter()
            .map(|picture| picture.id.number)
            .collect();
        assert_eq!(numbers, [7, 17]);
        assert!(board.take().pictures.is_empty());
    }

    #[test]
    fn more_streams_than_the_relay_carries_do_not_make_it_grow() {
        let board = Board::default();
        for n in 0..2 * MAX_STREAMS {
            board.post(picture(&format!("s{n}"), 0));
        }
        assert_eq!(board.take().pictures.len(), MAX_STREAMS);
    }

    #[test]
    fn the_newest_number_of_watchers_waits() {
        let (board, stream) = (Board::default(), "a".parse().unwrap());
        board.demand(&stream, 1);
        board.demand(&stream, 2);
        assert_eq!(board.take_demand(), Some((stream, 2)));
        assert_eq!(board.take_demand(), None);
    }

    #[test]
    fn the_age_counts_from_the_capture() {
        let captured = Picture {
            captured_us: Some(1_000),
            ..picture("a", 0)
        };
        assert_eq!(captured.age_us(Time::from_nanos(3_500_000)), Some(2_500));
        assert_eq!(
            captured.age_us(Time::from_nanos(500_000)),
            Some(0),
            "clocks are never quite right"
        );
        assert_eq!(picture("a", 0).age_us(Time::from_nanos(5)), None);
    }
}
