//! The streams on their way to the screen: the threads of each, and what is done with each frame shown. The main thread owns
//! them.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fanlight_daemon::{Context, Shutdown, clock};
use fanlight_proto::clock::Time;
use fanlight_proto::message::{FrameId, StreamName};

use super::canary::Canary;
use super::pipeline::{Pipeline, joined, spawn};
use super::presenter::Presenter;
use super::streams::{StreamChoice, Streams};
use super::tracking;
use crate::config::{self, Config, Extra};
use crate::overlay::Panel;
use crate::record::Plan;
use crate::scene::SceneSlot;
use crate::stats::Counters;
use crate::udp::Route;
use crate::window::{Handler, Step};

/// One stream.
struct Feed {
    presenter: Presenter,
    pipeline: Pipeline,
    streams: Streams,
}

impl Feed {
    /// Starts the threads, the trackers and, if there is a `plan`, the recording of the first stream that `config` names.
    fn start(
        config: &Config,
        extra: &Extra,
        plan: Option<Plan>,
        route: &Route,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let counters = Arc::new(Counters::new(clock::now()));
        let mut presenter = Presenter::new(counters, extra.trace.as_deref())?;
        let keeps_jpegs =
            extra.snapshot.is_some() || config::trackers(config).is_some() || plan.is_some();
        let pipeline = Pipeline::start(config, extra, keeps_jpegs, route, &presenter, context)?;
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
    cycle: Option<JoinHandle<anyhow::Result<()>>>,
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
        let mut feeds = Vec::new();
        for at in 0..config::tiles(config) {
            let config = Config {
                stream: config.stream.get(at).cloned().into_iter().collect(),
                ..config.clone()
            };
            feeds.push(Feed::start(&config, extra, plan.take(), route, context)?);
        }

        let cycle = config.cycle.map(|every| {
            let cycle = Cycle::new(&config.stream, &feeds);
            let shutdown = context.shutdown.clone();
            spawn("cycle", &context.shutdown, move || {
                cycle.run(every.into(), &shutdown);
                Ok(())
            })
        });
        Ok(Self {
            feeds,
            cycle: cycle.transpose()?,
        })
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

        ended.and(self.cycle.map_or(Ok(()), joined))?;
        Ok(first.expect("there is at least one feed"))
    }
}

impl Handler for Feeds {
    fn presented(&mut self, tile: usize, id: FrameId, at: Time) {
        self.feeds[tile].presenter.presented(id, at);
    }

    fn step(&mut self, tile: usize, step: Step, shown: Option<StreamName>) {
        let feed = &self.feeds[tile];
        let latest = || feed.presenter.counters().stream();
        feed.streams.step(step, shown.or_else(latest));
    }
}

/// Shows other streams every so often: the next ones of those that are named or, if none is, of the relay.
struct Cycle {
    names: Vec<StreamName>,
    choices: Vec<Arc<StreamChoice>>,
    streams: Streams,
    counters: Arc<Counters>,
}

impl Cycle {
    fn new(names: &[StreamName], feeds: &[Feed]) -> Self {
        let choices = feeds.iter().map(|feed| &feed.pipeline.choice);
        Self {
            names: names.to_vec(),
            choices: choices.map(Arc::clone).collect(),
            streams: feeds[0].streams.clone(),
            counters: Arc::clone(feeds[0].presenter.counters()),
        }
    }

    fn run(&self, every: Duration, shutdown: &Shutdown) {
        let mut first = 0;
        while !shutdown.wait_timeout(every) {
            if self.names.is_empty() {
                self.streams.step(Step::Next, self.counters.stream());
                continue;
            }

            first = (first + self.choices.len()) % self.names.len();
            for (at, choice) in self.choices.iter().enumerate() {
                choice.choose(self.names[(first + at) % self.names.len()].clone());
            }
        }
    }
}
