//! The order in which every program starts and ends.

mod check;

use std::io::Write;
use std::process::ExitCode;

use clap::Args;

use crate::cli::{self, Action, Parsed};
use crate::config::sections::{ConfigFile, Part, Section};
use crate::{Notify, Reload, Shutdown};

/// Exit code for flags or a config that cannot be used (sysexits.h).
pub const EX_USAGE: u8 = 64;

/// A program as [`main()`] runs it.
///
/// ```no_run
/// use std::process::ExitCode;
/// use fanlight_daemon::{Context, Program};
///
/// /// Settings of the relay.
/// #[derive(clap::Args)]
/// pub struct Config {
///     /// Most viewers at a time.
///     #[arg(default_value_t = 64)]
///     max_viewers: u32,
/// }
///
/// /// Flags that are no settings; `NoExtra` when there are none.
/// #[derive(clap::Args)]
/// struct Extra {
///     /// Show what could be done and exit.
///     #[arg(long)]
///     list: bool,
/// }
///
/// struct Relay;
///
/// impl Program for Relay {
///     const NAME: &'static str = "fanlight-relay";
///     const ABOUT: &'static str = "Fans streams out to viewers";
///     type Config = Config;
///     type Extra = Extra;
///
///     fn run(config: Config, _extra: Extra, context: Context) -> anyhow::Result<ExitCode> {
///         // bind, then:
///         context.notify.ready();
///         while !context.shutdown.requested() { /* turn the event loop, calling context.notify.watchdog() */ }
///         Ok(ExitCode::SUCCESS)
///     }
/// }
///
/// fn main() -> ExitCode {
///     fanlight_daemon::main::<Relay>()
/// }
/// ```
pub trait Program {
    /// The name of the binary.
    const NAME: &'static str;
    /// One sentence for the help.
    const ABOUT: &'static str;
    /// The version: that of the workspace, unless who built it said more, as `./dev package` does.
    const VERSION: &'static str = match option_env!("FANLIGHT_VERSION") {
        Some(version) => version,
        None => env!("CARGO_PKG_VERSION"),
    };
    /// The settings; see [`config`](crate::config).
    type Config: Args;
    /// Flags and subcommands that are not settings.
    type Extra: Args;

    /// The sections of a config file that several programs share which are this one's; none when it reads only files of its
    /// own.
    const SECTIONS: &'static [Section] = &[];

    /// The keys that [`Context::reloaded`] changes while the program runs; the others wait for its next start.
    const LIVE: &'static [&'static str] = &[];

    /// Whether these flags ask for the program's work, which begins with a line in the log, and not for an answer.
    fn serves(_extra: &Self::Extra) -> bool {
        true
    }

    /// Says what is wrong with settings that are each valid but do not go together. Binds and opens nothing.
    ///
    /// # Errors
    /// Ends the program with exit code 64 before it has done anything, and makes `check-config` fail.
    fn check(_config: &Self::Config) -> anyhow::Result<()> {
        Ok(())
    }

    /// Says what is wrong between instances of one shared file, each of which is good alone. Binds and opens nothing.
    ///
    /// # Errors
    /// Makes `check-config` fail.
    fn check_together(_parts: &[(Part, Self::Config)]) -> anyhow::Result<()> {
        Ok(())
    }

    /// Says what is wrong with flags that are no settings and are each valid. Binds and opens nothing.
    ///
    /// # Errors
    /// Ends the program with exit code 64 before it has done anything.
    fn check_extra(_config: &Self::Config, _extra: &Self::Extra) -> anyhow::Result<()> {
        Ok(())
    }

    /// Does the program's work until it is done or `context.shutdown` is requested.
    ///
    /// # Errors
    /// Ends the program with exit code 1 and the error in one line.
    fn run(config: Self::Config, extra: Self::Extra, context: Context) -> anyhow::Result<ExitCode>;
}

/// No flags beyond the settings.
#[derive(Args, Clone, Debug, Default)]
pub struct NoExtra {}

