//! What the program does instead of serving: `ready`, which tells whether the relay of this host is of use, and `link`. Both ask
//! it over HTTP: containers have no shell and no HTTP client for their health checks.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::config::Config;
use crate::link::LinkCommand;
use crate::own_http::{self, Request};

/// Flags of one run.
#[derive(Args, Clone, Debug, Default)]
pub struct Extra {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What else the program can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Tell whether the relay that runs here is ready: for health checks
    ///
    /// Asks for /readyz at the `http` of the same config file or flags.
    ///
    /// Exit codes: 0 it is ready; 1 it is not, or does not answer; 64 flags or config that cannot be used.
    Ready,
    /// Make, list and revoke lasting links to single streams of the relay that runs here
    ///
    /// Asks for /api/links at the `http` of the same config file or flags, with the token in `http_admin_token`.
    #[command(subcommand)]
    Link(LinkCommand),
}

impl Command {
    /// Says why the settings do not tell whom to ask.
    pub(crate) fn check(&self, config: &Config) -> anyhow::Result<()> {
        let name = match self {
            Self::Ready => "ready",
            Self::Link(_) => "link",
        };
        own_http::check(config, name)
    }
}

/// Prints what the relay of these settings answers.
pub(crate) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let request = Request {
        method: "GET",
        path: "/readyz",
        token: None,
        body: "",
    };

    let answer = request.ask(config)?;
    writeln!(io::stdout(), "{}", answer.body.trim_end())?;
    Ok(match answer.status {
        200 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
