//! Settings: flags over a TOML file over defaults.
//!
//! A program declares one struct with `clap::Args`. Each field is a key of the file (`max_viewers`) and a flag
//! (`--max-viewers`), its doc comment is the help, its `default_value` the default. The file is read as if its keys
//! were flags, so that a value is parsed in one way wherever it stands; what is wrong in the file is told with its line
//! and column.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, value_parser};

use crate::keys::KeyPath;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod sections;

use sections::{ConfigFile, Part};

/// Largest config file read, in bytes: far above any that is written by hand, far below what could hurt.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Characters in a line of a printed comment.
const COMMENT_WIDTH: usize = 118;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the config file {}: {error}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What reading it said.
        error: io::Error,
    },
    /// The file is not TOML, has an unknown key or a value that the key does not take.
    #[error("{}: {problem} ({place}){hint}", .file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
        /// Where it is wrong.
        place: Place,
        /// What may have been meant, as the end of the sentence; empty when nothing comes to mind.
        hint: String,
    },
}

/// A place in a file, both counted from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// An entry of a table key, `NAME=VALUE` as a flag. A field of type `Vec<Entry>` with `value_parser = entry` is a table
/// in the file; a later entry of the same name wins.
pub type Entry = (String, i64);

/// Parses an [`Entry`].
///
/// # Errors
/// Says what was expected.
pub fn entry(text: &str) -> Result<Entry, String> {
    let (name, value) = text.split_once('=').ok_or("expected name=value")?;
    let value = value
        .parse()
        .map_err(|error| format!("`{value}`: {error}"))?;
    Ok((name.to_owned(), value))
}

/// Displays an enumeration of choices (`clap::ValueEnum`) as the word that a flag or a file has for it.
#[macro_export]
macro_rules! display_choice {
    ($($Choice:ty),+ $(,)?) => {
        $(impl std::fmt::Display for $Choice {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let word = $crate::reexport::clap::ValueEnum::to_possible_value(self);
                f.write_str(word.as_ref().map_or("", |word| word.get_name()))
            }
        })+
    };
}

/// The settings that flags say: what [`load`] puts over the file.
#[derive(Debug, Default)]
pub struct Flags {
    matches: ArgMatches,
    /// Keys of lists that a flag without a value (`--sources=`) empties.
    emptied: Vec<String>,
}

/// `command` with a flag for each key of `C`.
#[must_use]
pub fn add_flags<C: Args>(command: Command) -> Command {
    command.args(keys::<C>())
}

/// Parses a command line for a `command` that [`add_flags`] completed.
///
/// # Errors
/// clap's, which is also how `--help` and `--version` come back.
pub fn parse_flags<C: Args>(
    command: Command,
    words: impl IntoIterator<Item = OsString>,
) -> Result<Flags, clap::Error> {
    let empty_lists: BTreeMap<OsString, String> = keys::<C>()
        .iter()
        .filter(|key| Kind::of(key) == Kind::List)
        .flat_map(|key| {
            let names = key.get_long_and_visible_aliases().unwrap_or_default();
            let id = key.get_id().to_string();
            names
                .into_iter()
                .map(move |name| (format!("--{name}=").into(), id.clone()))
        })
        .collect();

    let mut emptied = Vec::new();
    let words = words.into_iter().filter(|word| {
        let list = empty_lists.get(word);
        emptied.extend(list.cloned());
        list.is_none()
    });

    let words: Vec<OsString> = words.collect();
    let matches = command.try_get_matches_from(words)?;
    Ok(Flags { matches, emptied })
}

impl Flags {
    /// All that the command line says.
    #[must_use]
    pub fn matches(&self) -> &ArgMatches {
        &self.matches
    }

    /// The values of a key, when a flag gives it.
    fn values(&self, key: &str) -> Option<Vec<String>> {
        if self.emptied.iter().any(|emptied| emptied == key) {
            return Some(Vec::new());
        }
        let known = self.matches.try_contains_id(key).unwrap_or_default();
        let given = known && self.matches.value_source(key) == Some(ValueSource::CommandLine);
        given.then(|| raw_values(&self.matches, key))
    }
}

/// The settings in effect.
#[derive(Debug)]
pub struct Settings<C> {
    /// As the program takes them.
    pub config: C,
    keys: Vec<Arg>,
    matches: ArgMatches,
}

/// The settings that `flags`, `file` (when there is one) and the defaults make together. A table is merged entry by
/// entry, every other key is taken from the uppermost that has it.
///
/// # Errors
/// When the file is missing, unreadable or larger than [`MAX_FILE_BYTES`], is not TOML, has an unknown key or a value
/// that the key's type refuses.
pub fn load<C: Args>(file: &ConfigFile, flags: &Flags) -> Result<Settings<C>, ConfigError> {
    let text = file.path.as_deref().map(file::read).transpose()?;
    parse(file, &text.unwrap_or_default(), flags)
}

