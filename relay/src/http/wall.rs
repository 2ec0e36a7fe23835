//! The streams as the HTTP side shows them: a slot with the newest picture of each, and who waits for the next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::limits::MAX_STREAMS;
use fanlight_proto::message::StreamName;
use tokio::sync::{Notify, watch};

use super::metrics;
use super::tempo::Tempo;
use crate::board::traffic::Traffic;
use crate::board::{Board, Picture};
use crate::engine::{EngineStatus, StreamEntry};

/// Who asked for a single picture counts as a watcher for so long: one that polls keeps its source awake.
const LINGER: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Wall {
    board: Arc<Board>,
    slots: Mutex<BTreeMap<StreamName, Arc<Slot>>>,
    status: Mutex<Arc<EngineStatus>>,
    /// Changes with what [`Wall::roll`] says, but for ages and rates.
    news: watch::Sender<u64>,
    told: Mutex<Vec<Line>>,
}

/// What the roll says of one stream.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// As the engine knows it.
    pub(super) entry: StreamEntry,
    /// The stream that goes the same way beside it; empty: none.
    pub(super) canary: String,
    /// Who watches over HTTP.
    pub(super) clients: u32,
    /// Pictures that came in the last second.
    pub(super) fps: f64,
    /// How old the newest picture is, in microseconds.
    pub(super) age_us: Option<u64>,
}

impl Line {
    /// What is news when it changes.
    fn lasting(&self) -> Self {
        let entry = StreamEntry {
            newest: 0,
            clients: 0,
            ..self.entry.clone()
        };
        Self {
            entry,
            fps: 0.0,
            age_us: None,
            ..self.clone()
        }
    }
}

impl Wall {
    pub(super) fn new(board: Arc<Board>) -> Self {
        Self {
            board,
            slots: Mutex::default(),
            status: Mutex::default(),
            news: watch::Sender::new(0),
            told: Mutex::default(),
        }
    }

    /// Takes what the board has whenever there is something, for ever. Each status goes `on_status`, too.
    pub(super) async fn keep(&self, on_status: impl Fn(&EngineStatus)) {
        loop {
            self.board.filled().await;
            if self.turn(clock::now()) {
                on_status(&self.status());
            }
        }
    }

    /// Takes what the board has, and tells it who watches; whether there is a new status.
    pub(super) fn turn(&self, now: Time) -> bool {
        let posted = self.board.take();
        for picture in posted.pictures {
            if let Some(slot) = self.make(&picture.stream) {
                slot.put(now, picture);
            }
        }
        let Some(status) = posted.status else {
            return false;
        };
        self.note(status);
        let slots: Vec<_> = lock(&self.slots).values().cloned().collect();
        slots.iter().for_each(|slot| slot.tell_demand(now));
        self.look_for_news(now);
        true
    }

    /// What came from sources so far.
    pub(super) fn traffic(&self) -> Vec<(String, Traffic)> {
        self.board.traffic(metrics::OTHER)
    }

    /// The newest status.
    pub(super) fn status(&self) -> Arc<EngineStatus> {
        Arc::clone(&lock(&self.status))
    }

    /// The slot of a stream that the relay has.
    pub(super) fn slot(&self, name: &StreamName) -> Option<Arc<Slot>> {
        lock(&self.slots).get(name).cloned()
    }

    /// The first stream that has a source, or else the first. None that only sits beside another is meant, as long as
    /// there are others.
    pub(super) fn first(&self, now: Time) -> Option<StreamName> {
        let roll = self.roll(now);
        let sits_beside = |line: &Line| {
            roll.iter()
                .any(|other| other.canary == line.entry.name.as_str())
        };
        let ranked = roll
            .iter()
            .min_by_key(|line| (sits_beside(line), line.entry.source_gone));
        ranked.map(|line| line.entry.name.clone())
    }

    /// Tells when the roll changes.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// All streams.
    pub(super) fn roll(&self, now: Time) -> Vec<Line> {
        let line = |entry: &StreamEntry| {
            let slot = self.slot(&entry.name);
            let inner = slot.as_ref().map(|slot| lock(&slot.inner));
            let newest = inner.as_ref().and_then(|inner| inner.newest.as_ref());
            Line {
                entry: entry.clone(),
                canary: newest
                    .map(|picture| picture.canary.clone())
                    .unwrap_or_default(),
                clients: inner.as_ref().map_or(0, |inner| inner.watchers),
                fps: inner.as_ref().map_or(0.0, |inner| inner.tempo.fps(now)),
                age_us: newest.map(|picture| age_us(picture, now)),
            }
        };
        self.status().streams.iter().map(line).collect()
    }

    fn note(&self, status: Arc<EngineStatus>) {
        let mut slots = lock(&self.slots);
        // A stream whose first picture has overtaken the status stays.
        slots.retain(|name, slot| {
            let known = status.streams.iter().any(|stream| stream.name == *name);
            let kept = known
                || slot
                    .newest()
                    .is_some_and(|picture| picture.received >= status.at);
            if !kept {
                slot.close();
            }
            kept
        });
        drop(slots);
        for stream in &status.streams {
            self.make(&stream.name);
        }
        *lock(&self.status) = status;
    }

