//! The program.
//!
//! The socket thread turns datagrams into complete frames, the decoder's thread turns the newest into a picture, and the
//! main thread shows the newest picture. A timekeeper prints a line each second and ends a run of limited duration. A canary
//! thread watches the canary of the stream, if it has one. A window of several tiles has these threads for each of them. The
//! director's thread runs when streams follow each other, or relays say what to show.

mod canary;
mod compare;
mod decoding;
mod detection_queue;
mod director;
mod feed;
mod figures;
mod frame_slot;
mod journal;
pub mod link_card;
mod listing;
mod on_screen;
mod output;
mod panel_texts;
mod pipeline;
mod playout;
mod presenter;
mod receiver;
mod streams;
#[cfg(test)]
mod tests;
mod timekeeper;
mod tracking;
mod verdict_trace;
mod watchdog;

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use fanlight_daemon::config::sections::Section;
use fanlight_daemon::{Context, Program, clock};

use crate::config::{self, Command, Config, Extra};
use crate::overlay::caption_several;
use crate::record::Plan;
use crate::scene::Shown;
use crate::stats::{Counters, Report};
use crate::udp::Route;
use crate::view::View;
use crate::window;
use feed::Feeds;
use output::{print, write_files, write_pictures};

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

    fn check_extra(config: &Config, extra: &Extra) -> anyhow::Result<()> {
        config::check_tiles(config, extra)?;
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
    let mut feeds = Feeds::start(config, extra, plan, &route, context)?;
    let cover = feeds.cover();
    let shown = if let Some(output) = &extra.output {
        let (presenter, scenes) = feeds.first();
        write_pictures(output, (scenes, &cover), presenter, &context.shutdown)
    } else if extra.headless {
        let (presenter, scenes) = feeds.first();
        let nothing = |_: &Shown| Ok(());
        let ended = presenter.run_headless(scenes, &cover, nothing);
        ended.map_err(anyhow::Error::from)
    } else {
        show_in_window(config, &mut feeds)
    };

    let ended = clock::now();
    let reloads = feeds.reloads();
    let mut presenter = feeds.stop()?;
    let counters = Arc::clone(presenter.counters());
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
    if reloads {
        start_anew()?;
    }
    if let Some(failure) = report.recording.as_ref().and_then(|it| it.failure.clone()) {
        bail!(failure);
    }

    let full_duration = extra.duration.filter(|duration| began + *duration <= ended);
    check_shown(full_duration, &counters)?;
    Ok(Some(report))
}

/// Replaces this process by a new one of the same command line, unless a service manager does that when it ends.
fn start_anew() -> anyhow::Result<()> {
    if std::env::var_os("NOTIFY_SOCKET").is_some() {
        return Ok(());
    }

    let mut words = std::env::args_os();
    let program = words.next().context("the command line is empty")?;
    let error = process::Command::new(&program).args(words).exec();
    Err(error).with_context(|| format!("cannot start {} anew", program.display()))
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

fn show_in_window(config: &Config, feeds: &mut Feeds) -> anyhow::Result<()> {
    let tiling = feeds.tiling();
    let mut panels = config::panels(config);
    caption_several(&mut panels, tiling.slots.len());
    let options = window::Options {
        title: "Fanlight".to_owned(),
        full_screen: config.fullscreen,
        monitor: config.monitor.clone(),
        snapshots: config.snapshot_dir.clone(),
        place: config.window,
        grid: tiling.shape,
        view: View::new(config.scaling, config.rotate, config.mirror),
        panels,
        cover: feeds.cover(),
    };

    Ok(window::run(&options, &tiling.slots, feeds)?)
}
