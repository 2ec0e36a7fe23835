//! Names in topics: of prefixes, relays, streams and screens.

use std::fmt::{self, Write as _};
use std::str::FromStr;

/// Longest prefix, in bytes.
const MAX_PREFIX: usize = 128;

/// Longest name of an object in a topic: three characters for each byte of the longest name, and its kind.
pub(crate) const MAX_OBJECT: usize = 256;

/// The first levels of topics, such as `home/cameras`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPrefix(String);

/// A text that is no [`TopicPrefix`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no prefix of topics: write 1 to 128 visible characters without + # $ and spaces, levels with / between them"
)]
pub struct NameError(String);

impl FromStr for TopicPrefix {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let is_usable = |c: char| !c.is_whitespace() && !c.is_control() && !"+#$".contains(c);
        let fits = text.len() <= MAX_PREFIX
            && text.chars().all(is_usable)
            && text.split('/').all(|level| !level.is_empty());
        fits.then(|| Self(text.to_owned()))
            .ok_or_else(|| NameError(text.to_owned()))
    }
}

impl fmt::Display for TopicPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a relay is called in topics, made of a text such as the name of its host.
#[must_use]
pub fn node_id(text: &str) -> String {
    let usable = |c: char| if is_plain(c) { c } else { '_' };
    text.chars().map(usable).take(64).collect()
}

/// What `name` is called in topics and identifiers: letters, digits and `-` stand for themselves, any other byte is its two
/// hexadecimal digits behind `_`. No two names are called the same.
pub(crate) fn object_id(kind: &str, name: &str) -> String {
    let mut id = format!("{kind}-");
    for byte in name.bytes() {
        let c = char::from(byte);
        if is_plain(c) && c != '_' {
            id.push(c);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(id, "_{byte:02x}");
        }
    }
    id
}

/// Whether a text from elsewhere may be the name of an object of ours.
pub(crate) fn is_object_id(text: &str) -> bool {
    (1..=MAX_OBJECT).contains(&text.len()) && text.chars().all(is_plain)
}

/// As Home Assistant allows it in topics of discovery.
const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_has_an_identifier_of_its_own() {
        let names = [
            "cam",
            "cam.1",
            "cam_2e1",
            "Küche",
            "K\u{fc}che ",
            "/+#",
            "客厅",
            "",
        ];
        let mut ids: Vec<_> = names.map(|name| object_id("screen", name)).to_vec();
        assert_eq!(ids[1], "screen-cam_2e1");
        assert!(ids.iter().all(|id| is_object_id(id)));
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), names.len());
        assert!(is_object_id(&object_id("screen", &"é".repeat(32))));
    }

    #[test]
    fn a_prefix_has_levels_and_no_wildcards() {
        for good in ["fanlight", "home/cameras", "käse"] {
            assert_eq!(good.parse::<TopicPrefix>().unwrap().to_string(), good);
        }
        for bad in ["", "/", "a/", "a//b", "a/+", "#", "$SYS", "a b", "a\0"] {
            assert!(bad.parse::<TopicPrefix>().is_err(), "{bad:?}");
        }
        assert_eq!(node_id("box.lan 0.0.0.0:5004"), "box_lan_0_0_0_0_5004");
    }
}
