//! MQTT for home automation: the relay tells a broker how its streams and screens are, in the form that Home Assistant
//! discovers by itself. `docs/home-assistant.md` tells what is published.
//!
//! All of it runs on a thread of its own, which looks at the stream table once a second. What is to be published is kept as
//! the newest message of each topic: a broker that is slow or away costs neither memory nor frames, and gets all of it when
//! it is back.

#![forbid(unsafe_code)]

mod address;
mod entities;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod home_assistant;
mod link;
mod names;
mod pictures;
mod retained;
mod session;
mod topics;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fanlight_daemon::Shutdown;
use fanlight_daemon::keys::{KeyFileError, KeyPath};
use fanlight_daemon::trust::{self, TrustError};
use fanlight_live::{OutputServer, StreamTable, start_thread};
use tokio_rustls::rustls::ClientConfig;
use zeroize::Zeroizing;

pub use address::{Broker, BrokerError};
pub use names::{NameError, TopicPrefix, node_id};

/// As the output is listed.
const NAME: &str = "mqtt";

/// Longest file of a password that is read, in bytes: MQTT has 65 535 for it.
const MAX_PASSWORD_BYTES: usize = 4096;

/// The settings of the output.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The broker.
    pub broker: Broker,
    /// As whom the relay comes.
    pub user: Option<String>,
    /// The file of the password.
    pub password: Option<KeyPath>,
    /// The authorities that may have signed the broker's certificate, in PEM; none: those of this host.
    pub ca_file: Option<PathBuf>,
    /// Before all topics of the relay.
    pub prefix: TopicPrefix,
    /// What the relay is called in topics, and to the broker: letters, digits, `_` and `-`.
    pub id: String,
    /// Where Home Assistant looks for what there is; none: it is not told.
    pub discovery: Option<TopicPrefix>,
    /// Where people find the relay's page.
    pub page: Option<String>,
    /// How often a picture of each stream is published; none: never.
    pub pictures: Option<Duration>,
    /// Whether who may publish at the broker may say what screens show.
    pub directs: bool,
}

/// Why there is no MQTT.
#[derive(Debug, thiserror::Error)]
pub enum MqttError {
    /// The password cannot be used.
    #[error("mqtt_password: {0}")]
    Password(#[from] KeyFileError),
    /// It is no text.
    #[error("mqtt_password: the first line of {0} is no password: it is empty or no UTF-8")]
    NoPassword(PathBuf),
    /// No certificate could be judged.
    #[error("mqtt_ca_file: {0}")]
    Trust(#[from] TrustError),
}

/// The output with what it needs.
#[derive(Debug)]
pub struct Mqtt {
    settings: Settings,
}

/// By what the relay is known to the broker, and the broker to the relay.
struct Credentials {
    password: Option<Zeroizing<String>>,
    tls: Option<Arc<ClientConfig>>,
}

impl Settings {
    /// Reads the files, as before each connection: they may have changed.
    fn credentials(&self) -> Result<Credentials, MqttError> {
        let password = self.password.as_ref().map(read_password).transpose()?;
        let mut credentials = Credentials {
            password,
            tls: None,
        };
        if self.broker.tls {
            let mut tls = trust::client_config(self.ca_file.as_deref(), &[])?;
            // Brokers speak no HTTP.
            tls.alpn_protocols.clear();
            credentials.tls = Some(Arc::new(tls));
        }
        Ok(credentials)
    }
}

/// The first line of the file: editors end it with a line feed.
fn read_password(path: &KeyPath) -> Result<Zeroizing<String>, MqttError> {
    let (file, bytes) = path.secret_bytes(MAX_PASSWORD_BYTES)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    match text.lines().next().unwrap_or_default() {
        "" => Err(MqttError::NoPassword(file)),
        line => Ok(Zeroizing::new(line.to_owned())),
    }
}

impl Mqtt {
    /// Reads the files that `settings` name, to say now what is wrong with them. The broker need not be there.
    ///
    /// # Errors
    /// [`MqttError`].
    pub fn bind(settings: Settings) -> Result<Self, MqttError> {
        settings.credentials()?;
        Ok(Self { settings })
    }
}

impl OutputServer for Mqtt {
    fn start(
        self: Box<Self>,
        table: Arc<StreamTable>,
        shutdown: Shutdown,
    ) -> io::Result<JoinHandle<()>> {
        let settings = self.settings;
        tracing::info!(mqtt = %settings.broker, id = settings.id, "mqtt");
        start_thread(NAME, async move || {
            session::run(&settings, &table, &shutdown).await;
            Ok(())
        })
    }
}
