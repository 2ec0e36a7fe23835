//! The streams on their way to the screen: the threads of each, and what is done with each frame shown. The main thread owns
//! them.

use fanlight_daemon::{Context, clock};
use fanlight_proto::clock::Time;
use fanlight_proto::message::{FrameId, StreamName};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::canary::Canary;
use super::director::Director;
use super::journal::Journal;
use super::pipeline::{Ending, Pipeline, joined, spawn};
use super::presenter::Presenter;
use super::streams::Streams;
use super::tracking;
use super::watchdog::Watchdog;
use crate::config::{self, Config, Extra};
use crate::cover::CoverSlot;
use crate::overlay::Panel;
use crate::record::Plan;
use crate::scene::{SceneSlot, Shown};
use crate::stats::Counters;
use crate::udp::Route;
use crate::window::{Handler, Step, Tiling};

/// What all streams of a viewer have in common.
pub(super) struct Common {
    pub(super) extra: Extra,
    pub(super) route: Route,
    pub(super) context: Context,
    pub(super) watchdog: Arc<Watchdog>,
    /// See `Detections` in control.proto.
    pub(super) screen: u64,
    pub(super) journal: Option<Arc<Journal>>,
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
            journal,
            ..
        } = common;
        let counters = Arc::new(Counters::new(clock::now()));
        let mut presenter = Presenter::new(counters, extra.trace.as_deref(), journal.clone())?;
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
    config: Config,
    common: Common,
    feeds: Vec<Feed>,
    /// Columns and rows that the window has.
    shape: (usize, usize),
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
        let room = config::room(config, extra)?;
        let director = is_directed.then(|| Arc::new(Director::new(config, room)));
        let own = || (0..config::tiles(config)).map(|at| config.stream.get(at).cloned());
        let streams = director
            .as_ref()
            .map_or_else(|| own().collect(), |director| director.streams());
        let journal = config.journal.as_deref().map(Journal::open).transpose()?;
        let common = Common {
            journal: journal.map(Arc::new),
            extra: extra.clone(),
            route: route.clone(),
            context: context.clone(),
            watchdog: Watchdog::new(context.notify.clone()),
            screen: clock::random_u64().max(1),
            director,
        };

        let mut feeds = Self {
            config: config.clone(),
            common,
            feeds: Vec::new(),
            shape: config::grid(config),
            director: None,
        };
        for stream in streams {
            feeds.push(stream, plan.take())?;
        }

        if let Some(director) = feeds.common.director.clone() {
            let (runs, shutdown) = (Arc::clone(&director), context.shutdown.clone());
            let work = move || {
                runs.run(&shutdown);
                Ok(())
            };
            let ending = Ending::of(&context.shutdown);
            feeds.director = Some((director, spawn("director", &ending, work)?));
        }
        feeds.shape = feeds.tiling().shape;
        Ok(feeds)
    }

    /// Starts the feed of one more tile, which shows `stream`; none: any.
    fn push(&mut self, stream: Option<StreamName>, plan: Option<Plan>) -> anyhow::Result<()> {
        let config = Config {
            stream: stream.into_iter().collect(),
            ..self.config.clone()
        };
        let at = self.feeds.len();
        self.feeds
            .push(Feed::start(&config, &self.common, at, plan)?);
        Ok(())
    }

    /// Has as many feeds as there are to be tiles. Those stay whose streams do, and others as far as they are needed: their
    /// pictures stand until those of other streams come. Returns whether there are others now.
    fn fit(&mut self, director: &Director) -> anyhow::Result<bool> {
        let Some(told) = director.misfit() else {
            return Ok(false);
        };

        let wanted = director.streams();
        let kept = kept(&told, &wanted);
        let mut former: Vec<_> = self.feeds.drain(..).map(Some).collect();
        self.feeds
            .extend(kept.iter().filter_map(|at| former[*at].take()));
        for feed in former.into_iter().flatten() {
            feed.presenter.on_screen().set(None, false);
            feed.pipeline.retire();
        }

        director.keep(&kept);
        for (at, feed) in self.feeds.iter().enumerate() {
            feed.presenter.on_screen().set_place(at);
        }
        for stream in wanted.into_iter().skip(self.feeds.len()) {
            self.push(stream, None)?;
        }
        Ok(true)
    }

    /// Whether the screen is to start anew once it has ended.
    pub(super) fn reloads(&self) -> bool {
        let director = self.director.as_ref();
        director.is_some_and(|(director, _)| director.reloads())
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

    /// The tiles of a window at present.
    pub(super) fn tiling(&self) -> Tiling {
        let director = self.common.director.as_ref();
        let own = || config::grid(&self.config);
        Tiling {
            slots: self.slots(),
            shape: director.map_or_else(own, |director| director.shape()),
        }
    }

    /// Where the scenes of each come from.
    fn slots(&self) -> Vec<Arc<SceneSlot>> {
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

    fn follow(&mut self) -> Option<Tiling> {
        let director = self.common.director.clone()?;
        let has_others = self.fit(&director).unwrap_or_else(|error| {
            tracing::error!("there is no further tile: {error:#}");
            true
        });
        let tiling = self.tiling();
        let has_shape = std::mem::replace(&mut self.shape, tiling.shape) == tiling.shape;
        (has_others || !has_shape).then_some(tiling)
    }

    fn step(&mut self, tile: usize, step: Step, shown: Option<StreamName>) {
        let feed = &self.feeds[tile];
        let latest = || feed.presenter.counters().stream();
        feed.streams.step(step, shown.or_else(latest));
    }
}

/// Which of the tiles that were told to show `told` are kept for `wanted`, in this order: one that shows what is wanted there,
/// or else any that shows nothing that is wanted, or none any more.
fn kept(told: &[Option<StreamName>], wanted: &[Option<StreamName>]) -> Vec<usize> {
    let mut rest: Vec<usize> = (0..told.len()).collect();
    let mut places: Vec<Option<usize>> = vec![None; wanted.len()];
    for (place, stream) in places.iter_mut().zip(wanted) {
        let found = rest.iter().position(|at| told[*at] == *stream);
        *place = found.map(|found| rest.remove(found));
    }

    let free = places.iter_mut().filter(|place| place.is_none());
    for (place, at) in free.zip(rest) {
        *place = Some(at);
    }
    places.into_iter().map_while(|place| place).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fanlight_proto::message::{Direct, Direction};

    use super::*;

    #[test]
    fn a_tile_stays_where_its_stream_does_and_others_are_used_again() {
        let streams = |text: &str| -> Vec<_> {
            let names = text.split_whitespace();
            names.map(|name| name.parse().ok()).collect()
        };
        let kept = |told: &str, wanted: &str| kept(&streams(told), &streams(wanted));
        assert_eq!(kept("a", "a b c"), [0]);
        assert_eq!(kept("a b c d", "c"), [2]);
        assert_eq!(kept("a b", "c"), [0]);
        assert_eq!(kept("a b", "c b d"), [0, 1]);
        assert_eq!(kept("a b", "b c a"), [1]);
        assert_eq!(kept("", "a b"), [0; 0]);
    }

    /// As a window does that was told of something new.
    fn followed(feeds: &mut Feeds, version: u64, streams: &[&str]) -> Vec<Arc<SceneSlot>> {
        let direct = Direct {
            direction: Some(Direction {
                version,
                origin: 1,
                streams: streams.iter().map(ToString::to_string).collect(),
                ..Direction::default()
            }),
            notice: None,
        };
        let director = feeds.common.director.clone().unwrap();
        director.on_direct(clock::now(), &direct);
        let shape = feeds.follow().map(|tiling| tiling.shape);
        assert!(shape.is_none_or(|(columns, rows)| columns * rows >= streams.len()));
        feeds.slots()
    }

    #[test]
    fn feeds_begin_and_end_as_tiles_come_and_go_and_the_viewer_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            relay: vec!["127.0.0.1:1".into()],
            stream: vec!["a".parse().unwrap()],
            directed: true,
            state_dir: Some(folder.path().to_owned()),
            ..Config::default()
        };
        let context = Context::default();
        let route = config::route(&config).unwrap();
        let mut feeds = Feeds::start(&config, &Extra::default(), None, &route, &context).unwrap();
        let alone = feeds.slots();
        let three = followed(&mut feeds, 1, &["a", "b", "c"]);
        assert_eq!(three.len(), 3);
        assert!(Arc::ptr_eq(&alone[0], &three[0]));

        let other = followed(&mut feeds, 2, &["c"]);
        assert_eq!(other.len(), 1);
        assert!(Arc::ptr_eq(&other[0], &three[2]));
        let began = clock::now();
        while !three[..2].iter().all(|slot| slot.is_closed()) {
            let waited = clock::now().saturating_since(began);
            assert!(waited < Duration::from_secs(60), "they have not ended");
            let _ = fanlight_daemon::Shutdown::new().wait_timeout(Duration::from_millis(5));
        }
        assert!(!context.shutdown.requested() && !other[0].is_closed());

        let same = followed(&mut feeds, 3, &["d"]);
        assert!(Arc::ptr_eq(&same[0], &other[0]));
        assert_eq!(feeds.tiling().shape, (1, 1));
        followed(&mut feeds, 4, &["d", "e"]);
        followed(&mut feeds, 5, &["f"]);
        let asked = feeds.feeds[0].pipeline.choice.latest();
        assert_eq!(asked.unwrap().as_str(), "f");
        followed(&mut feeds, 6, &["d", "e"]);
        feeds.stop().unwrap();

        let kept = Feeds::start(
            &config,
            &Extra::default(),
            None,
            &route,
            &Context::default(),
        );
        let kept = kept.unwrap();
        assert_eq!(kept.tiling().shape, (2, 1), "a grid from before the start");
        kept.stop().unwrap();
        assert!(context.shutdown.requested() && other[0].is_closed());
    }
}
