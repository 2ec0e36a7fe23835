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
use fanlight_daemon::discovery::{Browser, Kind};
use fanlight_daemon::endpoint::Host;
use fanlight_daemon::file_watch::FileWatch;
use fanlight_live::StreamTable;
use fanlight_proto::clock::Time;

use crate::config::{Config, MAX_SOURCES, Sources};
use crate::upstream::{Endpoint, FeedKeys, FeedbackQueue, Upstream};
use tokio::sync::watch;

/// Pause between two looks into the directory: a source that has just started is found within it.
const INTERVAL: Duration = Duration::from_millis(500);

/// Most sources that are taken because they announce themselves: whoever lies cannot keep this host's sources out.
const MAX_ANNOUNCED: usize = 16;

/// The upstreams that have been started. A source that goes away keeps its upstream, which connects when it is back.
pub(super) struct Upstreams {
    config: Config,
    /// Read by the threads.
    keys: watch::Sender<FeedKeys>,
    key_watch: FileWatch,
    table: Arc<StreamTable>,
    directory: Option<PathBuf>,
    /// Finds the sources of other hosts, when they are to be taken too.
    browser: Option<Browser>,
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
            browser: None,
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
                self.browser = None;
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

        self.drop_those(|endpoint, _| !wanted.contains(endpoint));
        self.add_new(wanted);
    }

    fn drop_those(&mut self, gone: impl Fn(&Endpoint, usize) -> bool) {
        let gone =
            |endpoint: &Endpoint, (origin, _): &mut (usize, Shutdown)| gone(endpoint, *origin);
        for (endpoint, (origin, stop)) in self.known.extract_if(.., gone) {
            tracing::info!(source = %endpoint, "no longer subscribing");
            stop.trigger();
            self.table.sources().remove(origin);
        }
    }

    fn watch(&mut self, directory: PathBuf) {
        tracing::info!(directory = %directory.display(), "subscribing to the sources of this host");
        if self.config.takes_announced_sources() {
            tracing::info!("subscribing to the sources that announce themselves on the network");
            self.browser = Browser::start(Kind::Source)
                .inspect_err(|error| tracing::warn!("cannot look for sources: {error:#}"))
                .ok();
        }
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
        if let Some(browser) = &self.browser {
            let announced = announced(browser);
            self.drop_unannounced(now, &announced);
            self.add_new(announced);
        }
    }

    /// Ends the upstreams to sources that are no longer announced and do not answer. One that answers stays: a switch that
    /// forgets a group must not cost a picture.
    fn drop_unannounced(&mut self, now: Time, announced: &BTreeSet<Endpoint>) {
        let remote = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Tcp(..));
        let gone = |endpoint: &Endpoint| remote(endpoint) && !announced.contains(endpoint);
        if !self.known.keys().any(gone) {
            return;
        }

        let entries = self.table.sources().all(now);
        let away: BTreeSet<_> = entries
            .iter()
            .filter(|entry| entry.is_away())
            .map(|entry| entry.origin)
            .collect();
        self.drop_those(|endpoint, origin| gone(endpoint) && away.contains(&origin));
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

/// Where the sources are that announce themselves.
fn announced(browser: &Browser) -> BTreeSet<Endpoint> {
    let found = browser.found().into_iter().take(MAX_ANNOUNCED);
    found
        .map(|(_, found)| {
            let address = found.addresses[0];
            Endpoint::Tcp(Host::Address(address.ip()), address.port())
        })
        .collect()
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
