//! How a key's type is read from a flag and merged between layers.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Deref;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A type that one word of a command line can hold: its `FromStr` reads the flag, its serde the file. Implemented for
/// numbers, `bool`, `String`, `PathBuf` and addresses; [`serde_str!`](crate::serde_str) and [`choice!`](crate::choice)
/// implement it, as does the wrapper [`Text`] for a type of another crate.
pub trait Scalar:
    Clone + Debug + PartialEq + Send + Sync + Serialize + DeserializeOwned + FromStr<Err: Display> + 'static
{
    /// Completes the flag of a key of this type. A flag takes exactly one value unless this says otherwise.
    #[must_use]
    fn flag(arg: Arg) -> Arg {
        arg
    }
}

/// A type that a key of [`options!`](crate::options) can have: a [`Scalar`], or an `Option`, a `Vec` or a `BTreeMap`
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
        T::flag(arg.value_parser(scalar_parser::<T>()).action(ArgAction::Set).allow_negative_numbers(true))
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
        arg.value_parser(list_parser::<T>()).action(ArgAction::Append).allow_negative_numbers(true)
    }

    fn from_flag(matches: &ArgMatches, id: &str) -> Option<Vec<T>> {
        matches.get_many::<Vec<T>>(id).map(|lists| lists.flatten().cloned().collect())
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
        arg.value_parser(entry_parser::<K, V>()).action(ArgAction::Append).value_name("NAME=VALUE")
    }

    fn from_flag(matches: &ArgMatches, id: &str) -> Option<Self> {
        matches.get_many::<(K, V)>(id).map(|entries| entries.cloned().collect())
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

/// Gives a type of another crate that has `FromStr` and `Display` the serde of a string, so that it can be a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<T>(pub T);

impl<T> Deref for Text<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: FromStr> FromStr for Text<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        text.parse().map(Self)
    }
}

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T> Deserialize<'de> for Text<T>
where
    T: FromStr<Err: Display>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<T> Scalar for Text<T> where T: Clone + Debug + Display + FromStr<Err: Display> + PartialEq + Send + Sync + 'static {}

/// A flag without a value means true; `--flip-x=false` and `--flip-x false` mean false.
impl Scalar for bool {
    fn flag(arg: Arg) -> Arg {
        arg.num_args(0..=1).default_missing_value("true").value_name("true|false")
    }
}

macro_rules! scalars {
    ($($scalar:ty),*) => { $(impl Scalar for $scalar {})* };
}

scalars!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, f32, f64, String, PathBuf);
scalars!(IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6);

fn scalar_parser<T: Scalar>() -> ValueParser {
    ValueParser::new(parse::<T>)
}

fn list_parser<T: Scalar>() -> ValueParser {
    ValueParser::new(|text: &str| {
        text.split(',').filter(|item| !item.is_empty()).map(parse::<T>).collect::<Result<Vec<T>, _>>()
    })
}

fn entry_parser<K: Scalar, V: Scalar>() -> ValueParser {
    ValueParser::new(|text: &str| {
        let (name, value) = text.split_once('=').ok_or_else(|| "expected name=value".to_owned())?;
        Ok::<_, String>((parse::<K>(name)?, parse::<V>(value)?))
    })
}

fn parse<T: Scalar>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}
