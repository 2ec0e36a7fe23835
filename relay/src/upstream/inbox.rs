//! Where upstream threads leave what came, for the event loop to take: of each stream the newest picture and the
//! newest heartbeat, and of each upstream the newest word on its clock and on its viewers. Neither side ever waits for the
//! other.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_STREAMS;
use fanlight_proto::message::{CheckedFrame, SourceClock, StreamName, ViewerVerdict};
use tokio::sync::Notify;

use crate::engine::Arrival;

/// See the module.
#[derive(Debug, Default)]
pub struct Inbox {
    slots: Mutex<Vec<Slot>>,
    /// What is new about the clock of an upstream: at most one word each.
    clocks: Mutex<BTreeMap<usize, SourceClock>>,
    /// What is new about the viewers of an upstream: of one answer each.
    verdicts: Mutex<BTreeMap<usize, Vec<ViewerVerdict>>>,
    filled: Notify,
}

/// What waits of one stream of one upstream.
#[derive(Debug)]
struct Slot {
    origin: usize,
    stream: StreamName,
    picture: Option<Arrival>,
    /// Came after the picture, if there is one.
    heartbeat: Option<Arrival>,
    /// The newest picture that was too old, and how many there were since the last that was not.
    stale: Option<(u64, u64)>,
}

impl Inbox {
    /// Leaves a frame or a heartbeat that came from upstream `origin` as `body` at `received`. One that waits there
    /// already gives way, and is counted; a heartbeat does not displace a picture. Whether there was room: it is out
    /// when [`MAX_STREAMS`] others wait.
    pub fn put(&self, origin: usize, frame: CheckedFrame, body: Bytes, received: Time) -> bool {
        let mut slots = self.lock();
        let Some(slot) = slot(&mut slots, origin, &frame.stream) else { return false };
        let arrival = Arrival { origin, frame, body, received, superseded: 0 };
        if arrival.frame.jpeg.is_empty() {
            slot.heartbeat = Some(arrival);
        } else {
            // The picture's header is newer than what the heartbeat said.
            slot.heartbeat = None;
            let superseded = slot.picture.as_ref().map_or(0, |old| superseded_by(old, &arrival));
            let stale = slot.stale.take().filter(|(epoch, _)| *epoch == arrival.frame.id.epoch);
            slot.picture = Some(Arrival { superseded: superseded + stale.map_or(0, |(_, count)| count), ..arrival });
        }
        drop(slots);
        self.filled.notify_one();
        true
    }

    /// Counts a picture that is too old to be sent as one that gave way to the next.
    pub fn pass_over(&self, origin: usize, frame: &CheckedFrame) {
        if let Some(slot) = slot(&mut self.lock(), origin, &frame.stream) {
            let before = slot.stale.filter(|(epoch, _)| *epoch == frame.id.epoch).map_or(0, |(_, count)| count);
            slot.stale = Some((frame.id.epoch, before + 1));
        }
    }

    /// Leaves what is known of the clock of upstream `origin`.
    pub fn put_clock(&self, origin: usize, clock: SourceClock) {
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner).insert(origin, clock);
        self.filled.notify_one();
    }

    /// Takes a word about an upstream's clock, and whose.
    pub fn take_clock(&self) -> Option<(usize, SourceClock)> {
        self.clocks.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }

    /// Leaves what upstream `origin` makes of its viewers.
    pub fn put_verdicts(&self, origin: usize, verdicts: Vec<ViewerVerdict>) {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).insert(origin, verdicts);
        self.filled.notify_one();
    }

    /// Takes what an upstream makes of its viewers, and which.
    pub fn take_verdicts(&self) -> Option<(usize, Vec<ViewerVerdict>)> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }

    /// Takes something, but no picture of a stream that is `busy` with its last one.
    pub fn take(&self, busy: impl Fn(&StreamName) -> bool) -> Option<Arrival> {
        self.lock().iter_mut().find_map(|slot| {
            let picture = slot.picture.take_if(|picture| !busy(&picture.frame.stream));
            picture.or_else(|| slot.heartbeat.take())
        })
    }

    /// Waits until something has been left since the last wait.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The slot of a stream, made or taken from one that waits for nothing.
