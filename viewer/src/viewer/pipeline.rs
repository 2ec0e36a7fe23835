//! The threads behind one stream: they receive, decode, keep the time and watch the canary. The main thread starts and ends
//! them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, bail};
use fanlight_daemon::{Shutdown, clock};
use parking_lot::Mutex;

use super::canary::{self, Canary};
use super::decoding::{DecodeOptions, Decoding, Told};
use super::director::Teller;
use super::feed::Common;
use super::frame_slot::{FrameSlot, Worker};
use super::link_card;
use super::presenter::Presenter;
use super::receiver::Receiver;
use super::streams::StreamChoice;
use super::timekeeper::Timekeeper;
use super::verdict_trace::VerdictTrace;
use crate::config::{self, Config};
use crate::engine::{Engine, EngineConfig, LinkState};
use crate::scene::{Scene, SceneSlot};
use crate::udp::{Route, drive};

/// One that says how it ended.
type Thread = JoinHandle<anyhow::Result<()>>;

/// Ends the threads of one stream, and the viewer with them unless the stream is no longer to be shown.
#[derive(Clone)]
pub(super) struct Ending {
    /// Of this stream; the timekeeper requests it with the whole.
    shutdown: Shutdown,
    whole: Shutdown,
    is_retired: Arc<AtomicBool>,
}

impl Ending {
    /// One that ends with `whole`.
    pub(super) fn of(whole: &Shutdown) -> Self {
        Self {
            shutdown: Shutdown::new(),
            whole: whole.clone(),
            is_retired: Arc::default(),
        }
    }

    /// Whether the stream is no longer to be shown.
    pub(super) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }

    fn end(&self) {
        self.shutdown.trigger();
        if !self.is_retired() {
            self.whole.trigger();
        }
    }
}

/// The threads, and what they share with the window.
pub(super) struct Pipeline {
    pub(super) scenes: Arc<SceneSlot>,
    pub(super) choice: Arc<StreamChoice>,
    ending: Ending,
    timekeeper: Thread,
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
        let Common { route, screen, .. } = common;
        let ending = Ending::of(&common.context.shutdown);
        let scenes = Arc::new(SceneSlot::new());
        let frame_slot = Arc::new(FrameSlot::default());
        let choice = Arc::new(StreamChoice::default());
        let counters = presenter.counters();
        let card = link_card::card(&LinkState::Connecting, &route.name(), clock::now());
        scenes.publish(Scene::Message(card));
        counters.on_link_state(clock::now(), &LinkState::Connecting);

        let engine_config = config::engine(config, route)?;
        let canary = watch_canary(config, route, &engine_config, presenter, *screen)?;
        let slots = (&frame_slot, &scenes, &choice);
        let receiver = receiver(config, common, at, presenter, slots);
        let receiving = receive(route.clone(), engine_config, *screen, receiver, &ending)?;

        let decoding = Arc::new(Decoding {
            frame_slot,
            scenes: Arc::clone(&scenes),
            counters: Arc::clone(counters),
            options: decode_options(config, common, keeps_jpegs),
            told: Mutex::new(Told::default()),
        });
        let decoders = [
            decode(&decoding, Worker::First, &ending)?,
            decode(&decoding, Worker::Second, &ending)?,
        ];
        let timekeeper = keep_time(config, common, decoding, (receiving, decoders), &ending)?;

        Ok(Self {
            scenes,
            choice,
            ending,
            timekeeper,
            canary,
        })
    }

    /// Ends all threads.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.ending.end();
        self.canary.into_iter().for_each(Canary::stop);
        joined(self.timekeeper)
    }

    /// Ends the threads of a stream that is no longer to be shown; they are not waited for.
    pub(super) fn retire(self) {
        self.ending.is_retired.store(true, Ordering::Release);
        self.ending.shutdown.trigger();
        let stop = move || {
            if let Err(error) = self.stop() {
                tracing::error!("{error:#}");
            }
        };
        let thread = thread::Builder::new().name("retired".to_owned());
        if let Err(error) = thread.spawn(stop) {
            tracing::error!("cannot start the thread retired: {error}");
        }
    }
}