    /// The slot of a stream; none when there are too many.
    fn make(&self, name: &StreamName) -> Option<Arc<Slot>> {
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.get(name) {
            return Some(Arc::clone(slot));
        }
        if slots.len() >= 2 * MAX_STREAMS {
            return None;
        }
        let slot = Arc::new(Slot {
            name: name.clone(),
            board: Arc::clone(&self.board),
            inner: Mutex::default(),
        });
        slots.insert(name.clone(), Arc::clone(&slot));
        Some(slot)
    }

    fn look_for_news(&self, now: Time) {
        let roll: Vec<_> = self.roll(now).iter().map(Line::lasting).collect();
        let mut told = lock(&self.told);
        if *told != roll {
            *told = roll;
            self.news.send_modify(|version| *version += 1);
        }
    }
}

/// How old a picture is: since its capture or, when that is not known here, since it came.
fn age_us(picture: &Picture, now: Time) -> u64 {
    let since_it_came = now.saturating_since(picture.received).as_micros();
    picture
        .age_us(now)
        .unwrap_or(u64::try_from(since_it_came).unwrap_or(u64::MAX))
}

/// One stream.
#[derive(Debug)]
pub(super) struct Slot {
    name: StreamName,
    board: Arc<Board>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    newest: Option<Arc<Picture>>,
    tempo: Tempo,
    /// Who is to be woken by a picture. One a subscription: connections and their subscriptions are bounded.
    waiting: Vec<Arc<Notify>>,
    watchers: u32,
    /// Until then somebody counts as watching who asked for one picture.
    linger: Option<Time>,
    told: u32,
    closed: bool,
}

impl Slot {
    /// The stream's name.
    pub(super) const fn name(&self) -> &StreamName {
        &self.name
    }

    /// The newest picture.
    pub(super) fn newest(&self) -> Option<Arc<Picture>> {
        lock(&self.inner).newest.clone()
    }

    /// The time between two pictures, as measured.
    pub(super) fn interval(&self) -> Option<Duration> {
        lock(&self.inner).tempo.interval()
    }

    /// The relay has no such stream any more: no picture will come to this slot.
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.inner).closed
    }

    /// Counts one who watches, to be woken by each picture, until it is dropped.
    pub(super) fn watch(self: &Arc<Self>, wake: Arc<Notify>) -> Watching {
        let mut inner = lock(&self.inner);
        inner.watchers += 1;
        inner.waiting.push(Arc::clone(&wake));
        drop(inner);
        self.tell_demand(clock::now());
        Watching {
            slot: Arc::clone(self),
            wake,
        }
    }

    /// Somebody asks for one picture.
    pub(super) fn ask(&self, now: Time) {
        lock(&self.inner).linger = Some(now + LINGER);
        self.tell_demand(now);
    }

    fn put(&self, now: Time, picture: Arc<Picture>) {
        let mut inner = lock(&self.inner);
        let (new, old) = (picture.id, inner.newest.as_ref().map(|old| old.id));
        if old.is_some_and(|old| old.epoch == new.epoch && old.number >= new.number) {
            return;
        }
        inner.tempo.note(now);
        inner.newest = Some(picture);
        inner.waiting.iter().for_each(|wake| wake.notify_one());
    }

    fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.closed = true;
        inner.waiting.iter().for_each(|wake| wake.notify_one());
    }

    /// Tells the event loop how many watch, when that has changed.
    fn tell_demand(&self, now: Time) {
        let mut inner = lock(&self.inner);
        let lingering = inner.linger.is_some_and(|until| now < until);
        let demand = inner.watchers.max(u32::from(lingering));
        if std::mem::replace(&mut inner.told, demand) != demand {
            self.board.demand(&self.name, demand);
        }
    }
}

/// One who watches a stream.
#[derive(Debug)]
pub(super) struct Watching {
    slot: Arc<Slot>,
    wake: Arc<Notify>,
}

impl Watching {
    /// What is watched.
    pub(super) const fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Waits for a picture that came since the last wait.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut inner = lock(&self.slot.inner);
        inner.watchers -= 1;
        if let Some(at) = inner
            .waiting
            .iter()
            .position(|wake| Arc::ptr_eq(wake, &self.wake))
        {
            inner.waiting.swap_remove(at);
        }
        drop(inner);
        self.slot.tell_demand(clock::now());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use fanlight_proto::message::{FrameId, State};

    fn at(millis: u64) -> Time {
        Time::default() + Duration::from_millis(millis)
    }

    fn picture(stream: &str, number: u64, received: Time) -> Picture {
        Picture {
            stream: stream.parse().unwrap(),
            id: FrameId { epoch: 1, number },
            jpeg: Bytes::from_static(&[0xff, 0xd8, 0xff, 0xd9]),
            size: (2, 1),
            received,
            captured_us: None,
            captured_utc_us: 0,
            canary: if stream == "cam" {
                "cam.canary".to_owned()
            } else {
                String::new()
            },
        }
    }

