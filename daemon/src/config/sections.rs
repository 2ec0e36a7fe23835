//! Where the settings of a program stand: a file of its own, or a part of one that all programs of a box share. In the
//! shared file `[relay]` is for every relay, and `[relay.second]` goes over it for the one that is named so.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Arg;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::{self, Layer, Problem};

/// The sections that a shared file may have; each is that of one program.
const SECTIONS: [&str; 4] = ["source", "camera", "relay", "viewer"];

/// The instance that has the settings of the section alone. Its name stands for nothing.
pub const MAIN: &str = "main";

/// Longest name of an instance, as of a stream.
const MAX_INSTANCE: usize = 64;

/// A section of a shared file, as the program that reads it declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// The key whose value is the instance's name, unless the file says another.
    pub named_by: Option<&'static str>,
    /// Whether an instance may run with the settings of the section alone; else they are but defaults for the instances.
    pub alone: bool,
}

/// A part of a shared file: a section, and an instance in it. Written `relay` or `relay.second`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The name of the section.
    pub section: String,
    /// The name of the instance.
    pub instance: Option<String>,
}

/// A text that names no [`Part`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no part of a file: write SECTION or SECTION.NAME, such as relay.second")]
pub struct PartError(String);

impl FromStr for Part {
    type Err = PartError;

    fn from_str(text: &str) -> Result<Self, PartError> {
        let (section, instance) = match text.split_once('.') {
            Some((section, instance)) => (section, Some(instance)),
            None => (text, None),
        };

        let good = SECTIONS.contains(&section) && instance.is_none_or(is_instance);
        good.then(|| Self {
            section: section.to_owned(),
            instance: instance.map(str::to_owned),
        })
        .ok_or_else(|| PartError(text.to_owned()))
    }
}

/// As the file has it.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let section = &self.section;
        match &self.instance {
            None => write!(f, "[{section}]"),
            Some(name) if name.contains(['.', ':']) => write!(f, "[{section}.\"{name}\"]"),
            Some(name) => write!(f, "[{section}.{name}]"),
        }
    }
}

/// The config file of a program, and what of it is the program's.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    /// Where it is; none when there is none.
    pub path: Option<PathBuf>,
    /// The sections that are this kind of program's.
    pub sections: &'static [Section],
    /// The part that is asked for. None: all of a file of its own, and the first section of a shared one.
    pub part: Option<Part>,
}

impl ConfigFile {
    /// The same file with another part.
    #[must_use]
    pub fn with_part(&self, part: Part) -> Self {
        Self {
            part: Some(part),
            ..self.clone()
        }
    }
}

/// What can stand in a unit's name without being escaped.
fn is_instance(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    (1..=MAX_INSTANCE).contains(&name.len()) && name.bytes().all(letter)
}

/// The values that a file has for a program, the lower layers first.
pub(super) fn layers(text: &str, keys: &[Arg], file: &ConfigFile) -> Result<Vec<Layer>, Problem> {
    let root = file::parse(text)?;
    let root = root.get_ref();
    let Some(part) = part_of(root, keys, file) else {
        return Ok(vec![file::values(entries(root), keys)?]);
    };

    check_section_names(root)?;
    let Some((_, section)) = root.get_key_value(part.section.as_str()) else {
        return Ok(names(&part, file));
    };

    let (own, instances) = split(section, keys)?;
    let mut layers = names(&part, file);
    layers.push(file::values(own, keys)?);
    let named = instances
        .iter()
        .find(|(name, _)| Some(*name) == part.instance.as_deref());
    if let Some((_, instance)) = named {
        layers.push(instance_values(&part, instance, keys)?);
    }

    Ok(layers)
}

/// The parts of a shared file that are a program's, each to be checked; none when the file is not shared.
pub(super) fn parts(
    text: &str,
    keys: &[Arg],
    file: &ConfigFile,
) -> Result<Option<Vec<Part>>, Problem> {
    let root = file::parse(text)?;
    let root = root.get_ref();
    if part_of(root, keys, file).is_none() {
        return Ok(None);
    }

    check_section_names(root)?;
    let mut parts = Vec::new();
    for section in file.sections {
        let part = |instance: Option<&str>| Part {
            section: section.name.to_owned(),
            instance: instance.map(str::to_owned),
        };

        parts.push(part(None));
        if let Some(table) = root.get(section.name) {
            let (_, instances) = split(table, keys)?;
            parts.extend(instances.iter().map(|(name, _)| part(Some(name))));
        }
    }

    Ok(Some(parts))
}

