//! A slot for the newest scene, from the decoder's thread to the screen. The newest scene wins; nothing queues.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanlight_daemon::mailbox::Waited;
use fanlight_proto::clock::Time;
use fanlight_proto::message::{FrameId, StreamName};
use parking_lot::{Condvar, Mutex};

use crate::marker::Marker;
use crate::picture::Picture;
use crate::readings::Readings;
use crate::ready::Ready;

/// Pictures kept for reuse: one being decoded, one in the slot, one on the screen, and one to spare.
const MAX_SPARE: usize = 4;

/// A decoded frame on its way to the screen.
#[derive(Debug)]
pub struct Shown {
    /// The stream it belongs to.
    pub stream: StreamName,
    /// Its identity.
    pub id: FrameId,
    /// The pixels.
    pub picture: Picture,
    /// The stream's rate in thousandths of a frame a second; 0 when not known.
    pub rate_millihertz: u32,
    /// The JPEG as received, for a snapshot.
    pub jpeg: Bytes,
}

/// What the screen shows.
#[derive(Debug)]
pub enum Scene {
    /// A live frame.
    Picture(Shown),
    /// Words in place of a picture, so that a frozen one never passes for live.
    Message(Card),
}

/// Words in place of a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// A few words, such as "Camera unplugged".
    pub title: String,
    /// The reason, such as "camera unplugged: /dev/video0"; empty when the title says it.
    pub reason: String,
    /// What a person can do about it; empty when there is nothing.
    pub advice: String,
    /// Since when there is no picture.
    pub since: Time,
}

/// The slot. Both sides may call from any thread; only [`SceneSlot::wait`] waits for the other side.
#[derive(Default)]
pub struct SceneSlot {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    scene: Option<Scene>,
    readings: Arc<Readings>,
    note: Option<(String, Duration)>,
    marker: Option<Marker>,
    target: Option<(u32, u32)>,
    spare: Vec<Picture>,
    closed: bool,
    waker: Option<Box<dyn Fn() + Send>>,
    /// For the thread that the waker wakes.
    ready: Ready,
}

impl SceneSlot {
    /// An empty, open scene slot.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `scene` in as the newest. Returns the identity of a frame that was still waiting and is now never shown,
    /// so that it can be counted.
    pub fn publish(&self, scene: Scene) -> Option<FrameId> {
        let mut state = self.state.lock();
        let unseen = state.scene.replace(scene);
        // While a scene waits, a wake-up is under way: one is enough.
        if unseen.is_none() {
            state.wake();
        }

        self.changed.notify_all();
        unseen.and_then(|scene| state.reclaim(scene))
    }

    /// Ends the showing: [`window::run`](crate::window::run) and [`SceneSlot::wait`] return.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.wake();
        self.changed.notify_all();
    }

    /// Whether [`SceneSlot::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// A picture to decode into, used before if possible.
    #[must_use]
    pub fn spare(&self) -> Picture {
        self.state.lock().spare.pop().unwrap_or_default()
    }

    /// Takes a picture back that came from [`SceneSlot::spare`] and was not published.
    pub fn give_back(&self, picture: Picture) {
        self.state.lock().keep(picture);
    }

    /// The size (width, height) in which pictures are shown at present; a smaller decode is enough for it
    /// ([`Decoder::decode_for`](crate::decode::Decoder::decode_for)). None: in their own size.
    #[must_use]
    pub fn target(&self) -> Option<(u32, u32)> {
        self.state.lock().target
    }

    /// Replaces what the panels over the picture and the foot of a card say.
    pub fn set_readings(&self, readings: Readings) {
        let readings = Arc::new(readings);
        let mut state = self.state.lock();
        if state.readings != readings {
            state.readings = readings;
            state.wake();
        }
    }

    /// Shows some words over the picture for so long.
    pub fn set_note(&self, text: String, lingers: Duration) {
        let mut state = self.state.lock();
        state.note = Some((text, lingers));
        state.wake();
    }

    /// Replaces the marker over the picture; the next picture is drawn with it.
    pub fn set_marker(&self, marker: Option<Marker>) {
        self.state.lock().marker = marker;
    }

    /// Waits at most `limit` for a scene and takes it: a consumer without a window.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> Waited<Scene> {
        let mut state = self.state.lock();
        self.changed
            .wait_while_for(&mut state, State::is_idle, limit);
        match state.scene.take() {
            _ if state.closed => Waited::Closed,
            Some(scene) => Waited::Value(scene),
            None => Waited::TimedOut,
        }
    }

    /// Returns the memory of a scene that is no longer shown.
    pub fn recycle(&self, scene: Scene) {
        self.state.lock().reclaim(scene);
    }

    /// Whether a scene waits to be taken.
    pub(crate) fn has_scene(&self) -> bool {
        self.state.lock().scene.is_some()
    }

    /// The newest scene, if there is one that was not taken yet.
    pub(crate) fn take(&self) -> Option<Scene> {
        self.state.lock().scene.take()
    }

    /// See [`SceneSlot::set_readings`].
    pub(crate) fn readings(&self) -> Arc<Readings> {
        Arc::clone(&self.state.lock().readings)
    }

    /// See [`SceneSlot::set_note`].
    pub(crate) fn take_note(&self) -> Option<(String, Duration)> {
        self.state.lock().note.take()
    }

    /// See [`SceneSlot::set_marker`].
    pub(crate) fn marker(&self) -> Option<Marker> {
        self.state.lock().marker
    }

    /// See [`SceneSlot::target`].
    pub(crate) fn set_target(&self, target: Option<(u32, u32)>) {
        self.state.lock().target = target;
    }

    /// The thread that was woken has come, whatever it takes.
    pub(crate) fn answer(&self) {
        self.state.lock().ready.take();
    }

    /// Whether the thread that was woken does not come any more.
    pub(crate) fn is_stuck(&self, now: Time) -> bool {
        self.state.lock().ready.is_stuck(now)
    }

    /// Has `waker` called when a scene arrives in the empty slot and at the end. It must not call the scene slot.
    pub(crate) fn set_waker(&self, waker: impl Fn() + Send + 'static) {
        let mut state = self.state.lock();
        state.waker = Some(Box::new(waker));
        if state.scene.is_some() || state.closed {
            state.wake();
        }
    }
}

