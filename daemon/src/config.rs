//! Loading settings: flags over a TOML file over defaults, with errors that say where and what.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::options::{Layer, suggestion};

/// Largest config file read, in bytes: far above any that is written by hand, far below what could hurt.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

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
    /// The file is not TOML, has an unknown key or a value of the wrong type.
    #[error("{}: {problem} ({place})", .file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
        /// Where it is wrong.
        place: Place,
    },
    /// The settings cannot be written as TOML, as a number above `i64::MAX` cannot.
    #[error("these settings cannot be written as TOML: {0}")]
    Unprintable(#[from] toml::ser::Error),
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

/// The settings that `flags`, `file` (when there is one) and the defaults make together.
///
/// # Errors
/// When the file is missing, unreadable or larger than [`MAX_FILE_BYTES`], is not TOML, has a key that is not one of
/// [`Layer::KEYS`] or a value that the key's type refuses.
pub fn load<L: Layer>(file: Option<&Path>, flags: L) -> Result<L::Config, ConfigError> {
    let lower = file.map_or_else(|| Ok(L::default()), read_file)?;
    Ok(flags.over(lower).resolve())
}

/// One layer of settings from the text of a config file; `file` is its name in errors.
///
/// # Errors
/// As [`load`], save those of reading.
pub fn parse<L: Layer>(file: &Path, text: &str) -> Result<L, ConfigError> {
    let invalid = |problem: String, span: Option<Range<usize>>| ConfigError::Invalid {
        file: file.to_owned(),
        problem,
        place: place(text, span.map_or(0, |span| span.start)),
    };
    let table = DeTable::parse(text).map_err(|error| invalid(error.message().to_owned(), error.span()))?;
    let mut keys: Vec<_> = table.get_ref().iter().collect();
    keys.sort_by_key(|(key, _)| key.span().start);
    let names: Vec<&str> = L::KEYS.iter().map(|key| key.name).collect();
    if let Some((key, _)) = keys.iter().find(|(key, _)| !names.contains(&key.get_ref().as_ref())) {
        let name = key.get_ref();
        return Err(invalid(format!("unknown key `{name}`{}", suggestion(name, &names)), Some(key.span())));
    }
    toml::from_str(text).map_err(|error| {
        let span = error.span();
        let key = span.clone().and_then(|span| {
            keys.iter().rev().find(|(key, _)| key.span().start <= span.start).map(|(key, _)| key.get_ref().to_string())
        });
        let problem = error.message().trim_end().to_owned();
        invalid(key.map_or_else(|| problem.clone(), |key| format!("`{key}`: {problem}")), span)
    })
}

/// The settings as the text of a config file, each key below its documentation; a key without value is commented out.
///
/// # Errors
/// When a value cannot be written as TOML.
pub fn render<L: Layer>(config: &L::Config) -> Result<String, ConfigError> {
    let values = toml::Table::try_from(config)?;
    let mut text = String::new();
    for key in L::KEYS {
        for line in key.help {
            text.push_str(format!("#{line}").trim_end());
            text.push('\n');
        }
        let line = match values.get(key.name) {
            Some(value) => format!("{} = {value}\n\n", key.name),
            None => format!("# {} =\n\n", key.name),
        };
        text.push_str(&line);
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    Ok(text)
}

fn read_file<L: Layer>(file: &Path) -> Result<L, ConfigError> {
    let unreadable = |error| ConfigError::Unreadable { file: file.to_owned(), error };
    let size = std::fs::metadata(file).map_err(unreadable)?.len();
    if size > MAX_FILE_BYTES {
        return Err(unreadable(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{size} bytes, at most {MAX_FILE_BYTES} are read"),
        )));
    }
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    parse(file, &text)
}

fn place(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}
