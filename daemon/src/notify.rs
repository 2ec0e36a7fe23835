//! Notes to the service manager, sd_notify(3).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanlight_proto::clock::Time;
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
        let Some(address) = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())
        else {
            return Self::default();
        };

        Self::to(&address, sd_notify::watchdog_enabled()).unwrap_or_else(|error| {
            tracing::warn!(
                "cannot notify the service manager at {}: {error}",
                address.display()
            );
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
            manager: Some(Arc::new(Manager {
                address,
                prompt,
                patient,
                watchdog,
                stopping: AtomicBool::new(false),
            })),
        })
    }

    /// Says that the program serves: call it after binding and after the first turn of the event loop.
    pub fn ready(&self) {
        self.send(|manager| &manager.patient, &NotifyState::Ready);
    }

    /// Shows `status` to the operator (`systemctl status`). Never blocks.
    pub fn status(&self, status: &str) {
        self.send(
            |manager| &manager.prompt,
            &NotifyState::Status(&status.replace('\n', " ")),
        );
    }

    /// Says that the program stops; only the first call does.
    pub fn stopping(&self) {
        if self
            .manager
            .as_ref()
            .is_some_and(|manager| !manager.stopping.swap(true, Ordering::SeqCst))
        {
            self.send(|manager| &manager.patient, &NotifyState::Stopping);
        }
    }

    /// How often to call [`watchdog`](Self::watchdog); none when nobody watches.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.manager
            .as_ref()?
            .watchdog
            .map(|time| time / FEEDS_PER_WATCHDOG_TIME)
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
        let text = note.to_string();

        loop {
            match socket(manager).send_to_addr(text.as_bytes(), &manager.address) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return tracing::debug!("the service manager did not take {text}: {error}");
                }
                Ok(_) => return,
            }
        }
    }
}

/// Feeds the watchdog from an event loop, as often as it wants to be fed and no more.
#[derive(Debug, Default)]
pub struct WatchdogFeeder {
    notify: Notify,
    due: Time,
}

impl WatchdogFeeder {
    /// Feeds the watchdog of `notify`.
    #[must_use]
    pub fn new(notify: Notify) -> Self {
        Self {
            notify,
            due: Time::default(),
        }
    }

    /// To be called at each turn of the loop. When the next turn must be at the latest; none when nobody watches.
    pub fn turn(&mut self, now: Time) -> Option<Time> {
        let interval = self.notify.watchdog_interval()?;
        if now >= self.due {
            self.notify.watchdog();
            self.due = now + interval;
        }
        Some(self.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the manager has been told.
    fn heard(manager: &UnixDatagram) -> Vec<String> {
        manager.set_nonblocking(true).unwrap();
        let mut notes = Vec::new();
        let mut buffer = [0; 256];
        while let Ok(length) = manager.recv(&mut buffer) {
            notes.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        notes
    }

    #[test]
    fn a_manager_at_a_path_hears_every_note_and_stopping_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::to(path.as_os_str(), Some(Duration::from_secs(3))).unwrap();
        notify.ready();
        notify.status("serving\nREADY=0");
        notify.watchdog();
        notify.stopping();
        notify.stopping();
        assert_eq!(
            heard(&manager),
            [
                "READY=1",
                "STATUS=serving READY=0",
                "WATCHDOG=1",
                "STOPPING=1"
            ]
        );
    }

    #[test]
    fn a_manager_in_the_abstract_namespace_is_reached() {
        let name = format!("fanlight-test-{}", std::process::id());
        let manager =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notify::to(OsStr::new(&format!("@{name}")), None)
            .unwrap()
            .ready();
        assert_eq!(heard(&manager), ["READY=1"]);
    }

    #[test]
    fn the_watchdog_is_fed_three_times_as_often_as_it_asks_and_only_when_it_asks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let watched = Notify::to(path.as_os_str(), Some(Duration::from_secs(3))).unwrap();
        assert_eq!(watched.watchdog_interval(), Some(Duration::from_secs(1)));

        for unwatched in [None, Some(Duration::ZERO)] {
            let unwatched = Notify::to(path.as_os_str(), unwatched).unwrap();
            assert_eq!(unwatched.watchdog_interval(), None);
            unwatched.watchdog();
        }

        assert_eq!(heard(&manager), [""; 0]);
    }

    #[test]
    fn a_loop_that_turns_often_feeds_only_when_it_is_due() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let mut watchdog = WatchdogFeeder::new(
            Notify::to(path.as_os_str(), Some(Duration::from_secs(3))).unwrap(),
        );
        let start = Time::from_nanos(1);
        for ms in 0..2500 {
            let due = watchdog.turn(start + Duration::from_millis(ms));
            assert_eq!(due, Some(start + Duration::from_secs(1 + ms / 1000)));
        }

        assert_eq!(heard(&manager), ["WATCHDOG=1"; 3]);
        assert_eq!(WatchdogFeeder::default().turn(start), None);
    }

    #[test]
    fn a_manager_that_does_not_listen_blocks_no_event_loop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::to(path.as_os_str(), Some(Duration::from_secs(3))).unwrap();

        for _ in 0..10_000 {
            notify.watchdog();
        }

        assert!(heard(&manager).len() < 10_000, "the queue was never full");
        drop(manager);
        notify.watchdog();
        notify.ready();
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let notify = Notify::default();
        notify.ready();
        notify.watchdog();
        notify.stopping();
        assert_eq!(notify.watchdog_interval(), None);
    }
}
