//! A frame as the relay received it, and as a subscriber gets it.

use std::sync::Arc;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{CheckedFrame, FrameHeader, FrameId, StreamName};
use fanlight_proto::route::Route;

/// A frame of a source, or with an empty picture a heartbeat. Its bytes are those that came from the source.
#[derive(Clone, Debug)]
pub struct LiveFrame {
    /// The source it came from, by its place in the settings.
    pub origin: usize,
    /// The stream it belongs to.
    pub stream: StreamName,
    /// Its identity.
    pub id: FrameId,
    /// Everything its source said of it.
    pub header: FrameHeader,
    /// The picture; empty in a heartbeat.
    pub jpeg: Bytes,
    /// The encoded `Frame` as it came.
    pub body: Bytes,
    /// Which way it came from the source.
    pub route: Route,
    /// When it came to the relay.
    pub received: Time,
    /// When it was captured by the relay's clock, in microseconds; none while the source's clock is not known here.
    pub captured_us: Option<i64>,
    /// Its place among the pictures of its epoch that the table has seen, from 1.
    pub(crate) index: u64,
}

impl LiveFrame {
    /// A frame that came from source `origin` as `body` at `received`.
    #[must_use]
    pub fn new(origin: usize, frame: CheckedFrame, body: Bytes, received: Time) -> Self {
        let CheckedFrame {
            stream,
            id,
            header,
            jpeg,
            route,
        } = frame;

        Self {
            origin,
            stream,
            id,
            header,
            jpeg,
            body,
            route,
            received,
            captured_us: None,
            index: 0,
        }
    }

    /// Whether it is a picture, and not a heartbeat.
    #[must_use]
    pub fn is_picture(&self) -> bool {
        !self.jpeg.is_empty()
    }

    /// Pixels of the coded picture.
    #[must_use]
    pub const fn size(&self) -> (u32, u32) {
        (self.header.width, self.header.height)
    }

    /// When it was captured, in microseconds since 1970 in UTC by the source's wall clock.
    #[must_use]
    pub fn captured_utc_us(&self) -> i64 {
        let captured_ns = i64::try_from(self.header.captured_ns).unwrap_or(i64::MAX);
        captured_ns.saturating_add(self.header.wall_offset_ns) / 1_000
    }

    /// Its age at `now` since its capture; none while the source's clock is not known here.
    #[must_use]
    pub fn age_us(&self, now: Time) -> Option<u64> {
        let now = i64::try_from(now.as_micros()).unwrap_or(i64::MAX);
        // Clocks are never quite right: a frame from the future is 0 old.
        self.captured_us
            .map(|captured| u64::try_from(now.saturating_sub(captured)).unwrap_or(0))
    }
}

/// A frame as a subscriber gets it, with what it did not get before it.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The frame.
    pub frame: Arc<LiveFrame>,
    /// Frames of the same epoch that the relay had and replaced by newer ones since this subscriber took one.
    pub superseded: u64,
    /// As many more that were replaced while the subscription was not active: they are nobody's loss.
    pub unwatched: u64,
    /// Frames of the same epoch between the one taken last and this one, by their numbers: `superseded`, and those that
    /// never came to the relay.
    pub skipped: u64,
}

impl Arrival {
    /// The first frame that a subscriber gets.
    #[must_use]
    pub fn first(frame: LiveFrame) -> Self {
        Self {
            frame: Arc::new(frame),
            superseded: 0,
            unwatched: 0,
            skipped: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::live;

    #[test]
    fn the_age_counts_from_the_capture() {
        let captured = LiveFrame {
            captured_us: Some(1_000),
            ..live("a", 1, 0, Time::default())
        };

        assert_eq!(captured.age_us(Time::from_nanos(3_500_000)), Some(2_500));
        assert_eq!(captured.age_us(Time::from_nanos(500_000)), Some(0));
        assert_eq!(
            live("a", 1, 0, Time::default()).age_us(Time::from_nanos(5)),
            None
        );
    }
}
