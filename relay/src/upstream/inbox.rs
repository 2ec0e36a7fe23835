//! Where upstream threads leave what came, for the event loop to take: of each stream the newest picture and the
//! newest heartbeat, and of each upstream the newest word on its clock and on its viewers. Neither side ever waits for the
//! other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_STREAMS;
use fanlight_proto::message::{CheckedFrame, SourceClock, StreamName, ViewerVerdict};
use tokio::sync::Notify;

use crate::board::{Board, Picture};
use crate::engine::Arrival;

/// See the module.
#[derive(Debug, Default)]
pub struct Inbox {
    /// Where pictures are left for the HTTP side without the event loop, while nobody else watches: a thread less that
    /// wakes for each.
    express: Option<Arc<Board>>,
    /// Whether the event loop is to be woken for pictures: whether anybody watches but over HTTP.
    quiet: AtomicBool,
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
    /// An empty one. Of the only source of a relay, pictures may go to the board `express`.
    #[must_use]
    pub fn new(express: Option<Arc<Board>>) -> Self {
        Self {
            express,
            ..Self::default()
        }
    }

    /// Says whether anybody watches but over HTTP. While nobody does, the event loop is not woken for each picture.
    pub fn watch(&self, watched: bool) {
        self.quiet.store(!watched, Relaxed);
    }

    /// Leaves a frame or a heartbeat that came from upstream `origin` as `body` at `received`. One that waits there
    /// already gives way, and is counted; a heartbeat does not displace a picture. Whether there was room: it is out
    /// when [`MAX_STREAMS`] others wait. Whether the source's clock is `ours` decides if others than the event loop can
    /// tell the picture's age.
    pub fn put(
        &self,
        origin: usize,
        frame: CheckedFrame,
        body: Bytes,
        received: Time,
        ours: bool,
    ) -> bool {
        let mut arrival = Arrival {
            origin,
            frame,
            body,
            received,
            superseded: 0,
            unwatched: 0,
            shown: false,
        };
        let picture = !arrival.frame.jpeg.is_empty();
        let express = self
            .express
            .as_ref()
            .filter(|_| picture && ours && self.quiet.load(Relaxed));
        let mut slots = self.lock();
        let Some(slot) = slot(&mut slots, origin, &arrival.frame.stream) else {
            return false;
        };
        let shown = express.map(|board| (board, show(board, &arrival)));
        if picture {
            // Its header is newer than what the heartbeat said.
            slot.heartbeat = None;
            arrival.shown = shown.is_some();
            slot.put(arrival);
        } else {
            slot.heartbeat = Some(arrival);
        }
        drop(slots);
        match shown {
            Some((board, picture)) => board.post(picture),
            None => self.filled.notify_one(),
        }
        true
    }

    /// Counts a picture that is too old to be sent as one that gave way to the next.
    pub fn pass_over(&self, origin: usize, frame: &CheckedFrame) {
        if let Some(slot) = slot(&mut self.lock(), origin, &frame.stream) {
            let before = slot
                .stale
                .filter(|(epoch, _)| *epoch == frame.id.epoch)
                .map_or(0, |(_, count)| count);
            slot.stale = Some((frame.id.epoch, before + 1));
        }
    }

    /// Leaves what is known of the clock of upstream `origin`.
    pub fn put_clock(&self, origin: usize, clock: SourceClock) {
        self.clocks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(origin, clock);
        // While all that comes goes past the event loop, it knows the clock and looks in by itself.
        if self.express.is_none() || !self.quiet.load(Relaxed) {
            self.filled.notify_one();
        }
    }

    /// Takes a word about an upstream's clock, and whose.
    pub fn take_clock(&self) -> Option<(usize, SourceClock)> {
        self.clocks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_first()
    }

    /// Leaves what upstream `origin` makes of its viewers.
    pub fn put_verdicts(&self, origin: usize, verdicts: Vec<ViewerVerdict>) {
        self.verdicts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(origin, verdicts);
        self.filled.notify_one();
    }

