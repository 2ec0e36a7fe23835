//! The smallest program with all the manners of a service; `tests/manners.rs` tries them.

use std::process::ExitCode;
use std::time::Duration;

use fanlight_daemon::{Context, Program};

/// Settings of the example.
#[derive(clap::Args)]
struct Config {
    /// Number of pictures.
    #[arg(default_value_t = 3)]
    pictures: u32,
    /// Whom to show them to.
    #[arg(default_value = "all")]
    guests: Vec<String>,
}

/// Flags that are no settings.
#[derive(clap::Args)]
struct Extra {
    /// End at once with this exit code.
    #[arg(long)]
    end: Option<u8>,
    /// Fail at once.
    #[arg(long)]
    fail: bool,
    /// Never stop when asked to.
    #[arg(long)]
    wedge: bool,
}

struct Manners;

impl Program for Manners {
    const NAME: &'static str = "manners";
    const ABOUT: &'static str = "Waits until it is asked to stop";
    const LIVE: &'static [&'static str] = &["pictures"];
    type Config = Config;
    type Extra = Extra;

    fn check(config: &Config) -> anyhow::Result<()> {
        anyhow::ensure!(config.pictures > 0, "`pictures` = 0 leaves nothing to show");
        Ok(())
    }

    fn run(config: Config, extra: Extra, context: Context) -> anyhow::Result<ExitCode> {
        if let Some(code) = extra.end {
            return Ok(ExitCode::from(code));
        }

        if extra.fail {
            return Err(anyhow::anyhow!("the camera\nis gone").context("cannot show pictures"));
        }

        context.notify.ready();
        context
            .notify
            .status(&format!("{} pictures", config.pictures));
        let turn = context
            .notify
            .watchdog_interval()
            .unwrap_or(Duration::from_secs(1));

        while !context.shutdown.wait_timeout(turn) || extra.wedge {
            context.notify.watchdog();
            if let Some(config) = context.reloaded::<Self>() {
                context
                    .notify
                    .status(&format!("{} pictures", config.pictures));
            }

            if extra.wedge && context.shutdown.requested() {
                std::thread::park();
            }
        }

        Ok(ExitCode::SUCCESS)
    }
}

fn main() -> ExitCode {
    fanlight_daemon::main::<Manners>()
}
