//! The canary: a small synthetic stream that goes the same way beside the one that is shown. A conversation of its own
//! brings it, on a thread of its own, where the ball is looked for in each frame and what is found is told to the source.
//! Nothing of it is shown.

mod choice;
mod watcher;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::message::StreamName;
use rustix::process::setpriority_process;

use crate::engine::{Engine, EngineConfig, Wish};
use crate::stats::Tally;
use crate::udp::{Route, converse};
pub(super) use choice::Choice;
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
    pub(super) tally: Arc<Tally>,
    /// For verdicts.
    pub(super) trace: Option<Arc<File>>,
}

/// The canary's thread.
pub(super) struct Canary {
    choice: Arc<Choice>,
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
        let choice = Arc::new(Choice::default());
        let followed = Arc::clone(&choice);
        let thread = thread::Builder::new()
            .name("canary".to_owned())
            .spawn(move || plan.follow(&followed))?;
        Ok(Self { choice, thread })
    }

    /// Where to say which canary is wanted.
    pub(super) fn choice(&self) -> Arc<Choice> {
        Arc::clone(&self.choice)
    }

    /// Ends it.
    pub(super) fn stop(self) {
        self.choice.end();
        if self.thread.join().is_err() {
            tracing::error!("thread canary broke an invariant");
        }
    }
}

impl Plan {
    fn follow(&self, choice: &Choice) {
        // It works all the same when the kernel will not have it. Without a number it is the calling thread.
        let _ = setpriority_process(None, NICENESS);
        while let Some((stream, stop)) = choice.next() {
            self.watch(&stream, &stop);
            if !choice.pause(PAUSE) {
                return;
            }
            self.tally.on_canary(None);
        }
    }

    /// Until `stop`.
    fn watch(&self, stream: &StreamName, stop: &fanlight_daemon::Shutdown) {
        tracing::info!(%stream, "watching the canary");
        let wish = Wish::Stream(Some(stream.clone()));
        let mut engine = Engine::new(
            EngineConfig {
                wish,
                ..self.engine.clone()
            },
            clock::random_bytes(),
        );
        engine.set_screen(self.screen);
        let mut watcher = Watcher::new(stream.clone(), Arc::clone(&self.tally), self.trace.clone());
        if let Err(error) = converse(&self.route, &mut engine, &mut watcher, stop) {
            tracing::error!(%stream, "the canary is not watched: {error}");
        }
        watcher.finish(&mut engine);
    }
}