/// As [`load`], with the text of the file.
///
/// # Errors
/// As [`load`], but for those of reading.
pub fn parse<C: Args>(
    file: &ConfigFile,
    text: &str,
    flags: &Flags,
) -> Result<Settings<C>, ConfigError> {
    let mut keys = keys::<C>();
    let layers =
        sections::layers(text, &keys, file).map_err(|problem| in_file(problem, file, text))?;

    let mut words = Vec::new();
    for key in &mut keys {
        let id = key.get_id().to_string();
        let said = layers.iter().filter_map(|layer| layer.get(&id).cloned());
        let mut said: Vec<_> = said.chain(flags.values(&id)).collect();
        let values = match said.pop() {
            None => continue,
            Some(last) if Kind::of(key) == Kind::Table => [said.concat(), last].concat(),
            Some(last) => last,
        };

        if values.is_empty() {
            *key = key.clone().default_value(Resettable::Reset);
        }

        words.extend(values.iter().map(|value| flag(key, value)));
    }

    Ok(Settings::of(keys, words))
}

/// The parts of a file that is shared which are a program's; none when it is the program's alone.
///
/// # Errors
/// As [`load`].
pub(crate) fn parts<C: Args>(file: &ConfigFile) -> Result<Option<Vec<Part>>, ConfigError> {
    let text = file.path.as_deref().map(file::read).transpose()?;
    let text = text.unwrap_or_default();
    sections::parts(&text, &keys::<C>(), file).map_err(|problem| in_file(problem, file, &text))
}

fn in_file(problem: file::Problem, file: &ConfigFile, text: &str) -> ConfigError {
    problem.in_file(file.path.as_deref().unwrap_or(Path::new("")), text)
}

/// The settings when neither flags nor a file say anything.
///
/// # Panics
/// When a default of `C` is not a value of its key.
#[must_use]
pub fn defaults<C: Args>() -> C {
    parse(&ConfigFile::default(), "", &Flags::default())
        .map(|settings: Settings<C>| settings.config)
        .expect("an empty file has no errors")
}

impl<C: Args> Settings<C> {
    /// Of `words`, each a flag that was parsed alone before.
    fn of(keys: Vec<Arg>, words: Vec<String>) -> Self {
        let matches = command(&keys)
            .try_get_matches_from(words)
            .expect("every value was parsed alone before");
        let config = C::from_arg_matches(&matches).expect("every key has a default or is optional");
        Self {
            config,
            keys,
            matches,
        }
    }

    /// The settings `old`, with the keys `live` of these.
    pub(crate) fn update(&self, old: &ArgMatches, live: &[&str]) -> Update<C> {
        let (mut changed, mut kept) = (Vec::new(), Vec::new());
        let (mut keys, mut words) = (keys::<C>(), Vec::new());
        for key in &mut keys {
            let id = key.get_id().to_string();
            let (before, after) = (raw_values(old, &id), raw_values(&self.matches, &id));
            let is_live = live.contains(&id.as_str());
            if before != after {
                if is_live { &mut changed } else { &mut kept }.push(id);
            }

            let values = if is_live { after } else { before };
            if values.is_empty() {
                *key = key.clone().default_value(Resettable::Reset);
            }
            words.extend(values.iter().map(|value| flag(key, value)));
        }

        Update {
            settings: Self::of(keys, words),
            changed,
            kept,
        }
    }

    /// What the values were parsed from.
    pub(crate) const fn matches(&self) -> &ArgMatches {
        &self.matches
    }
}

/// What a config file that was read again changes.
#[derive(Debug)]
pub(crate) struct Update<C> {
    /// The settings from now on.
    pub(crate) settings: Settings<C>,
    /// The keys that they change.
    pub(crate) changed: Vec<String>,
    /// The keys that changed in the file and need a new start.
    pub(crate) kept: Vec<String>,
}

impl<C> Settings<C> {
    /// The settings as the text of a config file, each key below its documentation; a key without value is commented
    /// out.
    #[must_use]
    pub fn render(&self) -> String {
        let sections = self.keys.iter().map(|key| {
            let id = key.get_id().as_str();
            let help = key.get_long_help().or(key.get_help());
            let help = comment(&help.map_or_else(String::new, ToString::to_string));
            match toml_value(key, raw_values(&self.matches, id)) {
                Some(value) => format!("{help}{id} = {value}\n"),
                None => format!("{help}# {id} =\n"),
            }
        });

        sections.collect::<Vec<_>>().join("\n")
    }

    /// The keys of key files that are not there, each with its file. What cannot be looked at may be there.
    pub(crate) fn missing_key_files(&self) -> impl Iterator<Item = (&str, PathBuf)> {
        self.keys.iter().filter_map(|key| {
            let id = key.get_id().as_str();
            let is_key_file = key.get_value_parser().type_id() == TypeId::of::<KeyPath>();
            let path = is_key_file.then(|| self.matches.get_one::<KeyPath>(id))??;
            match path {
                KeyPath::File(file) if matches!(file.try_exists(), Ok(false)) => {
                    Some((id, file.clone()))
                }
                _ => None,
            }
        })
    }

