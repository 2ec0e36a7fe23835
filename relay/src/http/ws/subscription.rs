//! One stream as one client wants it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{FrameId, StreamName};

use super::super::clients::{Handed, Seat};
use super::super::mjpeg::{is_due, skipped};
use super::super::tempo::Pace;
use super::super::wall::Watching;
use super::message;
use crate::board::Picture;

/// Frames that a client may be ahead with its credit: one that it draws, one on its way, and as many again for a long way.
const MAX_CREDIT: u32 = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Subscription {
    id: u32,
    stream: StreamName,
    pace: Pace,
    credit: u32,
    /// None while the relay has no such stream.
    seat: Option<(Watching, Seat)>,
    last: Option<FrameId>,
}

impl Subscription {
    /// One that gets `fps` frames a second at most, or all, and has credit for the first.
    pub(super) fn new(id: u32, stream: StreamName, fps: Option<f64>) -> Self {
        Self {
            id,
            stream,
            pace: Pace::new(fps),
            credit: 1,
            seat: None,
            last: None,
        }
    }

    /// Its number, by the client's choice.
    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    /// One more frame may come.
    pub(super) fn credit(&mut self) {
        self.credit = (self.credit + 1).min(MAX_CREDIT);
    }

    /// Changes the rate, from the next frame on.
    pub(super) fn set_rate(&mut self, fps: Option<f64>) {
        self.pace = Pace::new(fps);
    }

    /// Takes a seat at its stream by `seat`, if it has none and there is one to be had.
    pub(super) fn attach(&mut self, seat: impl FnOnce(&StreamName) -> Option<(Watching, Seat)>) {
        if self
            .seat
            .as_ref()
            .is_some_and(|(watching, _)| watching.slot().is_closed())
        {
            self.seat = None;
        }
        if self.seat.is_none() {
            self.seat = seat(&self.stream);
        }
    }

    /// The picture that is to be sent at `now`, if there is one.
    pub(super) fn picture(&self, now: Time) -> Option<Arc<Picture>> {
        let (picture, between) = self.waiting()?;
        is_due(&self.pace, &picture, between, now).then_some(picture)
    }

    /// When a picture that is there is to be sent, unless another comes before.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.waiting().map(|(_, between)| self.pace.latest(between))
    }

    /// The message of the picture that is to be sent at `now`.
    pub(super) fn take(&mut self, now: Time) -> Option<Bytes> {
        let picture = self.picture(now)?;
        let skipped = self
            .last
            .replace(picture.id)
            .map_or(0, |last| skipped(last, picture.id));
        self.credit -= 1;
        self.pace.on_sent(now);
        if let Some((_, seat)) = &self.seat {
            seat.note(
                now,
                Handed {
                    bytes: picture.jpeg.len(),
                    skipped,
                    age_us: picture.age_us(now),
                },
            );
        }
        Some(message::frame(now, self.id, skipped, &picture))
    }

    /// A picture that the client does not have and may get, and the time between two.
    fn waiting(&self) -> Option<(Arc<Picture>, Option<Duration>)> {
        let (watching, _) = self.seat.as_ref().filter(|_| self.credit > 0)?;
        let picture = watching
            .slot()
            .newest()
            .filter(|picture| Some(picture.id) != self.last)?;
        Some((picture, watching.slot().interval()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Board;
    use crate::http::clients::{Clients, Kind};
    use crate::http::wall::Wall;

    fn at(millis: u64) -> Time {
        Time::default() + Duration::from_millis(1_000 + millis)
    }

    /// A client of the stream `cam`, whose frames come when the test says so.
    struct Rig {
        board: Arc<Board>,
        wall: Wall,
        clients: Clients,
        subscription: Subscription,
    }

    impl Rig {
        fn new(fps: Option<f64>) -> Self {
            let board = Arc::<Board>::default();
            let stream = "cam".parse().unwrap();
            let wall = Wall::new(Arc::clone(&board));
            Self {
                board,
                wall,
                clients: Clients::default(),
                subscription: Subscription::new(3, stream, fps),
            }
        }

        fn post(&mut self, now: Time, number: u64) {
            self.board.post(Picture {
                stream: "cam".parse().unwrap(),
                id: FrameId { epoch: 1, number },
                jpeg: Bytes::from_static(b"JPEG"),
                size: (2, 1),
                received: now,
                captured_us: None,
                captured_utc_us: 0,
                canary: String::new(),
            });
            self.wall.turn(now);
            self.subscription.attach(|stream| {
                let slot = self.wall.slot(stream)?;
                let address = "10.0.0.1:1".parse().unwrap();
                Some((
                    slot.watch(Arc::default()),
                    self.clients.seat(now, Kind::Ws, address, stream),
                ))
            });
        }

        /// The number and the frames skipped of what is sent, if anything is.
        fn sent(&mut self, now: Time) -> Option<(u64, u32)> {
            let bytes = self.subscription.take(now)?;
            let number = u64::from_be_bytes(bytes[16..24].try_into().unwrap());
            Some((
                number,
                u32::from_be_bytes(bytes[44..48].try_into().unwrap()),
            ))
        }
    }

    #[test]
    fn each_frame_takes_credit_and_the_newest_goes() {
        let mut rig = Rig::new(None);
        assert_eq!(rig.sent(at(0)), None, "there is no such stream yet");
        rig.post(at(0), 5);
        assert_eq!(rig.sent(at(0)), Some((5, 0)));
        rig.subscription.credit();
        assert_eq!(rig.sent(at(1)), None, "it has that one");
        (6..9).for_each(|number| rig.post(at(number), number));
        assert_eq!(rig.sent(at(9)), Some((8, 2)));
        rig.post(at(10), 9);
        assert_eq!(
            (rig.sent(at(10)), rig.subscription.deadline()),
            (None, None),
            "it has no credit"
        );
        assert_eq!(rig.clients.rows(at(10))[0].tally.skipped, 2);
    }

    #[test]
    fn credit_is_not_saved_up_without_end() {
        let mut rig = Rig::new(None);
        (0..100).for_each(|_| rig.subscription.credit());
        let sent = (0..100).filter(|number| {
            rig.post(at(*number), *number);
            rig.sent(at(*number)).is_some()
        });
        assert_eq!(sent.count(), MAX_CREDIT as usize);
    }

    #[test]
    fn with_a_rate_a_frame_goes_when_it_is_due_also_when_no_other_comes() {
        let mut rig = Rig::new(Some(10.0));
        rig.subscription.credit();
        rig.post(at(0), 0);
        assert_eq!(rig.sent(at(0)), Some((0, 0)));
        rig.post(at(33), 1);
        assert_eq!(rig.sent(at(33)), None);
        assert_eq!(rig.subscription.deadline(), Some(at(100)));
        assert_eq!(rig.sent(at(100)), Some((1, 0)));
        rig.subscription.set_rate(None);
        rig.subscription.credit();
        rig.post(at(101), 2);
        assert_eq!(rig.sent(at(101)), Some((2, 0)));
    }
}
