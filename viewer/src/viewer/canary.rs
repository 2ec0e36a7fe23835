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

/// How much nicer than the viewer its thread is: the picture comes first.
const NICENESS: i32 = 5;

/// Bytes to ask the kernel to keep for its socket: many of its frames, which have a few kilobytes.
const RECEIVE_BUFFER: usize = 128 << 10;

/// Between the end of one conversation and the begin of the next, whatever frames say: a new one is there within a second
/// all the same.
const PAUSE: Duration = Duration::from_millis(250);

/// How to watch canaries.
pub(super) struct Plan {
    /// The way that the stream takes, too.
    pub(super) route: Route,
    /// The engine that the stream has, too.
    pub(super) engine: EngineConfig,
    /// See `Detections` in control.proto.
    pub(super) screen: u64,
    /// What the stream shown comes to; it learns what the canary does.
    pub(super) counters: Arc<Counters>,
    /// For verdicts.
    pub(super) trace: Option<Arc<File>>,
}

/// The canary's thread.
pub(super) struct Canary {
    selection: Arc<CanarySelection>,
    thread: JoinHandle<()>,
}

impl Canary {
    /// Begins to watch whatever canary is wanted.
    ///
    /// # Errors
    /// When there is no thread to be had.
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

    /// Where to say which canary is wanted.
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
        // It works all the same when the kernel will not have it. Without a number it is the calling thread.
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
