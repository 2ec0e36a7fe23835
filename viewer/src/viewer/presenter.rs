//! Handles each frame that was shown: counts it, traces it, offers it to trackers and recorder, and keeps it for the
//! snapshot. It runs on the main thread.

use std::fs::File;
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
use super::journal::Journal;
use super::on_screen::OnScreen;
use crate::cover::CoverSlot;
use crate::marker::Marker;
use crate::record::{Plan, Recorder, Recording, Sample};
use crate::scene::{Scene, SceneSlot, Shown};
use crate::stats::{Clock, Counters, FrameInfo, Presented};
use crate::trace::FrameLine;
use crate::track::{Frame, TrackerPool, Tracking};
use crate::window::{MARKER_LINGERS, write_whole};

/// Longest wait for a scene when there is no window.
const TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Presenter {
    counters: Arc<Counters>,
    clock_id: u64,
    trace: Option<Arc<File>>,
    journal: Option<Arc<Journal>>,
    newest: Option<Bytes>,
    pool: Option<TrackerPool>,
    recorder: Option<Recorded>,
    detection_queue: Arc<DetectionQueue>,
    on_screen: Arc<OnScreen>,
    canary: Option<Arc<CanarySelection>>,
}

/// The recording, and where it takes what is drawn over the picture from.
#[derive(Debug)]
struct Recorded {
    recorder: Recorder,
    scenes: Arc<SceneSlot>,
    /// Whether the figures are recorded too.
    figures: bool,
}

impl Recorded {
    /// Has a frame recorded that was shown at `at`, with the marker and the figures that are over it.
    fn offer(&self, info: &FrameInfo, jpeg: &Bytes, at: Time) {
        let fresh = |marker: &Marker| {
            marker.id.epoch == info.id.epoch && at.saturating_since(marker.at) < MARKER_LINGERS
        };
        let figures = if self.figures {
            self.scenes.readings().figures.clone()
        } else {
            String::new()
        };

        self.recorder.offer(Sample {
            stream: info.stream.clone(),
            id: info.id,
            captured_ns: info.captured_ns,
            rate_millihertz: info.rate_millihertz,
            at,
            jpeg: jpeg.clone(),
            marker: self.scenes.marker().filter(fresh),
            figures,
        });
    }
}

impl Presenter {
    /// # Errors
    /// When the trace cannot be created.
    pub(super) fn new(
        counters: Arc<Counters>,
        trace: Option<&Path>,
        journal: Option<Arc<Journal>>,
    ) -> anyhow::Result<Self> {
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("cannot write {}", path.display()))
        };
        let trace = trace.map(create).transpose()?.map(Arc::new);
        Ok(Self {
            counters,
            clock_id: clock::clock_id(),
            trace,
            journal,
            newest: None,
            pool: None,
            detection_queue: Arc::default(),
            on_screen: Arc::default(),
            canary: None,
            recorder: None,
        })
    }

    /// The counters of the viewer.
    pub(super) const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// The file of the trace.
    pub(super) fn trace(&self) -> Option<Arc<File>> {
        self.trace.clone()
    }

    /// The queue of detections on their way to the socket thread.
    pub(super) const fn detection_queue(&self) -> &Arc<DetectionQueue> {
        &self.detection_queue
    }

    /// What is on the screen now.
    pub(super) const fn on_screen(&self) -> &Arc<OnScreen> {
        &self.on_screen
    }

    /// Sets where to say which canary the frames shown name.
    pub(super) fn set_canary(&mut self, canary: Option<Arc<CanarySelection>>) {
        self.canary = canary;
    }

    /// Sets the trackers that get each frame shown from now on.
    pub(super) fn set_trackers(&mut self, pool: Option<TrackerPool>) {
        self.pool = pool;
    }

    /// Ends the trackers; returns what they did.
    pub(super) fn end_tracking(&mut self) -> Option<Tracking> {
        let mut pool = self.pool.take()?;
        pool.stop();
        Some(pool.report())
    }

    /// Records what is shown from now on, with the marker that `scenes` has and, if `figures`, its figures.
    ///
    /// # Errors
    /// When the recording thread cannot be started.
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

    /// Takes each scene as soon as it comes, as a window would, and has `show` show its frame, until `scenes` is closed. What
    /// `cover` stops or replaces is not shown.
    ///
    /// # Errors
    /// The first one of `show`, which ends it.
    pub(super) fn run_headless(
        &mut self,
        scenes: &SceneSlot,
        cover: &CoverSlot,
        mut show: impl FnMut(&Shown) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let scene = match scenes.wait(TIMEOUT) {
                Waited::Value(scene) => Some(scene),
                Waited::TimedOut => None,
                Waited::Closed => scenes.take(),
            };

            let covers = cover.get();
            let is_covered = covers.hides();
            match &scene {
                Some(Scene::Picture(shown)) if !is_covered => {
                    show(shown)?;
                    self.presented(shown.id, clock::now());
                    self.on_screen.set(Some((&shown.stream, shown.id)), false);
                }
                None if !is_covered => {}
                _ => self.on_screen.set(None, false),
            }

            scene.into_iter().for_each(|scene| scenes.recycle(scene));
            if scenes.is_closed() {
                return Ok(());
            }
        }
    }

    /// Handles a frame that is on the screen since `at`.
    pub(super) fn presented(&mut self, id: FrameId, at: Time) {
        let clock = Clock {
            id: self.clock_id,
            wall_offset_ns: clock::wall_offset_ns(),
        };

        let Some(presented) = self.counters.on_presented(id, at, clock) else {
            return;
        };

        self.trace_frame(&presented);
        if let Some(journal) = &self.journal {
            journal.note(&presented);
        }

        let info = presented.info;
        if let (Some(recorded), Some(jpeg)) = (&self.recorder, &info.jpeg) {
            recorded.offer(&info, jpeg, at);
        }

        if let (Some(pool), Some(jpeg)) = (&self.pool, &info.jpeg) {
            pool.offer(Frame {
                stream: info.stream,
                id,
                captured_ns: info.captured_ns,
                jpeg: jpeg.clone(),
                shown: presented.at,
                timings: presented.timings,
            });

            self.detection_queue.set_untracked(pool.untracked());
        }

        if let Some(selection) = &self.canary {
            selection.set(info.canary.as_ref());
        }

        self.newest = info.jpeg;
    }

    fn trace_frame(&mut self, presented: &Presented) {
        let written = self
            .trace
            .as_ref()
            .map(|trace| FrameLine::of(presented).write(&**trace));

        if let Some(Err(error)) = written {
            tracing::error!("the trace ends here: {error}");
            self.trace = None;
        }
    }

    /// Saves the newest picture shown, complete or not at all; returns whether there was one.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn save(&self, path: &Path) -> io::Result<bool> {
        let Some(jpeg) = &self.newest else {
            return Ok(false);
        };

        write_whole(path, jpeg)?;
        Ok(true)
    }
}
