//! How the table wakes an output, and that its clients. Upstream threads call [`OutputWaker::wake`] by way of a [`Channel`];
//! the rest runs on the output's thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel, Ordering::Release};

use parking_lot::Mutex;
use tokio::sync::Notify;

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

    pub(crate) fn wake_clients(&self) {
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
