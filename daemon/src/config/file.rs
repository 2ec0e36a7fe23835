//! The config file: its keys and values as flags take them, and what is wrong in it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::Path;

use clap::Arg;
use clap::error::{ContextKind, ContextValue};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{ConfigError, Kind, MAX_FILE_BYTES, Place, command, flag};

/// The text of a file, unless it is too long.
pub(super) fn read(file: &Path) -> Result<String, ConfigError> {
    bounded_text(file).map_err(|error| ConfigError::Unreadable {
        file: file.to_owned(),
        error,
    })
}

/// What is wrong in a file, and where.
pub(super) struct Problem {
    offset: usize,
    text: String,
    hint: String,
}

impl Problem {
    pub(super) fn new(span: Option<Range<usize>>, text: impl Into<String>) -> Self {
        Self {
            offset: span.map_or(0, |span| span.start),
            text: text.into(),
            hint: String::new(),
        }
    }

    pub(super) fn hint(self, hint: String) -> Self {
        Self { hint, ..self }
    }

    pub(super) fn in_file(self, file: &Path, text: &str) -> ConfigError {
        ConfigError::Invalid {
            file: file.to_owned(),
            problem: self.text.trim_end().replace('\n', ", "),
            place: place(text, self.offset),
            hint: self.hint,
        }
    }
}

/// The values of each key as a flag takes them.
pub(super) type Layer = BTreeMap<String, Vec<String>>;

/// The tables of a file.
pub(super) fn parse(text: &str) -> Result<Spanned<DeTable<'_>>, Problem> {
    DeTable::parse(text).map_err(|error| Problem::new(error.span(), error.message()))
}

/// What entries of a file say.
pub(super) fn values<'a, 'i: 'a>(
    mut entries: Vec<(&'a Spanned<Cow<'i, str>>, &'a Spanned<DeValue<'i>>)>,
    keys: &[Arg],
) -> Result<Layer, Problem> {
    entries.sort_by_key(|(name, _)| name.span().start);

    let mut all = Layer::new();
    for (name, value) in entries {
        let id = name.get_ref().as_ref();
        let Some(key) = keys.iter().find(|key| key.get_id() == id) else {
            let problem = Problem::new(Some(name.span()), format!("unknown key `{id}`"));
            return Err(problem.hint(hint(keys, id)));
        };

        let words = words_of(key, value).map_err(|span| {
            let expected = Kind::of(key).description();
            Problem::new(Some(span), format!("`{id}`: expected {expected}"))
        })?;

        for (span, word) in &words {
            check_value(keys, key, word).map_err(|(text, hint)| {
                Problem::new(Some(span.clone()), format!("`{id}`: {text}")).hint(hint)
            })?;
        }

        let words = words.into_iter().map(|(_, word)| word).collect();
        all.insert(id.to_owned(), words);
    }

    Ok(all)
}

/// A value of the file as a flag takes it, and where it stands; or where something else stands.
fn words_of(
    key: &Arg,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<(Range<usize>, String)>, Range<usize>> {
    let kind = Kind::of(key);
    match (kind, value.get_ref()) {
        (Kind::List, DeValue::Array(items)) => items
            .iter()
            .map(|item| word(Kind::Text, item).map(|word| (item.span(), word)))
            .collect(),
        (Kind::List, DeValue::String(_)) => Ok(vec![(value.span(), word(Kind::Text, value)?)]),
        (Kind::Table, DeValue::Table(entries)) => entries
            .iter()
            .map(|(name, value)| {
                let number = word(Kind::Integer, value)?;
                Ok((value.span(), format!("{}={number}", name.get_ref())))
            })
            .collect(),
        _ => Ok(vec![(value.span(), word(kind, value)?)]),
    }
}

fn word(kind: Kind, value: &Spanned<DeValue<'_>>) -> Result<String, Range<usize>> {
    match (kind, value.get_ref()) {
        (Kind::Text, DeValue::String(text)) => Ok(text.to_string()),
        (Kind::Switch, DeValue::Boolean(value)) => Ok(value.to_string()),
        (Kind::Integer | Kind::Float, DeValue::Integer(number)) => {
            let parsed = i128::from_str_radix(number.as_str(), number.radix());
            Ok(parsed.map_err(|_| value.span())?.to_string())
        }
        (Kind::Float, DeValue::Float(number)) => Ok(number.as_str().to_owned()),
        _ => Err(value.span()),
    }
}

/// Parses a value alone; says what is wrong with it, and what may have been meant.
fn check_value(keys: &[Arg], key: &Arg, word: &str) -> Result<(), (String, String)> {
    let Err(error) = command(keys).try_get_matches_from([flag(key, word)]) else {
        return Ok(());
    };

    let text = match (error.get(ContextKind::ValidValue), error.source()) {
        (Some(ContextValue::Strings(valid)), _) => {
            format!("`{word}` is none of {}", valid.join("|"))
        }
        (_, Some(source)) => source.to_string(),
        _ => format!("`{word}` is no value of it"),
    };

    Err((text, meant(&error, ContextKind::SuggestedValue)))
}

/// What may have been meant by an unknown key, as the end of a sentence.
pub(super) fn hint(keys: &[Arg], id: &str) -> String {
    let long = id.replace('_', "-");
    let is_flag = |key: &&Arg| {
        let names = key.get_long_and_visible_aliases().unwrap_or_default();
        names.contains(&long.as_str())
    };

    if let Some(key) = keys.iter().find(is_flag) {
        return format!(", did you mean `{}`?", key.get_id());
    }

    match command(keys).try_get_matches_from([format!("--{long}")]) {
        Err(error) => meant(&error, ContextKind::SuggestedArg),
        Ok(_) => String::new(),
    }
}

fn meant(error: &clap::Error, kind: ContextKind) -> String {
    let suggested = match error.get(kind) {
        Some(ContextValue::String(one)) => Some(one),
        Some(ContextValue::Strings(several)) => several.first(),
        _ => None,
    };

    suggested.map_or_else(String::new, |word| {
        let name = word
            .strip_prefix("--")
            .map_or_else(|| word.clone(), |flag| flag.replace('-', "_"));
        format!(", did you mean `{name}`?")
    })
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
