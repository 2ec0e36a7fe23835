//! What happens to a frame on the screen: it is counted, traced, offered to the trackers, recorded, and kept for the
//! snapshot.

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

use super::canary::Choice;
use super::outbox::Outbox;
use crate::feed::{Feed, Scene, Waited};
use crate::record::{Plan, Recorder, Recording, Sample};
use crate::stats::{Clock, Facts, Tally};
use crate::trace::Line;
use crate::track::{Crew, Frame, Tracking};
use crate::window::MARK_LINGERS;

/// How long to wait for a scene at a time when nobody looks.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Presenter {
    tally: Arc<Tally>,
    clock_id: u64,
    trace: Option<Arc<File>>,
    newest: Option<Bytes>,
    crew: Option<Crew>,
    recorder: Option<Recorded>,
    outbox: Arc<Outbox>,
    canary: Option<Arc<Choice>>,
}

/// What is recorded.
#[derive(Debug)]
struct Recorded {
    recorder: Recorder,
    feed: Arc<Feed>,
    /// Whether the figures stand on it.
    figures: bool,
}

impl Presenter {
    /// # Errors
    /// When the trace cannot be created.
    pub(super) fn new(tally: Arc<Tally>, trace: Option<&Path>) -> anyhow::Result<Self> {
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("cannot write {}", path.display()))
        };
        let trace = trace.map(create).transpose()?.map(Arc::new);
        Ok(Self {
            tally,
            clock_id: clock::clock_id(),
            trace,
            newest: None,
            crew: None,
            outbox: Arc::default(),
            canary: None,
            recorder: None,
        })
    }

    /// What is counted.
    pub(super) const fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// The file of the trace.
    pub(super) fn trace(&self) -> Option<Arc<File>> {
        self.trace.clone()
    }

    /// Where what trackers find waits to be sent.
    pub(super) const fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Says there which canary the frames shown name.
    pub(super) fn set_canary(&mut self, canary: Option<Arc<Choice>>) {
        self.canary = canary;
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

    /// Has what is shown from now on recorded, with what lies over it by `feed`, its figures too where they are wanted.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn record(
        &mut self,
        plan: Option<Plan>,
        feed: &Arc<Feed>,
        figures: bool,
    ) -> anyhow::Result<()> {
        let recorder = plan
            .map(Recorder::start)
            .transpose()
            .context("the recording cannot be started")?;
        self.recorder = recorder.map(|recorder| Recorded {
            recorder,
            feed: Arc::clone(feed),
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
        let clock = Clock {
            id: self.clock_id,
            wall_offset_ns: clock::wall_offset_ns(),
        };
        let Some(presented) = self.tally.on_presented(id, at, clock) else {
            return;
        };
        if let Some(Err(error)) = self
            .trace
            .as_ref()
            .map(|trace| Line::of(&presented).write(&**trace))
        {
            tracing::error!("the trace ends here: {error}");
            self.trace = None;
        }
        let (shown, passage) = (presented.at, presented.passage);
        let Facts {
            stream,
            id,
            captured_ns,
            rate_millihertz,
            jpeg,
            canary,
            ..
        } = presented.facts;
        if let (Some(recorded), Some(jpeg)) = (&self.recorder, &jpeg) {
            let (stream, jpeg) = (stream.clone(), jpeg.clone());
            let mark = recorded
                .feed
                .mark()
                .filter(|mark| at.saturating_since(mark.at) < MARK_LINGERS);
            let figures = if recorded.figures {
                recorded.feed.figures()
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
                mark,
                figures,
            });
        }
        if let (Some(crew), Some(jpeg)) = (&self.crew, &jpeg) {
            crew.offer(Frame {
                stream,
                id,
                captured_ns,
                jpeg: jpeg.clone(),
                shown,
                passage,
            });
            self.outbox.set_untracked(crew.untracked());
        }
        if let Some(choice) = &self.canary {
            choice.set(canary.as_ref());
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