/// Starts the socket thread.
fn receive(
    route: Route,
    engine_config: EngineConfig,
    screen: u64,
    mut receiver: Receiver,
    ending: &Ending,
) -> anyhow::Result<Thread> {
    let stop = ending.shutdown.clone();
    spawn("udp", ending, move || {
        let mut engine = Engine::new(engine_config, clock::random_bytes());
        engine.set_screen(screen);
        let ended = drive(&route, &mut engine, &mut receiver, &stop);
        receiver.finish(&engine);
        ended.context("the socket's thread cannot work")
    })
}

fn decode_options(config: &Config, common: &Common, keeps_jpegs: bool) -> DecodeOptions {
    DecodeOptions {
        traced: common.extra.trace.is_some() || config.journal.is_some(),
        kept: keeps_jpegs,
        relay: common.route.name(),
        max_frame_bytes: config.max_frame_bytes,
        max_side: config.max_side,
    }
}

/// Starts a thread that decodes.
fn decode(decoding: &Arc<Decoding>, worker: Worker, ending: &Ending) -> anyhow::Result<Thread> {
    let decoding = Arc::clone(decoding);
    spawn("decode", ending, move || {
        decoding.run(worker);
        Ok(())
    })
}

/// Starts the thread that keeps the time. When that has come, it waits for those that receive and decode.
fn keep_time(
    config: &Config,
    common: &Common,
    decoding: Arc<Decoding>,
    (receiving, decoders): (Thread, [Thread; 2]),
    ending: &Ending,
) -> anyhow::Result<Thread> {
    let mut timer = Timekeeper::new(&common.extra, config, common.route.name());
    let context = common.context.clone();
    let ended = ending.clone();
    spawn("time", ending, move || {
        let Decoding {
            frame_slot,
            scenes,
            counters,
            ..
        } = &*decoding;
        timer.run(scenes, counters, &context, &ended);
        ended.end();

        // In the order in which frames pass them, so that a frame on its way is still shown.
        let received = joined(receiving);
        frame_slot.close();
        let decoded = decoders.map(joined).into_iter().collect();
        scenes.close();
        received.and(decoded)
    })
}

/// What the receiving thread has to do with tile `at`.
fn receiver(
    config: &Config,
    common: &Common,
    at: usize,
    presenter: &Presenter,
    (frame_slot, scenes, choice): (&Arc<FrameSlot>, &Arc<SceneSlot>, &Arc<StreamChoice>),
) -> Receiver {
    let on_screen = presenter.on_screen();
    on_screen.set_place(at);
    let director = common.director.as_ref();
    let teller = director.map(|director| Teller::new(Arc::clone(director), Arc::clone(on_screen)));
    let queue = config::trackers(config).map(|_| Arc::clone(presenter.detection_queue()));

    let watchdog = &common.watchdog;
    let mut receiver = Receiver::new(
        Arc::clone(frame_slot),
        Arc::clone(presenter.counters()),
        watchdog.watch(Arc::clone(frame_slot), Arc::clone(scenes)),
        queue,
        VerdictTrace::new(presenter.trace()),
        Arc::clone(choice),
        teller,
    );
    if let Some(delay) = config.delay {
        receiver.set_delay(delay.into());
    }
    receiver
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

/// Runs `work` on a thread of its own; when it ends, however it ends, so does what `ending` ends.
pub(super) fn spawn(
    name: &str,
    ending: &Ending,
    work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<Thread> {
    struct EndsAll(Ending);
    impl Drop for EndsAll {
        fn drop(&mut self) {
            self.0.end();
        }
    }

    let ends_all = EndsAll(ending.clone());
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _ends_all = ends_all;
        work()
    });

    thread.with_context(|| format!("cannot start the thread {name}"))
}

pub(super) fn joined(thread: Thread) -> anyhow::Result<()> {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    thread
        .join()
        .unwrap_or_else(|_| bail!("thread {name} broke an invariant"))
}
