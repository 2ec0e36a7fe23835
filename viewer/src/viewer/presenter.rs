//! Handles each frame that was shown: counts it, traces it, offers it to trackers and recorder, and keeps it for the
//! snapshot. It runs on the main thread.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use fanlight_daemon::clock;
use fanlight_daemon::mailbox::Waited;
use fanlight_proto::clock::Time;
use fanlight_proto::message::FrameId;

use super::canary::CanarySelection;
use super::detection_queue::DetectionQueue;
use crate::marker::Marker;
use crate::record::{Plan, Recorder, Recording, Sample};
use crate::scene::{Scene, SceneSlot};
use crate::stats::{Clock, Counters, FrameInfo};
use crate::trace::FrameLine;
use crate::track::{Frame, TrackerPool, Tracking};
use crate::window::MARKER_LINGERS;

/// How long to wait for a scene at a time when nobody looks.
const TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Presenter {
    counters: Arc<Counters>,
    clock_id: u64,
    trace: Option<Arc<File>>,
    newest: Option<Bytes>,
    pool: Option<TrackerPool>,
    recorder: Option<Recorded>,
    detection_queue: Arc<DetectionQueue>,
    canary: Option<Arc<CanarySelection>>,
}

/// What is recorded.
#[derive(Debug)]
struct Recorded {
    recorder: Recorder,
    scenes: Arc<SceneSlot>,
    /// Whether the figures stand on it.
    figures: bool,
}

impl Presenter {
    /// # Errors
    /// When the trace cannot be created.
    pub(super) fn new(counters: Arc<Counters>, trace: Option<&Path>) -> anyhow::Result<Self> {
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("cannot write {}", path.display()))
        };
        let trace = trace.map(create).transpose()?.map(Arc::new);
        Ok(Self {
            counters,
            clock_id: clock::clock_id(),
            trace,
            newest: None,
            pool: None,
            detection_queue: Arc::default(),
            canary: None,
            recorder: None,
        })
    }

    /// What is counted.
    pub(super) const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The file of the trace.
    pub(super) fn trace(&self) -> Option<Arc<File>> {
        self.trace.clone()
    }

    /// Where what trackers find waits to be sent.
    pub(super) const fn detection_queue(&self) -> &Arc<DetectionQueue> {
        &self.detection_queue
    }

    /// Says there which canary the frames shown name.
    pub(super) fn set_canary(&mut self, canary: Option<Arc<CanarySelection>>) {
        self.canary = canary;
    }

    /// Has these trackers look at what is shown from now on.
    pub(super) fn set_trackers(&mut self, pool: Option<TrackerPool>) {
        self.pool = pool;
    }

    /// Ends the trackers; returns what they did.
    pub(super) fn end_tracking(&mut self) -> Option<Tracking> {
        let mut pool = self.pool.take()?;
        pool.stop();
        Some(pool.report())
    }

    /// Has what is shown from now on recorded, with what lies over it by `scenes`, its figures too where they are wanted.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn record(
        &mut self,
        plan: Option<Plan>,
        scenes: &Arc<SceneSlot>,
        figures: bool,
    ) -> anyhow::Result<()> {
        let recorder = plan
            .map(Recorder::start)
            .transpose()
            .context("the recording cannot be started")?;
        self.recorder = recorder.map(|recorder| Recorded {
            recorder,
            scenes: Arc::clone(scenes),
            figures,
        });
        Ok(())
    }

    /// Ends the recording; returns how it went.
    pub(super) fn end_recording(&mut self) -> Option<Recording> {
        self.recorder
            .take()
            .map(|recorded| recorded.recorder.stop())
    }

    /// Takes each scene from the scene slot as soon as it is there, as a screen would, until the scene slot is closed.
    pub(super) fn run_headless(&mut self, scenes: &SceneSlot) {
        loop {
            let scene = match scenes.wait(TIMEOUT) {
                Waited::Value(scene) => Some(scene),
                Waited::TimedOut => None,
                Waited::Closed => scenes.take(),
            };
            if let Some(Scene::Picture(shown)) = &scene {
                self.presented(shown.id, clock::now());
            }
            scene.into_iter().for_each(|scene| scenes.recycle(scene));
            if scenes.is_closed() {
                return;
            }
        }
    }

    /// A frame is on the screen.
    pub(super) fn presented(&mut self, id: FrameId, at: Time) {
        let clock = Clock {
            id: self.clock_id,
            wall_offset_ns: clock::wall_offset_ns(),
        };
        let Some(presented) = self.counters.on_presented(id, at, clock) else {
            return;
        };
        if let Some(Err(error)) = self
            .trace
            .as_ref()
            .map(|trace| FrameLine::of(&presented).write(&**trace))
        {
            tracing::error!("the trace ends here: {error}");
            self.trace = None;
        }
        let shown = presented.at;
        let timings = presented.timings;
        let FrameInfo {
            stream,
            id,
            captured_ns,
            rate_millihertz,
            jpeg,
            canary,
            ..
        } = presented.info;
        if let (Some(recorded), Some(jpeg)) = (&self.recorder, &jpeg) {
            let stream = stream.clone();
            let jpeg = jpeg.clone();
            let fresh = |marker: &Marker| {
                marker.id.epoch == id.epoch && at.saturating_since(marker.at) < MARKER_LINGERS
            };
            let marker = recorded.scenes.marker().filter(fresh);
            let figures = if recorded.figures {
                recorded.scenes.figures()
            } else {
                String::new()
            };
            recorded.recorder.offer(Sample {
                stream,
                id,
                captured_ns,
                rate_millihertz,
                at,
                jpeg,
                marker,
                figures,
            });
        }
        if let (Some(pool), Some(jpeg)) = (&self.pool, &jpeg) {
            pool.offer(Frame {
                stream,
                id,
                captured_ns,
                jpeg: jpeg.clone(),
                shown,
                timings,
            });
            self.detection_queue.set_untracked(pool.untracked());
        }
        if let Some(selection) = &self.canary {
            selection.set(canary.as_ref());
        }
        self.newest = jpeg;
    }

    /// Saves the newest picture shown, whole or not at all; says whether there was one.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn save(&self, path: &Path) -> io::Result<bool> {
        let Some(jpeg) = &self.newest else {
            return Ok(false);
        };
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".part");
        fs::write(&unfinished, jpeg)?;
        fs::rename(&unfinished, path)?;
        Ok(true)
    }
}