    fn status(at: Time, streams: &[(&str, bool)]) -> EngineStatus {
        let entry = |(name, source_gone): &(&str, bool)| StreamEntry {
            name: name.parse().unwrap(),
            size: (2, 1),
            rate_millihertz: 0,
            state: State::Live,
            reason: String::new(),
            source_gone: *source_gone,
            epoch: 1,
            newest: 0,
            origin: 0,
            viewers: 0,
            clients: 0,
        };
        EngineStatus {
            at,
            streams: streams.iter().map(entry).collect(),
            ..EngineStatus::default()
        }
    }

    /// A wall whose board has had those streams, each with a picture.
    fn wall(streams: &[(&str, bool)]) -> Wall {
        let wall = Wall::new(Arc::default());
        wall.board.post_status(status(at(1), streams));
        streams
            .iter()
            .for_each(|(name, _)| wall.board.post(picture(name, 5, at(1))));
        wall.turn(at(1));
        wall
    }

    fn slot(wall: &Wall, name: &str) -> Arc<Slot> {
        wall.slot(&name.parse().unwrap()).unwrap()
    }

    #[test]
    fn only_newer_pictures_are_shown() {
        let wall = wall(&[("cam", false)]);
        let number = || slot(&wall, "cam").newest().unwrap().id.number;
        wall.board.post(picture("cam", 4, at(2)));
        wall.turn(at(2));
        assert_eq!(number(), 5);
        wall.board.post(picture("cam", 6, at(3)));
        wall.turn(at(3));
        assert_eq!(number(), 6);
        let restarted = Picture {
            id: FrameId {
                epoch: 2,
                number: 0,
            },
            ..picture("cam", 0, at(4))
        };
        wall.board.post(restarted);
        wall.turn(at(4));
        assert_eq!(number(), 0);
    }

    #[test]
    fn a_stream_that_is_forgotten_takes_its_slot_with_it_and_says_so_to_who_watches() {
        let wall = wall(&[("cam", false), ("two", false)]);
        let watched = slot(&wall, "cam");
        wall.board.post_status(status(at(2), &[("two", false)]));
        wall.turn(at(2));
        assert!(watched.is_closed() && wall.slot(watched.name()).is_none());
        assert!(!slot(&wall, "two").is_closed());
    }

    #[test]
    fn a_picture_that_overtakes_the_census_keeps_its_place() {
        let wall = wall(&[("cam", false)]);
        wall.board.post(picture("new", 0, at(9)));
        wall.board.post_status(status(at(8), &[("cam", false)]));
        wall.turn(at(9));
        assert!(!slot(&wall, "new").is_closed());
        assert_eq!(wall.roll(at(9)).len(), 1, "the roll is the status's");
    }

    #[test]
    fn who_watches_is_told_to_the_event_loop_once_each_time_that_it_changes() {
        let wall = wall(&[("cam", false)]);
        let (cam, name) = (slot(&wall, "cam"), "cam".parse().unwrap());
        let first = cam.watch(Arc::default());
        let second = cam.watch(Arc::default());
        assert_eq!(
            wall.board.take_demand(),
            Some((StreamName::clone(&name), 2))
        );
        wall.turn(clock::now());
        assert_eq!(wall.board.take_demand(), None);
        drop((first, second));
        assert_eq!(wall.board.take_demand(), Some((name, 0)));
    }

    #[test]
    fn who_asks_for_a_picture_counts_for_a_while() {
        let wall = wall(&[("cam", false)]);
        let (cam, name): (_, StreamName) = (slot(&wall, "cam"), "cam".parse().unwrap());
        cam.ask(at(10));
        assert_eq!(wall.board.take_demand(), Some((name.clone(), 1)));
        let count = |now| {
            wall.board.post_status(status(now, &[("cam", false)]));
            wall.turn(now)
        };
        assert!(count(at(10) + LINGER / 2));
        assert_eq!(wall.board.take_demand(), None);
        assert!(count(at(10) + LINGER));
        assert_eq!(wall.board.take_demand(), Some((name, 0)));
    }

    #[test]
    fn ages_and_rates_are_no_news_and_a_source_that_goes_is() {
        let wall = wall(&[("cam", false)]);
        let mut news = wall.news();
        news.mark_unchanged();
        wall.board.post(picture("cam", 6, at(40)));
        wall.turn(at(40));
        assert!(!news.has_changed().unwrap());
        wall.board.post_status(status(at(50), &[("cam", true)]));
        wall.turn(at(50));
        assert!(news.has_changed().unwrap());
    }

    #[test]
    fn the_first_stream_is_one_with_a_source_and_no_canary() {
        let first =
            |streams: &[(&str, bool)]| wall(streams).first(at(2)).map(|name| name.to_string());
        assert_eq!(
            first(&[("cam.canary", false), ("gone", true), ("cam", false)]),
            Some("cam".to_owned())
        );
        assert_eq!(
            first(&[("cam.canary", false), ("cam", true)]),
            Some("cam".to_owned())
        );
        assert_eq!(
            first(&[("cam.canary", false)]),
            Some("cam.canary".to_owned())
        );
        assert_eq!(first(&[]), None);
    }
}
