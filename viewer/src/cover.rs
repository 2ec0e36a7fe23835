//! What stands over a screen's pictures or in place of them, as the screen was told. The director sets it, and whoever shows
//! pictures looks at it: the window's thread, or the main thread of a viewer without a window.

use std::fmt;
use std::sync::Arc;

use fanlight_proto::clock::Time;
use fanlight_proto::message::StreamName;
use parking_lot::Mutex;

use crate::scene::Card;

/// What stands over the pictures or in place of them; by default nothing does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    /// Words in place of all pictures.
    pub card: Option<Card>,
    /// Words over them.
    pub announcement: Option<Announcement>,
    /// Whether each picture stops, once it is of the stream in `streams`.
    pub frozen: bool,
    /// The stream of each tile; none: any.
    pub streams: Vec<Option<StreamName>>,
    /// When what is to be shown was said.
    pub since: Time,
    /// How much is drawn over the pictures, as `Direction` in control.proto has it; 0: what the settings say.
    pub overlay: u32,
}

/// Words over the pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// Which screen this is, in the largest letters.
    Identity,
    /// This text.
    Text(String),
}

impl Cover {
    /// Whether the picture of tile `at` stops when it is of `stream`.
    pub(crate) fn stops(&self, at: usize, stream: &StreamName) -> bool {
        let wanted = self.streams.get(at).and_then(Option::as_ref);
        self.frozen && wanted.is_none_or(|wanted| wanted == stream)
    }

    /// Whether no new picture is to be seen.
    pub(crate) const fn hides(&self) -> bool {
        self.card.is_some() || self.frozen
    }

    /// Whether pictures stop and go on as `former` says.
    pub(crate) fn moves_as(&self, former: &Self) -> bool {
        (self.frozen, self.since) == (former.frozen, former.since)
    }
}

/// Where the newest cover is. Any thread may call.
#[derive(Default)]
pub struct CoverSlot(Mutex<State>);

#[derive(Default)]
struct State {
    cover: Arc<Cover>,
    waker: Option<Box<dyn Fn() + Send>>,
}

impl CoverSlot {
    /// Replaces the cover, by one that may be the same: it is obeyed again.
    pub fn set(&self, cover: Cover) {
        let mut state = self.0.lock();
        state.cover = Arc::new(cover);
        if let Some(waker) = &state.waker {
            waker();
        }
    }

    /// The newest cover: another one each time that it was set.
    #[must_use]
    pub fn get(&self) -> Arc<Cover> {
        Arc::clone(&self.0.lock().cover)
    }

    /// Has `waker` called when the cover is set. It must not call the slot.
    pub(crate) fn set_waker(&self, waker: impl Fn() + Send + 'static) {
        self.0.lock().waker = Some(Box::new(waker));
    }
}

impl fmt::Debug for CoverSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoverSlot").finish_non_exhaustive()
    }
}
