//! The command line that all programs have in common, and the log that it asks for.

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;

use clap::{ArgAction, Args, Command, FromArgMatches, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::sections::Part;
use crate::config::{self, Flags};
use crate::keys::keygen::Keygen;
use crate::logfile::{LogFile, LogFileError, MAX_FILES, Plan, Size};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The flags of every program.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Config file (TOML); every setting below is also a key of it.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// The part of a config file that several programs share: a section, such as relay, or an instance of it, such as
    /// relay.second. Unset: the section of this program, or the whole of a file without sections.
    #[arg(long, value_name = "SECTION", global = true)]
    pub section: Option<Part>,

    /// What to log: error, warn, info, debug, trace, or a filter such as `info,fanlight_relay=debug`.
    #[arg(long, value_name = "FILTER", default_value = "info", value_parser = filter, global = true)]
    pub log: String,

    /// How log lines look: text or json.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text,
          hide_possible_values = true, global = true)]
    pub log_format: LogFormat,

    /// Log to this file instead of standard error, and to a new one when it is full.
    #[arg(long, value_name = "FILE", global = true)]
    pub log_file: Option<PathBuf>,

    /// When a log file is full: bytes, or with kB, MB or GB.
    #[arg(long, value_name = "SIZE", default_value = "10MB", global = true)]
    pub log_file_size: Size,

    /// Most log files to keep, with the one in use; the older ones are FILE.1, FILE.2 and so on.
    #[arg(long, value_name = "COUNT", default_value_t = 5, global = true,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_FILES)))]
    pub log_files: u16,

    /// Print the settings in effect as a config file, and exit.
    #[arg(long)]
    pub print_config: bool,
}

/// A parsed command line.
#[derive(Debug)]
pub struct Parsed<E> {
    /// The flags of every program.
    pub common: Common,
    /// The settings given as flags.
    pub flags: Flags,
    /// What the program is to do.
    pub action: Action<E>,
}

/// What the program is to do.
#[derive(Debug)]
pub enum Action<E> {
    /// Its work, with the flags that only it has.
    Run(E),
    /// Print the settings in effect.
    PrintConfig,
    /// Check the settings, and those of all programs in a file that they share.
    CheckConfig {
        /// Leave the sections of other programs to those.
        own: bool,
    },
    /// Make or show a key, whatever the settings are.
    Keygen(Keygen),
}

/// The command line of a program: the common flags, one flag a key of `C`, and the program's own `E`.
#[must_use]
pub fn command<C: Args, E: Args>(
    name: &'static str,
    about: &'static str,
    version: &'static str,
) -> Command {
    let command = config::add_flags::<C>(E::augment_args(Common::augment_args(Command::new(name))));
    // What it is about comes last: the documentation of a group of flags would take its place.
    command
        .about(about)
        .long_about(None)
        .version(version)
        .subcommand_negates_reqs(true)
        .subcommand(
            Command::new(CHECK_CONFIG)
                .about("Check the config file and the flags, and exit: 0 when they are good, 64 when not")
                .arg(clap::Arg::new(CHECKED_FILE).value_name("FILE").value_parser(clap::value_parser!(PathBuf)))
                .arg(clap::Arg::new(OWN_SECTIONS).long(OWN_SECTIONS).action(ArgAction::SetTrue)
                    .help("Of a file that several programs share, check the sections of this one only")),
        )
        .subcommand(
            Keygen::augment_subcommands(Command::new(KEYGEN))
                .about("Make a key file that only its owner can read, or show the public part of one")
                .subcommand_required(true)
                .arg_required_else_help(true),
        )
}

/// Parses the words of a command line, the first of which is the program's name.
///
/// # Errors
/// clap's error, which is also how `--help` and `--version` come back.
pub fn parse<C: Args, E: Args>(
    command: Command,
    words: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<Parsed<E>, clap::Error> {
    let flags = config::parse_flags::<C>(command, words)?;
    let matches = flags.matches();
    let mut common = Common::from_arg_matches(matches)?;
    let action = match matches.subcommand() {
        Some((CHECK_CONFIG, check)) => {
            common.config = check.get_one(CHECKED_FILE).cloned().or(common.config);
            Action::CheckConfig {
                own: check.get_flag(OWN_SECTIONS),
            }
        }
        Some((KEYGEN, keygen)) => Action::Keygen(Keygen::from_arg_matches(keygen)?),
        _ if common.print_config => Action::PrintConfig,
        _ => Action::Run(E::from_arg_matches(matches)?),
    };

    Ok(Parsed {
        common,
        flags,
        action,
    })
}

/// Starts the log, on stderr or in the file asked for, which is to be kept to the end of the program. Does nothing when a
/// log has been started before.
///
/// # Errors
/// When the file cannot be written.
pub fn start_log(common: &Common) -> Result<Option<LogFile>, LogFileError> {
    let file = common.log_file.as_ref().map(|path| {
        LogFile::open(Plan {
            path: path.clone(),
            size: common.log_file_size.bytes(),
            files: common.log_files,
        })
    });

    let file = file.transpose()?;
    match &file {
        Some(file) => start_log_on(common, file.writer(), false),
        None => start_log_on(common, stderr, stderr().is_terminal()),
    }

    Ok(file)
}

fn start_log_on<W>(common: &Common, writer: W, colours: bool)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("{QUIET},{}", common.log)))
        .with_writer(writer);
    let started = match common.log_format {
        LogFormat::Text => log.with_ansi(colours).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };

    if let Err(error) = started {
        tracing::debug!("the log has been started before: {error}");
    }
}

pub(crate) const CHECK_CONFIG: &str = "check-config";
/// Libraries whose warnings are of no use to an operator; a filter that names them hears them.
const QUIET: &str = "winit=error";
const CHECKED_FILE: &str = "checked_file";
pub(crate) const OWN_SECTIONS: &str = "own-sections";
const KEYGEN: &str = "keygen";

fn filter(text: &str) -> Result<String, tracing_subscriber::filter::ParseError> {
    EnvFilter::try_new(text).map(|_| text.to_owned())
}
