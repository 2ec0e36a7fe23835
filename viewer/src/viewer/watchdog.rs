//! One watchdog for all tiles of a viewer. The socket thread of each tile comes by; the service manager is fed while all of
//! them do, and while their other threads take what lies ready for them.

use std::sync::Arc;
use std::time::Duration;

use fanlight_daemon::{Notify, WatchdogFeeder, clock};
use fanlight_proto::clock::Time;
use parking_lot::Mutex;

use super::frame_slot::FrameSlot;
use crate::scene::SceneSlot;

/// A tile that has not come by for so many times of feeding is stuck.
const MISSED_TURNS: u32 = 2;

/// Fed by all tiles.
pub(super) struct Watchdog {
    notify: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    feeder: WatchdogFeeder,
    /// Which tiles there are, and when each was last seen to go on.
    tiles: Vec<(u64, Time)>,
    begun: u64,
}

/// What one tile has to go on with.
pub(super) struct TileWatch {
    watchdog: Arc<Watchdog>,
    number: u64,
    /// When to look again: the socket thread turns several times a frame.
    due: Time,
    frame_slot: Arc<FrameSlot>,
    scenes: Arc<SceneSlot>,
}

impl Watchdog {
    /// Feeds that of `notify`.
    pub(super) fn new(notify: Notify) -> Arc<Self> {
        let state = State {
            feeder: WatchdogFeeder::new(notify.clone()),
            ..State::default()
        };
        Arc::new(Self {
            notify,
            state: Mutex::new(state),
        })
    }

    /// One more tile, until its value is dropped.
    pub(super) fn watch(
        self: &Arc<Self>,
        frame_slot: Arc<FrameSlot>,
        scenes: Arc<SceneSlot>,
    ) -> TileWatch {
        let mut state = self.state.lock();
        state.begun += 1;
        let number = state.begun;
        state.tiles.push((number, clock::now()));
        TileWatch {
            watchdog: Arc::clone(self),
            number,
            due: Time::default(),
            frame_slot,
            scenes,
        }
    }
}

impl TileWatch {
    /// The service manager.
    pub(super) fn notify(&self) -> &Notify {
        &self.watchdog.notify
    }

    /// To be called at each turn of the socket thread. When the next turn must be at the latest; none when nobody watches.
    pub(super) fn turn(&mut self, now: Time) -> Option<Time> {
        let interval = self.watchdog.notify.watchdog_interval()?;
        if self.due <= now {
            let goes_on = !self.frame_slot.is_stuck(now) && !self.scenes.is_stuck(now);
            self.due = self.look(now, interval, goes_on);
        }
        Some(self.due)
    }

    /// Feeds the service manager if all tiles go on. When to look again.
    fn look(&self, now: Time, interval: Duration, goes_on: bool) -> Time {
        let mut state = self.watchdog.state.lock();
        let own = state
            .tiles
            .iter_mut()
            .find(|(number, _)| *number == self.number);
        if let Some((_, seen)) = own.filter(|_| goes_on) {
            *seen = now;
        }

        let longest = interval * MISSED_TURNS;
        let mut tiles = state.tiles.iter();
        let all_go_on = tiles.all(|(_, seen)| now.saturating_since(*seen) <= longest);
        let fed = all_go_on.then(|| state.feeder.turn(now)).flatten();
        fed.unwrap_or(now + interval)
    }
}

impl Drop for TileWatch {
    fn drop(&mut self) {
        let mut state = self.watchdog.state.lock();
        state.tiles.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// Between two feedings of a watchdog of three seconds.
    const INTERVAL: Duration = Duration::from_secs(1);

    #[test]
    fn one_tile_that_is_stuck_is_not_hidden_by_one_that_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let notify = Notify::to(path.as_os_str(), Some(Duration::from_secs(3))).unwrap();
        let watchdog = Watchdog::new(notify);
        let tile = || watchdog.watch(Arc::default(), Arc::default());
        let (first, second) = (tile(), tile());
        let at = |second| Time::default() + Duration::from_secs(second);
        let feedings = |seconds: std::ops::Range<u64>, second_goes_on: bool| {
            for now in seconds.map(at) {
                first.look(now, INTERVAL, true);
                second.look(now, INTERVAL, second_goes_on);
            }
            std::iter::from_fn(|| manager.recv(&mut [0; 64]).ok()).count()
        };

        assert_eq!(feedings(0..10, true), 10);
        assert_eq!(feedings(10..20, false), 2, "it may miss a turn or two");
        assert_eq!(feedings(20..30, true), 10, "it goes on again");
        drop(second);
        for now in (30..40).map(at) {
            first.look(now, INTERVAL, true);
        }
        let alone = std::iter::from_fn(|| manager.recv(&mut [0; 64]).ok()).count();
        assert_eq!(
            alone, 10,
            "a tile that is no longer shown is not waited for"
        );
    }
}
