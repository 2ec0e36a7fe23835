//! The request to stop: by signal, by a test or by the program itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::{Notify, Reload};

/// Exit code at a second signal, as shells give it for SIGINT.
const EXIT_AT_SECOND_SIGNAL: i32 = 130;

/// A request to stop that all its clones share. Once made it stays. Tasks, threads and loops each have a way to see it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    requested: watch::Sender<bool>,
    waiting: Mutex<()>,
    changed: Condvar,
}

impl Shutdown {
    /// One that only [`trigger`](Self::trigger) requests.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that the first SIGINT or SIGTERM requests, telling the service manager at once. A second of them ends the
    /// process with exit code 130. SIGHUP asks for a `reload`, and stops nothing.
    ///
    /// # Errors
    /// When the system denies what listening takes.
    pub fn on_signals(notify: Notify, reload: Reload) -> io::Result<Self> {
        let shutdown = Self::new();
        let stop = shutdown.stop_on_signal(notify);
        // Not `try_set_handler`: a shell leaves SIGINT ignored in what it starts with `&`, and that is no handler.
        ctrlc::set_handler(stop.clone()).map_err(io::Error::other)?;

        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let (mut terminate, mut hang_up) = {
            let _in_runtime = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            )
        };

        let listen = async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => stop(),
                    _ = hang_up.recv() => reload.request(),
                }
            }
        };

        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(listen))?;
        Ok(shutdown)
    }

    /// What each signal to stop does.
    fn stop_on_signal(&self, notify: Notify) -> impl Fn() + Clone + Send + 'static {
        let shutdown = self.clone();
        let signalled = Arc::new(AtomicBool::new(false));
        move || {
            if signalled.swap(true, Ordering::SeqCst) {
                std::process::exit(EXIT_AT_SECOND_SIGNAL);
            }
            shutdown.trigger();
            notify.stopping();
        }
    }

    /// Requests the stop.
    pub fn trigger(&self) {
        let _waiting = self.state.waiting.lock();
        self.state.requested.send_replace(true);
        self.state.changed.notify_all();
    }

    /// Whether the stop has been requested.
    #[must_use]
    pub fn requested(&self) -> bool {
        *self.state.requested.borrow()
    }

    /// Waits for the request, on any runtime.
    pub async fn wait(&self) {
        let mut requested = self.state.requested.subscribe();
        // It cannot fail: `self` keeps the sender.
        let _ = requested.wait_for(|requested| *requested).await;
    }

    /// Blocks this thread until the request, but at most for `length`; returns whether the stop has been requested.
    /// A thread that acts every so often waits here in between.
    #[must_use]
    pub fn wait_timeout(&self, length: Duration) -> bool {
        let mut waiting = self.state.waiting.lock();
        self.state
            .changed
            .wait_while_for(&mut waiting, |()| !self.requested(), length);
        self.requested()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    #[test]
    fn nothing_is_requested_at_first() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.requested());
        assert!(!shutdown.wait_timeout(Duration::from_millis(5)));
    }

    #[test]
    fn threads_that_wait_are_woken() {
        let shutdown = Shutdown::new();
        let waiting = shutdown.clone();
        let waiting = thread::spawn(move || waiting.wait_timeout(DEADLINE));
        shutdown.trigger();
        assert!(waiting.join().unwrap());
        assert!(shutdown.requested());
    }

    #[test]
    fn tasks_that_wait_are_woken_from_another_thread() {
        let shutdown = Shutdown::new();
        let waiting = shutdown.clone();
        let task = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            runtime.block_on(async { tokio::time::timeout(DEADLINE, waiting.wait()).await.is_ok() })
        });

        shutdown.trigger();
        assert!(task.join().unwrap());
    }

    #[test]
    fn a_request_made_before_the_wait_is_seen() {
        let shutdown = Shutdown::new();
        shutdown.trigger();
        shutdown.trigger();
        assert!(shutdown.wait_timeout(Duration::ZERO));
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(shutdown.wait());
    }
}
