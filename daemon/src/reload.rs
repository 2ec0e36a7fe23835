//! The request to read the config file again: by SIGHUP. The thread of the signals makes it, and the program's event loop
//! takes it with what has changed, between two turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{ArgMatches, Args};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::sections::ConfigFile;
use crate::config::{self, Flags, Update};

/// A request that all its clones share. The default one, for tests, has no file to read.
#[derive(Clone, Debug, Default)]
pub struct Reload {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    pending: AtomicBool,
    requested: Notify,
    file: ConfigFile,
    flags: Flags,
    /// The values in effect.
    current: Mutex<ArgMatches>,
}

impl Reload {
    /// For a program that runs with the values `current`, which `file` and `flags` said.
    pub(crate) fn new(file: ConfigFile, flags: Flags, current: ArgMatches) -> Self {
        Self {
            state: Arc::new(State {
                file,
                flags,
                current: Mutex::new(current),
                ..State::default()
            }),
        }
    }

    /// Requests it.
    pub fn request(&self) {
        self.state.pending.store(true, Ordering::Release);
        self.state.requested.notify_one();
    }

    /// Waits for a request, on any runtime; [`take`](Self::take) then carries it out.
    pub async fn requested(&self) {
        while !self.state.pending.load(Ordering::Acquire) {
            self.state.requested.notified().await;
        }
    }

    /// The settings from now on, when there was a request and the file changes one of the keys `live`. Logs what
    /// became of the request. A file that is wrong changes nothing.
    #[must_use]
    pub fn take<C: Args>(
        &self,
        live: &[&str],
        check: impl Fn(&C) -> anyhow::Result<()>,
    ) -> Option<C> {
        if !self.state.pending.swap(false, Ordering::AcqRel) {
            return None;
        }

        let Some(path) = &self.state.file.path else {
            tracing::info!("asked to reload: there is no config file, so nothing changes");
            return None;
        };

        let mut current = self.state.current.lock();
        let update = config::load::<C>(&self.state.file, &self.state.flags)
            .map_err(anyhow::Error::from)
            .and_then(|newer| {
                check(&newer.config)?;
                let update = newer.update(&current, live);
                // Both files are good, and yet a mixture of them need not be.
                check(&update.settings.config)?;
                Ok(update)
            });

        let Update {
            settings,
            changed,
            kept,
        } = match update {
            Ok(update) => update,
            Err(error) => {
                tracing::error!("asked to reload, and nothing changes: {error:#}");
                return None;
            }
        };

        if !kept.is_empty() {
            let keys = kept.join(", ");
            tracing::warn!("reload: changes at the next start only, and stays until then: {keys}");
        }

        let file = path.display();
        if changed.is_empty() {
            tracing::info!("reload: nothing to change by {file}");
            return None;
        }

        tracing::info!("reload: changed by {file}: {}", changed.join(", "));
        *current = settings.matches().clone();
        Some(settings.config)
    }
}
