//! The program `fanlight-relay`: its flags, its settings, and how it runs. Called by `main`.

use std::process::ExitCode;

use fanlight_daemon::config::sections::{Part, Section};
use fanlight_daemon::{Context, Program};

use super::{Relay, reload};
use crate::config::{self, Config};
use crate::direct;
use crate::link;
use crate::ready::{self, Command, Extra};
use crate::scene;

impl Program for Relay {
    const NAME: &'static str = "fanlight-relay";
    const ABOUT: &'static str = "Fans the newest frame of each source out to every viewer over UDP";
    type Config = Config;
    type Extra = Extra;
    const LIVE: &'static [&'static str] = reload::LIVE;
    const SECTIONS: &'static [Section] = config::SECTIONS;

    fn serves(extra: &Extra) -> bool {
        extra.command.is_none()
    }

    fn check(config: &Config) -> anyhow::Result<()> {
        Ok(config.check()?)
    }

    fn check_together(parts: &[(Part, Config)]) -> anyhow::Result<()> {
        config::check_together(parts)
    }

    fn check_extra(config: &Config, extra: &Extra) -> anyhow::Result<()> {
        extra
            .command
            .as_ref()
            .map_or(Ok(()), |command| command.check(config))
    }

    fn run(config: Config, extra: Extra, context: Context) -> anyhow::Result<ExitCode> {
        match extra.command {
            Some(Command::Ready) => return ready::run(&config),
            Some(Command::Link(command)) => return link::run(&config, &command),
            Some(Command::Direct(command)) => return direct::direct(&config, &command),
            Some(Command::Screens) => return direct::screens(&config),
            Some(Command::Status { json }) => return direct::status(&config, json),
            Some(Command::Scene(command)) => return scene::run(&config, &command),
            None => {}
        }

        Relay::load(config)?.run(&context)?;
        Ok(ExitCode::SUCCESS)
    }
}
