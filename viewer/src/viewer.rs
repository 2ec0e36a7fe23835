//! The program.
//!
//! The socket thread turns datagrams into complete frames, the decoder's thread turns the newest into a picture, and the
//! main thread shows the newest picture. A timekeeper prints a line each second and ends a run of limited duration. A canary
//! thread watches the canary of the stream, if it has one.

mod canary;
mod compare;
mod decoding;
mod detection_queue;
mod figures;
mod frame_slot;
mod link_card;
mod listing;
mod output;
mod panel_texts;
mod presenter;
mod receiver;
mod streams;
#[cfg(test)]
mod tests;
mod tracking;
mod verdict_trace;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use fanlight_daemon::config::sections::Section;
use fanlight_daemon::usage::Meter;
use fanlight_daemon::{Context, Program, Shutdown, clock};
use fanlight_proto::clock::Time;

use crate::config::{self, Command, Config, Extra};
use crate::engine::{Engine, EngineConfig, LinkState};
use crate::overlay::Panel;
use crate::record::Plan;
use crate::scene::{Scene, SceneSlot, Shown};
use crate::stats::{Counters, Report};
use crate::udp::{Route, drive};
use crate::view::View;
use crate::window;
use canary::Canary;
use decoding::DecodeOptions;
use frame_slot::FrameSlot;
use output::{print, write_files, write_to_pipe};
use panel_texts::Identity;
use presenter::Presenter;
use receiver::Receiver;
use streams::{StreamChoice, Streams};
use verdict_trace::VerdictTrace;

/// How often a line of statistics is printed.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// How often to check whether the figures on the screen are out of date.
const FIGURES_INTERVAL: Duration = Duration::from_millis(250);

/// `fanlight-viewer`.
#[derive(Debug)]
pub struct Viewer;

impl Program for Viewer {
    const NAME: &'static str = "fanlight-viewer";
    const ABOUT: &'static str =
        "Shows a stream of a relay, measures it, and joins again by itself whatever restarts";
    type Config = Config;
    type Extra = Extra;
    const LIVE: &'static [&'static str] = &["stats"];
    /// `[viewer.HDMI-1]` is the screen on that monitor.
    const SECTIONS: &'static [Section] = &[Section {
        name: "viewer",
        named_by: Some("monitor"),
        alone: true,
    }];

    fn serves(extra: &Extra) -> bool {
        !extra.list && extra.command.is_none()
    }

    fn check(config: &Config) -> anyhow::Result<()> {
        config::check(config)
    }

    fn check_extra(_config: &Config, extra: &Extra) -> anyhow::Result<()> {
        let report_to_stdout = extra.report.as_deref() == Some(Path::new("-"));
        ensure!(
            extra.output.is_none() || !report_to_stdout,
            "--output and --report - both write to standard output; give --report a file"
        );
        extra.record.plan().map(drop)
    }

    /// Exit code 0 when it ended as asked; it fails when no frame was shown in the whole of a given duration.
    fn run(config: Config, extra: Extra, context: Context) -> anyhow::Result<ExitCode> {
        if let Some(Command::Compare(comparison)) = &extra.command {
            return compare::compare(&config, comparison, &context);
        }

        let plan = extra.record.plan()?;
        run(&config, &extra, plan, &context).map(|_| ExitCode::SUCCESS)
    }
}