    /// The names of all keys.
    pub(crate) fn key_names(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.get_id().as_str())
    }
}

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Switch,
    Integer,
    Float,
    Text,
    /// A list of texts.
    List,
    Table,
}

impl Kind {
    fn of(key: &Arg) -> Self {
        let parsed = key.get_value_parser().type_id();
        let is = |types: &[TypeId]| types.iter().any(|one| parsed == *one);
        let integers = [
            TypeId::of::<u8>(),
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
            TypeId::of::<i64>(),
        ];

        match key.get_action() {
            ArgAction::Append if is(&[TypeId::of::<Entry>()]) => Self::Table,
            ArgAction::Append => Self::List,
            ArgAction::SetTrue => Self::Switch,
            _ if is(&[TypeId::of::<bool>()]) => Self::Switch,
            _ if is(&integers) => Self::Integer,
            _ if is(&[TypeId::of::<f32>(), TypeId::of::<f64>()]) => Self::Float,
            _ => Self::Text,
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Switch => "true or false",
            Self::Integer => "a whole number",
            Self::Float => "a number",
            Self::Text => "a string",
            Self::List => "a list of strings",
            Self::Table => "a table of whole numbers",
        }
    }
}

/// The keys of `C` as flags that all follow the same conventions.
fn keys<C: Args>() -> Vec<Arg> {
    let command = C::augment_args(Command::new("keys"));
    command.get_arguments().cloned().map(as_flag).collect()
}

fn as_flag(key: Arg) -> Arg {
    let long = key.get_id().as_str().replace('_', "-");
    let singular = long.strip_suffix('s').map(str::to_owned);
    let kind = Kind::of(&key);
    let key = key
        .long(long)
        .global(true)
        .help_heading("Settings (flag over file over default)")
        .hide_possible_values(true)
        .allow_negative_numbers(true);

    match (kind, singular) {
        // Also `--flip-x=false`: a file may have said true.
        (Kind::Switch, _) => {
            let undecided = key.get_default_values().is_empty();
            let key = match key.get_action() {
                ArgAction::SetTrue if undecided => key.default_value("false"),
                _ => key,
            };

            key.action(ArgAction::Set)
                .value_parser(value_parser!(bool))
                .num_args(0..=1)
                .default_missing_value("true")
                .value_name("true|false")
        }
        // One value a flag: with a delimiter clap would take all that follows, positional arguments among it.
        (Kind::List, Some(singular)) => {
            key.value_delimiter(',').num_args(1).visible_alias(singular)
        }
        (Kind::List, None) => key.value_delimiter(',').num_args(1),
        (Kind::Table, Some(singular)) => key.value_name("NAME=VALUE").visible_alias(singular),
        _ => key,
    }
}

fn command(keys: &[Arg]) -> Command {
    Command::new("settings").no_binary_name(true).args(keys)
}

fn flag(key: &Arg, value: &str) -> String {
    format!("--{}={value}", key.get_long().unwrap_or_default())
}

fn raw_values(matches: &ArgMatches, key: &str) -> Vec<String> {
    let values = matches.get_raw(key).into_iter().flatten();
    values
        .map(|value| value.to_string_lossy().into_owned())
        .collect()
}

/// A key's values as the file has them.
fn toml_value(key: &Arg, values: Vec<String>) -> Option<toml::Value> {
    let kind = Kind::of(key);
    match kind {
        Kind::List => Some(values.into()),
        Kind::Table => {
            let entries = values.iter().filter_map(|value| entry(value).ok());
            let entries: toml::Table = entries.map(|(name, value)| (name, value.into())).collect();
            Some(entries.into())
        }
        _ => {
            let value = values.into_iter().next()?;
            let typed = match kind {
                Kind::Switch => value.parse().ok().map(toml::Value::Boolean),
                Kind::Integer => value.parse().ok().map(toml::Value::Integer),
                Kind::Float => value.parse().ok().map(toml::Value::Float),
                _ => None,
            };

            Some(typed.unwrap_or(toml::Value::String(value)))
        }
    }
}

/// A text as comment lines of a config file.
fn comment(text: &str) -> String {
    let mut comment = String::new();
    for paragraph in text.lines() {
        let mut line = String::from("#");
        for word in paragraph.split_whitespace() {
            if line.len() + 1 + word.len() > COMMENT_WIDTH {
                comment += &line;
                comment.push('\n');
                line.truncate(1);
            }
            line.push(' ');
            line += word;
        }

        comment += &line;
        comment.push('\n');
    }

    comment
}

#[cfg(test)]
mod tests;
