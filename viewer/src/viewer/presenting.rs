//! What happens to a frame on the screen: it is counted, traced, and kept for the snapshot.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_proto::clock::Time;
use fanlight_proto::message::FrameId;

use crate::feed::{Feed, Scene, Waited};
use crate::stats::{Clock, Tally};
use crate::trace::Line;

/// How long to wait for a scene at a time when nobody looks.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Presenter {
    tally: Arc<Tally>,
    clock_id: u64,
    trace: Option<File>,
    newest: Option<Bytes>,
}

impl Presenter {
    /// # Errors
    /// When the trace cannot be created.
    pub(super) fn new(tally: Arc<Tally>, trace: Option<&Path>) -> anyhow::Result<Self> {
        let create = |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
        Ok(Self { tally, clock_id: clock::clock_id(), trace: trace.map(create).transpose()?, newest: None })
    }

    /// Takes each scene from the feed as soon as it is there, as a screen would, until the feed is closed.
    pub(super) fn show_to_nobody(&mut self, feed: &Feed) {
        loop {
            let scene = match feed.wait(PATIENCE) {
                Waited::Scene(scene) => Some(scene),
                Waited::Nothing => None,
                Waited::Closed => feed.take(),
            };
            if let Some(Scene::Picture(shown)) = &scene {
                self.presented(shown.id, clock::now());
            }
            scene.into_iter().for_each(|scene| feed.recycle(scene));
            if feed.is_closed() {
                return;
            }
        }
    }

    /// A frame is on the screen.
    pub(super) fn presented(&mut self, id: FrameId, at: Time) {
        let clock = Clock { id: self.clock_id, wall_offset_ns: clock::wall_offset_ns() };
        let Some(presented) = self.tally.on_presented(id, at, clock) else { return };
        if let Some(Err(error)) = self.trace.as_ref().map(|trace| Line::of(&presented).write(trace)) {
            tracing::error!("the trace ends here: {error}");
            self.trace = None;
        }
        self.newest = presented.facts.jpeg;
    }

    /// Saves the newest picture shown, whole or not at all; says whether there was one.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn save(&self, path: &Path) -> io::Result<bool> {
        let Some(jpeg) = &self.newest else { return Ok(false) };
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".part");
        fs::write(&unfinished, jpeg)?;
        fs::rename(&unfinished, path)?;
        Ok(true)
    }
}