/// Shows a stream until the end, and records it if there is a `plan`. Returns the report; none after `--list`.
///
/// # Errors
/// When it cannot begin, when the recording failed, or when no frame was shown in the whole of `extra.duration`.
pub fn run(
    config: &Config,
    extra: &Extra,
    plan: Option<Plan>,
    context: &Context,
) -> anyhow::Result<Option<Report>> {
    let route = config::route(config)?;
    if extra.list {
        return list(config, &route, context).map(|()| None);
    }

    let relays = route.name();
    let began = clock::now();
    let counters = Arc::new(Counters::new(began));
    let mut presenter = Presenter::new(Arc::clone(&counters), extra.trace.as_deref())?;
    let pipeline = start(config, extra, plan, route, &mut presenter, context)?;
    let shown = if let Some(output) = extra.output {
        write_to_pipe(output, &pipeline.scenes, &mut presenter, &context.shutdown)
    } else if extra.headless {
        let nothing = |_: &Shown| Ok(());
        let ended = presenter.run_headless(&pipeline.scenes, nothing);
        ended.map_err(anyhow::Error::from)
    } else {
        show_in_window(config, &pipeline.scenes, &mut presenter)
    };

    let ended = clock::now();
    pipeline.stop()?;
    let tracking = presenter
        .end_tracking()
        .map(|tracking| counters.with_feedback(tracking));
    let recording = presenter.end_recording();
    shown?;

    let report = Report {
        tracking,
        recording,
        ..counters.report(clock::now(), &relays)
    };

    write_files(extra, &report, &presenter)?;
    if let Some(failure) = report.recording.as_ref().and_then(|it| it.failure.clone()) {
        bail!(failure);
    }

    let full_duration = extra.duration.filter(|duration| began + *duration <= ended);
    check_shown(full_duration, &counters)?;
    Ok(Some(report))
}

/// Starts the threads, the trackers and the recording.
fn start(
    config: &Config,
    extra: &Extra,
    plan: Option<Plan>,
    route: Route,
    presenter: &mut Presenter,
    context: &Context,
) -> anyhow::Result<Pipeline> {
    let keeps_jpegs =
        extra.snapshot.is_some() || config::trackers(config).is_some() || plan.is_some();
    let pipeline = Pipeline::start(config, extra, keeps_jpegs, &route, presenter, context)?;
    presenter.set_streams(Streams {
        route,
        name: config::screen_name(config),
        scenes: Arc::clone(&pipeline.scenes),
        choice: Arc::clone(&pipeline.choice),
        shutdown: context.shutdown.clone(),
        asking: Arc::default(),
    });
    presenter.set_canary(pipeline.canary.as_ref().map(Canary::selection));
    let trackers = tracking::start(
        config,
        &pipeline.scenes,
        presenter.trace(),
        presenter.detection_queue(),
        &context.shutdown,
    )?;

    presenter.set_trackers(trackers);
    presenter.record(
        plan,
        &pipeline.scenes,
        config.overlay.contains(&Panel::Figures),
    )?;

    Ok(pipeline)
}

/// Prints which streams there are.
fn list(config: &Config, route: &Route, context: &Context) -> anyhow::Result<()> {
    let name = config::screen_name(config);
    let table = if config::looks(config) {
        listing::all(route, &name, &context.shutdown)?
    } else {
        listing::table(route, name, &context.shutdown)?
    };
    print(&table);
    Ok(())
}

/// A run over the whole of a given duration that showed no frame is a failure.
fn check_shown(full_duration: Option<Duration>, counters: &Counters) -> anyhow::Result<()> {
    if let Some(duration) = full_duration
        && counters.shown() == 0
    {
        let link_state = counters.link_state();
        bail!("no frame was shown in {duration:?}: {link_state}");
    }
    Ok(())
}

/// The threads behind the screen.
struct Pipeline {
    scenes: Arc<SceneSlot>,
    choice: Arc<StreamChoice>,
    shutdown: Shutdown,
    timekeeper: JoinHandle<anyhow::Result<()>>,
    canary: Option<Canary>,
}

