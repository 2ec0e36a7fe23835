//! The window: the newest scenes of one or several [`SceneSlot`]s on a screen, and a person's keys.
//!
//! | key | |
//! |---|---|
//! | `q`, Escape | ends the showing |
//! | `f`, double click | full screen and back |
//! | space | pauses, and goes on |
//! | `,`, `.` | while paused, a frame back and on |
//! | `<`, `>` | the same, a second |
//! | `z` | fit, fill, pixel by pixel |
//! | `r`, `m` | turns to the right; mirrors |
//! | wheel, `+`, `-` | enlarges at the pointer, and back; the mouse drags |
//! | `s` | saves the JPEG as received |
//! | `S` | saves what is on the screen |
//! | `i` | statistics over the picture |
//! | `n` | figures in a corner of the picture |
//! | `t` | stream, state and time of day |
//! | `c` | stream, state and age in short |
//! | `1` to `9` | one of several tiles alone, and all again; `0` all |
//! | `h`, `?` | the keys |
//! | Left, Right | the stream before or after the present one |
//! | `l` | the streams that there are |
//! | `w` | shows for some seconds which screen this is |

use std::path::PathBuf;
use std::sync::Arc;

use fanlight_proto::clock::Time;
use fanlight_proto::message::{FrameId, StreamName};
use winit::error::{EventLoopError, OsError};
use winit::event_loop::{EventLoop, EventLoopProxy};

use crate::cover::CoverSlot;
use crate::overlay::Panel;
use crate::scene::{SceneSlot, Shown};
use crate::view::View;

mod app;
mod awake;
mod grid;
mod history;
mod monitor;
mod place;
mod pointer;
#[cfg(test)]
mod quality;
mod screen;
mod snapshot;
mod tile;
mod tiles;
mod x11;

pub use grid::{Grid, GridError, MAX_TILES};
pub use monitor::{Monitor, NoSuchMonitor};
pub use place::{WindowPlace, WindowPlaceError};
pub(crate) use snapshot::write_whole;
pub(crate) use tile::{MARKER_LINGERS, paint_picture};

/// The state of the window at first.
#[derive(Clone, Debug)]
pub struct Options {
    /// The title of the window until the first picture, which has its stream's name.
    pub title: String,
    /// Whether to begin in full screen.
    pub full_screen: bool,
    /// The monitor to be on: its name, or its number from 1, counted from left to right and then downwards. None
    /// leaves it to the desktop.
    pub monitor: Option<String>,
    /// The folder that snapshots are saved in.
    pub snapshots: PathBuf,
    /// The size and place of the window when it is not in full screen.
    pub place: Option<WindowPlace>,
    /// Columns and rows of tiles.
    pub grid: (usize, usize),
    /// How pictures are shown at first.
    pub view: View,
    /// What is drawn over the picture at first.
    pub panels: Vec<Panel>,
    /// What stands over all pictures or in place of them.
    pub cover: Arc<CoverSlot>,
}

/// Why there is no window, or no window any more.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// There is no X11 or Wayland server to talk to, or its client libraries are missing.
    #[error(
        "no display: start it in a desktop session, or set DISPLAY (X11) or WAYLAND_DISPLAY, or use --headless"
    )]
    NoDisplay,
    /// The wanted monitor is not there.
    #[error(transparent)]
    Monitor(#[from] NoSuchMonitor),
    /// The display refused the window.
    #[error("cannot open a window: {0}")]
    Open(#[from] OsError),
    /// The display takes no pixels.
    #[error("cannot draw to the window: {0}")]
    Draw(String),
    /// The connection to the display broke.
    #[error("the display went away: {0}")]
    Lost(EventLoopError),
}

/// Which stream a person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The one after the present one.
    Next,
    /// The one before it.
    Previous,
    /// None: only what there is.
    List,
}

/// The tiles of a window.
#[derive(Clone, Debug)]
pub struct Tiling {
    /// Where the scenes of each come from.
    pub slots: Vec<Arc<SceneSlot>>,
    /// Columns and rows.
    pub shape: (usize, usize),
}

/// What a window tells the program. It runs between two frames, so each call must be short.
pub trait Handler {
    /// The pixels of a frame of this tile were handed to the display server at `at`; called once for each frame.
    fn presented(&mut self, tile: usize, id: FrameId, at: Time);

    /// What this tile has on the screen since it was drawn last; none: no picture. `by_hand`: a person has stopped it, or let
    /// it go on.
    fn shows(&mut self, tile: usize, shown: Option<&Shown>, by_hand: bool);

    /// What the screen is told has changed: its tiles, when they are others than before.
    fn follow(&mut self) -> Option<Tiling>;

    /// A person asks for another stream on this tile than the one `shown`, or which there are.
    fn step(&mut self, tile: usize, step: Step, shown: Option<StreamName>);
}

/// Shows each scene of each slot within one frame's time, until a person ends it or one of them is closed. The handler
/// may give others meanwhile. Each slot has a tile, which never shows parts of two scenes: it is a picture with its proportions kept, or a card with the words of a
/// message.
///
/// Must be called on the main thread, and once in a process: winit demands it.
///
/// # Errors
/// See [`WindowError`].
pub fn run(
    options: &Options,
    slots: &[Arc<SceneSlot>],
    handler: &mut dyn Handler,
) -> Result<(), WindowError> {
    let event_loop = EventLoop::with_user_event().build().map_err(|error| {
        // Its words name a file of whoever built this.
        tracing::debug!("no event loop: {error}");
        WindowError::NoDisplay
    })?;
    let proxy = event_loop.create_proxy();
    let waking = proxy.clone();
    options.cover.set_waker(move || wake(&waking));
    let mut app = app::App::new(options, slots, handler, proxy);
    let ended = event_loop.run_app(&mut app);

    match app.into_failure() {
        Some(failure) => Err(failure),
        None => ended.map_err(WindowError::Lost),
    }
}

/// An event loop that has ended needs no waking.
fn wake(proxy: &EventLoopProxy<app::SceneWaits>) {
    drop(proxy.send_event(app::SceneWaits));
}

impl From<softbuffer::SoftBufferError> for WindowError {
    /// Keeps the words: the error itself may not leave its thread.
    fn from(error: softbuffer::SoftBufferError) -> Self {
        Self::Draw(error.to_string())
    }
}
