//! One source: a thread that keeps a subscription to it alive, whatever happens, and leaves what comes in the stream table.
//!
//! The library's own reconnecting takes up to 30 s and can stick for ever, so each connection has its own runtime, and
//! any error or silence ends both: that closes every hidden task and descriptor of the library. The source says
//! something every [`HEARTBEAT_INTERVAL`](fanlight_proto::limits::HEARTBEAT_INTERVAL), so silence means that it is dead.

mod asker;
mod endpoint;
mod guard;
mod inspector;
mod outbox;
mod session;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fanlight_daemon::logline::Limited;
use fanlight_daemon::{Shutdown, clock};
use fanlight_live::StreamTable;
use fanlight_proto::envelope::FeedKey;
use fanlight_proto::message::StreamName;
use zeromq::ZmqError;

pub use endpoint::{Endpoint, EndpointError};
use guard::GuardError;
pub use outbox::Outbox;
use session::{PROOF_LIMIT, Session};

/// Pause before the first try to connect again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Longest pause: a source that comes back is found within it.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A source to subscribe to.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its number among the sources of this relay.
    pub origin: usize,
    /// Where it publishes.
    pub endpoint: Endpoint,
    /// The streams wanted; all of them when empty.
    pub streams: Vec<StreamName>,
    /// Largest encoded frame taken, in bytes.
    pub max_frame_bytes: usize,
    /// Silence for so long ends the connection.
    pub stale: Duration,
    /// Opens what it publishes, and seals what it is told; none when nothing is sealed.
    pub feed_key: Option<FeedKey>,
    /// What it is to be told.
    pub outbox: Arc<Outbox>,
}

impl Upstream {
    /// Starts the thread, which ends soon after `shutdown` is requested.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(self, table: Arc<StreamTable>, shutdown: Shutdown) -> io::Result<JoinHandle<()>> {
        let name = format!("source-{}", self.origin);
        thread::Builder::new()
            .name(name)
            .spawn(move || Supervisor::new(self, table).run(&shutdown))
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("{0}")]
    Guard(#[from] GuardError),
    #[error("{0}")]
    Library(#[from] ZmqError),
    #[error("it does not answer")]
    NoAnswer,
    #[error("it is silent")]
    Silent,
    #[error("it has not proved within {PROOF_LIMIT:?} that it has our feed key")]
    Unproven,
    #[error("the ZeroMQ library failed: {0}")]
    Crashed(#[from] tokio::task::JoinError),
    #[error("there is no runtime to be had: {0}")]
    Runtime(io::Error),
}

/// Connects again and again.
struct Supervisor {
    upstream: Arc<Upstream>,
    table: Arc<StreamTable>,
    lost: Limited,
    last_reason: String,
    /// Shared with each connection in turn: who comes and goes gets no more log lines than who stays.
    refused: Arc<Mutex<Limited>>,
}

impl Supervisor {
    fn new(upstream: Upstream, table: Arc<StreamTable>) -> Self {
        Self {
            upstream: Arc::new(upstream),
            table,
            lost: Limited::new(),
            last_reason: String::new(),
            refused: Arc::default(),
        }
    }

    fn run(mut self, shutdown: &Shutdown) {
        let mut pause = FIRST_PAUSE;
        loop {
            let heard = Arc::new(AtomicBool::new(false));
            let Some(ended) = self.run_once(&heard, shutdown) else {
                return;
            };
            // A source that said something is worth coming back to at once.
            if heard.load(Ordering::Relaxed) {
                pause = FIRST_PAUSE;
                self.last_reason.clear();
            }
            self.tell(&ended);
            if shutdown.wait_timeout(jittered(pause)) {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One connection, in a runtime of its own; none when the program is to end.
    fn run_once(&self, heard: &Arc<AtomicBool>, shutdown: &Shutdown) -> Option<Ended> {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => return Some(Ended::Runtime(error)),
        };
        let session = Session::new(&self.upstream, &self.table, heard, &self.refused).run();
        let ended = runtime.block_on(async {
            tokio::select! {
                // In a task, so that a panic in the library ends the connection and not this thread.
                ended = tokio::spawn(session) => Some(match ended {
                    Ok(Err(ended)) => ended,
                    Ok(Ok(never)) => match never {},
                    Err(crashed) => crashed.into(),
                }),
                () = shutdown.wait() => None,
            }
        });
        // Does not wait for a name server that does not answer.
        runtime.shutdown_background();
        ended
    }

    /// A line when the reason is a new one, and not more than one a second: sources may be away for days.
    fn tell(&mut self, ended: &Ended) {
        let reason = ended.to_string();
        if reason == self.last_reason {
            return tracing::debug!(source = %self.upstream.endpoint, "no source: {reason}");
        }
        if let Some(count) = self.lost.note(clock::now()) {
            tracing::info!(source = %self.upstream.endpoint, count, "no source: {reason}; trying again");
            self.last_reason = reason;
        }
    }
}

/// Between 0.8 and 1.2 of `pause`, so that many relays do not come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.8 + (clock::random_u64() % 1000) as f64 / 2500.0)
}
