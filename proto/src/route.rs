//! Which way a frame came that a relay publishes for other relays: nine bytes behind the slash of its topic, which no
//! subscription to the topic notices. A source publishes none.

use bytes::Bytes;

/// Bytes behind the slash.
const ROUTE_BYTES: usize = 9;

/// The way from the source to whoever publishes the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Relays passed; 0: the source publishes it itself.
    pub hops: u8,
    /// The run of the relay that had it from the source; 0: none.
    pub first: u64,
}

impl Route {
    /// The way to those who have it from `relay`, to which it came by this one.
    #[must_use]
    pub const fn through(self, relay: u64) -> Self {
        Self {
            hops: self.hops.saturating_add(1),
            first: if self.hops == 0 { relay } else { self.first },
        }
    }

    /// The topic of a frame that came so, of the stream with this one.
    #[must_use]
    pub fn topic(self, stream: Bytes) -> Bytes {
        if self.hops == 0 {
            return stream;
        }
        let mut topic = stream.to_vec();
        topic.push(self.hops);
        topic.extend(self.first.to_be_bytes());
        topic.into()
    }

    /// The topic of the stream, with its slash, and the way; a topic that has another form is all stream, and no stream's.
    #[must_use]
    pub fn split(topic: &[u8]) -> (&[u8], Self) {
        let end = topic.iter().position(|byte| *byte == b'/').map(|at| at + 1);
        let split = end.and_then(|end| topic.split_at_checked(end));
        match split {
            Some((stream, route)) if route.len() == ROUTE_BYTES && route[0] > 0 => {
                let first = u64::from_be_bytes(std::array::from_fn(|at| route[1 + at]));
                let hops = route[0];
                (stream, Self { hops, first })
            }
            _ => (topic, Self::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_stands_behind_the_topic_and_names_the_first_relay() {
        let cam = Bytes::from_static(b"cam/");
        let direct = Route::default();
        assert_eq!(direct.topic(cam.clone()), "cam/");
        assert_eq!(Route::split(b"cam/"), (&b"cam/"[..], direct));

        let once = direct.through(0x2f);
        let twice = once.through(9);
        assert_eq!((twice.hops, twice.first), (2, 0x2f));
        for route in [once, twice] {
            let topic = route.topic(cam.clone());
            assert!(topic.starts_with(b"cam/") && topic.len() == 4 + ROUTE_BYTES);
            assert_eq!(Route::split(&topic), (&b"cam/"[..], route));
        }
    }

    #[test]
    fn what_is_no_way_is_no_topic_of_a_stream() {
        for topic in [&b"?"[..], b"cam", b"cam/x", b"cam/\0\0\0\0\0\0\0\0\x01"] {
            assert_eq!(Route::split(topic), (topic, Route::default()));
        }
    }
}