impl fmt::Debug for SceneSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SceneSlot").finish_non_exhaustive()
    }
}

impl State {
    fn is_idle(&mut self) -> bool {
        self.scene.is_none() && !self.closed
    }

    fn wake(&mut self) {
        if let Some(waker) = &self.waker {
            self.ready.put();
            waker();
        }
    }

    fn reclaim(&mut self, scene: Scene) -> Option<FrameId> {
        match scene {
            Scene::Picture(Shown { id, picture, .. }) => {
                self.keep(picture);
                Some(id)
            }
            Scene::Message(_) => None,
        }
    }

    fn keep(&mut self, picture: Picture) {
        if self.spare.len() < MAX_SPARE {
            self.spare.push(picture);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn frame(scenes: &SceneSlot, number: u64) -> Scene {
        let mut picture = scenes.spare();
        picture.reshape(4, 4);
        let id = FrameId { epoch: 1, number };
        Scene::Picture(Shown {
            stream: "cam".parse().unwrap(),
            id,
            picture,
            rate_millihertz: 0,
            jpeg: Bytes::new(),
        })
    }

    fn number(scene: Option<Scene>) -> u64 {
        match scene {
            Some(Scene::Picture(shown)) => shown.id.number,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_newest_scene_wins_and_the_frame_it_displaced_is_told() {
        let scenes = SceneSlot::new();
        assert_eq!(scenes.publish(frame(&scenes, 1)), None);
        assert_eq!(
            scenes.publish(frame(&scenes, 2)),
            Some(FrameId {
                epoch: 1,
                number: 1
            })
        );

        assert_eq!(number(scenes.take()), 2);
        assert!(scenes.take().is_none());
        assert_eq!(scenes.publish(frame(&scenes, 3)), None);
    }

    #[test]
    fn a_message_displaces_a_picture_and_the_other_way_round() {
        let scenes = SceneSlot::new();
        scenes.publish(frame(&scenes, 1));
        let gone = scenes.publish(Scene::Message(Card::default()));

        assert_eq!(gone.map(|id| id.number), Some(1));
        assert_eq!(scenes.publish(frame(&scenes, 2)), None);
        assert_eq!(number(scenes.take()), 2);
    }

    #[test]
    fn memory_is_reused_and_bounded() {
        let scenes = SceneSlot::new();
        for number in 0..100 {
            scenes.publish(frame(&scenes, number));
            if number % 3 == 0 {
                let scene = scenes.take().unwrap();
                scenes.recycle(scene);
            }
            assert!(scenes.state.lock().spare.len() <= MAX_SPARE);
        }

        assert_eq!(scenes.spare().capacity_bytes(), 4 * 4 * 4);
        for _ in 0..100 {
            scenes.give_back(Picture::new(4, 4));
        }

        assert_eq!(scenes.state.lock().spare.len(), MAX_SPARE);
    }

    #[test]
    fn one_wake_is_on_its_way_while_a_scene_waits() {
        let scenes = SceneSlot::new();
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&wakes);
        scenes.publish(frame(&scenes, 0));
        scenes.set_waker(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(
            wakes.load(Ordering::Relaxed),
            1,
            "what came before the waker is told"
        );

        for number in 1..10 {
            scenes.publish(frame(&scenes, number));
        }

        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        scenes.take();
        scenes.publish(frame(&scenes, 10));
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
        scenes.close();
        assert_eq!(wakes.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_consumer_without_a_window_waits_for_scenes_until_the_end() {
        let scenes = Arc::new(SceneSlot::new());
        assert!(matches!(scenes.wait(Duration::ZERO), Waited::TimedOut));
        let consumer = {
            let scenes = Arc::clone(&scenes);
            std::thread::spawn(move || {
                let mut newest = 0;
                loop {
                    match scenes.wait(Duration::from_secs(10)) {
                        Waited::Value(scene) => newest = number(Some(scene)),
                        Waited::TimedOut => panic!("nothing within ten seconds"),
                        Waited::Closed => return newest,
                    }

                    if newest == 7 {
                        scenes.close();
                    }
                }
            })
        };

        for number in 1..=7 {
            scenes.publish(frame(&scenes, number));
        }

        assert_eq!(consumer.join().unwrap(), 7);
    }
}
