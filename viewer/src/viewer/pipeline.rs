//! The threads behind one stream: they receive, decode, keep the time and watch the canary. The main thread starts and ends
//! them.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, bail};
use fanlight_daemon::{Shutdown, clock};

use super::canary::{self, Canary};
use super::decoding::{self, DecodeOptions};
use super::director::Teller;
use super::feed::Common;
use super::frame_slot::FrameSlot;
use super::link_card;
use super::presenter::Presenter;
use super::receiver::Receiver;
use super::streams::StreamChoice;
use super::timekeeper::Timekeeper;
use super::verdict_trace::VerdictTrace;
use crate::config::{self, Config};
use crate::engine::{Engine, EngineConfig, LinkState};
use crate::scene::{Scene, SceneSlot};
use crate::stats::Counters;
use crate::udp::{Route, drive};

/// The threads, and what they share with the window.
pub(super) struct Pipeline {
    pub(super) scenes: Arc<SceneSlot>,
    pub(super) choice: Arc<StreamChoice>,
    shutdown: Shutdown,
    timekeeper: JoinHandle<anyhow::Result<()>>,
    pub(super) canary: Option<Canary>,
}

impl Pipeline {
    /// Starts those of tile `at`.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn start(
        config: &Config,
        common: &Common,
        at: usize,
        keeps_jpegs: bool,
        presenter: &Presenter,
    ) -> anyhow::Result<Self> {
        let Common {
            extra,
            route,
            context,
            screen,
            director,
        } = common;
        let counters = Arc::clone(presenter.counters());
        let shutdown = context.shutdown.clone();
        let scenes = Arc::new(SceneSlot::new());
        let frame_slot = Arc::new(FrameSlot::default());
        let card = link_card::card(&LinkState::Connecting, &route.name(), clock::now());
        scenes.publish(Scene::Message(card));
        counters.on_link_state(clock::now(), &LinkState::Connecting);
        let engine_config = config::engine(config, route)?;
        let choice = Arc::new(StreamChoice::default());
        let canary = watch_canary(config, route, &engine_config, presenter, *screen)?;
        let on_screen = presenter.on_screen();
        let teller = director
            .as_ref()
            .map(|director| Teller::new(Arc::clone(director), at, Arc::clone(on_screen)));
        let receiver = Receiver::new(
            Arc::clone(&frame_slot),
            Arc::clone(&counters),
            context.notify.clone(),
            config::trackers(config).map(|_| Arc::clone(presenter.detection_queue())),
            VerdictTrace::new(presenter.trace()),
            Arc::clone(&choice),
            teller,
        );

        let receiving = receive(route.clone(), engine_config, *screen, receiver, &shutdown)?;
        let options = DecodeOptions {
            traced: extra.trace.is_some(),
            kept: keeps_jpegs,
            relay: route.name(),
            max_frame_bytes: config.max_frame_bytes,
        };
        let decoding = decode(&frame_slot, &scenes, &counters, options, &shutdown)?;
        let timekeeper = {
            let scenes = Arc::clone(&scenes);
            let mut timer = Timekeeper::new(extra, config, route.name());
            let context = context.clone();
            spawn("time", &shutdown, move || {
                timer.run(&scenes, &counters, &context);
                context.shutdown.trigger();
                // In the order in which frames pass them, so that a frame on its way is still shown.
                let received = joined(receiving);
                frame_slot.close();
                let decoded = joined(decoding);
                scenes.close();
                received.and(decoded)
            })?
        };

        Ok(Self {
            scenes,
            choice,
            shutdown,
            timekeeper,
            canary,
        })
    }

    /// Ends all threads.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.shutdown.trigger();
        self.canary.into_iter().for_each(Canary::stop);
        joined(self.timekeeper)
    }
}

/// Starts the socket thread.
fn receive(
    route: Route,
    engine_config: EngineConfig,
    screen: u64,
    mut receiver: Receiver,
    shutdown: &Shutdown,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    let stop = shutdown.clone();
    spawn("udp", shutdown, move || {
        let mut engine = Engine::new(engine_config, clock::random_bytes());
        engine.set_screen(screen);
        let ended = drive(&route, &mut engine, &mut receiver, &stop);
        receiver.finish(&engine);
        ended.context("the socket's thread cannot work")
    })
}

/// Starts the decoder's thread.
fn decode(
    frame_slot: &Arc<FrameSlot>,
    scenes: &Arc<SceneSlot>,
    counters: &Arc<Counters>,
    options: DecodeOptions,
    shutdown: &Shutdown,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    let frame_slot = Arc::clone(frame_slot);
    let scenes = Arc::clone(scenes);
    let counters = Arc::clone(counters);
    spawn("decode", shutdown, move || {
        decoding::run(&frame_slot, &scenes, &counters, &options);
        Ok(())
    })
}

/// Watches the canary of whatever is shown, unless that is switched off.
fn watch_canary(
    config: &Config,
    route: &Route,
    engine: &EngineConfig,
    presenter: &Presenter,
    screen: u64,
) -> anyhow::Result<Option<Canary>> {
    if config.canary == config::Canary::Off {
        return Ok(None);
    }

    let route = route.clone();
    let engine = engine.clone();
    let counters = Arc::clone(presenter.counters());
    let trace = presenter.trace();
    let canary = Canary::start(canary::Plan {
        route,
        engine,
        screen,
        counters,
        trace,
    });

    canary.map(Some).context("the canary cannot be watched")
}

/// Runs `work` on a thread of its own; when it ends, however it ends, the viewer ends.
pub(super) fn spawn(
    name: &str,
    shutdown: &Shutdown,
    work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    struct EndsAll(Shutdown);
    impl Drop for EndsAll {
        fn drop(&mut self) {
            self.0.trigger();
        }
    }

    let ends_all = EndsAll(shutdown.clone());
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _ends_all = ends_all;
        work()
    });

    thread.with_context(|| format!("cannot start the thread {name}"))
}

pub(super) fn joined(thread: JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    thread
        .join()
        .unwrap_or_else(|_| bail!("thread {name} broke an invariant"))
}
