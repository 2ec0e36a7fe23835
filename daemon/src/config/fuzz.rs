//! The fuzz target of config files, and the settings that it and the tests have.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};

use super::sections::{ConfigFile, Section};
use super::{ConfigError, Entry, Flags, Settings, entry, parse};

/// A choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Gso {
    Auto,
    Off,
}

crate::display_choice!(Gso);

/// One key of each kind.
#[derive(Args, Clone, Debug, PartialEq)]
pub(super) struct Config {
    /// Where to listen.
    ///
    /// Anywhere else needs keys. Then it is said who may come, by a list of those who have one.
    #[arg(default_value_t = SocketAddr::from(([127, 0, 0, 1], 5004)))]
    pub(super) listen: SocketAddr,
    /// A table ahead of plain keys.
    #[arg(value_parser = entry)]
    pub(super) controls: Vec<Entry>,
    /// Cutting.
    #[arg(default_value_t = Gso::Auto)]
    pub(super) gso: Gso,
    /// A ratio.
    #[arg(default_value_t = 0.5)]
    pub(super) parity: f64,
    /// A name that may be absent.
    pub(super) name: Option<String>,
    /// A list.
    #[arg(default_value = "ipc:///a")]
    pub(super) sources: Vec<String>,
    /// A size.
    #[arg(default_value_t = 7)]
    pub(super) size: u32,
    /// A number below zero.
    #[arg(default_value_t = 0)]
    pub(super) shift: i64,
    /// A switch that is on.
    #[arg(default_value_t = true)]
    pub(super) repeat: bool,
    /// A switch that is off.
    pub(super) flip_x: bool,
    /// A switch that is undecided.
    pub(super) stats: Option<bool>,
}

/// The sections of a program that can read a shared file.
const SHARED: &[Section] = &[Section {
    name: "relay",
    named_by: Some("name"),
    alone: true,
}];

/// The first byte says whether the rest is a program's own file, or one that all programs of a box share. It is refused with
/// a place that it has, or makes settings that print as a file of the same settings.
///
/// # Panics
/// When something is wrong with the program.
pub fn config(bytes: &[u8]) {
    let Some((choice, text)) = bytes.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };

    let own = ConfigFile::default();
    let part = (choice & 2 != 0).then(|| "relay.second".parse().expect("a part is named so"));
    let shared = ConfigFile {
        sections: SHARED,
        part,
        ..own.clone()
    };

    let file = if choice & 1 == 0 { &own } else { &shared };
    match parse::<Config>(file, text, &Flags::default()) {
        Ok(settings) => {
            let printed = settings.render();
            let again: Result<Settings<Config>, _> = parse(&own, &printed, &Flags::default());
            let again = again.unwrap_or_else(|error| panic!("{error} in\n{printed}"));
            assert_eq!(again.render(), printed);
        }
        Err(ConfigError::Invalid { problem, place, .. }) => {
            assert!(!problem.contains('\n') && place.column > 0);
            assert!((1..=text.split('\n').count()).contains(&place.line));
        }
        Err(error) => panic!("nothing was read: {error}"),
    }
}

#[cfg(test)]
#[test]
fn every_config_file_of_the_corpus_is_survived() {
    crate::testing::replay_corpus("config", config);
}
