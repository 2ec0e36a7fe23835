//! What the program does instead of serving: `ready`, which tells whether the relay of this host is of use, `link`, `direct`,
//! `screens`, `status` and `scene`. All ask it over HTTP: containers have no shell and no HTTP client for their health checks.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::config::Config;
use crate::direct::Direct;
use crate::link::LinkCommand;
use crate::own_http::{self, Request};
use crate::scene::SceneCommand;

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
    /// Tell a screen of the relay that runs here what to show
    ///
    /// Asks for /api/screens at the `http` of the same config file or flags, with the token in `http_admin_token`. The screen must
    /// allow it.
    ///
    /// Exit codes: 0 the screen has been told and, with --wait, has proved that it does so; 1 if not; 64 flags or config that
    /// cannot be used.
    Direct(Box<Direct>),
    /// List the screens of the relay that runs here: what each was told to show, and what it shows
    Screens,
    /// List all cameras, relays and screens of the site: those of the relay that runs here, and of the relays in its `http_peers`
    ///
    /// Asks for /api/site at the `http` of the same config file or flags, with the token in `http_admin_token`.
    ///
    /// Exit codes: 0 it was told; 1 the relay does not answer; 64 flags or config that cannot be used.
    Status {
        /// Print JSON instead of tables
        #[arg(long)]
        json: bool,
    },
    /// List the scenes of the relay that runs here, or apply one: all its screens are directed at once
    ///
    /// Asks for /api/scenes at the `http` of the same config file or flags, with the token in `http_admin_token`.
    ///
    /// Exit codes: 0 all screens have been told; 1 if not; 64 flags or config that cannot be used.
    #[command(subcommand)]
    Scene(SceneCommand),
}

impl Command {
    /// Says why the settings do not tell whom to ask.
    pub(crate) fn check(&self, config: &Config) -> anyhow::Result<()> {
        let name = match self {
            Self::Ready => "ready",
            Self::Link(_) => "link",
            Self::Screens => "screens",
            Self::Status { .. } => "status",
            Self::Scene(_) => "scene",
            Self::Direct(direct) => {
                direct.check()?;
                "direct"
            }
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
        wait: Duration::ZERO,
    };

    let answer = request.ask(config)?;
    writeln!(io::stdout(), "{}", answer.body.trim_end())?;
    Ok(match answer.status {
        200 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}
