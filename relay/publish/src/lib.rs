//! The output for further relays: publishes the stream table as a source publishes its stream, so that a relay names this one as
//! it names a source, and one copy of a stream goes to each building.
//!
//! Frames are published by the thread that brought them, heartbeats too, as they came but for the topic ([`Route`]). The
//! publisher's thread serves connections; a thread of this output says each 250 ms that the relay lives, and looks after keys.
//!
//! [`Route`]: fanlight_proto::route::Route

#![forbid(unsafe_code)]

mod relays;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use fanlight_daemon::endpoint::Endpoint;
use fanlight_daemon::file_watch::FileWatch;
use fanlight_daemon::keys::{KeyFileError, KeyPath};
use fanlight_daemon::{Shutdown, clock};
use fanlight_live::{Downstream, LiveFrame, OutputServer, StreamTable};
use fanlight_proto::limits::HEARTBEAT_INTERVAL;
use fanlight_proto::message::ViewerVerdict;
use fanlight_proto::zmtp::AcceptedSecurity;
use fanlight_publisher::{PublishError, Publisher};

use relays::{NoControls, Relays};

/// Reads the keys of who may subscribe, again and again.
pub type ReadKeys = Box<dyn Fn() -> Result<AcceptedSecurity, KeyFileError> + Send>;

/// The settings of the output.
pub struct Settings {
    /// Where to publish.
    pub endpoints: Vec<Endpoint>,
    /// The files that `keys` reads.
    pub key_files: Vec<KeyPath>,
    /// Who may subscribe.
    pub keys: ReadKeys,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({:?})", self.endpoints)
    }
}

/// Why nothing is published.
#[derive(Debug)]
pub enum Error {
    /// An endpoint cannot be had.
    Publish(PublishError),
    /// A key cannot be had.
    Key(KeyFileError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(error) => error.fmt(f),
            Self::Key(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

/// A publisher that has its endpoints.
#[derive(Debug)]
pub struct Publish {
    publisher: Publisher,
    relays: Arc<Relays>,
    settings: Settings,
}

impl Publish {
    /// Reads the keys and binds the endpoints.
    ///
    /// # Errors
    /// [`Error`].
    pub fn bind(settings: Settings) -> Result<Self, Error> {
        let security = (settings.keys)().map_err(Error::Key)?;
        let relays = Arc::<Relays>::default();
        let sink = Arc::clone(&relays);
        let publisher =
            Publisher::bind(&settings.endpoints, security, sink).map_err(Error::Publish)?;
        publisher.serve_controls(Arc::new(NoControls));
        Ok(Self {
            publisher,
            relays,
            settings,
        })
    }

    /// Where it publishes, with the ports that the system chose.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        self.publisher.endpoints()
    }
}

impl OutputServer for Publish {
    fn start(
        self: Box<Self>,
        table: Arc<StreamTable>,
        shutdown: Shutdown,
    ) -> io::Result<JoinHandle<()>> {
        let Self {
            publisher,
            relays,
            settings,
        } = *self;

        for endpoint in publisher.endpoints() {
            tracing::info!(%endpoint, "publishing for relays");
        }

        relays.serve(Arc::clone(&table));
        let publisher = Arc::new(publisher);
        table.set_downstream(Arc::new(Frames {
            relay: table.relay(),
            publisher: Arc::clone(&publisher),
            relays: Arc::clone(&relays),
        }));

        thread::Builder::new()
            .name("publish".to_owned())
            .spawn(move || look_after(&publisher, &relays, settings, &shutdown))
    }
}

fn look_after(publisher: &Publisher, relays: &Relays, settings: Settings, shutdown: &Shutdown) {
    let Settings {
        key_files, keys, ..
    } = settings;
    let mut files = FileWatch::new("feed_key, feed_identity or publish_keys", key_files);
    while !shutdown.wait_timeout(HEARTBEAT_INTERVAL) {
        let now = clock::now();
        publisher.keep_alive();
        // Streams that have come since know of nobody.
        relays.tell_demand(now);
        if let Some(security) = files.due(now, &keys) {
            publisher.set_security(security);
        }
    }
}

/// Publishes what the table gets.
#[derive(Debug)]
struct Frames {
    relay: u64,
    publisher: Arc<Publisher>,
    relays: Arc<Relays>,
}

impl Downstream for Frames {
    fn on_frame(&self, frame: &LiveFrame) {
        let route = frame.route.through(self.relay);
        let topic = route.topic(frame.stream.topic());
        let body = frame.body.clone();
        if frame.is_picture() {
            self.publisher.publish(topic, body);
        } else {
            let state = frame.header.state();
            self.publisher.publish_heartbeat(topic, body, state);
        }
    }

    fn on_verdicts(&self, verdicts: &[ViewerVerdict]) {
        self.relays.on_verdicts(clock::now(), verdicts);
    }
}
