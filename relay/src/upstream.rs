//! One source: a plain thread that keeps a subscription to it alive, and writes what comes into the stream table.
//!
//! Any error or silence ends a connection, and the supervisor connects again with back-off. The source says something
//! every [`HEARTBEAT_INTERVAL`](fanlight_proto::limits::HEARTBEAT_INTERVAL), so silence means that it is dead.

mod clock_probe;
mod feed_keys;
mod feedback_queue;
mod listing;
mod session;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fanlight_daemon::feed_connection::{Connection, ConnectionError, Resolver};
use fanlight_daemon::rate_limit::{LogLimiter, StateLogLimiter};
use fanlight_daemon::{Shutdown, clock};
use fanlight_live::{Problem, StreamTable};
use fanlight_proto::message::StreamName;
use tokio::sync::watch;

pub use fanlight_daemon::endpoint::Endpoint;
pub use feed_keys::FeedKeys;
use feed_keys::Terms;
pub use feedback_queue::FeedbackQueue;
use session::{Agreed, Session};

/// Pause before the first try to connect again: programs that are started together wait no longer for each other. Pauses double.
const FIRST_PAUSE: Duration = Duration::from_millis(4);

/// Longest pause: a source that comes back is found within it. A connection that lasted as long is followed by short pauses
/// again; who takes and drops relays all the time is not asked more and more often.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A source to subscribe to.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its number among the sources of this relay.
    pub origin: usize,
    /// Where it publishes.
    pub endpoint: Endpoint,
    /// What this relay is called, for the operator of the source.
    pub relay: String,
    /// The streams wanted; all of them when empty.
    pub streams: Vec<StreamName>,
    /// Largest encoded frame taken, in bytes.
    pub max_frame_bytes: usize,
    /// Silence for so long ends the connection.
    pub stale: Duration,
    /// By which keys sources are known; without any the connection is in the clear.
    pub keys: watch::Receiver<FeedKeys>,
    /// What it is to be told.
    pub feedback: Arc<FeedbackQueue>,
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

/// Why there is no connection, or no more.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("it is not in source_keys: add a line with its public key and this endpoint")]
    NotListed,
    #[error("its line in source_keys, or feed_key, has changed")]
    Relisted,
    #[error("none of the streams that are wanted is among those that source_keys lists for it")]
    NoStream,
}

/// Connects again and again.
struct Supervisor {
    upstream: Upstream,
    table: Arc<StreamTable>,
    resolver: Resolver,
    lost: LogLimiter,
    last_reason: String,
    /// For all connections: who comes and goes gets no more log lines than who stays.
    refusals: StateLogLimiter,
}

impl Supervisor {
    fn new(upstream: Upstream, table: Arc<StreamTable>) -> Self {
        Self {
            upstream,
            table,
            resolver: Resolver::default(),
            lost: LogLimiter::new(),
            last_reason: String::new(),
            refusals: StateLogLimiter::new(),
        }
    }

    fn run(mut self, shutdown: &Shutdown) {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = clock::now();
            let (heard, ended) = self.run_once(shutdown);
            if matches!(ended, Ended::Connection(ConnectionError::Stopped)) {
                return;
            }

            if heard {
                self.last_reason.clear();
                // A source that was there is worth coming back to at once.
                if clock::now().saturating_since(began) >= LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                }
            }

            self.tell(&ended);
            let problem = Some(Problem::Away(ended.to_string()));
            self.table
                .sources()
                .set_problem(self.upstream.origin, problem);

            if shutdown.wait_timeout(jittered(pause)) {
                return;
            }

            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One connection: whether a frame came, and why it ended.
    fn run_once(&mut self, shutdown: &Shutdown) -> (bool, Ended) {
        let Self {
            upstream,
            table,
            resolver,
            refusals,
            ..
        } = self;

        let keys = upstream.keys.borrow_and_update().clone();
        let Some(terms) = keys.terms(&upstream.endpoint) else {
            return (false, Ended::NotListed);
        };

        let streams = terms.streams(&upstream.streams);
        if streams.is_empty() && !upstream.streams.is_empty() {
            return (false, Ended::NoStream);
        }

        let security = keys.security(&terms);
        let connection = match Connection::open(&upstream.endpoint, &security, resolver, shutdown) {
            Ok(connection) => connection,
            Err(ended) => return (false, ended.into()),
        };

        tracing::debug!(source = %upstream.endpoint, "connected");

        let agreed = Agreed { terms, streams };
        let mut session = Session::new(upstream, agreed, table, refusals, connection, shutdown);
        let ended = session.run();
        (session.has_heard(), ended)
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
