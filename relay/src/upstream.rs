//! One source: a plain thread that keeps a subscription to it alive, and writes what comes into the stream table.
//!
//! Any error or silence ends a connection, and the supervisor connects again with back-off. The source says something
//! every [`HEARTBEAT_INTERVAL`](fanlight_proto::limits::HEARTBEAT_INTERVAL), so silence means that it is dead.

mod clock_probe;
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
use fanlight_daemon::rate_limit::LogLimiter;
use fanlight_daemon::{Shutdown, clock};
use fanlight_live::{Problem, StreamTable};
use fanlight_proto::keys::FeedKey;
use fanlight_proto::message::StreamName;
use fanlight_proto::zmtp::Security;

pub use fanlight_daemon::endpoint::{Endpoint, EndpointError};
pub use feedback_queue::FeedbackQueue;
use session::Session;

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
    /// The key that is shared with it; without one the connection is in the clear.
    pub feed_key: Option<FeedKey>,
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

/// Connects again and again.
struct Supervisor {
    upstream: Upstream,
    table: Arc<StreamTable>,
    security: Security,
    resolver: Resolver,
    lost: LogLimiter,
    last_reason: String,
    /// For all connections: who comes and goes gets no more log lines than who stays.
    refusals: LogLimiter,
}

impl Supervisor {
    fn new(upstream: Upstream, table: Arc<StreamTable>) -> Self {
        let security = upstream
            .feed_key
            .clone()
            .map_or(Security::Null, Security::SharedKey);

        Self {
            upstream,
            table,
            security,
            resolver: Resolver::default(),
            lost: LogLimiter::new(),
            last_reason: String::new(),
            refusals: LogLimiter::new(),
        }
    }

    fn run(mut self, shutdown: &Shutdown) {
        let mut pause = FIRST_PAUSE;
        loop {
            let (heard, ended) = self.run_once(shutdown);
            if matches!(ended, ConnectionError::Stopped) {
                return;
            }

            // A source that said something is worth coming back to at once.
            if heard {
                pause = FIRST_PAUSE;
                self.last_reason.clear();
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
    fn run_once(&mut self, shutdown: &Shutdown) -> (bool, ConnectionError) {
        let Self {
            upstream,
            table,
            security,
            resolver,
            refusals,
            ..
        } = self;

        let connection = match Connection::open(&upstream.endpoint, security, resolver, shutdown) {
            Ok(connection) => connection,
            Err(ended) => return (false, ended),
        };

        tracing::debug!(source = %upstream.endpoint, "connected");

        let mut session = Session::new(upstream, table, refusals, connection, shutdown);
        let ended = session.run();
        (session.has_heard(), ended)
    }

    /// A line when the reason is a new one, and not more than one a second: sources may be away for days.
    fn tell(&mut self, ended: &ConnectionError) {
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
