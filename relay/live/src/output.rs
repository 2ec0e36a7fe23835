//! One output of the relay, such as HTTP: a thread or runtime that serves clients.
//!
//! A frame wakes each output once, however many of its clients wait for it, and only if one does. The output's own
//! thread then wakes its clients: that costs no system call.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use fanlight_daemon::Shutdown;

use crate::output_waker::OutputWaker;
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

/// Serves on a thread of that name until `serve` has ended, and logs why when that is not as asked.
///
/// # Errors
/// When the system has no thread or runtime to give.
pub fn start_thread(
    name: &'static str,
    serve: impl AsyncFnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;

    thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(serve()) {
            tracing::error!("the output {name} has ended: {error}");
        }
        runtime.shutdown_background();
    })
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
