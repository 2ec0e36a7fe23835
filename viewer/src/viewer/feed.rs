//! The streams on their way to the screen: the threads of each, and what is done with each frame shown. The main thread owns
//! them.

use fanlight_daemon::{Context, clock};
use fanlight_proto::clock::Time;
use fanlight_proto::message::{FrameId, StreamName};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::canary::Canary;
use super::director::Director;
use super::pipeline::{Pipeline, joined, spawn};
use super::presenter::Presenter;
use super::streams::Streams;
use super::tracking;
use crate::config::{self, Config, Extra};
use crate::cover::CoverSlot;
use crate::overlay::Panel;
use crate::record::Plan;
use crate::scene::{SceneSlot, Shown};
use crate::stats::Counters;
use crate::udp::Route;
use crate::window::{Handler, Step};

/// What all streams of a viewer have in common.
pub(super) struct Common {
    pub(super) extra: Extra,
    pub(super) route: Route,
    pub(super) context: Context,
    /// See `Detections` in control.proto.
    pub(super) screen: u64,
    /// None when all stays as the settings have it.
    pub(super) director: Option<Arc<Director>>,
}

/// One stream.
struct Feed {
    presenter: Presenter,
    pipeline: Pipeline,
    streams: Streams,
}

impl Feed {
    /// Starts the threads, the trackers and, if there is a `plan`, the recording of the first stream that `config` names, for
    /// tile `at`.
    fn start(
        config: &Config,
        common: &Common,
        at: usize,
        plan: Option<Plan>,
    ) -> anyhow::Result<Self> {
        let Common {
            extra,
            route,
            context,
            director,
            ..
        } = common;
        let counters = Arc::new(Counters::new(clock::now()));
        let mut presenter = Presenter::new(counters, extra.trace.as_deref())?;
        let keeps_jpegs =
            extra.snapshot.is_some() || config::trackers(config).is_some() || plan.is_some();
        let pipeline = Pipeline::start(config, common, at, keeps_jpegs, &presenter)?;
        presenter.set_canary(pipeline.canary.as_ref().map(Canary::selection));

        let trackers = tracking::start(
            config,
            &pipeline.scenes,
            presenter.trace(),
            presenter.detection_queue(),
            &context.shutdown,
        )?;
        presenter.set_trackers(trackers);

        let figures = config.overlay.contains(&Panel::Figures);
        presenter.record(plan, &pipeline.scenes, figures)?;
        let streams = Streams {
            route: route.clone(),
            name: config::screen_name(config),
            scenes: Arc::clone(&pipeline.scenes),
            choice: Arc::clone(&pipeline.choice),
            shutdown: context.shutdown.clone(),
            asking: Arc::default(),
        };
        if let Some(director) = director {
            let counters = Arc::clone(presenter.counters());
            director.attach(streams.clone(), counters, config.stream.first().cloned());
        }
        Ok(Self {
            presenter,
            pipeline,
            streams,
        })
    }
}

/// One feed for each tile of the window, and at least one.
pub(super) struct Feeds {
    feeds: Vec<Feed>,
    director: Option<(Arc<Director>, JoinHandle<anyhow::Result<()>>)>,
}

impl Feeds {
    /// Starts them all. There is a `plan` only for a single one.
    ///
    /// # Errors
    /// When a thread or a file cannot be had.
    pub(super) fn start(
        config: &Config,
        extra: &Extra,
        mut plan: Option<Plan>,
        route: &Route,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let is_directed = config.directed || config.cycle.is_some();
        let director = is_directed.then(|| Arc::new(Director::new(config)));
        let own = || (0..config::tiles(config)).map(|at| config.stream.get(at).cloned());
        let streams = director
            .as_ref()
            .map_or_else(|| own().collect(), |director| director.streams());
        let common = Common {
            extra: extra.clone(),
            route: route.clone(),
            context: context.clone(),
            screen: clock::random_u64().max(1),
            director,
        };

        let mut feeds = Vec::new();
        for (at, stream) in streams.into_iter().enumerate() {
            let config = Config {
                stream: stream.into_iter().collect(),
                ..config.clone()
            };
            feeds.push(Feed::start(&config, &common, at, plan.take())?);
        }

        let run = |director: Arc<Director>| {
            let runs = Arc::clone(&director);
            let work = move || {
                runs.run();
                Ok(())
            };
            let thread = spawn("director", &context.shutdown, work)?;
            anyhow::Ok((director, thread))
        };
        Ok(Self {
            feeds,
            director: common.director.map(run).transpose()?,
        })
    }

    /// What stands over the pictures.
    pub(super) fn cover(&self) -> Arc<CoverSlot> {
        let director = self.director.as_ref();
        director.map_or_else(Arc::default, |(director, _)| Arc::clone(director.cover()))
    }

    /// What is done with the frames of the first, and where its scenes come from.
    pub(super) fn first(&mut self) -> (&mut Presenter, &SceneSlot) {
        let Feed {
            presenter,
            pipeline,
            ..
        } = &mut self.feeds[0];
        (presenter, &pipeline.scenes)
    }

    /// Where the scenes of each come from.
    pub(super) fn slots(&self) -> Vec<Arc<SceneSlot>> {
        let slots = self.feeds.iter().map(|feed| &feed.pipeline.scenes);
        slots.map(Arc::clone).collect()
    }

    /// Ends all threads; returns what was done with the frames of the first.
    pub(super) fn stop(self) -> anyhow::Result<Presenter> {
        let mut first = None;
        let mut ended = Ok(());
        for feed in self.feeds {
            ended = ended.and(feed.pipeline.stop());
            first.get_or_insert(feed.presenter);
        }

        if let Some((director, thread)) = self.director {
            director.end();
            ended = ended.and(joined(thread));
        }

        ended?;
        Ok(first.expect("there is at least one feed"))
    }
}

impl Handler for Feeds {
    fn presented(&mut self, tile: usize, id: FrameId, at: Time) {
        self.feeds[tile].presenter.presented(id, at);
    }

    fn shows(&mut self, tile: usize, shown: Option<&Shown>, by_hand: bool) {
        let shown = shown.map(|shown| (&shown.stream, shown.id));
        self.feeds[tile].presenter.on_screen().set(shown, by_hand);
    }

    fn step(&mut self, tile: usize, step: Step, shown: Option<StreamName>) {
        let feed = &self.feeds[tile];
        let latest = || feed.presenter.counters().stream();
        feed.streams.step(step, shown.or_else(latest));
    }
}
