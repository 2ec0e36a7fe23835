//! The program `fanlight-source`: its flags, its settings, and how it runs. Called by `main`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use fanlight_daemon::config::sections::{Part, Section};
use fanlight_daemon::{Context, Program};

use crate::camera::{pipe, v4l};
use crate::config;
use crate::controls::{self, Controls};
use crate::source::{self, Source};
use crate::status_client;

/// Flags of one run.
#[derive(Args, Clone, Debug, Default)]
pub struct Extra {
    /// List the cameras of this host and what they offer, and exit.
    #[arg(long)]
    pub list_devices: bool,

    /// What to do instead of publishing.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What else a source can do.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Ask running sources.
    #[command(flatten)]
    Ask(status_client::Command),
    /// List the controls of a camera, and set some, also while a source runs with it
    ///
    /// The camera is that of --device or --input v4l2:DEVICE, or the first one. Values are set at once and stay until the camera
    /// is unplugged; the setting `controls` sets them at each opening.
    ///
    /// Exit codes: 0 done; 1 no camera, or no such control or value; 64 flags or config that cannot be used.
    Controls(Controls),
}

/// `fanlight-source`.
#[derive(Debug)]
pub struct Daemon;

impl Program for Daemon {
    const NAME: &'static str = "fanlight-source";
    const ABOUT: &'static str =
        "Publishes the pictures of a camera, of files, of a pipe or of its own making";
    type Config = config::Config;
    type Extra = Extra;
    const LIVE: &'static [&'static str] = source::LIVE;
    const SECTIONS: &'static [Section] = config::SECTIONS;

    fn serves(extra: &Extra) -> bool {
        !extra.list_devices && extra.command.is_none()
    }

    fn check(config: &config::Config) -> anyhow::Result<()> {
        config.check()
    }

    fn check_together(parts: &[(Part, config::Config)]) -> anyhow::Result<()> {
        config::check_together(parts)
    }

    fn check_extra(_config: &config::Config, extra: &Extra) -> anyhow::Result<()> {
        match &extra.command {
            Some(Command::Ask(command)) => status_client::check(command),
            Some(Command::Controls(_)) | None => Ok(()),
        }
    }

    fn run(config: config::Config, extra: Extra, context: Context) -> anyhow::Result<ExitCode> {
        if extra.list_devices {
            return Ok(v4l::print_devices());
        }

        match &extra.command {
            Some(Command::Ask(command)) => return status_client::run(&config, command, &context),
            Some(Command::Controls(controls)) => return controls::run(&config, controls),
            None => {}
        }

        let ended = Source::load(&config)?.run(&context);
        pipe::terminate_commands(); // The capture thread may be blocked in reading, and cannot end its command then.
        ended
    }
}
