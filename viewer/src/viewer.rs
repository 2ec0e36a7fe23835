//! The program: three threads and a screen.
//!
//! The socket's thread turns datagrams into whole frames, the decoder's turns the newest of them into a picture, the
//! main thread shows the newest picture, and a fourth keeps the time: a line each second, and the end. A fifth watches
//! the canary of the stream, if it has one.

mod canary;
mod decoding;
mod figures;
mod handover;
mod listing;
mod outbox;
mod presenting;
mod receiving;
#[cfg(test)]
mod tests;
mod tracking;
mod verdicts;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, bail};
use fanlight_daemon::usage::Meter;
use fanlight_daemon::{Context, Program, Shutdown, clock};
use fanlight_proto::clock::Time;

use crate::config::{self, Command, Config, Extra, Options};
use crate::engine::{Engine, EngineConfig, Signal};
use crate::feed::Feed;
use crate::load;
use crate::stats::{Report, Tally};
use crate::udp::{Route, converse};
use crate::window;
use canary::Canary;
use decoding::Wanted;
use handover::HandOver;
use presenting::Presenter;
use receiving::Receiver;
use verdicts::Verdicts;

/// How often the line of statistics is told.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// `fanlight-viewer`.
#[derive(Debug)]
pub struct Viewer;

impl Program for Viewer {
    const NAME: &'static str = "fanlight-viewer";
    const ABOUT: &'static str =
        "Shows a stream of a relay, measures it, and joins again by itself whatever restarts";
    type Config = Config;
    type Options = Options;
    type Extra = Extra;

    fn check(config: &Config) -> anyhow::Result<()> {
        config::check(config)
    }

    fn check_extra(config: &Config, extra: &Extra) -> anyhow::Result<()> {
        load::check(config, extra)?;
        extra.record.plan().map(drop)
    }

    /// Exit code 0 when it ended as asked; it fails when no frame was shown in the whole of a given duration.
    fn run(config: Config, extra: Extra, context: Context) -> anyhow::Result<ExitCode> {
        match &extra.command {
            Some(Command::Load(load)) => load::run(&config, load, &context),
            None => run(&config, &extra, &context),
        }
    }
}

