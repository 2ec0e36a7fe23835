//! `fanlight-gif`: records an animated GIF of what a screen shows. It is a viewer without a window, whose frames go to
//! the GIF with the marker of a tracker and the figures if those are asked for.

mod gif_file;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::value_parser;
use fanlight_daemon::{Context, Program};
use fanlight_viewer::config::{self, Config, Extra, parse_duration};
use fanlight_viewer::record::{Plan, Sink};
use fanlight_viewer::viewer;

use gif_file::GifFile;

/// Largest width of a GIF, in pixels: what a browser still shows smoothly.
const MAX_WIDTH: i64 = 1920;

/// Most pictures a second: browsers slow down what is asked for faster.
const MAX_FPS: i64 = 50;

/// What to record.
#[derive(clap::Args, Clone, Debug)]
pub struct Flags {
    /// The file to write. One that is there already is overwritten.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Width in pixels, at most that of the picture.
    #[arg(long, value_name = "PIXELS", default_value_t = 480, value_parser = value_parser!(u32).range(16..=MAX_WIDTH))]
    pub width: u32,

    /// Pictures a second.
    #[arg(long, value_name = "RATE", default_value_t = 10, value_parser = value_parser!(u32).range(1..=MAX_FPS))]
    pub fps: u32,

    /// How long to record: 500ms, 10s, 2m, 1h.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub length: Duration,
}

/// `fanlight-gif`. It takes the settings of a viewer.
#[derive(Debug)]
pub struct GifMaker;

impl Program for GifMaker {
    const NAME: &'static str = "fanlight-gif";
    const ABOUT: &'static str = "Records an animated GIF of what a screen would show";
    type Config = Config;
    type Extra = Flags;

    fn check(config: &Config) -> anyhow::Result<()> {
        config::check(config)
    }

    fn check_extra(_config: &Config, flags: &Flags) -> anyhow::Result<()> {
        ensure!(
            !flags.length.is_zero(),
            "--length is 0; it must be longer, such as 10s"
        );
        Ok(())
    }

    fn run(config: Config, flags: Flags, context: Context) -> anyhow::Result<ExitCode> {
        let extra = Extra {
            headless: true,
            ..Extra::default()
        };

        let shutdown = context.shutdown.clone();
        let (path, length) = (flags.file.clone(), flags.length);
        let open = move |path: &Path| {
            let file = File::create(path)?;
            Ok(Box::new(GifFile::new(file, &flags, shutdown.clone())) as Box<dyn Sink>)
        };

        let plan = Plan {
            length: Some(length),
            ..Plan::new(path, Arc::new(open))
        };

        let report = viewer::run(&config, &extra, Some(plan), &context)?;
        let recording = report
            .and_then(|report| report.recording)
            .unwrap_or_default();
        if recording.frames == 0 {
            bail!("no picture was shown: {} is empty", recording.file);
        }

        Ok(ExitCode::SUCCESS)
    }
}
