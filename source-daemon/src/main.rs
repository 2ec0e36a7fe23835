//! `fanlight-source`: publishes one camera's pictures.

use std::process::ExitCode;

use fanlight_daemon::{Context, NoExtra, Program};
use fanlight_source::{camera::pipe, config, source::Source};

struct Daemon;

impl Program for Daemon {
    const NAME: &'static str = "fanlight-source";
    const ABOUT: &'static str = "Publishes the pictures of a camera, of files, of a pipe or of its own making";
    type Config = config::Config;
    type Options = config::Options;
    type Extra = NoExtra;

    fn check(config: &config::Config) -> anyhow::Result<()> {
        config.check()
    }

    fn run(config: config::Config, _extra: NoExtra, context: Context) -> anyhow::Result<ExitCode> {
        let ended = Source::load(&config)?.run(&context);
        pipe::terminate_commands(); // The capture thread may be blocked in reading, and cannot end its command then.
        ended
    }
}

fn main() -> ExitCode {
    fanlight_daemon::main::<Daemon>()
}