/// What a running program is given. The default one is for tests: nobody asks it to stop, nobody is notified.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Tells when to stop.
    pub shutdown: Shutdown,
    /// The service manager. The program says `ready` after its first turn and `watchdog` from its event loop;
    /// STOPPING=1 goes out by itself.
    pub notify: Notify,
    /// Tells when to read the config file again, and what has changed in it.
    pub reload: Reload,
}

impl Context {
    /// The settings from now on, when the config file was to be read again and changes any of [`Program::LIVE`].
    #[must_use]
    pub fn reloaded<P: Program>(&self) -> Option<P::Config> {
        self.reload.take(P::LIVE, P::check)
    }
}

/// Runs a program: flags, log, version line, config, work. Exit codes: 0 or what [`Program::run`] says, 1 when it
/// fails, 64 for flags or a config that cannot be used, 130 at a second signal.
#[must_use]
pub fn main<P: Program>() -> ExitCode {
    let command = cli::command::<P::Config, P::Extra>(P::NAME, P::ABOUT, P::VERSION);
    let parsed = match cli::parse::<P::Config, P::Extra>(command, std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Nothing is left to report to when even this cannot be printed.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(EX_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };

    let mut log_file = None;
    if let Action::Run(extra) = &parsed.action {
        log_file = match cli::start_log(&parsed.common) {
            Ok(file) => file,
            Err(error) => {
                tell(&line(P::NAME, &error.into()));
                return ExitCode::from(EX_USAGE);
            }
        };

        if P::serves(extra) {
            tracing::info!(pid = std::process::id(), "{} {}", P::NAME, P::VERSION);
        }
    }

    ended::<P>(parsed).unwrap_or_else(|(code, error)| {
        say(&line(P::NAME, &error), log_file.is_some());
        code
    })
}

/// What the program was asked to do, or the code to exit with and why.
fn ended<P: Program>(parsed: Parsed<P::Extra>) -> Result<ExitCode, (ExitCode, anyhow::Error)> {
    let Parsed {
        common,
        flags,
        action,
    } = parsed;

    let file = ConfigFile {
        path: common.config,
        sections: P::SECTIONS,
        part: common.section,
    };

    let settings = || check::settings::<P>(&file, &flags).map_err(unusable);
    match action {
        Action::Run(extra) => {
            let settings = settings()?;
            P::check_extra(&settings.config, &extra).map_err(unusable)?;
            let reload = Reload::new(file, flags, settings.matches().clone());
            run::<P>(settings.config, extra, reload)
        }
        Action::PrintConfig => print(&settings()?.render()),
        Action::CheckConfig { own } => {
            check::file::<P>(&file, &flags, own).map_err(unusable)?;
            print(&format!(
                "{}: good\n",
                file.path
                    .as_ref()
                    .map_or("the flags".into(), |file| file.display().to_string())
            ))
        }
        Action::Keygen(keygen) => keygen
            .run()
            .map_err(Into::into)
            .and_then(|line| print(&format!("{line}\n"))),
    }
    .map_err(|error| (ExitCode::FAILURE, error))
}

fn unusable(error: anyhow::Error) -> (ExitCode, anyhow::Error) {
    (ExitCode::from(EX_USAGE), error)
}

fn run<P: Program>(config: P::Config, extra: P::Extra, reload: Reload) -> anyhow::Result<ExitCode> {
    let notify = Notify::from_env();
    let shutdown = Shutdown::on_signals(notify.clone(), reload.clone())?;
    let ended = P::run(
        config,
        extra,
        Context {
            shutdown,
            notify: notify.clone(),
            reload,
        },
    );

    notify.stopping();
    ended
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn line(name: &str, error: &anyhow::Error) -> String {
    format!("{name}: {error:#}").replace('\n', " ")
}

/// Into the log, and on stderr whatever the log filter says and wherever the log goes.
fn say(line: &str, log_in_file: bool) {
    let logged = tracing::enabled!(tracing::Level::ERROR);
    if logged {
        tracing::error!("{line}");
    }
    if log_in_file || !logged {
        tell(line);
    }
}

fn tell(line: &str) {
    // Nothing is left to report to when even this cannot be printed.
    let _ = writeln!(std::io::stderr(), "{line}");
}
