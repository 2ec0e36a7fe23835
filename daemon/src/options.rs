//! Settings declared once: the [`options!`](crate::options!) macro makes of one list of keys the flags, the file format,
//! the defaults and the help.

use clap::{Arg, Args, Command};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::choice::{NoSuchChoice, Text};
pub use crate::value::{Scalar, Value};

/// One layer of settings (the flags, or the file), in which every key may be absent. [`options!`](crate::options!)
/// implements it for the `Options` it declares.
pub trait Layer: Args + DeserializeOwned + Default {
    /// The settings with every key decided.
    type Config: Clone + std::fmt::Debug + Default + PartialEq + Serialize;

    /// All keys in the order of their declaration.
    const KEYS: &'static [Key];

    /// This layer over a lower one: a key that both have is taken from this one, tables entry by entry.
    #[must_use]
    fn over(self, lower: Self) -> Self;

    /// This layer over the defaults.
    fn resolve(self) -> Self::Config;
}

/// A key of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name in the file, in snake_case.
    pub name: &'static str,
    /// The lines of its documentation.
    pub help: &'static [&'static str],
}

/// Declares the settings of a program: `Config`, in which every key is decided, and `Options`, one layer of them, in
/// which every key may be absent.
///
/// A key's type is a [`Scalar`], or an `Option`, `Vec` or `BTreeMap` of scalars. Its name is the key in the TOML file
/// and, with hyphens, the flag. A default must not depend on the environment (the shipped file states it): use an
/// `Option` and decide later.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::net::SocketAddr;
///
/// fanlight_daemon::options! {
///     /// Settings of the relay.
///     pub struct Config / Options {
///         /// Where to listen for viewers.
///         listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 5004));
///         /// The streams to take; all of them when empty.
///         streams: Vec<String> = Vec::new();
///         /// Name under which the relay shows itself.
///         name: Option<String> = None;
///         /// Mirror the picture.
///         flip_x: bool = false;
///         /// Controls of the camera.
///         controls: BTreeMap<String, i64> = BTreeMap::new();
///     }
/// }
///
/// let flags = Options { flip_x: Some(true), ..Options::default() };
/// let file = Options { flip_x: Some(false), name: Some("hall".to_owned()), ..Options::default() };
/// let config = flags.over(file).resolve();
/// assert_eq!((config.flip_x, config.name.as_deref(), config.listen.port()), (true, Some("hall"), 5004));
/// ```
#[macro_export]
macro_rules! options {
    (
        $(#[doc = $about:literal])*
        $vis:vis struct $Config:ident / $Options:ident {
            $($(#[doc = $help:literal])* $name:ident : $Type:ty = $default:expr;)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, $crate::reexport::serde::Serialize)]
        #[serde(crate = "fanlight_daemon::reexport::serde")]
        $vis struct $Config {
            $($(#[doc = $help])* pub $name: $Type,)*
        }

        impl Default for $Config {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        #[doc = concat!("One layer of [`", stringify!($Config), "`]: what the flags or the file say.")]
        #[derive(Clone, Debug, Default, PartialEq, $crate::reexport::serde::Deserialize)]
        #[serde(crate = "fanlight_daemon::reexport::serde", default, deny_unknown_fields)]
        $vis struct $Options {
            $($(#[doc = $help])* pub $name: Option<<$Type as $crate::options::Value>::Given>,)*
        }

        impl $Options {
            /// This layer over a lower one.
            #[must_use]
            $vis fn over(self, lower: Self) -> Self {
                Self { $($name: <$Type as $crate::options::Value>::over(self.$name, lower.$name),)* }
            }

            /// This layer over the defaults.
            #[must_use]
            $vis fn resolve(self) -> $Config {
                let default = $Config::default();
                $Config { $($name: <$Type as $crate::options::Value>::resolve(self.$name, default.$name),)* }
            }
        }

        impl $crate::options::Layer for $Options {
            type Config = $Config;

            const KEYS: &'static [$crate::options::Key] = &[
                $($crate::options::Key { name: stringify!($name), help: &[$($help),*] },)*
            ];

            fn over(self, lower: Self) -> Self {
                Self::over(self, lower)
            }

            fn resolve(self) -> $Config {
                Self::resolve(self)
            }
        }

        impl $crate::reexport::clap::Args for $Options {
            fn augment_args(command: $crate::reexport::clap::Command) -> $crate::reexport::clap::Command {
                let mut flags = $crate::options::Flags::of::<Self>();
                $(let command = command.arg(flags.flag::<$Type>());)*
                command
            }

            fn augment_args_for_update(command: $crate::reexport::clap::Command) -> $crate::reexport::clap::Command {
                <Self as $crate::reexport::clap::Args>::augment_args(command)
            }
        }

        impl $crate::reexport::clap::FromArgMatches for $Options {
            fn from_arg_matches(
                matches: &$crate::reexport::clap::ArgMatches,
            ) -> Result<Self, $crate::reexport::clap::Error> {
                Ok(Self { $($name: <$Type as $crate::options::Value>::from_flag(matches, stringify!($name)),)* })
            }

            fn update_from_arg_matches(
                &mut self,
                matches: &$crate::reexport::clap::ArgMatches,
            ) -> Result<(), $crate::reexport::clap::Error> {
                *self = Self::from_arg_matches(matches)?.over(std::mem::take(self));
                Ok(())
            }
        }
    };
}

/// The flags of the keys of one layer, in order.
#[doc(hidden)]
#[derive(Debug)]
pub struct Flags {
    keys: std::slice::Iter<'static, Key>,
    defaults: toml::Table,
}

impl Flags {
    #[must_use]
    pub fn of<L: Layer>() -> Self {
        let defaults = toml::Table::try_from(L::Config::default()).unwrap_or_default();
        Self {
            keys: L::KEYS.iter(),
            defaults,
        }
    }

    pub fn flag<V: Value>(&mut self) -> Arg {
        let key = self.keys.next().expect("the macro asks for one flag a key");
        let long = key.name.replace('_', "-");
        let mut arg = Arg::new(key.name)
            .help(self.help(key))
            .help_heading("Settings (flag over file over default)");
        if let Some(one) = long.strip_suffix('s').filter(|_| V::REPEATED) {
            arg = arg.visible_alias(one.to_owned());
        }
        V::flag(
            arg.value_name(key.name.to_uppercase())
                .long(long)
                .global(true),
        )
    }

    fn help(&self, key: &Key) -> String {
        let help = key
            .help
            .iter()
            .map(|line| line.trim())
            .collect::<Vec<_>>()
            .join(" ");
        match self.defaults.get(key.name).map(word) {
            None => help,
            Some(default) => format!(
                "{help} [default: {}]",
                if default.is_empty() { "none" } else { &default }
            ),
        }
    }
}

/// A value as a flag takes it.
fn word(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(word).collect::<Vec<_>>().join(","),
        toml::Value::Table(entries) => entries
            .iter()
            .map(|(name, value)| format!("{name}={}", word(value)))
            .collect::<Vec<_>>()
            .join(","),
        value => value.to_string(),
    }
}

/// All flags of a layer on a command.
pub(crate) fn flags<L: Layer>(command: Command) -> Command {
    L::augment_args(command)
}
