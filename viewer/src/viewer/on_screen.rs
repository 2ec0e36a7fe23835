//! What a tile has on the screen now. Whoever shows pictures says it, and the socket's thread tells the relays.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fanlight_proto::message::{FrameId, StreamName};
use parking_lot::Mutex;

/// The frame on the screen. Any thread may call.
#[derive(Debug, Default)]
pub(super) struct OnScreen {
    state: Mutex<State>,
    changes: AtomicU64,
    place: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    shown: Option<(StreamName, FrameId)>,
    by_hand: bool,
}

impl OnScreen {
    /// This frame is on the screen from now on; none: no picture is. `by_hand`: a person has stopped it, or let it go on.
    pub(super) fn set(&self, shown: Option<(&StreamName, FrameId)>, by_hand: bool) {
        let mut state = self.state.lock();
        let was_by_hand = std::mem::replace(&mut state.by_hand, by_hand);
        let goes_on = match (&mut state.shown, shown) {
            (None, None) => true,
            (Some((stream, id)), Some((of, newer))) if stream == of => {
                std::mem::replace(id, newer).epoch == newer.epoch
            }
            _ => {
                state.shown = shown.map(|(stream, id)| (stream.clone(), id));
                false
            }
        };

        if !goes_on || was_by_hand != by_hand {
            self.changes.fetch_add(1, Ordering::Release);
        }
    }

    /// Which of the tiles it is.
    pub(super) fn place(&self) -> usize {
        self.place.load(Ordering::Acquire)
    }

    /// It is this one of the tiles from now on.
    pub(super) fn set_place(&self, place: usize) {
        self.place.store(place, Ordering::Release);
    }

    /// The frame on the screen, and whether a person has stopped it or let it go on.
    pub(super) fn get(&self) -> (Option<(StreamName, FrameId)>, bool) {
        let state = self.state.lock();
        (state.shown.clone(), state.by_hand)
    }

    /// How often something else came than the next frame of the same stream.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_something_else_than_the_next_frame_is_a_change() {
        let on_screen = OnScreen::default();
        let [gate, hall] = ["gate", "hall"].map(|name| name.parse::<StreamName>().unwrap());
        let set = |stream, epoch, number, by_hand| {
            on_screen.set(Some((stream, FrameId { epoch, number })), by_hand);
            on_screen.changes()
        };

        assert_eq!(set(&gate, 1, 1, false), 1);
        assert_eq!(set(&gate, 1, 2, false), 1);
        assert_eq!(on_screen.get().0.unwrap().1.number, 2);
        assert_eq!(set(&gate, 2, 3, false), 2);
        assert_eq!(set(&hall, 2, 3, false), 3);
        assert_eq!(set(&hall, 2, 3, true), 4);
        on_screen.set(None, true);
        on_screen.set(None, true);
        assert_eq!((on_screen.changes(), on_screen.get()), (5, (None, true)));
    }
}
