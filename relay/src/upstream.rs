//! One source: a thread that keeps a subscription to it alive, whatever happens, and leaves what comes in the inbox.
//!
//! The library's own reconnecting takes up to 30 s and can stick for ever, so each connection has its own runtime, and
//! any error or silence ends both: that closes every hidden task and descriptor of the library. The source says
//! something every [`HEARTBEAT_INTERVAL`](fanlight_proto::limits::HEARTBEAT_INTERVAL), so silence means that it is dead.

mod endpoint;
mod guard;
mod inbox;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fanlight_daemon::logline::Limited;
use fanlight_daemon::{Shutdown, clock};
use fanlight_proto::clock::Time;
use fanlight_proto::message::{CheckedFrame, StreamName, parse_frame};
use tokio::time::{error::Elapsed, timeout};
use zeromq::{Socket as _, SocketOptions, SocketRecv as _, SubSocket, ZmqError, ZmqMessage};

pub use endpoint::{Endpoint, EndpointError};
use guard::{Guard, GuardError};
pub use inbox::Inbox;

/// Longest that connecting and the handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Pause before the first try to connect again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Longest pause: a source that comes back is found within it.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A picture so old has waited in the kernel while this process stood still, and a newer one is behind it (promise P4).
const TOO_OLD: Duration = Duration::from_millis(250);

/// When all pictures have been too old for so long, the source is slow, and an old picture is better than none.
const CATCH_UP: Duration = Duration::from_millis(500);

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
}

impl Upstream {
    /// Starts the thread, which ends soon after `shutdown` is requested.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(self, inbox: Arc<Inbox>, shutdown: Shutdown) -> io::Result<JoinHandle<()>> {
        let name = format!("source-{}", self.origin);
        thread::Builder::new().name(name).spawn(move || Supervisor::new(self, inbox).run(&shutdown))
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
    Silent(Elapsed),
    #[error("the ZeroMQ library failed: {0}")]
    Crashed(#[from] tokio::task::JoinError),
    #[error("there is no runtime to be had: {0}")]
    Runtime(io::Error),
}

/// Connects again and again.
struct Supervisor {
    upstream: Arc<Upstream>,
    inbox: Arc<Inbox>,
    lost: Limited,
    last_reason: String,
    /// Shared with each connection in turn: who comes and goes gets no more log lines than who stays.
    refused: Arc<Mutex<Limited>>,
}

impl Supervisor {
    fn new(upstream: Upstream, inbox: Arc<Inbox>) -> Self {
        Self {
            upstream: Arc::new(upstream),
            inbox,
            lost: Limited::new(),
            last_reason: String::new(),
            refused: Arc::default(),
        }
    }

    fn run(mut self, shutdown: &Shutdown) {
        let mut pause = FIRST_PAUSE;
        loop {
            let heard = Arc::new(AtomicBool::new(false));
            let Some(ended) = self.run_once(&heard, shutdown) else { return };
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
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return Some(Ended::Runtime(error)),
        };
        let session = session(Receiver {
            upstream: Arc::clone(&self.upstream),
            inbox: Arc::clone(&self.inbox),
            heard: Arc::clone(heard),
            refused: Arc::clone(&self.refused),
            behind: Behind { clock_id: clock::clock_id(), since: None },
        });
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

/// Connects and hands over what comes, until something fails.
async fn session(mut receiver: Receiver) -> Result<Infallible, Ended> {
    let upstream = Arc::clone(&receiver.upstream);
    let connected = timeout(CONNECT_TIMEOUT, Guard::connect(&upstream.endpoint)).await;
    let guard = connected.map_err(|_| Ended::NoAnswer)?.map_err(Ended::Connect)?;
    let mut options = SocketOptions::default();
    options.connect_timeout(CONNECT_TIMEOUT);
    options.read_buffer(65_536, 1 << 20, 2);
    let mut socket = SubSocket::with_options(options);
    if upstream.streams.is_empty() {
        socket.subscribe("").await?;
    }
    for stream in &upstream.streams {
        socket.subscribe(&format!("{stream}/")).await?;
    }
    let private = guard.endpoint();
    let mut pump = tokio::spawn(guard.pump());
    tokio::select! {
        ended = &mut pump => return Err(ended?.into()),
        connected = timeout(CONNECT_TIMEOUT, socket.connect(&private)) => connected.map_err(|_| Ended::NoAnswer)??,
    }
    tracing::debug!(source = %upstream.endpoint, "connected");
    loop {
        tokio::select! {
            ended = &mut pump => return Err(ended?.into()),
            message = timeout(upstream.stale, socket.recv()) => {
                receiver.take(message.map_err(Ended::Silent)??);
            }
        }
    }
}

struct Receiver {
    upstream: Arc<Upstream>,
    inbox: Arc<Inbox>,
    heard: Arc<AtomicBool>,
    refused: Arc<Mutex<Limited>>,
    behind: Behind,
}

impl Receiver {
    fn take(&mut self, message: ZmqMessage) {
        let now = clock::now();
        let mut parts = message.into_vecdeque();
        let (Some(topic), Some(body), None) = (parts.pop_front(), parts.pop_front(), parts.pop_front()) else {
            return self.refuse(&"message is not a topic and a frame");
        };
        match parse_frame(&topic, body.clone(), self.upstream.max_frame_bytes) {
            Ok(frame) => {
                self.heard.store(true, Ordering::Relaxed);
                if !frame.jpeg.is_empty() && self.behind.passes_over(now, &frame) {
                    self.inbox.pass_over(self.upstream.origin, &frame);
                } else if !self.inbox.put(self.upstream.origin, frame, body, now) {
                    self.refuse(&"the relay has all the streams it can carry");
                }
            }
            Err(error) => self.refuse(&error),
        }
    }

    fn refuse(&self, reason: &dyn std::fmt::Display) {
        let due = self.refused.lock().unwrap_or_else(PoisonError::into_inner).note(clock::now());
        if let Some(count) = due {
            tracing::warn!(source = %self.upstream.endpoint, count, "frames refused, the last: {reason}");
        }
    }
}

/// Catching up after this process stood still.
#[derive(Debug)]
struct Behind {
    clock_id: u64,
    since: Option<Time>,
}

impl Behind {
    /// Whether to wait for a newer picture than this. Only a source on the same host, whose clock is ours, can tell.
    fn passes_over(&mut self, now: Time, frame: &CheckedFrame) -> bool {
        let age = now.saturating_since(Time::from_nanos(frame.header.captured_ns));
        if frame.header.clock_id != self.clock_id || age < TOO_OLD {
            self.since = None;
            return false;
        }
        now.saturating_since(*self.since.get_or_insert(now)) < CATCH_UP
    }
}

/// Between 0.8 and 1.2 of `pause`, so that many relays do not come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.8 + (clock::random_u64() % 1000) as f64 / 2500.0)
}