fn run(config: &Config, extra: &Extra, context: &Context) -> anyhow::Result<ExitCode> {
    let route = Route {
        relays: config.relay.clone(),
        accesses: config::accesses(config)?,
        receive_buffer: config.receive_buffer,
        multicast: config.multicast == config::Multicast::Auto,
        capture: config.capture_dir.clone(),
        own: None,
    };
    if extra.list {
        let table = listing::table(&route, config::screen_name(config), &context.shutdown)?;
        print(&table);
        return Ok(ExitCode::SUCCESS);
    }
    let began = clock::now();
    let tally = Arc::new(Tally::new(began));
    let mut presenter = Presenter::new(Arc::clone(&tally), extra.trace.as_deref())?;
    let pipeline = Pipeline::start(config, extra, route, &presenter, context)?;
    presenter.set_canary(pipeline.canary.as_ref().map(Canary::choice));
    let crew = tracking::start(
        config,
        &pipeline.feed,
        presenter.trace(),
        presenter.outbox(),
        &context.shutdown,
    )?;
    presenter.set_crew(crew);
    presenter.record(extra.record.plan()?, &pipeline.feed, config.figures)?;
    let shown = if extra.headless {
        presenter.show_to_nobody(&pipeline.feed);
        Ok(())
    } else {
        show_in_window(config, &pipeline.feed, &mut presenter)
    };
    let ended = clock::now();
    pipeline.stop()?;
    let tracking = presenter
        .end_tracking()
        .map(|tracking| tally.told(tracking));
    let recording = presenter.end_recording();
    shown?;
    let unrecorded = recording
        .as_ref()
        .and_then(|recording| recording.failure.clone());
    let report = Report {
        tracking,
        recording,
        ..tally.report(clock::now(), &config.relay.join(", "))
    };
    write_files(extra, &report, &presenter)?;
    if let Some(failure) = unrecorded {
        bail!(failure);
    }
    match extra.duration.filter(|duration| began + *duration <= ended) {
        Some(duration) if tally.shown() == 0 => {
            bail!("no frame was shown in {duration:?}: {}", tally.signal())
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The threads behind the screen.
struct Pipeline {
    feed: Arc<Feed>,
    shutdown: Shutdown,
    timekeeper: JoinHandle<anyhow::Result<()>>,
    canary: Option<Canary>,
}

impl Pipeline {
    fn start(
        config: &Config,
        extra: &Extra,
        route: Route,
        presenter: &Presenter,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let tally = Arc::clone(presenter.tally());
        let shutdown = context.shutdown.clone();
        let (feed, handover) = (Arc::new(Feed::new()), Arc::new(HandOver::default()));
        feed.publish(decoding::card(&Signal::Connecting, &route.name()));
        tally.on_signal(clock::now(), &Signal::Connecting);
        let wanted = Wanted {
            traced: extra.trace.is_some(),
            kept: extra.snapshot.is_some()
                || config::trackers(config).is_some()
                || extra.record.record.is_some(),
            relay: route.name(),
            max_frame_bytes: config.max_frame_bytes,
        };
        let engine_config = config::engine(config, &route)?;
        let screen = clock::random_u64().max(1);
        let canary = watch_canary(config, &route, &engine_config, presenter, screen)?;
        let mut receiver = Receiver::new(
            Arc::clone(&handover),
            Arc::clone(&tally),
            context.notify.clone(),
            config::trackers(config).map(|_| Arc::clone(presenter.outbox())),
            Verdicts::new(presenter.trace()),
        );
        let receiving = {
            let shutdown = shutdown.clone();
            spawn("udp", &shutdown.clone(), move || {
                let mut engine = Engine::new(engine_config, clock::random_bytes());
                engine.set_screen(screen);
                let ended = converse(&route, &mut engine, &mut receiver, &shutdown);
                receiver.finish(&engine);
                ended.context("the socket's thread cannot work")
            })?
        };
        let decoding = {
            let (handover, feed, tally) =
                (Arc::clone(&handover), Arc::clone(&feed), Arc::clone(&tally));
            spawn("decode", &shutdown, move || {
                decoding::run(&handover, &feed, &tally, &wanted);
                Ok(())
            })?
        };
        let timekeeper = {
            let (feed, timing, shutdown) = (
                Arc::clone(&feed),
                Timing::of(extra, config),
                shutdown.clone(),
            );
            spawn("time", &shutdown.clone(), move || {
                timing.keep(&feed, &tally, &shutdown);
                shutdown.trigger();
                // In the order of the frames' way, so that what is on it still arrives.
                let received = joined(receiving);
                handover.close();
                let decoded = joined(decoding);
                feed.close();
                received.and(decoded)
            })?
        };
        Ok(Self {
            feed,
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
    let (route, engine) = (route.clone(), engine.clone());
    let (tally, trace) = (Arc::clone(presenter.tally()), presenter.trace());
    let canary = Canary::start(canary::Plan {
        route,
        engine,
        screen,
        tally,
        trace,
    });
    canary.map(Some).context("the canary cannot be watched")
}

/// When to tell and when to end.
struct Timing {
    tells: bool,
    end: Option<Time>,
}

impl Timing {
    fn of(extra: &Extra, config: &Config) -> Self {
        let report_on_stdout = extra
            .report
            .as_deref()
            .is_some_and(|path| path.as_os_str() == "-");
        Self {
            tells: config.stats.unwrap_or(extra.headless && !report_on_stdout),
            end: extra.duration.map(|duration| clock::now() + duration),
        }
    }

    /// Tells the line of each second until the end.
    fn keep(&self, feed: &Feed, tally: &Tally, shutdown: &Shutdown) {
        let (mut line_due, mut meter) = (clock::now() + LINE_INTERVAL, Meter::new());
        loop {
            let due = self.end.map_or(line_due, |end| end.min(line_due));
            if shutdown.wait_timeout(due.saturating_since(clock::now())) {
                return;
            }
            let now = clock::now();
            if line_due <= now {
                line_due = now.max(line_due + LINE_INTERVAL);
                let line = tally.line(now);
                if self.tells {
                    print(&format!("{line}\n"));
                }
                feed.set_statistics(line);
                feed.set_figures(figures::text(&tally.glance(), &meter.sample(now)));
            }
            if self.end.is_some_and(|end| end <= now) {
                return;
            }
        }
    }
}

fn show_in_window(config: &Config, feed: &Feed, presenter: &mut Presenter) -> anyhow::Result<()> {
    let options = window::Options {
        title: "Fanlight".to_owned(),
        full_screen: config.fullscreen,
        monitor: config.monitor.clone(),
        snapshots: config.snapshot_dir.clone(),
        figures: config.figures,
    };
    Ok(window::run(&options, feed, &mut |id, at| {
        presenter.presented(id, at);
    })?)
}

fn write_files(extra: &Extra, report: &Report, presenter: &Presenter) -> anyhow::Result<()> {
    if let Some(path) = &extra.report {
        let mut json = serde_json::to_string_pretty(report)?;
        json.push('\n');
        if path.as_os_str() == "-" {
            print(&json);
        } else {
            std::fs::write(path, json)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    if let Some(path) = &extra.snapshot {
        let saved = presenter
            .save(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        if !saved {
            tracing::warn!("no picture was shown: {} is not written", path.display());
        }
    }
    Ok(())
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
    thread.with_context(|| format!("there is no thread to be had for {name}"))
}

fn joined(thread: JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    thread
        .join()
        .unwrap_or_else(|_| bail!("thread {name} broke an invariant"))
}

/// To standard output, at once; nobody may be reading, which is no reason to end.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}
