//! The upstreams of a relay: those that the config names, or those whose sockets lie in the directory of this host's
//! sources. The event loop owns them and looks into that directory every so often; each upstream has a thread.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fanlight_daemon::Shutdown;
use fanlight_daemon::file_watch::FileWatch;
use fanlight_live::StreamTable;
use fanlight_proto::clock::Time;

use crate::config::{Config, MAX_SOURCES, Sources};
use crate::upstream::{Endpoint, FeedKeys, FeedbackQueue, Upstream};
use tokio::sync::watch;

/// Pause between two looks into the directory: a source that has just started is found within it.
const INTERVAL: Duration = Duration::from_millis(500);

/// The upstreams that have been started. A source that goes away keeps its upstream, which connects when it is back.
pub(super) struct Upstreams {
    config: Config,
    /// Read by the threads.
    keys: watch::Sender<FeedKeys>,
    key_watch: FileWatch,
    table: Arc<StreamTable>,
    directory: Option<PathBuf>,
    next: Time,
    /// The origin of each, and what ends its thread.
    known: BTreeMap<Endpoint, (usize, Shutdown)>,
    /// By origin.
    queues: Vec<Arc<FeedbackQueue>>,
    threads: Vec<JoinHandle<()>>,
}

impl Upstreams {
    /// Starts those that are known now.
    pub(super) fn start(
        config: &Config,
        sources: Sources,
        keys: FeedKeys,
        table: Arc<StreamTable>,
    ) -> io::Result<Self> {
        if let Some(public) = keys.public() {
            tracing::info!(%public, "sources must list this relay's key");
        }

        let mut upstreams = Self {
            config: config.clone(),
            keys: watch::Sender::new(keys),
            key_watch: FileWatch::new(
                "feed_key, feed_identity or source_keys",
                config.feed_key_files(),
            ),
            table,
            directory: None,
            next: Time::default(),
            known: BTreeMap::new(),
            queues: Vec::new(),
            threads: Vec::new(),
        };

        match sources {
            Sources::Listed(endpoints) => {
                for endpoint in endpoints {
                    upstreams.add(endpoint)?;
                }
            }
            Sources::Directory(directory) => upstreams.watch(directory),
        }

        Ok(upstreams)
    }

    /// Subscribes to these from now on. Those that are among them and were before keep their connection.
    pub(super) fn follow(&mut self, sources: Sources) {
        let wanted = match sources {
            Sources::Listed(endpoints) => {
                self.directory = None;
                endpoints.into_iter().collect()
            }
            Sources::Directory(directory) => {
                let found = sockets(&directory);
                if self.directory.as_deref() != Some(&directory) {
                    self.watch(directory);
                    found
                } else {
                    return;
                }
            }
        };

        let gone = |endpoint: &Endpoint| !wanted.contains(endpoint);
        for (endpoint, (origin, stop)) in self.known.extract_if(.., |endpoint, _| gone(endpoint)) {
            tracing::info!(source = %endpoint, "no longer subscribing");
            stop.trigger();
            self.table.sources().remove(origin);
        }

        self.add_new(wanted);
    }

    fn watch(&mut self, directory: PathBuf) {
        tracing::info!(directory = %directory.display(), "subscribing to the sources of this host");
        self.directory = Some(directory);
        self.next = Time::default();
    }

    /// What source `origin` is to be told.
    pub(super) fn queue(&self, origin: usize) -> Option<&FeedbackQueue> {
        self.queues.get(origin).map(Arc::as_ref)
    }

    /// When to look next.
    pub(super) fn next(&self) -> Option<Time> {
        let directory = self.directory.as_ref().map(|_| self.next);
        [directory, self.key_watch.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Looks into the list of keys and into the directory when that is due.
    pub(super) fn look(&mut self, now: Time) {
        if let Some(keys) = self.key_watch.due(now, || self.config.feed_keys()) {
            self.keys.send_replace(keys);
        }
        self.look_into_directory(now);
    }

    /// Starts upstreams to the sources that are new there.
    fn look_into_directory(&mut self, now: Time) {
        let Some(directory) = self.directory.as_deref().filter(|_| now >= self.next) else {
            return;
        };

        self.next = now + INTERVAL;
        self.add_new(sockets(directory));
    }

    fn add_new(&mut self, endpoints: BTreeSet<Endpoint>) {
        for endpoint in endpoints {
            if self.known.len() == MAX_SOURCES {
                return;
            }

            if self.known.contains_key(&endpoint) {
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
            relay: self.config.name(),
            streams: self.config.streams.clone(),
            max_frame_bytes: self.config.max_frame_bytes,
            stale,
            keys: self.keys.subscribe(),
            feedback: Arc::new(FeedbackQueue::new()?),
        };

        let queue = Arc::clone(&upstream.feedback);
        self.table.sources().add(origin, endpoint.to_string());
        let stop = Shutdown::new();
        let thread = upstream.start(Arc::clone(&self.table), stop.clone())?;
        self.queues.push(queue);
        self.threads.push(thread);
        self.known.insert(endpoint, (origin, stop));
        Ok(())
    }

    /// Asks all threads to end, and returns them.
    pub(super) fn stop(self) -> Vec<JoinHandle<()>> {
        for (_, stop) in self.known.values() {
            stop.trigger();
        }
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
