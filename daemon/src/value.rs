//! How a key's type is read from a flag and merged between layers.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A type that one word of a command line can hold: its `FromStr` reads the flag, its serde the file. Implemented for
/// numbers, `bool`, `String`, `PathBuf` and addresses; [`serde_str!`](crate::serde_str) and [`choice!`](crate::choice)
/// implement it, as does the wrapper [`Text`](crate::options::Text) for a type of another crate.
pub trait Scalar:
    Clone
    + Debug
    + PartialEq
    + Send
    + Sync
    + Serialize
    + DeserializeOwned
    + FromStr<Err: Display>
    + 'static
{
    /// Completes the flag of a key of this type. A flag takes exactly one value unless this says otherwise.
    #[must_use]
    fn flag(arg: Arg) -> Arg {
        arg
    }
}

/// A type that a key of [`options!`](crate::options!) can have: a [`Scalar`], or an `Option`, a `Vec` or a `BTreeMap`
/// of them.
pub trait Value: Clone + Debug + PartialEq + Serialize {
    /// Whether the flag may be given several times.
    const REPEATED: bool = false;

    /// What one layer says about the key, if it says anything.
    type Given: Clone + Debug + PartialEq + DeserializeOwned;

    /// Completes the flag of the key.
    fn flag(arg: Arg) -> Arg;

    /// What the command line says about the key.
    fn from_flag(matches: &ArgMatches, id: &str) -> Option<Self::Given>;

    /// The upper layer over the lower one.
    fn over(upper: Option<Self::Given>, lower: Option<Self::Given>) -> Option<Self::Given> {
        upper.or(lower)
    }

    /// All layers over the default.
    fn resolve(given: Option<Self::Given>, default: Self) -> Self;
}

impl<T: Scalar> Value for T {
    type Given = T;

    fn flag(arg: Arg) -> Arg {
        T::flag(
            arg.value_parser(scalar_parser::<T>())
                .action(ArgAction::Set)
                .allow_negative_numbers(true),
        )
    }

    fn from_flag(matches: &ArgMatches, id: &str) -> Option<T> {
        matches.get_one::<T>(id).cloned()
    }

    fn resolve(given: Option<T>, default: T) -> T {
        given.unwrap_or(default)
    }
}

/// A key that may stay unset.
impl<T: Scalar> Value for Option<T> {
    type Given = T;

    fn flag(arg: Arg) -> Arg {
        <T as Value>::flag(arg)
    }

    fn from_flag(matches: &ArgMatches, id: &str) -> Option<T> {
        <T as Value>::from_flag(matches, id)
    }

    fn resolve(given: Option<T>, default: Self) -> Self {
        given.or(default)
    }
}

/// A list replaces the list of the layer below. On the command line the flag is repeated or its value separated by
/// commas; an empty value adds nothing, so that `--sources=` is the empty list.
impl<T: Scalar> Value for Vec<T> {
    const REPEATED: bool = true;

    type Given = Vec<T>;

    fn flag(arg: Arg) -> Arg {
        arg.value_parser(list_parser::<T>())
            .action(ArgAction::Append)
            .allow_negative_numbers(true)
    }

    fn from_flag(matches: &ArgMatches, id: &str) -> Option<Vec<T>> {
        matches
            .get_many::<Vec<T>>(id)
            .map(|lists| lists.flatten().cloned().collect())
    }

    fn resolve(given: Option<Vec<T>>, default: Vec<T>) -> Vec<T> {
        given.unwrap_or(default)
    }
}

/// A table goes entry by entry over the table of the layer below. On the command line each use of the flag is one
/// `name=value`.
impl<K: Scalar + Ord, V: Scalar> Value for BTreeMap<K, V> {
    const REPEATED: bool = true;

    type Given = BTreeMap<K, V>;

    fn flag(arg: Arg) -> Arg {
        arg.value_parser(entry_parser::<K, V>())
            .action(ArgAction::Append)
            .value_name("NAME=VALUE")
    }

    fn from_flag(matches: &ArgMatches, id: &str) -> Option<Self> {
        matches
            .get_many::<(K, V)>(id)
            .map(|entries| entries.cloned().collect())
    }

    fn over(upper: Option<Self>, lower: Option<Self>) -> Option<Self> {
        match (upper, lower) {
            (Some(upper), Some(lower)) => Some(Self::resolve(Some(upper), lower)),
            (upper, lower) => upper.or(lower),
        }
    }

    fn resolve(given: Option<Self>, mut default: Self) -> Self {
        default.extend(given.unwrap_or_default());
        default
    }
}

/// A flag without a value means true; `--flip-x=false` and `--flip-x false` mean false.
impl Scalar for bool {
    fn flag(arg: Arg) -> Arg {
        arg.num_args(0..=1)
            .default_missing_value("true")
            .value_name("true|false")
    }
}

macro_rules! scalars {
    ($($scalar:ty),*) => { $(impl Scalar for $scalar {})* };
}

scalars!(
    u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, f32, f64, String, PathBuf
);
scalars!(
    IpAddr,
    Ipv4Addr,
    Ipv6Addr,
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6
);