fn slot<'a>(slots: &'a mut Vec<Slot>, origin: usize, stream: &StreamName) -> Option<&'a mut Slot> {
    let known = slots.iter().position(|slot| slot.origin == origin && slot.stream == *stream);
    let at = match known {
        Some(at) => at,
        None => {
            if slots.len() == MAX_STREAMS {
                let empty = slots.iter().position(|slot| slot.picture.is_none() && slot.heartbeat.is_none())?;
                slots.swap_remove(empty);
            }
            slots.push(Slot { origin, stream: stream.clone(), picture: None, heartbeat: None, stale: None });
            slots.len() - 1
        }
    };
    Some(&mut slots[at])
}

/// How many frames give way when `new` takes the place of `old`. Frames of an epoch that has ended are nobody's loss.
fn superseded_by(old: &Arrival, new: &Arrival) -> u64 {
    if old.frame.id.epoch == new.frame.id.epoch { old.superseded + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::tests::{frame, heartbeat};
    use fanlight_proto::limits::MAX_FRAME_BYTES;
    use fanlight_proto::message::parse_frame;

    fn put(inbox: &Inbox, stream: &str, body: Bytes) -> bool {
        let frame = parse_frame(format!("{stream}/").as_bytes(), body.clone(), MAX_FRAME_BYTES).unwrap();
        inbox.put(0, frame, body, Time::default())
    }

    #[test]
    fn the_newest_picture_waits_and_knows_how_many_it_displaced() {
        let inbox = Inbox::default();
        for number in 5..9 {
            put(&inbox, "cam", frame("cam", 1, number, 100));
        }
        let taken = inbox.take(|_| false).unwrap();
        assert_eq!((taken.frame.id.number, taken.superseded), (8, 3));
        assert!(inbox.take(|_| false).is_none());
    }

    #[test]
    fn pictures_passed_over_are_counted_with_the_next_one() {
        let inbox = Inbox::default();
        for number in 5..8 {
            let body = frame("cam", 1, number, 100);
            inbox.pass_over(0, &parse_frame(b"cam/", body, MAX_FRAME_BYTES).unwrap());
        }
        assert!(inbox.take(|_| false).is_none());
        put(&inbox, "cam", frame("cam", 1, 8, 100));
        put(&inbox, "cam", frame("cam", 1, 9, 100));
        assert_eq!(inbox.take(|_| false).unwrap().superseded, 4);
        put(&inbox, "cam", frame("cam", 1, 10, 100));
        assert_eq!(inbox.take(|_| false).unwrap().superseded, 0);
    }

    #[test]
    fn a_heartbeat_does_not_displace_a_picture() {
        let inbox = Inbox::default();
        put(&inbox, "cam", frame("cam", 1, 5, 100));
        put(&inbox, "cam", heartbeat("cam", 1, 5));
        assert!(!inbox.take(|_| false).unwrap().frame.jpeg.is_empty());
        assert!(inbox.take(|_| false).unwrap().frame.jpeg.is_empty());
    }

    #[test]
    fn a_busy_stream_keeps_its_picture_waiting_but_not_its_heartbeat_nor_others() {
        let inbox = Inbox::default();
        put(&inbox, "cam", frame("cam", 1, 5, 100));
        put(&inbox, "cam", heartbeat("cam", 1, 5));
        put(&inbox, "two", frame("two", 1, 9, 100));
        let busy = |stream: &StreamName| stream.as_str() == "cam";
        assert!(inbox.take(busy).unwrap().frame.jpeg.is_empty());
        assert_eq!(inbox.take(busy).unwrap().frame.stream.as_str(), "two");
        assert!(inbox.take(busy).is_none());
        assert_eq!(inbox.take(|_| false).unwrap().frame.id.number, 5);
    }

    #[test]
    fn frames_of_a_former_epoch_are_not_counted_as_superseded() {
        let inbox = Inbox::default();
        put(&inbox, "cam", frame("cam", 1, 5, 100));
        put(&inbox, "cam", frame("cam", 2, 0, 100));
        assert_eq!(inbox.take(|_| false).unwrap().superseded, 0);
    }

    #[test]
    fn more_streams_than_the_relay_carries_do_not_make_it_grow() {
        let inbox = Inbox::default();
        for n in 0..MAX_STREAMS {
            assert!(put(&inbox, &format!("s{n}"), heartbeat(&format!("s{n}"), 1, 0)));
        }
        assert!(!put(&inbox, "one-more", heartbeat("one-more", 1, 0)));
        inbox.take(|_| false).unwrap();
        assert!(put(&inbox, "one-more", heartbeat("one-more", 1, 0)));
        assert_eq!(inbox.lock().len(), MAX_STREAMS);
    }
}
