//! One output of the relay, such as HTTP: a thread or runtime that serves clients.
//!
//! A frame wakes each output once, however many of its clients wait for it, and only if one does. The output's own
//! thread then wakes its clients: that costs no system call.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Release};
use std::thread::JoinHandle;

use fanlight_daemon::Shutdown;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::table::StreamTable;

/// What the relay starts: an output that has what it needs to serve, such as its port.
pub trait OutputServer: fmt::Debug + Send {
    /// Starts the output's thread, which ends within 500 ms when `shutdown` is triggered.
    ///
    /// # Errors
    /// When the system has no thread or runtime to give.
    fn start(
        self: Box<Self>,
        table: Arc<StreamTable>,
        shutdown: Shutdown,
    ) -> io::Result<JoinHandle<()>>;
}

/// An output that takes frames from a [`StreamTable`].
#[derive(Debug)]
pub struct Output {
    table: Arc<StreamTable>,
    waker: Arc<OutputWaker>,
}

impl Output {
    /// An output without clients.
    #[must_use]
    pub fn new(table: Arc<StreamTable>) -> Self {
        Self {
            table,
            waker: Arc::default(),
        }
    }

    /// The table that it takes frames from.
    #[must_use]
    pub const fn table(&self) -> &Arc<StreamTable> {
        &self.table
    }

    pub(crate) const fn waker(&self) -> &Arc<OutputWaker> {
        &self.waker
    }

    /// Wakes clients as frames come, for ever. Run it as one task on the output's thread.
    pub async fn run(&self) {
        loop {
            self.waker.woken().await;
            self.waker.wake_clients();
        }
    }
}

/// What the table knows of an output: how to wake it.
#[derive(Debug, Default)]
pub(crate) struct OutputWaker {
    wake: Notify,
    /// One for each stream that a client of this output watches.
    channels: Mutex<Vec<Arc<Channel>>>,
}

impl OutputWaker {
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Whether any of its clients watches any stream.
    pub(crate) fn is_watching(&self) -> bool {
        !self.channels.lock().is_empty()
    }

    fn wake_clients(&self) {
        for channel in self.channels.lock().iter() {
            if channel.dirty.swap(false, AcqRel) {
                channel
                    .clients
                    .lock()
                    .iter()
                    .for_each(|client| client.notify_one());
            }
        }
    }
}

/// The clients of one output that watch one stream.
#[derive(Debug)]
pub(crate) struct Channel {
    output: Arc<OutputWaker>,
    /// A frame came since the clients were woken last.
    dirty: AtomicBool,
    clients: Mutex<Vec<Arc<Notify>>>,
}

impl Channel {
    /// An empty one, which the output knows.
    pub(crate) fn open(output: &Arc<OutputWaker>) -> Arc<Self> {
        let channel = Arc::new(Self {
            output: Arc::clone(output),
            dirty: AtomicBool::new(false),
            clients: Mutex::default(),
        });
        output.channels.lock().push(Arc::clone(&channel));
        channel
    }

    pub(crate) fn is_of(&self, output: &Arc<OutputWaker>) -> bool {
        Arc::ptr_eq(&self.output, output)
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.lock().len()
    }

    pub(crate) fn add(&self, client: Arc<Notify>) {
        self.clients.lock().push(client);
    }

    /// Removes a client; whether it was the last: then the output no longer knows the channel.
    pub(crate) fn remove(self: &Arc<Self>, client: &Arc<Notify>) -> bool {
        let mut clients = self.clients.lock();
        if let Some(at) = clients.iter().position(|known| Arc::ptr_eq(known, client)) {
            clients.swap_remove(at);
        }

        if !clients.is_empty() {
            return false;
        }

        drop(clients);
        self.output
            .channels
            .lock()
            .retain(|known| !Arc::ptr_eq(known, self));
        true
    }

    /// Has the output look at the stream.
    pub(crate) fn wake(&self) {
        self.dirty.store(true, Release);
        self.output.wake();
    }
}
