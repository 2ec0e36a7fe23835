//! `fanlight-source`: publishes one camera's pictures.

use std::process::ExitCode;

use fanlight_daemon::{Context, NoExtra, Program};
use fanlight_source::config::{Config, Options};
use fanlight_source::source::Source;

struct Daemon;

impl Program for Daemon {
    const NAME: &'static str = "fanlight-source";
    const ABOUT: &'static str = "Publishes the pictures of a camera, of files, of a pipe or of its own making";
    type Config = Config;
    type Options = Options;
    type Extra = NoExtra;

    fn check(config: &Config) -> anyhow::Result<()> {
        config.check()
    }

    fn run(config: Config, _extra: NoExtra, context: Context) -> anyhow::Result<ExitCode> {
        Source::load(&config)?.run(&context)
    }
}

fn main() -> ExitCode {
    fanlight_daemon::main::<Daemon>()
}
