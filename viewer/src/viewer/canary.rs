//! Watches the canary of the stream that is shown: a small synthetic stream that takes the same way. It has its own engine
//! and thread, which looks for the ball in each frame and sends what it found to the source. Nothing of it is shown.

mod selection;
mod watcher;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::message::StreamName;
use rustix::process::setpriority_process;

use crate::engine::{Engine, EngineConfig, Request};
use crate::stats::Counters;
use crate::udp::{Route, drive};
pub(super) use selection::CanarySelection;
use watcher::Watcher;

/// Niceness of the canary's thread: the picture has priority.
const NICENESS: i32 = 5;

/// Bytes to ask the kernel to keep for its socket: many of its frames, which have a few kilobytes.
const RECEIVE_BUFFER: usize = 128 << 10;

/// Pause between the end of one session and the next, however often frames name another canary: a new canary is watched
/// within a second.
const PAUSE: Duration = Duration::from_millis(250);

/// How to watch canaries.
pub(super) struct Plan {
    /// How to reach the relays: as for the stream shown.
    pub(super) route: Route,
    /// How the engine behaves: as for the stream shown.
    pub(super) engine: EngineConfig,
    /// See `Detections` in control.proto.
    pub(super) screen: u64,
    /// The counters of the stream shown, which get the canary's counts.
    pub(super) counters: Arc<Counters>,
    /// The trace, for verdicts.
    pub(super) trace: Option<Arc<File>>,
}

/// The canary's thread.
pub(super) struct Canary {
    selection: Arc<CanarySelection>,
    thread: JoinHandle<()>,
}

impl Canary {
    /// Starts the thread, which watches the canary that is selected.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(mut plan: Plan) -> io::Result<Self> {
        plan.route.receive_buffer = plan.route.receive_buffer.min(RECEIVE_BUFFER);
        // Captures are for the stream shown.
        plan.route.capture = None;
        plan.engine.receive_capacity = plan.route.receive_capacity()?;
        plan.engine.max_frame_bytes = watcher::MAX_FRAME_BYTES;
        let selection = Arc::new(CanarySelection::default());
        let followed = Arc::clone(&selection);
        let thread = thread::Builder::new()
            .name("canary".to_owned())
            .spawn(move || plan.follow(&followed))?;
        Ok(Self { selection, thread })
    }

    /// Where to select the canary to watch.
    pub(super) fn selection(&self) -> Arc<CanarySelection> {
        Arc::clone(&self.selection)
    }

    /// Ends it.
    pub(super) fn stop(self) {
        self.selection.end();
        if self.thread.join().is_err() {
            tracing::error!("thread canary broke an invariant");
        }
    }
}

impl Plan {
    fn follow(&self, selection: &CanarySelection) {
        // Without a process it is the calling thread. A refusal does no harm.
        let _ = setpriority_process(None, NICENESS);
        while let Some((stream, stop)) = selection.next() {
            self.watch(&stream, &stop);
            if !selection.pause(PAUSE) {
                return;
            }
            self.counters.on_canary(None);
        }
    }

    /// Until `stop`.
    fn watch(&self, stream: &StreamName, stop: &fanlight_daemon::Shutdown) {
        tracing::info!(%stream, "watching the canary");
        let request = Request::Stream(Some(stream.clone()));
        let mut engine = Engine::new(
            EngineConfig {
                request,
                ..self.engine.clone()
            },
            clock::random_bytes(),
        );

        engine.set_screen(self.screen);
        let mut watcher = Watcher::new(
            stream.clone(),
            Arc::clone(&self.counters),
            self.trace.clone(),
        );

        if let Err(error) = drive(&self.route, &mut engine, &mut watcher, stop) {
            tracing::error!(%stream, "the canary is not watched: {error}");
        }

        watcher.finish(&mut engine);
    }
}