    /// Takes what an upstream makes of its viewers, and which.
    pub fn take_verdicts(&self) -> Option<(usize, Vec<ViewerVerdict>)> {
        self.verdicts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_first()
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
    let known = slots
        .iter()
        .position(|slot| slot.origin == origin && slot.stream == *stream);
    let at = match known {
        Some(at) => at,
        None => {
            if slots.len() == MAX_STREAMS {
                let empty = slots
                    .iter()
                    .position(|slot| slot.picture.is_none() && slot.heartbeat.is_none())?;
                slots.swap_remove(empty);
            }
            slots.push(Slot {
                origin,
                stream: stream.clone(),
                picture: None,
                heartbeat: None,
                stale: None,
            });
            slots.len() - 1
        }
    };
    Some(&mut slots[at])
}

impl Slot {
    /// Leaves a picture. Frames of an epoch that has ended are nobody's loss.
    fn put(&mut self, mut picture: Arrival) {
        let epoch = picture.frame.id.epoch;
        if let Some((_, count)) = self.stale.take().filter(|(stale, _)| *stale == epoch) {
            picture.superseded += count;
        }
        if let Some(old) = self
            .picture
            .take()
            .filter(|old| old.frame.id.epoch == epoch)
        {
            picture.superseded += old.superseded + u64::from(!picture.shown);
            picture.unwatched += old.unwatched + u64::from(picture.shown);
        }
        self.picture = Some(picture);
    }
}

/// Counts a picture of a source with our clock, and gives it as it is to be left on the board.
fn show(board: &Board, arrival: &Arrival) -> Picture {
    let captured_us = i64::try_from(arrival.frame.header.captured_ns / 1_000).ok();
    board.count(arrival, captured_us);
    Picture::new(arrival, captured_us)
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::upstream::tests::{frame, heartbeat};
    use fanlight_proto::limits::MAX_FRAME_BYTES;
    use fanlight_proto::message::parse_frame;

    fn put(inbox: &Inbox, stream: &str, body: Bytes) -> bool {
        let frame = parse_frame(
            format!("{stream}/").as_bytes(),
            body.clone(),
            MAX_FRAME_BYTES,
        )
        .unwrap();
        inbox.put(0, frame, body, Time::default(), true)
    }

    /// Whether the event loop was woken since this was asked last.
    fn woken(inbox: &Inbox) -> bool {
        let mut filled = pin!(inbox.filled());
        filled
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    fn on_board(board: &Board) -> Vec<u64> {
        board
            .take()
            .pictures
            .iter()
            .map(|picture| picture.id.number)
            .collect()
    }

    #[test]
    fn while_nobody_watches_but_over_http_pictures_go_there_and_wake_nobody_else() {
        let board = Arc::<Board>::default();
        let inbox = Inbox::new(Some(Arc::clone(&board)));
        put(&inbox, "cam", frame("cam", 1, 5, 100));
        assert!(
            woken(&inbox) && on_board(&board).is_empty(),
            "it may be watched"
        );
        inbox.put_clock(0, SourceClock::default());
        assert!(woken(&inbox), "a viewer may wait for it");
        inbox.watch(false);
        inbox.put_clock(0, SourceClock::default());
        assert!(
            !woken(&inbox) && inbox.take_clock().is_some(),
            "it is there when the event loop looks in"
        );
        for number in 6..9 {
            put(&inbox, "cam", frame("cam", 1, number, 100));
            assert_eq!(on_board(&board), [number]);
        }
        assert!(!woken(&inbox));
        put(&inbox, "cam", heartbeat("cam", 1, 8));
        assert!(woken(&inbox));
        let taken = inbox.take(|_| false).unwrap();
        assert_eq!(
            (
                taken.frame.id.number,
                taken.unwatched,
                taken.superseded,
                taken.shown
            ),
            (8, 3, 0, true)
        );
        let sent: usize = board
            .traffic("other")
            .iter()
            .map(|(_, traffic)| traffic.frames as usize)
            .sum();
        assert_eq!(sent, 3);
        inbox.watch(true);
        put(&inbox, "cam", frame("cam", 1, 9, 100));
        let taken = inbox.take(|_| false).unwrap();
        assert!(woken(&inbox) && on_board(&board).is_empty() && !taken.shown);
    }

    #[test]
    fn what_gave_way_while_nobody_watched_stays_nobodys_loss() {
        let inbox = Inbox::new(Some(Arc::default()));
        inbox.watch(false);
        put(&inbox, "cam", frame("cam", 1, 5, 100));
        put(&inbox, "cam", frame("cam", 1, 6, 100));
        inbox.watch(true);
        put(&inbox, "cam", frame("cam", 1, 7, 100));
        let taken = inbox.take(|_| false).unwrap();
        assert_eq!((taken.unwatched, taken.superseded), (1, 1));
    }

    #[test]
    fn a_picture_whose_age_only_the_event_loop_can_tell_goes_there() {
        let board = Arc::<Board>::default();
        let inbox = Inbox::new(Some(Arc::clone(&board)));
        inbox.watch(false);
        let body = frame("cam", 1, 5, 100);
        let parsed = parse_frame(b"cam/", body.clone(), MAX_FRAME_BYTES).unwrap();
        inbox.put(0, parsed, body, Time::default(), false);
        assert!(woken(&inbox) && on_board(&board).is_empty());
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
            assert!(put(
                &inbox,
                &format!("s{n}"),
                heartbeat(&format!("s{n}"), 1, 0)
            ));
        }
        assert!(!put(&inbox, "one-more", heartbeat("one-more", 1, 0)));
        inbox.take(|_| false).unwrap();
        assert!(put(&inbox, "one-more", heartbeat("one-more", 1, 0)));
        assert_eq!(inbox.lock().len(), MAX_STREAMS);
    }
}
