//! By which keys a relay knows its sources. Read from files at start and when the list changes, used by upstream threads.

use std::collections::BTreeMap;

use fanlight_daemon::keys::{KeyFileError, KeyPath};
use fanlight_proto::keys::{FeedKey, KeyError, PrivateKey, PublicKey, parse_list};
use fanlight_proto::message::StreamName;
use fanlight_proto::zmtp::Security;

use super::Endpoint;

/// What the relay has to show to its sources, and what it wants to see.
#[derive(Clone, Debug, Default)]
pub struct FeedKeys {
    shared: Option<FeedKey>,
    listed: Option<ListedSources>,
}

/// Sources that have keys of their own.
#[derive(Clone, Debug)]
struct ListedSources {
    own: PrivateKey,
    sources: BTreeMap<Endpoint, ListedSource>,
}

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ListedSource {
    key: PublicKey,
    /// The only streams that are taken from it; all when empty.
    streams: Vec<StreamName>,
}

/// On what terms one source is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Terms {
    /// By its line in the list.
    Listed(PublicKey, Vec<StreamName>),
    /// By this key, which all share.
    Shared(FeedKey),
    /// In the clear.
    Null,
}

impl FeedKeys {
    /// Reads the files: the shared key, and the relay's own with the list of sources.
    ///
    /// # Errors
    /// When one is missing, open to others or damaged; with the line.
    pub fn read(
        shared: Option<&KeyPath>,
        own_and_list: Option<(&KeyPath, &KeyPath)>,
    ) -> Result<Self, KeyFileError> {
        let shared = shared.map(KeyPath::feed).transpose()?.map(FeedKey::new);
        let listed = own_and_list.map(|(own, list)| {
            Ok(ListedSources {
                own: own.private()?,
                sources: list.list(parse)?,
            })
        });

        Ok(Self {
            shared,
            listed: listed.transpose()?,
        })
    }

    /// Of the key that all sources share.
    #[must_use]
    pub const fn shared(key: FeedKey) -> Self {
        Self {
            shared: Some(key),
            listed: None,
        }
    }

    /// The relay's own public key, for its sources to list.
    #[must_use]
    pub fn public(&self) -> Option<PublicKey> {
        self.listed.as_ref().map(|listed| listed.own.public())
    }

    /// On what terms the source at `endpoint` is taken; none when it is not.
    pub(super) fn terms(&self, endpoint: &Endpoint) -> Option<Terms> {
        let listed = self.listed.as_ref();
        let source = listed.and_then(|listed| listed.sources.get(endpoint));
        match (source, &self.shared) {
            (Some(source), _) => Some(Terms::Listed(source.key, source.streams.clone())),
            (None, Some(key)) => Some(Terms::Shared(key.clone())),
            // Who lists sources wants no other one in the clear.
            (None, None) if self.listed.is_some() => None,
            (None, None) => Some(Terms::Null),
        }
    }

    /// How a connection on these terms is secured.
    pub(super) fn security(&self, terms: &Terms) -> Security {
        match (terms, &self.listed) {
            (Terms::Listed(source, _), Some(listed)) => Security::Keys {
                own: listed.own.clone(),
                source: *source,
            },
            (Terms::Shared(key), _) => Security::SharedKey(key.clone()),
            _ => Security::Null,
        }
    }
}

impl Terms {
    /// The streams to take, of those that the settings name: all when both are empty.
    pub(super) fn streams(&self, wanted: &[StreamName]) -> Vec<StreamName> {
        match self {
            Self::Listed(_, allowed) if wanted.is_empty() => allowed.clone(),
            Self::Listed(_, allowed) if !allowed.is_empty() => wanted
                .iter()
                .filter(|stream| allowed.contains(stream))
                .cloned()
                .collect(),
            _ => wanted.to_vec(),
        }
    }
}

/// Reads the list: one source a line, its key, its endpoint and perhaps its streams.
fn parse(text: &str) -> Result<BTreeMap<Endpoint, ListedSource>, KeyError> {
    let mut sources = BTreeMap::new();
    let mut lines = BTreeMap::new();

    let listed = parse_list(text, |line, rest| {
        let wrong = |problem: String| KeyError::Entry { line, problem };
        let mut words = rest.split_whitespace();
        let endpoint = words.next().ok_or_else(|| {
            wrong("the endpoint of the source is missing behind its key, as in `sources`".into())
        })?;

        let endpoint: Endpoint = endpoint
            .parse()
            .map_err(|error| wrong(format!("{error}")))?;

        if let Some(first) = lines.insert(endpoint.clone(), line) {
            let again = format!("{endpoint} has a key in line {first}: remove one of them");
            return Err(wrong(again));
        }

        let streams = words.map(|name| {
            let name = name.parse::<StreamName>();
            name.map_err(|error| wrong(format!("{error}")))
        });

        Ok((endpoint, streams.collect::<Result<_, _>>()?))
    })?;

    for (key, (endpoint, streams)) in listed {
        sources.insert(endpoint, ListedSource { key, streams });
    }

    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(seed: u8) -> PublicKey {
        PrivateKey::new([seed; 32]).public()
    }

    fn keys(list: &str, shared: bool) -> FeedKeys {
        FeedKeys {
            shared: shared.then(|| FeedKey::new([1; 32])),
            listed: Some(ListedSources {
                own: PrivateKey::new([2; 32]),
                sources: parse(list).unwrap(),
            }),
        }
    }

    fn names(names: &[&str]) -> Vec<StreamName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn each_source_is_taken_by_its_own_key_and_for_its_own_streams() {
        let list = format!(
            "# cameras\n{} tcp://10.0.0.5:5010 hall  door\n{} ipc:///run/a.ipc\n",
            public(5),
            public(6)
        );
        let [hall, near, other] = [
            "tcp://10.0.0.5:5010",
            "ipc:///run/a.ipc",
            "ipc:///run/b.ipc",
        ]
        .map(|text| text.parse::<Endpoint>().unwrap());

        let strict = keys(&list, false);
        let terms = strict.terms(&hall).unwrap();
        assert_eq!(terms, Terms::Listed(public(5), names(&["hall", "door"])));
        assert!(matches!(strict.security(&terms), Security::Keys { .. }));
        assert_eq!(terms.streams(&[]), names(&["hall", "door"]));
        let wanted = names(&["door", "yard"]);
        assert_eq!(terms.streams(&wanted), names(&["door"]));

        let terms = strict.terms(&near).unwrap();
        assert_eq!(terms.streams(&wanted), wanted);
        assert_eq!(strict.terms(&other), None);

        let mixed = keys(&list, true);
        assert_eq!(
            mixed.terms(&other),
            Some(Terms::Shared(FeedKey::new([1; 32])))
        );
        assert_eq!(FeedKeys::default().terms(&other), Some(Terms::Null));
    }

    #[test]
    fn a_bad_line_is_named_with_what_is_wrong() {
        let (one, two) = (public(1), public(2));
        for (list, says) in [
            (format!("{one}\n"), ["line 1", "endpoint"]),
            (
                format!("\n{one} hall\n"),
                ["line 2", "`hall` is no endpoint"],
            ),
            (format!("{one} ipc:///a sp/ace\n"), ["line 1", "sp/ace"]),
            (
                format!("{one} ipc:///a\n{two} ipc:///a\n"),
                ["line 2", "line 1"],
            ),
            (
                format!("{one} ipc:///a\n{one} ipc:///b\n"),
                ["line 2", "line 1"],
            ),
        ] {
            let error = parse(&list).unwrap_err().to_string();
            assert!(says.iter().all(|part| error.contains(part)), "{error}");
        }
    }
}
