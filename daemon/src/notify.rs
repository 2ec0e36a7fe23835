//! Notes to the service manager, sd_notify(3).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;

/// Longest that READY=1 and STOPPING=1 wait for room in the service manager's queue.
const PATIENCE: Duration = Duration::from_secs(1);

/// The watchdog is fed three times in the time after which it bites, so that one late turn of the loop does no harm.
const FEEDS_PER_WATCHDOG_TIME: u32 = 3;

/// The way to the service manager. Clones share it. Without one every call does nothing at no cost.
#[derive(Clone, Debug, Default)]
pub struct Notify {
    manager: Option<Arc<Manager>>,
}

#[derive(Debug)]
struct Manager {
    address: SocketAddr,
    /// Never blocks: used from event loops.
    prompt: UnixDatagram,
    /// Waits up to [`PATIENCE`]: for the notes that must arrive.
    patient: UnixDatagram,
    watchdog: Option<Duration>,
    stopping: AtomicBool,
}

impl Notify {
    /// The service manager that started this process, by NOTIFY_SOCKET (a path, or `@name` in the abstract namespace),
    /// WATCHDOG_USEC and WATCHDOG_PID.
    #[must_use]
    pub fn from_env() -> Self {
        let Some(address) = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Self::default();
        };
        Self::to(&address, sd_notify::watchdog_enabled()).unwrap_or_else(|error| {
            tracing::warn!("cannot notify the service manager at {}: {error}", address.display());
            Self::default()
        })
    }

    /// The service manager at `address`, which expects WATCHDOG=1 at least every `watchdog`.
    ///
    /// # Errors
    /// When the address is no Unix socket's, or there is no socket to be had.
    pub fn to(address: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(address)?,
        };
        let (prompt, patient) = (UnixDatagram::unbound()?, UnixDatagram::unbound()?);
        prompt.set_nonblocking(true)?;
        patient.set_write_timeout(Some(PATIENCE))?;
        let watchdog = watchdog.filter(|time| !time.is_zero());
        Ok(Self {
            manager: Some(Arc::new(Manager { address, prompt, patient, watchdog, stopping: AtomicBool::new(false) })),
        })
    }

    /// Says that the program serves: call it after binding and after the first turn of the event loop.
    pub fn ready(&self) {
        self.send(|manager| &manager.patient, &NotifyState::Ready);
    }

    /// Shows `status` to the operator (`systemctl status`). Never blocks.
    pub fn status(&self, status: &str) {
        self.send(|manager| &manager.prompt, &NotifyState::Status(&status.replace('\n', " ")));
    }

    /// Says that the program stops; only the first call does.
    pub fn stopping(&self) {
        if self.manager.as_ref().is_some_and(|manager| !manager.stopping.swap(true, Ordering::SeqCst)) {
            self.send(|manager| &manager.patient, &NotifyState::Stopping);
        }
    }

    /// How often to call [`watchdog`](Self::watchdog); none when nobody watches.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.manager.as_ref()?.watchdog.map(|time| time / FEEDS_PER_WATCHDOG_TIME)
    }

    /// Says that the event loop turns. Call it from that loop and nowhere else, or a wedged loop passes for a live one.
    /// Never blocks.
    pub fn watchdog(&self) {
        if self.watchdog_interval().is_some() {
            self.send(|manager| &manager.prompt, &NotifyState::Watchdog);
        }
    }

    fn send(&self, socket: impl Fn(&Manager) -> &UnixDatagram, note: &NotifyState<'_>) {
        let Some(manager) = &self.manager else { return };
        if let Err(error) = socket(manager).send_to_addr(note.to_string().as_bytes(), &manager.address) {
            tracing::debug!("the service manager did not take {note}: {error}");
        }
    }
}