/// The part to read; none when the file is the program's alone: that has other things than tables, or a key's table.
fn part_of(root: &DeTable<'_>, keys: &[Arg], file: &ConfigFile) -> Option<Part> {
    let first = file.sections.first()?;
    let is_table = |value: &Spanned<DeValue<'_>>| matches!(value.get_ref(), DeValue::Table(_));
    let has_section = SECTIONS
        .iter()
        .any(|name| root.get(*name).is_some_and(is_table));

    let has_sections_alone = !root.is_empty()
        && root.values().all(is_table)
        && !keys
            .iter()
            .any(|key| root.contains_key(key.get_id().as_str()));

    let shared = || Part {
        section: first.name.to_owned(),
        instance: None,
    };
    file.part
        .clone()
        .or_else(|| (has_section || has_sections_alone).then(shared))
}

/// The layer below the file: what an instance's name stands for.
fn names(part: &Part, file: &ConfigFile) -> Vec<Layer> {
    let section = file
        .sections
        .iter()
        .find(|section| section.name == part.section);
    let named = part.instance.as_ref().filter(|name| *name != MAIN);
    let key = section.and_then(|section| section.named_by);
    let layer = key
        .zip(named)
        .map(|(key, name)| Layer::from([(key.to_owned(), vec![name.clone()])]));
    layer.into_iter().collect()
}

type Entry<'a, 'i> = (
    &'a Spanned<std::borrow::Cow<'i, str>>,
    &'a Spanned<DeValue<'i>>,
);

fn entries<'a, 'i>(table: &'a DeTable<'i>) -> Vec<Entry<'a, 'i>> {
    table.iter().collect()
}

/// Whatever is not a section, in a file of sections.
fn check_section_names(root: &DeTable<'_>) -> Result<(), Problem> {
    for (name, value) in root {
        let section = name.get_ref().as_ref();
        let problem = |text: String, hint: String| Problem::new(Some(name.span()), text).hint(hint);
        match (SECTIONS.contains(&section), value.get_ref()) {
            (true, DeValue::Table(_)) => {}
            (true, _) => {
                return Err(problem(
                    format!("`{section}`: expected a section"),
                    format!(", written as [{section}] or [{section}.NAME]"),
                ));
            }
            (false, DeValue::Table(_)) => {
                let known = SECTIONS.map(|name| Arg::new(name).long(name));
                return Err(problem(
                    format!("unknown section `{section}`"),
                    file::hint(&known, section),
                ));
            }
            (false, _) => {
                return Err(problem(
                    format!("`{section}` stands before the first section"),
                    ", write it below the one that it is for, such as [relay]".to_owned(),
                ));
            }
        }
    }

    Ok(())
}

/// The keys of a section, and the instances in it.
#[expect(clippy::type_complexity, reason = "two lists of one shape")]
fn split<'a, 'i>(
    section: &'a Spanned<DeValue<'i>>,
    keys: &[Arg],
) -> Result<(Vec<Entry<'a, 'i>>, Vec<(&'a str, &'a DeTable<'i>)>), Problem> {
    let DeValue::Table(table) = section.get_ref() else {
        return Err(Problem::new(Some(section.span()), "expected a section"));
    };

    let (mut own, mut instances) = (Vec::new(), Vec::new());
    for (name, value) in table {
        let is_key = keys
            .iter()
            .any(|key| key.get_id() == name.get_ref().as_ref());
        match value.get_ref() {
            DeValue::Table(instance) if !is_key => {
                if !is_instance(name.get_ref()) {
                    let text = format!("`{}` is no name of an instance", name.get_ref());
                    let hint = ", which has letters, digits and . _ - : only".to_owned();
                    return Err(Problem::new(Some(name.span()), text).hint(hint));
                }
                instances.push((name.get_ref().as_ref(), instance));
            }
            _ => own.push((name, value)),
        }
    }

    Ok((own, instances))
}

fn instance_values(part: &Part, table: &DeTable<'_>, keys: &[Arg]) -> Result<Layer, Problem> {
    let below = table.iter().find(|(name, value)| {
        let is_key = keys
            .iter()
            .any(|key| key.get_id() == name.get_ref().as_ref());
        !is_key && matches!(value.get_ref(), DeValue::Table(_))
    });

    if let Some((name, _)) = below {
        let (section, key) = (&part.section, name.get_ref());
        let instance = part.instance.as_deref().unwrap_or_default();
        let hint = format!(", a name with a dot takes quotes: [{section}.\"{instance}.{key}\"]");
        return Err(Problem::new(Some(name.span()), format!("unknown key `{key}`")).hint(hint));
    }

    file::values(entries(table), keys)
}

#[cfg(test)]
mod tests;
