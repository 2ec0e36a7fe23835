//! The commands `fanlight-source status` and `verify`, which ask running sources for their reports.

pub mod assessment;
mod client;
mod status;
mod table;
mod verify;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use fanlight_daemon::Context;

use crate::config::Config;
use crate::verification::report::Report;
use client::{AskError, Client, Target};

/// Exit code when every screen is right.
const ALL_RIGHT: u8 = 0;

/// Exit code of `verify` when some screen is late, wrong or blind, or too few are measured.
const NOT_RIGHT: u8 = 1;

/// Exit code when no source could be asked.
const NO_SOURCE: u8 = 2;

/// What else a source can do.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Command {
    /// Tell how every screen stands: what it shows, how exactly, how late, and where the time goes
    ///
    /// Asks the source that runs with the same config file or the same --publish (and --feed-key or --feed-identity) on this host.
    ///
    /// Exit codes: 0 it was told; 2 no source could be asked; 64 flags or config that cannot be used.
    Status(Status),
    /// Watch every screen for some time and judge: for cron and monitoring
    ///
    /// Nothing that a screen tells is missed: the source keeps the worst of each second. Screens that find no ball are not
    /// judged; where the picture is a camera's, its canary is. Limits are --max-error and --max-age.
    ///
    /// Exit codes: 0 every screen showed the right picture in time, all the time; 1 some screen was late, wrong or blind,
    /// or fewer than --viewers were measured; 2 no source could be asked; 64 flags or config that cannot be used.
    Verify(Verify),
}

/// Flags of `status`.
#[derive(clap::Args, Clone, Debug)]
pub struct Status {
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,

    /// Print it anew each second, until it is interrupted.
    #[arg(long)]
    pub watch: bool,

    /// Ask the source that publishes here, instead of at the endpoint of the config. May be given several times.
    #[arg(long, value_name = "ENDPOINT")]
    pub at: Vec<Target>,
}

/// Flags of `verify`.
#[derive(clap::Args, Clone, Debug)]
pub struct Verify {
    /// How long to watch, 1s to 1h.
    #[arg(long = "for", value_name = "TIME", default_value = "10s")]
    pub length: humantime::Duration,

    /// Least number of screens that have to be measured.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub viewers: usize,

    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,

    /// Print nothing on standard output: the exit code tells.
    #[arg(long, conflicts_with = "json")]
    pub quiet: bool,

    /// Ask the source that publishes here, instead of at the endpoint of the config. May be given several times.
    #[arg(long, value_name = "ENDPOINT")]
    pub at: Vec<Target>,
}

/// Says what is wrong with the flags.
///
/// # Errors
/// In a sentence that names the flag.
pub(crate) fn check(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Verify(verify) => verify.check(),
        Command::Status(_) => Ok(()),
    }
}

/// Asks, and prints the answer.
///
/// # Errors
/// When the answer cannot be printed.
pub(crate) fn run(
    config: &Config,
    command: &Command,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let code = match command {
            Command::Status(status) => status.run(config, context).await?,
            Command::Verify(verify) => verify.run(config, context).await?,
        };
        Ok(ExitCode::from(code))
    })
}

/// Clients for the sources that `at` names, or else for the one of `config`.
fn clients(config: &Config, at: &[Target]) -> anyhow::Result<Vec<Client>> {
    let targets = if at.is_empty() {
        vec![Target::of(&config.endpoints()?)]
    } else {
        at.to_vec()
    };

    let security = config.asking_security()?;
    Ok(targets
        .into_iter()
        .map(|target| Client::new(target, security.clone()))
        .collect())
}

/// Says on standard error why no source could be asked.
fn unreachable(error: &AskError) -> u8 {
    // Nothing is left to report to when even this cannot be printed.
    let _ = writeln!(std::io::stderr(), "fanlight-source: {error}");
    NO_SOURCE
}

/// Writes to standard output at once.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// Waits for the end of the program, or so long; tells whether to go on.
async fn pause(context: &Context, length: Duration) -> bool {
    tokio::select! {
        () = context.shutdown.wait() => false,
        () = tokio::time::sleep(length) => true,
    }
}

/// Asks all sources, one after the other; none if the program is to end before all have answered.
async fn ask_all(clients: &[Client], context: &Context) -> Option<Vec<Result<Report, AskError>>> {
    let mut answers = Vec::with_capacity(clients.len());
    for client in clients {
        let answer = tokio::select! {
            () = context.shutdown.wait() => return None,
            answer = client.ask(&context.shutdown) => answer,
        };
        answers.push(answer);
    }

    Some(answers)
}
