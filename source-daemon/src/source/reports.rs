//! What the capture and preparing threads tell the event loop. Only the newest of each kind is kept, so that nothing
//! grows when the loop is late.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::camera::CameraError;

/// News since the loop last looked. They are to be taken in the order of the fields.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The input was opened and runs at so many thousandths of a frame a second.
    pub(super) opened: Option<u32>,
    /// Pictures came from the driver.
    pub(super) captured: bool,
    /// The newest picture that could not be used, and why.
    pub(super) unusable: Option<String>,
    /// Frames published.
    pub(super) published: u64,
    /// The camera failed, after everything above.
    pub(super) error: Option<CameraError>,
}

/// Where the threads leave their news.
#[derive(Debug)]
pub(super) struct Reports {
    news: Mutex<News>,
    wake: Arc<Notify>,
}

impl Reports {
    /// No news yet; when there are any, `wake` tells the loop.
    pub(super) fn new(wake: &Arc<Notify>) -> Self {
        Self { news: Mutex::default(), wake: Arc::clone(wake) }
    }

    /// Adds to the news and wakes the loop.
    pub(super) fn tell(&self, add: impl FnOnce(&mut News)) {
        add(&mut self.news());
        self.wake.notify_one();
    }

    /// Everything since the last call.
    pub(super) fn take(&self) -> News {
        std::mem::take(&mut self.news())
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
