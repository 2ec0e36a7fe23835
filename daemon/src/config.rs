//! Loading settings: flags over a TOML file over defaults, with errors that say where and what.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use crate::choice::suggestion;
use crate::options::Layer;

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
    let invalid = |problem: &str, span: Option<Range<usize>>, hint: String| ConfigError::Invalid {
        file: file.to_owned(),
        problem: problem.trim_end().replace('\n', ", "),
        place: place(text, span.map_or(0, |span| span.start)),
        hint,
    };
    let table = DeTable::parse(text)
        .map_err(|error| invalid(error.message(), error.span(), String::new()))?;
    let keys: Vec<(Range<usize>, &str)> = table
        .get_ref()
        .keys()
        .map(|key| (key.span(), key.get_ref().as_ref()))
        .collect();
    let names: Vec<&str> = L::KEYS.iter().map(|key| key.name).collect();
    let unknown = keys
        .iter()
        .filter(|(_, name)| !names.contains(name))
        .min_by_key(|(span, _)| span.start);
    if let Some((span, name)) = unknown {
        return Err(invalid(
            &format!("unknown key `{name}`"),
            Some(span.clone()),
            suggestion(name, &names),
        ));
    }
    toml::from_str(text).map_err(|error| {
        let span = error.span();
        let start = span.as_ref().map_or(0, |span| span.start);
        let before = keys
            .iter()
            .filter(|(key, _)| key.start <= start)
            .max_by_key(|(key, _)| key.start);
        let problem =
            before.map_or_else(String::new, |(_, name)| format!("`{name}`: ")) + error.message();
        invalid(&problem, span, String::new())
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
    let text = bounded_text(file).map_err(|error| ConfigError::Unreadable {
        file: file.to_owned(),
        error,
    })?;
    parse(file, &text)
}

fn bounded_text(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        let problem = format!("it has more than {MAX_FILE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(text)
}

fn place(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use super::*;

    crate::choice! {
        /// A choice.
        enum Gso {
            /// One.
            Auto = "auto",
            /// Other.
            Off = "off",
        }
    }

    crate::options! {
        /// One key of each kind.
        struct Config / Options {
            /// Where to listen.
            ///
            /// Anywhere else needs keys.
            listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 5004));
            /// A table ahead of plain keys.
            controls: BTreeMap<String, i64> = BTreeMap::new();
            /// Cutting.
            gso: Gso = Gso::Auto;
            /// A ratio.
            parity: f64 = 0.5;
            /// A name that may be absent.
            name: Option<String> = None;
            /// A list.
            sources: Vec<String> = vec!["ipc:///a".to_owned()];
            /// A size.
            size: u32 = 7;
        }
    }

    fn from_text(text: &str) -> Result<Config, String> {
        let layer: Options =
            parse(Path::new("relay.toml"), text).map_err(|error| error.to_string())?;
        Ok(layer.resolve())
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place_and_a_suggestion() {
        assert_eq!(
            from_text("# sizes\nname = \"é\"\n sise = 3\n").unwrap_err(),
            "relay.toml: unknown key `sise` (line 3, column 2), did you mean `size`?"
        );
        assert_eq!(
            from_text("[colour]\nred = 1").unwrap_err(),
            "relay.toml: unknown key `colour` (line 1, column 2)"
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_with_its_key_and_place() {
        for (text, wanted) in [
            (
                "name = 'é' # é\nsize = true",
                "`size`: invalid type: boolean `true`, expected u32 (line 2, column 8)",
            ),
            (
                "size = -1",
                "`size`: invalid value: integer `-1`, expected u32 (line 1, column 8)",
            ),
            (
                "gso = 'of'",
                "`gso`: `of` is none of auto|off, did you mean `off`? (line 1, column 7)",
            ),
            (
                "listen = 'here'",
                "`listen`: invalid socket address syntax (line 1, column 10)",
            ),
            (
                "size = 1\n[controls]\ngain = 'much'",
                "`controls`: invalid type: string \"much\", expected i64 (line 3, column 8)",
            ),
            (
                "sources = ['a', 2]",
                "`sources`: invalid type: integer `2`, expected a string (line 1, column 17)",
            ),
        ] {
            assert_eq!(
                from_text(text).unwrap_err(),
                format!("relay.toml: {wanted}")
            );
        }
    }

    #[test]
    fn what_is_not_toml_is_refused_with_its_place() {
        for text in [
            "size = 1\nsize = 2",
            "size = ",
            "= 3",
            "size",
            "name = \"a",
            "\u{feff}\u{0}",
        ] {
            let error = from_text(text).unwrap_err();
            assert!(error.contains("(line ") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn what_is_printed_loads_as_the_same_settings() {
        let changed = Config {
            controls: BTreeMap::from([("Gain, auto".to_owned(), -1)]),
            gso: Gso::Off,
            name: Some("\"é\"\n".to_owned()),
            sources: vec![],
            ..Config::default()
        };
        for config in [Config::default(), changed] {
            let text = render::<Options>(&config).unwrap();
            assert_eq!(from_text(&text).as_ref(), Ok(&config), "{text}");
        }
    }

    #[test]
    fn what_is_printed_documents_every_key() {
        let text = render::<Options>(&Config::default()).unwrap();
        assert!(
            text.starts_with(
                "# Where to listen.\n#\n# Anywhere else needs keys.\nlisten = \"127.0.0.1:5004\"\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("\n# A name that may be absent.\n# name =\n"),
            "{text}"
        );
        assert!(text.contains("\nparity = 0.5\n"), "{text}");
    }

    #[test]
    fn flags_go_over_the_file_and_the_file_over_the_defaults() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "size = 8\nname = 'file'\n").unwrap();
        let flags = Options {
            name: Some("flag".to_owned()),
            ..Options::default()
        };
        let config = load(Some(file.path()), flags).unwrap();
        assert_eq!(
            config,
            Config {
                size: 8,
                name: Some("flag".to_owned()),
                ..Config::default()
            }
        );
        assert_eq!(load(None, Options::default()).unwrap(), Config::default());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let huge = dir.path().join("huge.toml");
        File::create(&huge)
            .unwrap()
            .set_len(MAX_FILE_BYTES + 1)
            .unwrap();
        for file in [dir.path().join("missing.toml"), dir.path().to_owned(), huge] {
            let error = load(Some(&file), Options::default())
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with(&format!("cannot read the config file {}: ", file.display())),
                "{error}"
            );
        }
    }
}
