//! The service manager as a program sees it: the socket to which the program sends READY=1, WATCHDOG=1 and STOPPING=1
//! (sd_notify(3)).

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanlight_daemon::clock;
use fanlight_proto::clock::Time;

use crate::wait::Deadline;

/// How often the listening thread looks whether anybody still wants to know.
const LISTEN_TURN: Duration = Duration::from_millis(200);

/// A note of sd_notify(3): one `NAME=value`.
#[derive(Clone, Debug)]
pub struct Notification {
    /// When it came.
    pub time: Time,
    /// `READY=1` and the like.
    pub text: String,
}

/// Receives the notes of one program, over its restarts.
#[derive(Debug)]
pub struct ServiceManager {
    socket: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    notes: Mutex<Vec<Notification>>,
    grown: Condvar,
}

impl ServiceManager {
    /// Listens at a socket at `path`.
    ///
    /// # Panics
    /// When the socket cannot be bound.
    #[must_use]
    pub fn listen(path: &Path) -> Self {
        let socket =
            UnixDatagram::bind(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        socket
            .set_read_timeout(Some(LISTEN_TURN))
            .expect("the time is not zero");
        let shared = Arc::new(Shared::default());
        let listener = Arc::downgrade(&shared);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let received = socket.recv(&mut buffer);
                let Some(shared) = listener.upgrade() else {
                    return;
                };

                if let Ok(length) = received {
                    shared.take(&String::from_utf8_lossy(&buffer[..length]));
                }
            }
        });

        Self {
            socket: path.to_owned(),
            shared,
        }
    }

    /// What NOTIFY_SOCKET is to say.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The notes that came since `since` and begin with `text`.
    #[must_use]
    pub fn since(&self, since: Time, text: &str) -> Vec<Notification> {
        self.shared
            .notes()
            .iter()
            .filter(|note| note.time >= since && note.text.starts_with(text))
            .cloned()
            .collect()
    }

    /// Waits for the first note since `since` that begins with `text`.
    #[must_use]
    pub fn wait_for(&self, since: Time, text: &str, limit: Duration) -> Option<Notification> {
        let deadline = Deadline::after(limit);
        let mut notes = self.shared.notes();

        loop {
            if let Some(note) = notes
                .iter()
                .find(|note| note.time >= since && note.text.starts_with(text))
            {
                return Some(note.clone());
            }

            if deadline.is_over() {
                return None;
            }

            let waited = self.shared.grown.wait_timeout(notes, deadline.left());
            notes = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn take(&self, datagram: &str) {
        let time = clock::now();
        self.notes()
            .extend(datagram.lines().map(|text| Notification {
                time,
                text: text.to_owned(),
            }));
        self.grown.notify_all();
    }

    fn notes(&self) -> MutexGuard<'_, Vec<Notification>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
