//! Types that the words of a flag or a file spell: enumerations, and whatever has `FromStr` and `Display`.

use std::fmt::{self, Debug, Display};
use std::ops::Deref;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::Scalar;

/// Gives a type of this crate that has `FromStr` and `Display` the serde of a string, and makes it a
/// [`Scalar`](crate::options::Scalar).
#[macro_export]
macro_rules! serde_str {
    ($Type:ty) => {
        impl $crate::reexport::serde::Serialize for $Type {
            fn serialize<S: $crate::reexport::serde::Serializer>(
                &self,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> $crate::reexport::serde::Deserialize<'de> for $Type {
            fn deserialize<D: $crate::reexport::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                <String as $crate::reexport::serde::Deserialize>::deserialize(deserializer)?
                    .parse()
                    .map_err($crate::reexport::serde::de::Error::custom)
            }
        }

        impl $crate::options::Scalar for $Type {}
    };
}

/// Declares an enumeration whose variants are words, as a
/// [`Scalar`](crate::options::Scalar) that can be a key.
///
/// ```
/// fanlight_daemon::choice! {
///     /// Whether to let the kernel cut the datagrams.
///     pub enum Gso {
///         /// When the kernel can.
///         Auto = "auto",
///         /// Always.
///         On = "on",
///         /// Never.
///         Off = "off",
///     }
/// }
///
/// assert_eq!("on".parse(), Ok(Gso::On));
/// assert_eq!("no".parse::<Gso>().unwrap_err().to_string(), "`no` is none of auto|on|off, did you mean `on`?");
/// ```
#[macro_export]
macro_rules! choice {
    (
        $(#[doc = $about:literal])*
        $vis:vis enum $Choice:ident {
            $($(#[doc = $help:literal])* $Variant:ident = $word:literal),* $(,)?
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $Choice {
            $($(#[doc = $help])* $Variant,)*
        }

        impl std::str::FromStr for $Choice {
            type Err = $crate::options::NoSuchChoice;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$Variant),)*
                    _ => Err($crate::options::NoSuchChoice::new(text, &[$($word),*])),
                }
            }
        }

        impl std::fmt::Display for $Choice {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$Variant => $word,)* })
            }
        }

        $crate::serde_str!($Choice);
    };
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
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl<T> Scalar for Text<T> where
    T: Clone + Debug + Display + FromStr<Err: Display> + PartialEq + Send + Sync + 'static
{
}

/// A word that is none of a [`choice!`](crate::choice).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is none of {}{}", .words.join("|"), suggestion(.text, *.words))]
pub struct NoSuchChoice {
    text: String,
    words: &'static [&'static str],
}

impl NoSuchChoice {
    #[doc(hidden)]
    #[must_use]
    pub fn new(text: &str, words: &'static [&'static str]) -> Self {
        Self {
            text: text.to_owned(),
            words,
        }
    }
}

/// `, did you mean ...?` when one of the names is close to `name`, nothing otherwise.
pub(crate) fn suggestion<'a>(name: &str, names: impl IntoIterator<Item = &'a &'a str>) -> String {
    names
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map_or_else(String::new, |(_, candidate)| {
            format!(", did you mean `{candidate}`?")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggestion_is_close_or_absent() {
        assert_eq!(
            suggestion("sise", &["rate", "size"]),
            ", did you mean `size`?"
        );
        assert_eq!(
            suggestion("flip-x", &["flip_x", "flip_y"]),
            ", did you mean `flip_x`?"
        );
        assert_eq!(suggestion("brightness", &["rate", "size"]), "");
    }
}
