//! What happens to a frame on the screen: it is counted, traced, offered to the trackers, and kept for the snapshot.

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
use crate::stats::{Clock, Facts, Tally};
use crate::trace::Line;
use crate::track::{Crew, Frame, Tracking};

/// How long to wait for a scene at a time when nobody looks.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Presenter {
    tally: Arc<Tally>,
    clock_id: u64,
    trace: Option<Arc<File>>,
    newest: Option<Bytes>,
    crew: Option<Crew>,
}

impl Presenter {
    /// # Errors
    /// When the trace cannot be created.
    pub(super) fn new(tally: Arc<Tally>, trace: Option<&Path>) -> anyhow::Result<Self> {
        let create = |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
        let trace = trace.map(create).transpose()?.map(Arc::new);
        Ok(Self { tally, clock_id: clock::clock_id(), trace, newest: None, crew: None })
    }

    /// The file of the trace.
    pub(super) fn trace(&self) -> Option<Arc<File>> {
        self.trace.clone()
    }

    /// Has these trackers look at what is shown from now on.
    pub(super) fn set_crew(&mut self, crew: Option<Crew>) {
        self.crew = crew;
    }

    /// Ends the trackers; returns what they did.
    pub(super) fn end_tracking(&mut self) -> Option<Tracking> {
        let mut crew = self.crew.take()?;
        crew.stop();
        Some(crew.report())
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
        if let Some(Err(error)) = self.trace.as_ref().map(|trace| Line::of(&presented).write(&**trace)) {
            tracing::error!("the trace ends here: {error}");
            self.trace = None;
        }
        let Facts { stream, id, captured_ns, jpeg, .. } = presented.facts;
        if let (Some(crew), Some(jpeg)) = (&self.crew, &jpeg) {
            crew.offer(Frame { stream, id, captured_ns, jpeg: jpeg.clone() });
        }
        self.newest = jpeg;
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