fn scalar_parser<T: Scalar>() -> ValueParser {
    ValueParser::new(parse::<T>)
}

fn list_parser<T: Scalar>() -> ValueParser {
    ValueParser::new(|text: &str| {
        text.split(',')
            .filter(|item| !item.is_empty())
            .map(parse::<T>)
            .collect::<Result<Vec<T>, _>>()
    })
}

fn entry_parser<K: Scalar, V: Scalar>() -> ValueParser {
    ValueParser::new(|text: &str| {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| "expected name=value".to_owned())?;
        Ok::<_, String>((parse::<K>(name)?, parse::<V>(value)?))
    })
}

fn parse<T: Scalar>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

#[cfg(test)]
mod tests {
    use crate::choice::Text;
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    crate::options! {
        /// One key of each kind.
        struct Config / Options {
            /// A number.
            shift: i64 = 0;
            /// A switch.
            flip_x: bool = true;
            /// A path that may be absent.
            token: Option<PathBuf> = None;
            /// A list.
            sources: Vec<Text<SocketAddr>> = vec![Text(SocketAddr::from(([127, 0, 0, 1], 1)))];
            /// A table.
            controls: BTreeMap<String, i64> = BTreeMap::from([("gain".to_owned(), 1)]);
        }
    }

    fn flags(words: &[&str]) -> Result<Options, clap::Error> {
        let words = std::iter::once(&"program").chain(words);
        Options::from_arg_matches(
            &Options::augment_args(Command::new("program")).try_get_matches_from(words)?,
        )
    }

    fn table(entries: &[(&str, i64)]) -> BTreeMap<String, i64> {
        entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect()
    }

    #[test]
    fn a_flag_not_given_says_nothing() {
        assert_eq!(flags(&[]).unwrap(), Options::default());
        assert_eq!(Options::default().resolve(), Config::default());
    }

    #[test]
    fn a_switch_can_be_set_to_either_value() {
        assert_eq!(flags(&["--flip-x"]).unwrap().flip_x, Some(true));
        assert_eq!(flags(&["--flip-x=false"]).unwrap().flip_x, Some(false));
        assert_eq!(flags(&["--flip-x", "false"]).unwrap().flip_x, Some(false));
        assert_eq!(
            flags(&["--flip-x", "--shift=1"]).unwrap().flip_x,
            Some(true)
        );
        assert!(flags(&["--flip-x=maybe"]).is_err());
    }

    #[test]
    fn a_number_can_be_negative() {
        assert_eq!(flags(&["--shift", "-3"]).unwrap().resolve().shift, -3);
    }

    #[test]
    fn a_list_is_repeated_or_separated_by_commas_and_replaces_the_default() {
        let ports = |words| -> Vec<u16> {
            flags(words)
                .unwrap()
                .resolve()
                .sources
                .iter()
                .map(|at| at.port())
                .collect()
        };
        assert_eq!(
            ports(&["--sources", "1.1.1.1:5,1.1.1.1:6", "--source=1.1.1.1:7"]),
            [5, 6, 7]
        );
        assert_eq!(ports(&["--sources="]), [0; 0]);
        assert_eq!(ports(&[]), [1]);
    }

    #[test]
    fn a_table_goes_entry_by_entry_over_the_layers_below() {
        let flags = flags(&["--control", "gain=-3", "--controls=focus=7"]).unwrap();
        let file = Options {
            controls: Some(table(&[("gain", 2), ("zoom", 4)])),
            ..Options::default()
        };
        assert_eq!(
            flags.over(file).resolve().controls,
            table(&[("focus", 7), ("gain", -3), ("zoom", 4)])
        );
    }

    #[test]
    fn a_table_entry_without_a_value_is_refused() {
        let error = flags(&["--control", "gain"]).unwrap_err().to_string();
        assert!(error.contains("expected name=value"), "{error}");
        assert!(flags(&["--control", "gain=much"]).is_err());
    }

    #[test]
    fn an_upper_layer_wins_over_a_lower_one() {
        let upper = Options {
            shift: Some(1),
            ..Options::default()
        };
        let lower = Options {
            shift: Some(2),
            token: Some("key".into()),
            ..Options::default()
        };
        let config = upper.over(lower).resolve();
        assert_eq!((config.shift, config.token), (1, Some("key".into())));
    }

    #[test]
    fn the_help_tells_the_meaning_and_the_default_of_every_key() {
        let help = Options::augment_args(Command::new("program"))
            .render_long_help()
            .to_string();
        for sentence in [
            "A number. [default: 0]",
            "--flip-x [<true|false>]",
            "A switch. [default: true]",
            "A list. [default: 127.0.0.1:1]",
            "A table. [default: gain=1]",
            "--controls <NAME=VALUE>",
        ] {
            assert!(help.contains(sentence), "{sentence:?} is not in {help}");
        }
        assert!(
            help.contains("A path that may be absent.\n")
                || help.contains("A path that may be absent. \n"),
            "{help}"
        );
    }
}