impl Pipeline {
    fn start(
        config: &Config,
        extra: &Extra,
        keeps_jpegs: bool,
        route: &Route,
        presenter: &Presenter,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let counters = Arc::clone(presenter.counters());
        let shutdown = context.shutdown.clone();
        let scenes = Arc::new(SceneSlot::new());
        let frame_slot = Arc::new(FrameSlot::default());
        let card = link_card::card(&LinkState::Connecting, &route.name(), clock::now());
        scenes.publish(Scene::Message(card));
        counters.on_link_state(clock::now(), &LinkState::Connecting);
        let decode_options = DecodeOptions {
            traced: extra.trace.is_some(),
            kept: keeps_jpegs,
            relay: route.name(),
            max_frame_bytes: config.max_frame_bytes,
        };

        let relay = route.name();
        let engine_config = config::engine(config, route)?;
        let choice = Arc::new(StreamChoice::default());
        let screen = clock::random_u64().max(1);
        let canary = watch_canary(config, route, &engine_config, presenter, screen)?;
        let receiver = Receiver::new(
            Arc::clone(&frame_slot),
            Arc::clone(&counters),
            context.notify.clone(),
            config::trackers(config).map(|_| Arc::clone(presenter.detection_queue())),
            VerdictTrace::new(presenter.trace()),
            Arc::clone(&choice),
        );

        let receiving = receive(route.clone(), engine_config, screen, receiver, &shutdown)?;
        let decoding = decode(&frame_slot, &scenes, &counters, decode_options, &shutdown)?;
        let timekeeper = {
            let scenes = Arc::clone(&scenes);
            let mut timer = Timekeeper::new(extra, config, relay);
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
    fn stop(self) -> anyhow::Result<()> {
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

/// The timekeeper: prints statistics, reads the config file again when it is asked to, and ends the run.
struct Timekeeper {
    /// Whether to print the lines of statistics.
    prints: bool,
    /// Pictures go to standard output.
    stdout_is_taken: bool,
    /// When the run ends, if its duration is limited.
    end: Option<Time>,
    identity: Identity,
}

impl Timekeeper {
    fn new(extra: &Extra, config: &Config, relay: String) -> Self {
        let report_on_stdout = extra
            .report
            .as_deref()
            .is_some_and(|path| path.as_os_str() == "-");

        Self {
            stdout_is_taken: extra.output.is_some(),
            prints: extra.output.is_none()
                && config.stats.unwrap_or(extra.headless && !report_on_stdout),
            end: extra.duration.map(|duration| clock::now() + duration),
            identity: Identity {
                stream: config
                    .stream
                    .as_ref()
                    .map_or_else(String::new, ToString::to_string),
                screen: config::screen_name(config),
                relay,
            },
        }
    }

    /// Prints the line of each second until the end, and keeps what panels say up to date.
    fn run(&mut self, scenes: &SceneSlot, counters: &Counters, context: &Context) {
        let mut line_due = clock::now() + LINE_INTERVAL;
        let mut meter = Meter::new();
        let mut usage = meter.sample(clock::now());
        let began = clock::now();
        let statistics = counters.statistics(began);
        scenes.set_readings(self.identity.readings(&statistics, &usage, began));

        loop {
            let now = clock::now();
            let next = line_due.min(now + FIGURES_INTERVAL);
            let due = self.end.map_or(next, |end| end.min(next));

            if context.shutdown.wait_timeout(due.saturating_since(now)) {
                return;
            }

            if let Some(config) = context.reloaded::<Viewer>() {
                self.prints = config.stats.unwrap_or(self.prints) && !self.stdout_is_taken;
            }

            let now = clock::now();
            let second_ends = line_due <= now;

            if second_ends {
                line_due = now.max(line_due + LINE_INTERVAL);
                usage = meter.sample(now);
                let line = counters.line(now);
                if self.prints {
                    print(&format!("{line}\n"));
                }
            }

            let statistics = counters.statistics(now);
            if second_ends || statistics.summary.silence.is_some() {
                scenes.set_readings(self.identity.readings(&statistics, &usage, now));
            }

            if self.end.is_some_and(|end| end <= now) {
                return;
            }
        }
    }
}

fn show_in_window(
    config: &Config,
    scenes: &SceneSlot,
    presenter: &mut Presenter,
) -> anyhow::Result<()> {
    let options = window::Options {
        title: "Fanlight".to_owned(),
        full_screen: config.fullscreen,
        monitor: config.monitor.clone(),
        snapshots: config.snapshot_dir.clone(),
        place: config.window,
        view: View::new(config.scaling, config.rotate, config.mirror),
        panels: config.overlay.clone(),
    };

    Ok(window::run(&options, scenes, presenter)?)
}

/// Runs `work` on a thread of its own; when it ends, however it ends, the viewer ends.
fn spawn(
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

fn joined(thread: JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    thread
        .join()
        .unwrap_or_else(|_| bail!("thread {name} broke an invariant"))
}
