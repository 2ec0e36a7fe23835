//! The upstreams of a relay: those that the config names, or those whose sockets lie in the directory of this host's
//! sources. The event loop owns them and looks into that directory every so often; each upstream has a thread.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fanlight_daemon::Shutdown;
use fanlight_live::StreamTable;
use fanlight_proto::clock::Time;
use fanlight_proto::keys::FeedKey;

use crate::config::{Config, MAX_SOURCES, Sources};
use crate::upstream::{Endpoint, FeedbackQueue, Upstream};

/// Pause between two looks into the directory: a source that has just started is found within it.
const INTERVAL: Duration = Duration::from_millis(500);

/// The upstreams that have been started. A source that goes away keeps its upstream, which connects when it is back.
pub(super) struct Upstreams {
    config: Config,
    feed_key: Option<FeedKey>,
    table: Arc<StreamTable>,
    shutdown: Shutdown,
    directory: Option<PathBuf>,
    next: Time,
    known: BTreeSet<Endpoint>,
    /// By origin.
    queues: Vec<Arc<FeedbackQueue>>,
    threads: Vec<JoinHandle<()>>,
}

impl Upstreams {
    /// Starts those that are known now.
    pub(super) fn start(
        config: &Config,
        sources: Sources,
        feed_key: Option<FeedKey>,
        table: Arc<StreamTable>,
        shutdown: Shutdown,
    ) -> io::Result<Self> {
        let mut upstreams = Self {
            config: config.clone(),
            feed_key,
            table,
            shutdown,
            directory: None,
            next: Time::default(),
            known: BTreeSet::new(),
            queues: Vec::new(),
            threads: Vec::new(),
        };

        match sources {
            Sources::Listed(endpoints) => {
                for endpoint in endpoints {
                    upstreams.add(endpoint)?;
                }
            }
            Sources::Directory(directory) => {
                tracing::info!(directory = %directory.display(), "subscribing to the sources of this host");
                upstreams.directory = Some(directory);
            }
        }

        Ok(upstreams)
    }

    /// What source `origin` is to be told.
    pub(super) fn queue(&self, origin: usize) -> Option<&FeedbackQueue> {
        self.queues.get(origin).map(Arc::as_ref)
    }

    /// When to look into the directory next.
    pub(super) fn next(&self) -> Option<Time> {
        self.directory.as_ref().map(|_| self.next)
    }

    /// Looks into the directory when that is due, and starts upstreams to the sources that are new there.
    pub(super) fn look(&mut self, now: Time) {
        let Some(directory) = self.directory.as_deref().filter(|_| now >= self.next) else {
            return;
        };

        self.next = now + INTERVAL;
        for endpoint in sockets(directory) {
            if self.known.len() == MAX_SOURCES {
                return;
            }

            if self.known.contains(&endpoint) {
                continue;
            }

            if let Err(error) = self.add(endpoint) {
                return tracing::warn!("cannot subscribe to a new source: {error}");
            }
        }
    }

    fn add(&mut self, endpoint: Endpoint) -> io::Result<()> {
        tracing::info!(source = %endpoint, "subscribing");
        let origin = self.queues.len();
        let stale = Duration::from_millis(self.config.source_stale_ms);
        let upstream = Upstream {
            origin,
            endpoint: endpoint.clone(),
            streams: self.config.streams.clone(),
            max_frame_bytes: self.config.max_frame_bytes,
            stale,
            feed_key: self.feed_key.clone(),
            feedback: Arc::new(FeedbackQueue::new()?),
        };

        let queue = Arc::clone(&upstream.feedback);
        self.table.sources().add(origin, endpoint.to_string());
        let thread = upstream.start(Arc::clone(&self.table), self.shutdown.clone())?;
        self.queues.push(queue);
        self.threads.push(thread);
        self.known.insert(endpoint);
        Ok(())
    }

    /// The threads, which end once the relay is asked to stop.
    pub(super) fn into_threads(self) -> Vec<JoinHandle<()>> {
        self.threads
    }
}

/// The sockets in `directory`, by name; none while it is not there.
fn sockets(directory: &Path) -> BTreeSet<Endpoint> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "ipc"))
        .map(Endpoint::Ipc)
        .collect()
}
